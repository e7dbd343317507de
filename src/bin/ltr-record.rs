//! ltr-record --box B - turn hashed changes into the documents that record them

#[path = "cli/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use litter::boxfs::BoxRoot;
use litter::commit::{Author, Commit, Place, commit, record, settle};
use litter::exit::Exit;
use litter::fsinfo::FsTraits;
use litter::index::sqlite::Access;
use litter::report::Report;

/// Turn hashed changes into entry and mark documents, ready for ltr-index-put
#[derive(Parser)]
#[command(name = "ltr-record", version)]
struct Args {
    #[command(flatten)]
    place: cli::BoxArgs,
    /// Write the records again with their final letters instead of documents
    #[arg(long)]
    status: bool,
    /// The records before hashing: new files that cannot be renamed ones are then recorded at once
    #[arg(long, value_name = "FILE", conflicts_with_all = ["status", "commit"])]
    changes: Option<PathBuf>,
    /// Look for the changes as ltr-scan --known does, hash them as ltr-hash does, and put the documents into the index
    #[arg(long, conflicts_with = "status")]
    commit: bool,
    /// With --status: only what a commit would record
    #[arg(long, requires = "status")]
    changed: bool,
    /// Files and folders that a person named: an older file there is an edit, purged content is taken up again
    #[arg(value_name = "PATH")]
    named: Vec<OsString>,
    /// Go on although more than half of the box is gone
    #[arg(long)]
    gone_ok: bool,
}

fn main() -> ExitCode {
    cli::stream(run)
}

fn run(args: Args, report: &mut cli::Stderr) -> Result<Exit> {
    let located = args.place.locate_here().map_err(cli::unless_told)?;
    let fs = FsTraits::at(&located.root)?;
    let named = cli::paths(&args.named, None)?;
    let what = Commit { box_name: located.box_name.clone(), named, gone_ok: args.gone_ok, fs };
    if args.status {
        let index = located.open(Access::Read).map_err(cli::unless_told)?;
        return settle(&what, args.changed, &index, cli::stdin(), cli::stdout(), cli::spool()?);
    }
    let mut index = located.open(Access::Write)?;
    let own = located.own(&mut index)?;
    if own.moved {
        let advice = "of two that are used, remove the .ltr of one and `ltr create` it by another name";
        report.notice(&format!("{}: the box {} was moved or copied here; {advice}", located.root.display(), located.box_name));
    }
    cli::tell_forgotten(&index, &located.box_name, report)?;
    let author = Author { own, clock: index.clock()? };
    let changes = args.changes.map(|path| File::open(&path).with_context(|| path.display().to_string())).transpose()?;
    if args.commit {
        let root = BoxRoot::open(&located.root).with_context(|| located.root.display().to_string())?;
        let place = Place { root: &root, index: &index, target: &mut located.open(Access::Write)? };
        return commit(&what, place, author, cli::stdout(), [cli::spool()?, cli::spool()?], report);
    }
    record(&what, &index, author, (cli::stdin(), changes), cli::stdout(), cli::spool()?, report)
}
