//! ltr-index-copy SPACE TARGET - a copy of an index, for a dry run

#[path = "cli/mod.rs"]
mod cli;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use litter::exit::Exit;
use litter::index::sqlite::{Access, Sqlite};
use litter::ltrbox::file_of;
use litter::space::Space;

/// Copy an index as it is now to a new file, even while others write to it
#[derive(Parser)]
#[command(name = "ltr-index-copy", version)]
struct Args {
    /// The index, a file
    space: String,
    /// The copy, which must not exist
    target: PathBuf,
}

fn main() -> ExitCode {
    cli::run(run)
}

fn run(args: Args, _report: &mut cli::Stderr) -> Result<Exit> {
    let path = match cli::space(Some(&args.space))? {
        Space::Ssh(_) => bail!("only an index of this machine can be copied"),
        space => file_of(&space, &cli::places()),
    };
    let index = Sqlite::open(&path, Access::Read)?;
    File::create_new(&args.target).with_context(|| args.target.display().to_string())?;
    index.copy_to(&args.target)?;
    Ok(Exit::Done)
}
