//! ltr-index-show [OBJECT] - documents of the index as they are

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use litter::index::sqlite::Access;
use litter::query::show;

/// Write the document of the space, of a box, with a key, or all documents at a path
#[derive(Parser)]
#[command(name = "ltr-index-show", version)]
struct Args {
    /// A box, the key of a document, or a path; none: the space
    object: Option<OsString>,
    /// Ask this space's index, with a path of the space, instead of the box here
    #[arg(long)]
    space: Option<String>,
}

fn main() -> ExitCode {
    cli::run(|args: Args, report| {
        show(&cli::scene(args.space.as_deref(), Access::Read, report)?, args.object.as_deref(), cli::stdout())
    })
}
