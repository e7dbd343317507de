//! ltr-reach [SRC] - which boxes are in reach, and where their indexes are

#[path = "cli/mod.rs"]
mod cli;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use litter::exit::Exit;
use litter::index::sqlite::Access;
use litter::ltrbox::locate;
use litter::reach::Reaching;
use litter::sources::Search;
use litter::sync::sink::uuid;

/// Write a record for the box that SRC means, or for every box in reach
#[derive(Parser)]
#[command(name = "ltr-reach", version)]
struct Args {
    /// A box, its folder, or [user@]host:/path
    #[arg(value_name = "SRC")]
    source: Option<String>,
}

fn main() -> ExitCode {
    cli::run(run)
}

fn run(args: Args, report: &mut cli::Stderr) -> Result<Exit> {
    let cwd = std::env::current_dir()?;
    let places = cli::places();
    let located = locate(&cwd, &places).ok();
    let index = located.as_ref().map(|l| l.open(Access::Read)).transpose()?;
    let here = index.as_ref().zip(located.as_ref()).map(|(index, l)| (index, l.box_name.as_str()));
    let root = located.as_ref().map_or(cwd.as_path(), |l| l.root.as_path());
    let space = index.as_ref().map(uuid).transpose()?.flatten();
    let reaching = Reaching::new(&cli::host(), root, Vec::new(), space);
    let search = Search { here, cwd: &cwd, reaching, ssh: cli::ssh()?, places: &places };
    search.run(args.source.as_deref(), cli::stdout(), report)
}
