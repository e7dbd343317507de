//! ltr-replica [--push] SPACE - bring the replica of a database up to date, and the database

#[path = "cli/mod.rs"]
mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use litter::couch::visit::{Visit, visit};
use litter::exit::Exit;
use litter::space::Space;
use litter::stream::{Tagged, Writer};

/// Read what is new in a space's database into its replica on this machine, and send what is new here
#[derive(Parser)]
#[command(name = "ltr-replica", version)]
struct Args {
    /// The database, http://host:5984/name; a file has no replica, and nothing is done
    space: String,
    /// Only send, and then read what came meanwhile
    #[arg(long)]
    push: bool,
    /// Fail where the database does not answer
    #[arg(long)]
    insist: bool,
    /// Leave replica and database as they are, and read into a copy in this folder, made once there is something to read
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
    let mut writer = Writer::new(cli::stdout());
    if let Space::Http(database) = cli::space(Some(&args.space))? {
        for record in &visit(&cli::places(), &database, &wish, report)?.done {
            writer.put(&Tagged { kind: "sync", record })?;
        }
    }
    Ok(Exit::of_failures(writer.end(serde_json::Map::new())?))
}
