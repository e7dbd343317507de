//! ltr-verify [--root DIR] [--box NAME] - answer whether this box holds files, while nobody can write to it

mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use litter::boxfs::BoxRoot;
use litter::cookie::{self, Cookie};
use litter::{fetch, lock};

/// Locks the box, and answers each line {"type":"verify","path":...,"size":...,"sha1":...} with
/// "ok":true or false, until its input ends.
#[derive(Parser)]
#[command(name = "ltr-verify", version)]
struct Args {
    /// The box's root; else the box around the current folder
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Refuse unless it is this box
    #[arg(long = "box", value_name = "NAME")]
    box_name: Option<String>,
}

fn main() -> ExitCode {
    cli::run(|args: Args, _report| {
        let root = match args.root {
            Some(root) => root,
            None => cookie::find_root(&std::env::current_dir()?).context("no box here")?,
        };
        let root = BoxRoot::open(&root).with_context(|| format!("{}", root.display()))?;
        let name = Cookie::read(&root)?.box_name;
        ensure!(args.box_name.is_none_or(|wanted| wanted == name), "this is the box {name}");
        let above = std::env::var(lock::LOCK_FD).ok().and_then(|fd| fd.parse().ok());
        let _lock = lock::take_or_inherit(&root, above)?;
        fetch::verify_stream(&root, cli::stdin(), cli::stdout())
    })
}
