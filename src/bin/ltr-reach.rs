//! ltr-reach [SRC] | --ping [BOX...] - which boxes are in reach, and where their indexes are

#[path = "cli/mod.rs"]
mod cli;

use std::process::ExitCode;

use anyhow::{Result, ensure};
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
    /// Tell of each of these boxes, or of every box of the space, whether it is in reach, and how
    #[arg(long)]
    ping: bool,
    /// A box, its folder, [user@]host:/path, label:NAME/path or uuid:UUID/path
    #[arg(value_name = "SRC")]
    sources: Vec<String>,
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
    let reaching = Reaching::new(&cli::host(), root, Vec::new(), space).with_replicas(&places);
    let search = Search { here, cwd: &cwd, reaching, ssh: cli::ssh()?, places: &places };
    if args.ping {
        return search.ping(&args.sources, cli::stdout(), report);
    }
    ensure!(args.sources.len() <= 1, "one source, or --ping");
    search.run(args.sources.first().map(String::as_str), cli::stdout(), report)
}
