//! ltr-hash [--root DIR] [--lazy] - complete scan records with sha1 and mime

mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use litter::hash::hash_stream;

/// Reads records of files, and writes them with sha1 and mime where they are missing.
#[derive(Parser)]
#[command(name = "ltr-hash", version)]
struct Args {
    /// The box's root; else the box around the current folder
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Hash only what decides a status: suspects, and new files that may be renamed ones
    #[arg(long)]
    lazy: bool,
}

fn main() -> ExitCode {
    cli::stream(|args: Args, report| {
        let root = cli::box_root(args.root)?;
        let spool = args.lazy.then(cli::spool).transpose()?;
        hash_stream(&root, cli::stdin(), cli::stdout(), args.lazy, spool, report)
    })
}
