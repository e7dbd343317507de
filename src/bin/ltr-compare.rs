//! ltr-compare --box B - hold a scan against the index: what differs, with its letter

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use litter::boxfs::BoxRoot;
use litter::compare::{Compare, compare_stream};
use litter::exit::Exit;
use litter::fsinfo::FsTraits;
use litter::index::sqlite::Access;

/// Add to a scan's records how they differ from the index; what does not differ is left out
#[derive(Parser)]
#[command(name = "ltr-compare", version)]
struct Args {
    #[command(flatten)]
    place: cli::BoxArgs,
    /// Also what is in sync, and what is skipped
    #[arg(short, long)]
    all: bool,
    /// The scan was of this file or folder only; repeatable
    #[arg(long, value_name = "PATH")]
    under: Vec<OsString>,
}

fn main() -> ExitCode {
    cli::stream(run)
}

fn run(args: Args, _report: &mut cli::Stderr) -> Result<Exit> {
    let located = args.place.locate_here()?;
    let index = located.open(Access::Read)?;
    let under = cli::paths(&args.under, None)?;
    let fs = FsTraits::at(&located.root)?;
    let compare = Compare { box_name: located.box_name.clone(), under, all: args.all, fs, remember: false };
    compare_stream(&index, compare, Some(&BoxRoot::open(&located.root)?), cli::stdin(), cli::stdout())
}
