//! ltr-index-init SPACE - create the index of a space

#[path = "cli/mod.rs"]
mod cli;

use std::process::ExitCode;

use clap::Parser;
use litter::create::init;

/// Create the index of a space; harmless when it exists
#[derive(Parser)]
#[command(name = "ltr-index-init", version)]
struct Args {
    /// A file
    space: String,
}

fn main() -> ExitCode {
    cli::run(|args: Args, _| {
        let places = cli::places();
        init(&std::env::current_dir()?, &cli::kept_text(&places, &args.space)?, &places, cli::stdout())
    })
}
