//! ltr-fetch [--root DIR] - carry out the actions on stdin, and tell what is now on disk

#[path = "cli/mod.rs"]
mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use litter::boxfs::BoxRoot;
use litter::exit::Exit;
use litter::fetch::{Bounds, Me, Options, check, fetch, stage, vouched};
use litter::index::sqlite::{Access, Sqlite, now_ms};
use litter::plan::is_awaited;
use litter::report::Report as _;
use litter::sync::sink::uuid;
use litter::{lock, ltrbox};

/// Bytes that stay free on a box's disk where its document does not say.
const RESERVE: u64 = 100_000_000;

/// Carry out a plan: read actions, and write the entries that result, each step's own line after
/// them with the type "done"
#[derive(Parser)]
#[command(name = "ltr-fetch", version)]
struct Args {
    /// The box's root; else the box around the current folder
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Count a box out of reach as a holder when its copy was verified in the last DAYS
    #[arg(long, value_name = "DAYS")]
    trust_offline: Option<u32>,
    /// Remove more than half of the box, when the plan says so
    #[arg(long)]
    gone_ok: bool,
    /// Fetch from so many boxes at once
    #[arg(short, long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Fetch no more than so many KiB a second from each box
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    bwlimit: Option<u64>,
    /// Write nothing, anywhere: only tell whether the plan would be begun, and which steps are bad
    #[arg(short = 'n', long, conflicts_with = "stage")]
    dryrun: bool,
    /// In a dry run, the index that knows the box, instead of its own
    #[arg(long, value_name = "FILE", requires = "dryrun")]
    index: Option<PathBuf>,
    /// Only make the staging folder, for ltr-send to put content in
    #[arg(long)]
    stage: bool,
    /// Show the commands that are run to reach other machines
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    cli::stream(run)
}

fn run(args: Args, report: &mut cli::Stderr) -> Result<Exit> {
    let mut located = match args.root {
        Some(root) => ltrbox::at(&root.canonicalize().with_context(|| root.display().to_string())?, &cli::places())?,
        None => ltrbox::locate(&std::env::current_dir()?, &cli::places())?,
    };
    let root = BoxRoot::open(&located.root).with_context(|| located.root.display().to_string())?;
    if args.dryrun {
        located.index = args.index.unwrap_or(located.index);
        let index = located.open(Access::Read)?;
        let total_files = || index.count_files(&located.box_name);
        let bounds = Bounds { gone_ok: args.gone_ok, total_files: &total_files, reserve: reserve(&index, &located.box_name)? };
        return check(&root, cli::stdin(), cli::spool()?, &bounds, report);
    }
    let _lock = lock::take_or_inherit(&root, cli::lock_above())?;
    if args.stage {
        stage(&root)?;
        return Ok(Exit::Done);
    }
    let mut index = located.open(Access::Write)?;
    let own = located.own(&mut index)?;
    cli::tell_forgotten(&index, &located.box_name, report)?;
    let since = args.trust_offline.map(|days| now_ms().saturating_sub(u64::from(days) * 86_400_000));
    let space = uuid(&index)?;
    let ssh = cli::shared_ssh()?;
    let ssh = if args.verbose { cli::verbosely(ssh) } else { ssh };
    let total_files = || index.count_files(&located.box_name);
    let options = Options {
        bounds: Bounds { gone_ok: args.gone_ok, total_files: &total_files, reserve: reserve(&index, &located.box_name)? },
        my_host: Some(&cli::host()),
        uuid: space.as_deref(),
        places: Some(&cli::places()),
        ssh: &ssh,
        jobs: args.jobs.into(),
        limit: args.bwlimit,
        trusted: &|source, sha1| since.is_some_and(|since| index.was_verified(&source.box_name, sha1, since).unwrap_or(false)),
        // what cannot be told stays
        awaited: &|sha1| is_awaited(&index, &located.box_name, sha1).unwrap_or(true),
        vouched: &|path, stat| vouched(&root, &index.entry(&located.box_name, path).ok()??, stat),
    };
    let mut clock = index.clock()?;
    let mut me = Me { clock: &mut clock, actor: own.actor, commit: own.commits };
    match fetch(&root, cli::stdin(), cli::stdout(), cli::spool()?, &mut me, &options, report) {
        // elsewhere a quiet end; here files may have moved that nobody writes down
        Err(error) if cli::is_broken_pipe(&error) => {
            report.failure("output", "nobody reads it any more: the index may not know of what was done; pull again");
            Ok(Exit::Part)
        }
        other => other,
    }
}

/// Bytes that are to stay free on the disk of the box `name`.
fn reserve(index: &Sqlite, name: &str) -> Result<u64> {
    Ok(index.box_fields(name)?.and_then(|fields| fields.number("reserve")).unwrap_or(RESERVE))
}
