//! ltr-hangup DIR - close the connections to other machines whose sockets are in DIR, and remove DIR

#[path = "cli/mod.rs"]
mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use litter::connections;
use litter::exit::Exit;

/// Close the connections that the programs of a command shared, and remove the folder of their sockets
#[derive(Parser)]
#[command(name = "ltr-hangup", version)]
struct Args {
    /// What LTR_CONNECTIONS names
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    cli::run(|args: Args, report| {
        connections::close(&args.folder, cli::silence()?);
        if let Err(error) = std::fs::remove_dir(&args.folder) {
            litter::report::Report::failure(report, &args.folder.display().to_string(), &error.to_string());
        }
        Ok(Exit::Done)
    })
}
