//! ltr-index-sync [-n] [--one-way] A B - merge two indexes of a space

#[path = "cli/mod.rs"]
mod cli;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use litter::exit::Exit;
use litter::sync::{Options, sync};

/// Merge two indexes of a space: what is new in A goes to B, and back
#[derive(Parser)]
#[command(name = "ltr-index-sync", version)]
struct Args {
    /// An index: a file, or [user@]host:/path
    a: String,
    /// Another; one of the two is a file
    b: String,
    /// Only from A to B
    #[arg(long)]
    one_way: bool,
    /// Write to throw-away copies, and tell what would be written
    #[arg(short = 'n', long)]
    dryrun: bool,
}

fn main() -> ExitCode {
    cli::run(run)
}

fn run(args: Args, report: &mut cli::Stderr) -> Result<Exit> {
    let folder = args.dryrun.then(tempfile::tempdir).transpose()?;
    let scratch = folder.as_ref().map(|folder| folder.path().to_path_buf());
    let options = Options { one_way: args.one_way, scratch, ssh: cli::ssh()? };
    let (a, b) = (cli::space(Some(&args.a))?, cli::space(Some(&args.b))?);
    sync(&a, &b, &options, cli::stdout(), report)
}
