//! ltr-plan --box B [SRC...] - what a pull would do

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use litter::exit::Exit;
use litter::index::sqlite::Access;
use litter::plan::{Request, plan};
use litter::reach::Reaching;

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
    /// Where a box is, before the urls in the index; repeatable
    #[arg(long, value_name = "BOX=DIR", value_parser = named)]
    at: Vec<(String, PathBuf)>,
    /// Fetch from these boxes only
    #[arg(value_name = "SRC")]
    from: Vec<String>,
}

fn main() -> ExitCode {
    cli::run(run)
}

fn named(text: &str) -> Result<(String, PathBuf)> {
    let Some((name, dir)) = text.split_once('=') else { anyhow::bail!("not BOX=DIR: {text}") };
    litter::record::check_box_name(name)?;
    Ok((name.to_owned(), PathBuf::from(dir)))
}

fn run(args: Args, _report: &mut cli::Stderr) -> Result<Exit> {
    let mut located = args.place.locate()?;
    if let Some(index) = args.index {
        located.index = index;
    }
    let index = located.open(Access::Read)?;
    let under = cli::paths(&args.under, &located)?;
    let reaching = Reaching::new(&cli::host(), &located.root, args.at);
    let request = Request { box_name: located.box_name, under, from: args.from, reach: &|info| reaching.to(info) };
    plan(&index, &request, cli::stdout())
}
