//! ltr-index-list [PATH...] - what a box holds, or the whole space

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use litter::index::sqlite::Access;
use litter::query::{CopiesFilter, List, list};

/// Write a record for each file, folder and symlink that a box holds
#[derive(Parser)]
#[command(name = "ltr-index-list", version)]
struct Args {
    /// Files and folders; none: the current folder, or with --whole everything
    paths: Vec<OsString>,
    /// What the box BOX holds, instead of the one here
    #[arg(short, long = "box", value_name = "BOX", conflicts_with = "whole")]
    box_name: Option<String>,
    /// Of folders, all that is below
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Every path of the space, with the version that wins
    #[arg(long)]
    whole: bool,
    /// Only files with so many copies, such as '<2' (operators: < <= = >= >)
    #[arg(long, value_name = "CONDITION")]
    copies: Option<CopiesFilter>,
    /// Also media types, and targets of symlinks
    #[arg(long)]
    long: bool,
    /// Ask this space's index, with paths of the space, instead of the box here
    #[arg(long)]
    space: Option<String>,
}

fn main() -> ExitCode {
    cli::stream(|args: Args, report| {
        let scene = cli::scene(args.space.as_deref(), Access::Read, report)?;
        let Args { box_name, recursive, whole, copies, long, .. } = args;
        let wish = List { paths: scene.all_known(&args.paths)?, box_name, recursive, whole, copies, long };
        list(&scene, &wish, cli::stdout(), report)
    })
}
