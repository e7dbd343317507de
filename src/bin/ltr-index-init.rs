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
    /// A file, [user@]host:/path, or http://host:5984/name
    space: String,
}

fn main() -> ExitCode {
    cli::run(|args: Args, _| {
        let options = cli::sync_options()?;
        init(&std::env::current_dir()?, &cli::kept_text(&options.places, &args.space)?, &options, cli::stdout())
    })
}
