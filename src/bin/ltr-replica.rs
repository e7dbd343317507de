//! ltr-replica [--push] SPACE - bring the replica of a space that is elsewhere up to date, and the space

#[path = "cli/mod.rs"]
mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use litter::couch::visit::Visit;
use litter::exit::Exit;
use litter::sync::refresh;

/// Read what is new in a space that is elsewhere into its replica on this machine, and send what is new here
#[derive(Parser)]
#[command(name = "ltr-replica", version)]
struct Args {
    /// A database, http://host:5984/name, or [user@]host:/path; a file has no replica, and nothing is done
    space: String,
    /// Only send, and then read what came meanwhile
    #[arg(long)]
    push: bool,
    /// Fail where it does not answer
    #[arg(long)]
    insist: bool,
    /// Leave replica and space as they are, and read into a copy in this folder, made once there is something to read
    #[arg(long, value_name = "DIR", conflicts_with = "push")]
    scratch: Option<PathBuf>,
}

fn main() -> ExitCode {
    cli::run(run)
}

fn run(args: Args, report: &mut cli::Stderr) -> Result<Exit> {
    // what it says is for whoever typed a verb
    report.speak_as("ltr");
    let wish = Visit { insist: args.insist, push_first: args.push, no_push: args.scratch.is_some(), scratch: args.scratch };
    refresh(&cli::space(Some(&args.space))?, &wish, &cli::sync_options()?, cli::stdout(), report)
}
