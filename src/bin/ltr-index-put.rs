//! ltr-index-put [SPACE] [--sync] [-q] - put documents into an index, and tell what became of each

#[path = "cli/mod.rs"]
mod cli;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use litter::couch::visit::{Visit, visit};
use litter::exit::Exit;
use litter::index::sqlite::{Access, Sqlite};
use litter::space::Space;
use litter::sync::put::{Options, put_stream};
use litter::sync::through::put_remote;

/// Put the documents on stdin into an index, and tell what became of each
#[derive(Parser)]
#[command(name = "ltr-index-put", version)]
struct Args {
    /// The index: a file, or [user@]host:/path; else that of the box around the current folder
    space: Option<String>,
    /// The documents are another index's: do not believe their local facts
    #[arg(long)]
    from_elsewhere: bool,
    /// They are another index's changes: refuse another space, and remember the checkpoint
    #[arg(long)]
    sync: bool,
    /// No outcomes, only errors and the trailer
    #[arg(short, long)]
    quiet: bool,
    /// Write to a throw-away copy of the index
    #[arg(short = 'n', long)]
    dryrun: bool,
}

fn main() -> ExitCode {
    cli::stream(run)
}

fn run(args: Args, report: &mut cli::Stderr) -> Result<Exit> {
    let folder = args.dryrun.then(tempfile::tempdir).transpose()?;
    let options = Options {
        elsewhere: args.from_elsewhere,
        sync: args.sync,
        quiet: args.quiet,
        scratch: folder.as_ref().map(|folder| folder.path().to_path_buf()),
    };
    match cli::space(args.space.as_deref())? {
        Space::File(path) => {
            let mut index = Sqlite::open(&path, if args.dryrun { Access::Read } else { Access::Write })?;
            put_stream(&mut index, cli::stdin_ahead()?, cli::stdout(), &options, report)
        }
        Space::Ssh(remote) => put_remote(&cli::ssh()?, &remote, &options, std::io::stdin(), cli::stdout(), report),
        Space::Http(database) => {
            let places = cli::places();
            visit(&places, &database, &Visit { no_push: true, ..Visit::default() }, report)?;
            let mut index = Sqlite::open(&places.replica(&database), if args.dryrun { Access::Read } else { Access::Write })?;
            let exit = put_stream(&mut index, cli::stdin(), cli::stdout(), &options, report)?;
            if !args.dryrun {
                visit(&places, &database, &Visit { push_first: true, ..Visit::default() }, report)?;
            }
            Ok(exit)
        }
    }
}
