//! ltr-index-set OBJECT.KEY VALUE - change a field of a box or of the space

#[path = "cli/mod.rs"]
mod cli;

use std::process::ExitCode;

use clap::Parser;
use litter::index::sqlite::Access;
use litter::query::{Assignment, set};

/// Set a field of a box or of the space, and write the document as it then is
#[derive(Parser)]
#[command(name = "ltr-index-set", version)]
struct Args {
    /// A box or `space`, and policy, urls, reserve, forgotten, name, mincopies or another field
    #[arg(value_name = "OBJECT.KEY")]
    assignment: Assignment,
    /// The value; for urls: a URL, +URL to add, -URL to remove, or a JSON list
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Change nothing
    #[arg(short = 'n', long)]
    dryrun: bool,
    /// Write to this space's index instead of that of the box here
    #[arg(long)]
    space: Option<String>,
}

fn main() -> ExitCode {
    cli::stream(|args: Args, report| {
        let access = if args.dryrun { Access::Read } else { Access::Write };
        let mut scene = cli::scene(args.space.as_deref(), access, report)?;
        let exit = set(&mut scene, &args.assignment, &args.value, args.dryrun, cli::stdout())?;
        if !args.dryrun {
            cli::push(args.space.as_deref(), report)?;
        }
        Ok(exit)
    })
}
