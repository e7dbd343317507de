//! ltr-verify [--root DIR] [--box NAME] - answer whether this box holds files, while nobody can write to it

mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;
use litter::cookie::Cookie;
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
        let root = cli::box_root(args.root)?;
        let name = Cookie::read(&root)?.box_name;
        ensure!(args.box_name.is_none_or(|wanted| wanted == name), "this is the box {name}");
        let _lock = lock::take_or_inherit(&root, cli::lock_above())?;
        fetch::verify_stream(&root, cli::stdin(), cli::stdout())
    })
}
