//! ltr-send URL - send a box on another machine what the plan on stdin needs, and have it carried out there

#[path = "cli/mod.rs"]
mod cli;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use litter::boxfs::BoxRoot;
use litter::exit::Exit;
use litter::ltrbox::locate;
use litter::push::Push;
use litter::space::Remote;

/// Send what a plan for a box on another machine needs from the box here, and write what that box then
/// has done
#[derive(Parser)]
#[command(name = "ltr-send", version)]
struct Args {
    /// Let rsync and sftp send no more than so many KiB a second; then no tar is used
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    bwlimit: Option<u64>,
    /// Over there, remove more than half of the box, when the plan says so
    #[arg(long)]
    gone_ok: bool,
    /// Over there, count a box out of reach as a holder when its copy was verified in the last DAYS
    #[arg(long, value_name = "DAYS")]
    trust_offline: Option<u32>,
    /// The box: [user@]host:/path
    #[arg(value_name = "URL")]
    url: String,
}

fn main() -> ExitCode {
    cli::stream(run)
}

fn run(args: Args, report: &mut cli::Stderr) -> Result<Exit> {
    let located = locate(&std::env::current_dir()?, &cli::places())?;
    let root = BoxRoot::open(&located.root).with_context(|| located.root.display().to_string())?;
    let remote = Remote::parse(&args.url)?.with_context(|| format!("{}: not the url of a box", args.url))?;
    let mut options: Vec<String> = args.gone_ok.then(|| "--gone-ok".to_owned()).into_iter().collect();
    options.extend(args.trust_offline.map(|days| format!("--trust-offline={days}")));
    let ssh = cli::shared_ssh()?;
    let push = Push { root: &root, box_name: &located.box_name, remote: &remote, ssh: &ssh, limit: args.bwlimit, options };
    push.run(cli::stdin(), cli::spool()?, cli::stdout(), report)
}
