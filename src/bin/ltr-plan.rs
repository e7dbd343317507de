//! ltr-plan --box B [SRC...] - what a pull would do

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use litter::exit::Exit;
use litter::index::sqlite::Access;
use litter::plan::{Request, plan};
use litter::reach::Reaching;
use litter::sources::read_sources;
use litter::sync::sink::uuid;

/// Write the actions that a pull would carry out, from the index alone
#[derive(Parser)]
#[command(name = "ltr-plan", version)]
struct Args {
    #[command(flatten)]
    place: cli::BoxArgs,
    /// Plan from this index instead of the box's own
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Plan for this file or folder only; repeatable
    #[arg(long, value_name = "PATH")]
    under: Vec<OsString>,
    /// The output of ltr-reach: where boxes are, before the urls in the index
    #[arg(long, value_name = "FILE")]
    sources: Option<PathBuf>,
    /// Look at every path, also where the plan before had nothing to do and nothing was written since
    #[arg(long)]
    whole: bool,
    /// Leave in the index where there is something to do, so that the next plan looks only there and at what was
    /// written since
    #[arg(long)]
    remember: bool,
    /// Fetch from these boxes only
    #[arg(value_name = "SRC")]
    from: Vec<String>,
}

fn main() -> ExitCode {
    cli::stream(run)
}

fn run(args: Args, _report: &mut cli::Stderr) -> Result<Exit> {
    let mut located = args.place.locate()?;
    if let Some(index) = args.index {
        located.index = index;
    }
    let index = located.open(Access::Read)?;
    let under = cli::paths(&args.under, args.place.space.as_deref())?;
    let named = match args.sources {
        Some(file) => read_sources(BufReader::new(File::open(&file).with_context(|| file.display().to_string())?))?,
        None => Vec::new(),
    };
    let named = named.into_iter().map(|s| (s.box_name, s.url)).collect();
    let reaching = Reaching::new(&cli::host(), &located.root, named, uuid(&index)?).with_replicas(&cli::places());
    let request = Request {
        box_name: located.box_name,
        under,
        from: args.from,
        reach: &|info| reaching.to(info),
        whole: args.whole,
        remember: args.remember,
    };
    plan(&index, &request, cli::stdout())
}
