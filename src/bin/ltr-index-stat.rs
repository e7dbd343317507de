//! ltr-index-stat PATH... - what is known of a path, and where its copies are

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use litter::index::sqlite::Access;
use litter::query::stat;

/// Write all that is known of each PATH; / is the box itself
#[derive(Parser)]
#[command(name = "ltr-index-stat", version)]
struct Args {
    /// Files and folders
    #[arg(required = true)]
    paths: Vec<OsString>,
    /// Ask this space's index, with paths of the space, instead of the box here
    #[arg(long)]
    space: Option<String>,
}

fn main() -> ExitCode {
    cli::stream(|args: Args, report| {
        let scene = cli::scene(args.space.as_deref(), Access::Read, report)?;
        stat(&scene, &scene.all_known(&args.paths)?, cli::stdout())
    })
}
