//! ltr-fetch [--root DIR] - carry out the actions on stdin, and tell what is now on disk

mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use litter::boxfs::BoxRoot;
use litter::fetch::{Me, Options, fetch};
use litter::stamp::{Clock, Stamp, parse_hex8, random_id};
use litter::{cookie, lock};

/// Carries out a plan: reads actions, and writes the entries that result, each step's own line after
/// them with the type "done".
#[derive(Parser)]
#[command(name = "ltr-fetch", version)]
struct Args {
    /// The box's root; else the box around the current folder
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Count a box out of reach as a holder when it was verified in the last DAYS
    #[arg(long, value_name = "DAYS")]
    trust_offline: Option<u32>,
    /// Remove more than half of the box, when the plan says so
    #[arg(long)]
    gone_ok: bool,
    /// Bytes to leave free
    #[arg(long, default_value_t = 100_000_000, value_name = "BYTES")]
    reserve: u64,
    /// Files that the box has by its index
    #[arg(long, default_value_t = 0, hide = true)]
    total_files: u64,
    /// Who counts this box's edits
    #[arg(long, hide = true)]
    actor: Option<String>,
    /// The box's commit counter
    #[arg(long, default_value_t = 0, hide = true)]
    commit: u64,
}

fn main() -> ExitCode {
    cli::run(|args: Args, report| {
        let root = match args.root {
            Some(root) => root,
            None => cookie::find_root(&std::env::current_dir()?).context("no box here")?,
        };
        let root = BoxRoot::open(&root).with_context(|| format!("{}", root.display()))?;
        let above = std::env::var(lock::LOCK_FD).ok().and_then(|fd| fd.parse().ok());
        let _lock = lock::take_or_inherit(&root, above)?;
        ensure!(args.trust_offline.is_none(), "--trust-offline needs the index");
        let actor = match args.actor {
            Some(actor) => parse_hex8(&actor).context("an actor is 8 hex digits")?,
            None => random_id(),
        };
        let mut clock = Clock::new(random_id(), Stamp::default());
        let mut me = Me { clock: &mut clock, actor, commit: args.commit };
        let uname = rustix::system::uname();
        let options = Options {
            gone_ok: args.gone_ok,
            total_files: args.total_files,
            reserve: args.reserve,
            my_host: uname.nodename().to_str().ok(),
            interactive: std::io::IsTerminal::is_terminal(&std::io::stderr()),
            trusted: &|_| false,
        };
        fetch(&root, cli::stdin(), cli::stdout(), cli::spool()?, &mut me, &options, report)
    })
}
