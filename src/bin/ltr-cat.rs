//! ltr-cat [-b BOX] PATH - the content of PATH as a box holds it

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use litter::cat::Search;
use litter::index::sqlite::Access;
use litter::reach::Reaching;

/// Write the content of PATH as it was last committed in BOX, when it is still that
#[derive(Parser)]
#[command(name = "ltr-cat", version)]
struct Args {
    /// The box; else any in reach, this one and then the cheapest first
    #[arg(short, long = "box", value_name = "BOX")]
    box_name: Option<String>,
    /// A file of the space
    #[arg(value_name = "PATH")]
    path: OsString,
}

fn main() -> ExitCode {
    cli::run(|args: Args, report| {
        let scene = cli::scene(None, Access::Read, report)?;
        let path = scene.resolve(&args.path)?;
        let root = scene.located.as_ref().map_or(PathBuf::from("."), |located| located.root.clone());
        let here = scene.here().zip(root.to_str()).map(|(name, root)| (name.to_owned(), root.to_owned()));
        let reaching = Reaching::new(&cli::host(), &root, here.into_iter().collect(), litter::sync::sink::uuid(&scene.index)?)
            .with_replicas(&cli::places());
        let ssh = cli::ssh()?;
        Search { index: &scene.index, reaching, ssh: &ssh }.cat(args.box_name.as_deref(), &path, cli::spool()?, cli::raw_stdout())
    })
}
