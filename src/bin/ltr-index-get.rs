//! ltr-index-get [SPACE] - the documents of an index

#[path = "cli/mod.rs"]
mod cli;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use litter::couch::visit::{Visit, visit};
use litter::exit::Exit;
use litter::index::changes::Checkpoint;
use litter::index::sqlite::{Access, Sqlite};
use litter::path::SpacePath;
use litter::record::Sha1;
use litter::space::Space;
use litter::sync::get::{Query, get};
use litter::sync::through::get_remote;

/// Write the documents of an index, the space's own first
#[derive(Parser)]
#[command(name = "ltr-index-get", version)]
struct Args {
    /// The index: a file, or [user@]host:/path; else that of the box around the current folder
    space: Option<String>,
    /// Only of this box; may be repeated
    #[arg(long = "box", value_name = "BOX")]
    boxes: Vec<String>,
    /// Only at or below this path of the space
    #[arg(long, value_name = "PATH", value_parser = SpacePath::from_spelled)]
    path: Option<SpacePath>,
    /// The document with this key; may be repeated
    #[arg(long = "id", value_name = "ID", conflicts_with_all = ["boxes", "path", "sha1"])]
    ids: Vec<String>,
    /// Only entries with this content
    #[arg(long, value_name = "HEX")]
    sha1: Option<Sha1>,
    /// What changed since this checkpoint (0: since the beginning), in the order of change; of several, the one that is of this index counts
    #[arg(long, value_name = "CHECKPOINT", value_parser = since, conflicts_with_all = ["boxes", "path", "ids", "sha1"])]
    since: Vec<String>,
    /// As --since 0
    #[arg(long, conflicts_with_all = ["boxes", "path", "ids", "sha1"])]
    changes: bool,
}

fn since(text: &str) -> Result<String> {
    if text != "0" {
        text.parse::<Checkpoint>()?;
    }
    Ok(text.to_owned())
}

fn main() -> ExitCode {
    cli::run(run)
}

fn run(args: Args, report: &mut cli::Stderr) -> Result<Exit> {
    let changes = args.changes || !args.since.is_empty();
    let query = Query {
        boxes: args.boxes,
        under: args.path.unwrap_or_default(),
        ids: args.ids,
        sha1: args.sha1,
        since: changes.then(|| args.since.into_iter().filter(|text| text != "0").collect()),
    };
    match cli::space(args.space.as_deref())? {
        Space::File(path) => get(&Sqlite::open(&path, Access::Read)?, &query, cli::stdout()),
        Space::Ssh(remote) => get_remote(&cli::ssh()?, &remote, &query, cli::stdout(), report),
        Space::Http(database) => {
            let places = cli::places();
            visit(&places, &database, &Visit { no_push: true, ..Visit::default() }, report)?;
            get(&Sqlite::open(&places.replica(&database), Access::Read)?, &query, cli::stdout())
        }
    }
}
