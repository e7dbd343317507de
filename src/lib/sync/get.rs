//! An index as a stream of documents.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use anyhow::Result;
use serde_json::{Map, Value};

use crate::exit::Exit;
use crate::index::range::by_sha1;
use crate::index::sqlite::Sqlite;
use crate::index::{Index, Select, Visit};
use crate::path::{SpacePath, escape};
use crate::record::{Document, Entry, Sha1};
use crate::stream::{ErrorRecord, Writer};

/// Which documents to read; by default all.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only of these boxes; empty: of all.
    pub boxes: Vec<String>,
    /// Only at or below this path.
    pub under: SpacePath,
    /// Only those with these keys.
    pub ids: Vec<String>,
    /// Only entries with this content.
    pub sha1: Option<Sha1>,
    /// What changed since the one of these checkpoints that is of the index, in the order of change;
    /// since the beginning where none is.
    pub since: Option<Vec<String>>,
}

impl Query {
    /// The arguments of ltr-index-get that ask for the same.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.boxes.iter().map(|name| format!("--box={name}")).collect();
        if !self.under.is_root() {
            words.push(format!("--path={}", self.under));
        }
        words.extend(self.ids.iter().map(|id| format!("--id={id}")));
        words.extend(self.sha1.iter().map(|sha1| format!("--sha1={sha1}")));
        if let Some(checkpoints) = &self.since {
            words.push("--changes".to_owned());
            words.extend(checkpoints.iter().map(|checkpoint| format!("--since={checkpoint}")));
        }
        words
    }
}

/// Writes the documents that `query` asks for, the space's always first: who reads them can refuse
/// another space before anything else.
///
/// The trailer has the index's id as `index`; after changes also `checkpoint`, to read on from, and
/// `since`, the checkpoint that was read on from.
///
/// A change that cannot be read is an error record, and the others follow.
///
/// # Errors
/// The index cannot be read, or the output not written.
pub fn get(index: &Sqlite, query: &Query, output: impl Write) -> Result<Exit> {
    let mut writer = Writer::new(output);
    if let Some(space) = index.space()? {
        writer.put(&Document::Space(space))?;
    }
    let mut extra = Map::new();
    extra.insert("index".to_owned(), format!("{:08x}", index.id()).into());
    match &query.since {
        Some(checkpoints) => {
            let since = known(index, checkpoints)?;
            let checkpoint = index.changes_even_if_damaged(since.as_deref(), &mut |read| match read {
                Ok(document) => put(&mut writer, document),
                // the others are facts of their own
                Err(error) => {
                    let (path, error) = (escape(index.path().as_os_str().as_bytes()), format!("{error:#}"));
                    writer.put_error(&ErrorRecord { path, error })
                }
            })?;
            extra.insert("checkpoint".to_owned(), checkpoint.into());
            extra.insert("since".to_owned(), since.map_or(Value::Null, Value::String));
        }
        None => select(index, query, &mut |document| put(&mut writer, document))?,
    }
    Ok(Exit::of_failures(writer.end(extra)?))
}

fn put(writer: &mut Writer<impl Write>, document: Document) -> Result<()> {
    match document {
        Document::Space(_) => Ok(()),
        Document::Entry(entry) => writer.put(&Document::Entry(Entry { local: None, ..entry })),
        other => writer.put(&other),
    }
}

/// The one of `checkpoints` that the index reads on from.
fn known(index: &Sqlite, checkpoints: &[String]) -> Result<Option<String>> {
    for checkpoint in checkpoints {
        if index.honours(checkpoint)? {
            return Ok(Some(checkpoint.clone()));
        }
    }
    Ok(None)
}

fn select(index: &Sqlite, query: &Query, visit: Visit<'_>) -> Result<()> {
    for id in &query.ids {
        if let Some(document) = index.get(id)? {
            visit(document)?;
        }
    }
    let select = Select { boxes: query.boxes.clone(), under: query.under.clone() };
    match query.sha1 {
        Some(sha1) => by_sha1(index, sha1, &mut |document| match &document {
            Document::Entry(e) if !e.path.is_within(&select.under) || !wanted(&select, &e.box_name) => Ok(()),
            _ => visit(document),
        }),
        None if query.ids.is_empty() => index.range(&select, visit),
        None => Ok(()),
    }
}

fn wanted(select: &Select, name: &str) -> bool {
    select.boxes.is_empty() || select.boxes.iter().any(|b| b == name)
}
