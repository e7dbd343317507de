//! ltr-index-diff BOX1 BOX2 [PATH] - what differs between two boxes

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use litter::index::sqlite::Access;
use litter::path::SpacePath;
use litter::query::diff;

/// Write a record for each path at which two boxes hold different things, by the index alone
#[derive(Parser)]
#[command(name = "ltr-index-diff", version)]
struct Args {
    /// The first box
    box1: String,
    /// The second box
    box2: String,
    /// Only at or below this file or folder
    path: Option<OsString>,
    /// Ask this space's index, with a path of the space, instead of the box here
    #[arg(long)]
    space: Option<String>,
}

fn main() -> ExitCode {
    cli::stream(|args: Args, report| {
        let scene = cli::scene(args.space.as_deref(), Access::Read, report)?;
        let under = args.path.as_deref().map_or(Ok(SpacePath::root()), |path| scene.known(path))?;
        diff(&scene, [&args.box1, &args.box2], &under, cli::stdout())
    })
}
