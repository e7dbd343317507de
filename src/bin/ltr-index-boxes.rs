//! ltr-index-boxes [BOX...] - the boxes of the space

#[path = "cli/mod.rs"]
mod cli;

use std::process::ExitCode;

use clap::Parser;
use litter::index::sqlite::Access;
use litter::query::list_boxes;

/// Write a record for each box of the space
#[derive(Parser)]
#[command(name = "ltr-index-boxes", version)]
struct Args {
    /// Only these boxes
    #[arg(value_name = "BOX")]
    boxes: Vec<String>,
    /// Also how many files and bytes, the last commit and the reserve
    #[arg(short, long)]
    long: bool,
    /// Ask this space's index instead of the box here
    #[arg(long)]
    space: Option<String>,
}

fn main() -> ExitCode {
    cli::stream(|args: Args, report| {
        let scene = cli::scene(args.space.as_deref(), Access::Read, report)?;
        list_boxes(&scene, &args.boxes, args.long, cli::stdout())
    })
}
