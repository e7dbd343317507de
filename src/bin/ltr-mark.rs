//! ltr-mark [-b BOX] --want|--skip|--clear PATH... - what should be in a box

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgGroup, Parser};
use litter::index::sqlite::Access;
use litter::query::{MarkPaths, mark};
use litter::record::Want;

/// Mark files and folders as wanted in a box, or not, and write the marks
#[derive(Parser)]
#[command(name = "ltr-mark", version)]
#[command(group = ArgGroup::new("intention").required(true).args(["want", "skip", "clear"]))]
struct Args {
    /// Files and folders; a folder's mark holds for all below
    #[arg(required_unless_present = "stdin")]
    paths: Vec<OsString>,
    /// For this box instead of the one here
    #[arg(short, long = "box", value_name = "BOX")]
    box_name: Option<String>,
    /// The box should hold it
    #[arg(long)]
    want: bool,
    /// The box should not hold it
    #[arg(long)]
    skip: bool,
    /// The folder's mark, or the box's policy, is to decide again
    #[arg(long)]
    clear: bool,
    /// Change nothing
    #[arg(short = 'n', long, alias = "dry-run", overrides_with = "dryrun")]
    dryrun: bool,
    /// Read paths from stdin, a line each
    #[arg(long)]
    stdin: bool,
    /// With --stdin: paths end with NUL
    #[arg(short = '0', long = "null", requires = "stdin")]
    nul: bool,
    /// Write to this space's index, with paths of the space, instead of that of the box here
    #[arg(long)]
    space: Option<String>,
}

fn main() -> ExitCode {
    cli::stream(|args: Args, report| {
        let access = if args.dryrun { Access::Read } else { Access::Write };
        let mut scene = cli::scene(args.space.as_deref(), access, report)?;
        let want = match (args.want, args.skip) {
            (true, _) => Want::Want,
            (_, true) => Want::Skip,
            _ => Want::Cleared,
        };
        let separator = if args.nul { 0 } else { b'\n' };
        let wish = MarkPaths { box_name: args.box_name, want, paths: args.paths, separator, dry_run: args.dryrun };
        let mut stdin = cli::stdin();
        let exit = mark(&mut scene, &wish, args.stdin.then_some(&mut stdin), cli::stdout())?;
        if !args.dryrun {
            cli::push(args.space.as_deref(), report)?;
        }
        Ok(exit)
    })
}
