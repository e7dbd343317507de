//! ltr-purge [-r] PATH... - entries that remove paths from the whole space

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use litter::index::sqlite::Access;
use litter::query::{Purge, purge};

/// Write the entries that purge each PATH from all boxes, for ltr-index-put
#[derive(Parser)]
#[command(name = "ltr-purge", version)]
struct Args {
    /// Files, and with -r folders
    #[arg(required = true)]
    paths: Vec<OsString>,
    /// Folders too, with all below
    #[arg(short, long)]
    recursive: bool,
    /// Only show what would be purged
    #[arg(short = 'n', long, alias = "dry-run", overrides_with = "dryrun")]
    dryrun: bool,
}

fn main() -> ExitCode {
    cli::stream(|args: Args, report| {
        let mut scene = cli::scene(None, if args.dryrun { Access::Read } else { Access::Write }, report)?;
        let wish = Purge { paths: args.paths, recursive: args.recursive, dry_run: args.dryrun };
        purge(&mut scene, &wish, cli::stdout())
    })
}
