//! ltr-index-sync [-n] [--one-way] A B | --sources [--into] A - merge indexes of a space

#[path = "cli/mod.rs"]
mod cli;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use litter::couch::replicate::replicate_continuously;
use litter::exit::Exit;
use litter::sources::read_sources;
use litter::space::Space;
use litter::stream::{Tagged, Writer};
use litter::sync::{Options, behind, copy_for_plan, sync, sync_sources};

/// Merge two indexes of a space: what is new in A goes to B, and back
#[derive(Parser)]
#[command(name = "ltr-index-sync", version)]
struct Args {
    /// An index: a file, or [user@]host:/path
    a: String,
    /// Another; one of the two is a file
    #[arg(required_unless_present = "sources")]
    b: Option<String>,
    /// Instead of B, the index of every box that ltr-reach wrote on stdin
    #[arg(long, conflicts_with = "b")]
    sources: bool,
    /// With --sources: leave out those that have heard all of A by what the same command, before, wrote to this file
    #[arg(long, value_name = "FILE", requires = "sources")]
    after: Option<PathBuf>,
    /// With --sources: only from them into A
    #[arg(long, requires = "sources")]
    into: bool,
    /// With --sources: an index that can only be read is no failure
    #[arg(long, requires = "sources")]
    read_only_ok: bool,
    /// With --into: leave A as it is, and write to a copy of it in this folder, made once there is something to write
    #[arg(long, value_name = "DIR", requires = "into", conflicts_with = "dryrun")]
    scratch: Option<PathBuf>,
    /// Let the server of the database A send everything to the database B from now on
    #[arg(long, requires = "b", conflicts_with_all = ["sources", "dryrun"])]
    continuous: bool,
    /// With --continuous: the server may keep the passwords, where its admins can read them
    #[arg(long, requires = "continuous")]
    keep_password: bool,
    /// Only from A to B
    #[arg(long)]
    one_way: bool,
    /// Write to throw-away copies, and tell what would be written
    #[arg(short = 'n', long)]
    dryrun: bool,
}

fn main() -> ExitCode {
    cli::run(run)
}

fn run(args: Args, report: &mut cli::Stderr) -> Result<Exit> {
    let folder = args.dryrun.then(tempfile::tempdir).transpose()?;
    let planned = args.scratch.clone();
    let scratch = args.scratch.or(folder.as_ref().map(|folder| folder.path().to_path_buf()));
    let (one_way, read_only_ok) = (args.one_way || args.into, args.read_only_ok);
    let options = Options { one_way, scratch, read_only_ok, ..cli::sync_options()? };
    let a = cli::space(Some(&args.a))?;
    if args.continuous {
        return continuous(&a, args.b.as_deref(), args.keep_password);
    }
    match args.b {
        Some(b) => sync(&a, &cli::space(Some(&b))?, &options, cli::stdout(), report),
        None => {
            let mut sources = read_sources(cli::stdin())?;
            if let Some(file) = args.after {
                let said = File::open(&file).with_context(|| file.display().to_string())?;
                sources = behind(&a, sources, BufReader::new(said), &options.places)?;
            }
            let exit = sync_sources(&a, &sources, &options, cli::stdout(), report)?;
            planned.map_or(Ok(()), |folder| copy_for_plan(&a, &folder))?;
            Ok(exit)
        }
    }
}

fn continuous(a: &Space, b: Option<&str>, keep_password: bool) -> Result<Exit> {
    let (Space::Http(source), Space::Http(target)) = (a, &cli::space(b)?) else {
        bail!("--continuous is for two databases: a file has no server that could go on");
    };
    let made = replicate_continuously(&cli::places(), source, target, keep_password)?;
    let mut writer = Writer::new(cli::stdout());
    writer.put(&Tagged { kind: "replicator", record: &made })?;
    Ok(Exit::of_failures(writer.end(serde_json::Map::new())?))
}
