//! ltr-credentials - keep the passwords of URLs

#[path = "cli/mod.rs"]
mod cli;

use std::io::{BufRead, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use litter::couch::url::Database;
use litter::exit::Exit;

/// Keep the password of each URL on stdin in the credentials file, and write the URLs without them
#[derive(Parser)]
#[command(name = "ltr-credentials", version)]
struct Args {}

fn main() -> ExitCode {
    cli::run(run)
}

fn run(_args: Args, _report: &mut cli::Stderr) -> Result<Exit> {
    let (places, mut output) = (cli::places(), cli::stdout());
    for line in cli::stdin().lines() {
        let line = line?;
        let url = Database::parse_server(&line)?;
        if url.password().is_none() {
            writeln!(output, "{line}")?;
            continue;
        }
        writeln!(output, "{}", cli::kept(&places, url)?)?;
    }
    output.flush()?;
    Ok(Exit::Done)
}
