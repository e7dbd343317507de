//! What changed since a checkpoint, oldest first.
//!
//! A checkpoint remembers the last document too, and which index it is of: when that document is not
//! there any more (a restored backup, a rebuilt index), everything is read again.

use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use rusqlite::params;

use super::sqlite::{ENTRY_COLUMNS, MARK_COLUMNS, Sqlite, entry_of, mark_of};
use super::{Index, Visit};
use crate::record::{Document, Entry};
use crate::stamp::{Stamp, parse_hex8};

/// Documents read at once.
const PAGE: i64 = 1024;

/// How far a reader got in one index, `INDEX.SEQ.STAMP.ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The index's id.
    pub index: u32,
    /// The sequence number of the last document read.
    pub seq: u64,
    /// Its stamp.
    pub stamp: Stamp,
    /// Its key; empty when nothing was read.
    pub id: String,
}

impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}.{}.{}.{}", self.index, self.seq, self.stamp, self.id)
    }
}

impl FromStr for Checkpoint {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.splitn(4, '.');
        let mut part = || parts.next().context("not a checkpoint");
        let index = parse_hex8(part()?).context("not a checkpoint")?;
        let seq: u64 = part()?.parse()?;
        ensure!(i64::try_from(seq).is_ok(), "sequence number out of range");
        Ok(Self { index, seq, stamp: part()?.parse()?, id: part()?.to_owned() })
    }
}

/// See [`super::Index::changes`].
pub(super) fn changes(index: &Sqlite, checkpoint: Option<&str>, visit: Visit<'_>) -> Result<String> {
    let since = match checkpoint {
        Some(text) => valid(index, text.parse()?)?,
        None => 0,
    };
    let mut last = Checkpoint { index: index.id, seq: since, stamp: Stamp::default(), id: String::new() };
    if let (Some(text), true) = (checkpoint, since > 0) {
        last = text.parse()?;
    }
    let mut sources = [Source::new(ENTRIES), Source::new(MARKS), Source::new(DOCUMENTS)];
    for source in &mut sources {
        source.after = since.cast_signed();
    }
    while let Some((seq, document)) = next(index, &mut sources)? {
        (last.seq, last.stamp, last.id) = (seq.unsigned_abs(), document.stamp(), document.id());
        visit(document)?;
    }
    Ok(last.to_string())
}

/// The sequence number to read on from: 0 when the checkpoint is not of this index as it now is.
fn valid(index: &Sqlite, checkpoint: Checkpoint) -> Result<u64> {
    let known = checkpoint.index == index.id && !checkpoint.id.is_empty();
    let there = known && index.get(&checkpoint.id)?.is_some_and(|d| d.stamp() >= checkpoint.stamp);
    Ok(if there { checkpoint.seq } else { 0 })
}

/// One of the tables that are merged by sequence number.
struct Source {
    sql: String,
    read: fn(&rusqlite::Row<'_>) -> Result<Document>,
    after: i64,
    page: std::collections::VecDeque<(i64, Document)>,
    complete: bool,
}

/// The columns and joins of a table, and how to read a row.
type Table = (&'static str, &'static str, &'static str, fn(&rusqlite::Row<'_>) -> Result<Document>);

const ENTRIES: Table =
    (ENTRY_COLUMNS, "entries e JOIN folders f ON f.id = e.folder JOIN boxes b ON b.id = e.box", "e.seq", |row| {
        Ok(Document::Entry(Entry { local: None, ..entry_of(row)? }))
    });
const MARKS: Table = (MARK_COLUMNS, "marks m JOIN boxes b ON b.id = m.box", "m.seq", |row| Ok(Document::Mark(mark_of(row)?)));
const DOCUMENTS: Table = ("json", "documents", "seq", |row| Document::from_json(row.get_ref(0)?.as_str()?.as_bytes()));

impl Source {
    fn new((columns, from, seq, read): Table) -> Self {
        let sql = format!("SELECT {columns}, {seq} FROM {from} WHERE {seq} > ?1 ORDER BY {seq} LIMIT ?2");
        Self { sql, read, after: 0, page: std::collections::VecDeque::new(), complete: false }
    }

    fn fill(&mut self, index: &Sqlite) -> Result<()> {
        if !self.page.is_empty() || self.complete {
            return Ok(());
        }
        let mut statement = index.connection.prepare_cached(&self.sql)?;
        let last_column = statement.column_count() - 1;
        let mut rows = statement.query(params![self.after, PAGE])?;
        while let Some(row) = rows.next()? {
            self.after = row.get(last_column)?;
            self.page.push_back((self.after, (self.read)(row)?));
        }
        self.complete = self.page.is_empty();
        Ok(())
    }
}

/// The document with the least sequence number of all sources.
fn next(index: &Sqlite, sources: &mut [Source]) -> Result<Option<(i64, Document)>> {
    for source in &mut *sources {
        source.fill(index)?;
    }
    let first = sources.iter_mut().filter(|s| !s.page.is_empty()).min_by_key(|s| s.page.front().map(|p| p.0));
    Ok(first.and_then(|source| source.page.pop_front()))
}
