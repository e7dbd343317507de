//! ltr-box-create SPACE BOX [DIR] - make a folder a box

#[path = "cli/mod.rs"]
mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use litter::create::{Create, create};
use litter::record::Policy;

/// Make a folder a box of a space
#[derive(Parser)]
#[command(name = "ltr-box-create", version)]
struct Args {
    /// The file of the space's index
    space: String,
    /// The name of the box
    #[arg(value_name = "BOX")]
    box_name: String,
    /// The folder
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// What it should hold where no mark speaks: complete, ondemand or skeleton
    #[arg(short, long)]
    policy: Option<Policy>,
    /// The box carries its own index, in .ltr-index
    #[arg(long)]
    carry: bool,
    /// Take up a box that exists, whose cookie or index was lost
    #[arg(long)]
    reattach: bool,
    /// Leave a box as it is that the same command has finished
    #[arg(long)]
    resume: bool,
    /// Where the box can be reached; else user@host:/DIR
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// Change nothing
    #[arg(short = 'n', long, alias = "dry-run", overrides_with = "dryrun")]
    dryrun: bool,
    /// Make the folder when it is not there
    #[arg(long)]
    mkdir: bool,
}

fn main() -> ExitCode {
    cli::run(|args: Args, report| {
        let Args { space, box_name, dir, policy, carry, reattach, resume, urls, mkdir, dryrun: dry_run } = args;
        let options = cli::sync_options()?;
        let space = cli::kept_text(&options.places, &space)?;
        let wish = Create { space, box_name, dir, mkdir, dry_run, policy, carry, reattach, resume, urls, host: host() };
        create(&std::env::current_dir()?, &wish, &options, cli::stdout(), report)
    })
}

/// This machine as others may reach it, `user@host`.
fn host() -> Option<String> {
    let uname = rustix::system::uname();
    let node = uname.nodename().to_str().ok()?.to_owned();
    let name = |key| std::env::var(key).ok().filter(|name| !name.is_empty());
    Some(match name("USER").or_else(|| name("LOGNAME")) {
        Some(user) => format!("{user}@{node}"),
        None => node,
    })
}
