//! ltr-locate [DIR] - the box around DIR

#[path = "cli/mod.rs"]
mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use litter::ltrbox::locate;
use litter::query::{put_located, put_shell};

/// Write where the box around DIR is, and where its index
#[derive(Parser)]
#[command(name = "ltr-locate", version)]
struct Args {
    /// A folder in the box
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Assignments of root, box, space, index and prefix for `eval` in a shell
    #[arg(long)]
    shell: bool,
}

fn main() -> ExitCode {
    cli::run(|args: Args, _| {
        let located = locate(&args.dir, &cli::places())?;
        if args.shell { put_shell(&located, cli::stdout()) } else { put_located(&located, cli::stdout()) }
    })
}
