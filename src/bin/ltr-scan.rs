//! ltr-scan [DIR...] - one record for each file, folder and symlink of the box around DIR

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use litter::compare::{Compare, Entries, compare_walk};
use litter::exit::Exit;
use litter::fsinfo::FsTraits;
use litter::index::sqlite::Access;
use litter::ltrbox::{Located, locate};
use litter::scan::{NothingTracked, scan};

/// Write a record for each file, folder and symlink in a box, in path order
#[derive(Parser)]
#[command(name = "ltr-scan", version)]
struct Args {
    /// Compare with the index at once and write only what differs, as ltr-compare does
    #[arg(long)]
    known: bool,
    /// With --known: also what is in sync, and what is skipped
    #[arg(short, long, requires = "known")]
    all: bool,
    /// With --known, of a whole box: leave in the index in which folders there was nothing to tell, so that the next
    /// comparison need not read what it holds of those that look the same
    #[arg(long, requires = "known")]
    remember: bool,
    /// Folders or files to look at, all of one box
    #[arg(value_name = "DIR", default_value = ".")]
    dirs: Vec<OsString>,
}

fn main() -> ExitCode {
    cli::stream(run)
}

fn run(args: Args, report: &mut cli::Stderr) -> Result<Exit> {
    let here = std::env::current_dir()?;
    let located = match locate(&here, &cli::places()) {
        Ok(located) => located,
        Err(error) if args.known => return Err(error),
        // a folder that is no box is scanned as if it were one
        Err(_) => return bare(&args, report),
    };
    let index = match located.open(Access::Read) {
        Ok(index) => index,
        Err(error) if args.known => return Err(error),
        Err(_) => return bare(&args, report),
    };
    let under = cli::paths(&args.dirs, None)?;
    if args.known {
        let fs = FsTraits::at(&located.root)?;
        let compare = Compare { box_name: located.box_name.clone(), under, all: args.all, fs, remember: args.remember };
        return compare_walk(&located.root, &index, compare, cli::stdout(), report);
    }
    scan(&located.root, &under, &mut Entries(&index), cli::stdout(), report)
}

fn bare(args: &Args, report: &mut cli::Stderr) -> Result<Exit> {
    let [dir] = args.dirs.as_slice() else { anyhow::bail!("no index here: name one folder") };
    let dir = std::path::Path::new(dir).canonicalize()?;
    match locate(&dir, &cli::places()) {
        Ok(Located { root, path, index, .. }) => match litter::index::sqlite::Sqlite::open(&index, Access::Read) {
            Ok(index) => scan(&root, &[path], &mut Entries(&index), cli::stdout(), report),
            Err(_) => scan(&root, &[path], &mut NothingTracked, cli::stdout(), report),
        },
        Err(_) => scan(&dir, &[], &mut NothingTracked, cli::stdout(), report),
    }
}
