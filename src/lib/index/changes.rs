//! What changed since a checkpoint, oldest first.
//!
//! A checkpoint remembers the last document too, and which index it is of: when that document is not
//! there any more (a restored backup, a rebuilt index), everything is read again. A backup that was written
//! over the index may get that very document again in that very place, with others before it than a reader has
//! seen. So whoever opens an index and writes begins an *era*, a random number, and a checkpoint has that too.

use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OptionalExtension, params};

use super::columns::{ENTRY_COLUMNS, MARK_COLUMNS, entry_of, mark_of};
use super::sqlite::Sqlite;
use super::{Index, Visit};
use crate::record::{Document, Entry};
use crate::stamp::{Stamp, parse_hex8, random_id};

/// Documents read at once.
const PAGE: i64 = 1024;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS eras (seq INTEGER PRIMARY KEY, era INTEGER NOT NULL) STRICT";

/// The table that [`begin_era`] makes.
pub(super) const TABLES: [&str; 1] = ["eras"];

/// Begins an era with the sequence number `seq`.
pub(super) fn begin_era(connection: &Connection, seq: i64) -> Result<()> {
    connection.execute_batch(SCHEMA)?;
    connection.prepare_cached("INSERT OR REPLACE INTO eras VALUES (?1, ?2)")?.execute(params![seq, random_id()])?;
    Ok(())
}

/// How far a reader got in one index, `INDEX-ERA.SEQ.STAMP.ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The index's id.
    pub index: u32,
    /// The era in which the last document read was written; 0 for one before the first.
    pub era: u32,
    /// The sequence number of the last document read.
    pub seq: u64,
    /// Its stamp.
    pub stamp: Stamp,
    /// Its key; empty when nothing was read.
    pub id: String,
}

impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}-{:08x}.{}.{}.{}", self.index, self.era, self.seq, self.stamp, self.id)
    }
}

impl FromStr for Checkpoint {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.splitn(4, '.');
        let mut part = || parts.next().context("not a checkpoint");
        let place = part()?;
        let (index, era) = place.split_once('-').unwrap_or((place, "00000000"));
        let [index, era] = [index, era].map(|hex| parse_hex8(hex).context("not a checkpoint"));
        let seq: u64 = part()?.parse()?;
        ensure!(i64::try_from(seq).is_ok(), "sequence number out of range");
        Ok(Self { index: index?, era: era?, seq, stamp: part()?.parse()?, id: part()?.to_owned() })
    }
}

/// See [`super::Index::changes`].
pub(super) fn changes(index: &Sqlite, checkpoint: Option<&str>, visit: Visit<'_>) -> Result<String> {
    index.changes_even_if_damaged(checkpoint, &mut |read| visit(read?))
}

/// Receives documents, or why one could not be read.
type VisitAll<'a> = &'a mut dyn FnMut(Result<Document>) -> Result<()>;

fn read_changes(index: &Sqlite, checkpoint: Option<&str>, visit: VisitAll<'_>) -> Result<String> {
    let mut last = Checkpoint { index: index.id, era: 0, seq: 0, stamp: Stamp::default(), id: String::new() };
    if let Some(text) = checkpoint
        && index.honours(text)?
    {
        last = text.parse()?;
    }
    // the tables are read one after the other: without this end, a document of one table that is written
    // after its last page was read would lie before a checkpoint taken from another table
    let upto = index.seq()?;
    let mut sources = between(last.seq, upto);
    while let Some((seq, document)) = next(index, &mut sources)? {
        // one that nobody takes, and that may have a key under which it is not found, is no place to go on from
        if let Ok(document) = &document
            && document.check().is_ok()
        {
            (last.seq, last.stamp, last.id) = (seq.unsigned_abs(), document.stamp(), document.id());
        }
        visit(document)?;
    }
    last.era = index.era_at(last.seq)?;
    Ok(last.to_string())
}

impl Sqlite {
    /// [`super::Index::changes`] of an index that may be damaged: of a row that cannot be read the visitor
    /// is told why, and the others follow. The checkpoint is that of the last one that is as it should be.
    ///
    /// # Errors
    /// The index cannot be read at all, or `visit` failed.
    pub fn changes_even_if_damaged(
        &self,
        checkpoint: Option<&str>,
        visit: &mut dyn FnMut(Result<Document>) -> Result<()>,
    ) -> Result<String> {
        read_changes(self, checkpoint, visit)
    }

    /// Visits the documents after the sequence number `seq`, each with its own, and returns the last there is.
    ///
    /// # Errors
    /// The index cannot be read, or `visit` failed.
    pub fn changes_after(&self, seq: u64, visit: &mut dyn FnMut(u64, Document) -> Result<()>) -> Result<u64> {
        let upto = self.seq()?;
        let mut sources = between(seq, upto);
        while let Some((seq, document)) = next(self, &mut sources)? {
            visit(seq.unsigned_abs(), document?)?;
        }
        Ok(upto)
    }

    /// The first `limit` documents after the sequence number `seq`, each with its own.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn page_after(&self, seq: u64, limit: usize) -> Result<Vec<(u64, Document)>> {
        let mut sources = between(seq, self.seq()?);
        let mut page = Vec::new();
        while page.len() < limit
            && let Some((seq, document)) = next(self, &mut sources)?
        {
            page.push((seq.unsigned_abs(), document?));
        }
        Ok(page)
    }

    /// The sequence number of the document written last; 0 before the first.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn seq(&self) -> Result<u64> {
        Ok(self.meta("seq")?.unwrap_or(0).unsigned_abs())
    }

    /// The era in which the document with this sequence number was written.
    fn era_at(&self, seq: u64) -> Result<u32> {
        if !self.connection.table_exists(None, TABLES[0])? {
            return Ok(0);
        }
        let sql = "SELECT era FROM eras WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
        let era = self.connection.prepare_cached(sql)?.query_row([i64::try_from(seq)?], |r| r.get(0)).optional()?;
        Ok(era.unwrap_or(0))
    }

    /// Whether reading goes on from `checkpoint`: it is of this index as it now is, so its document is
    /// there as it was, or newer and written later. An index that was put back to an older state has it
    /// elsewhere or not at all.
    ///
    /// # Errors
    /// The text is no checkpoint, or the index cannot be read.
    pub fn honours(&self, checkpoint: &str) -> Result<bool> {
        let then: Checkpoint = checkpoint.parse()?;
        if then.index != self.id || then.id.is_empty() || then.era != self.era_at(then.seq)? {
            return Ok(false);
        }
        let Some(document) = self.get(&then.id)? else { return Ok(false) };
        let (seq, stamp) = (seq_of(self, &document)?, document.stamp());
        Ok((seq, stamp) == (Some(then.seq), then.stamp) || (seq > Some(then.seq) && stamp > then.stamp))
    }

    /// The checkpoint of a reader that has read up to the sequence number `seq`; `None` when the
    /// document that had it was written again.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn checkpoint_at(&self, seq: u64) -> Result<Option<String>> {
        for table in [ENTRIES, MARKS, DOCUMENTS] {
            let mut source = Source::new(table);
            (source.after, source.upto) = (seq.cast_signed() - 1, seq.cast_signed());
            source.fill(self)?;
            if let Some((_, document)) = source.page.pop_front() {
                let document = document?;
                let era = self.era_at(seq)?;
                let last = Checkpoint { index: self.id, era, seq, stamp: document.stamp(), id: document.id() };
                return Ok(Some(last.to_string()));
            }
        }
        Ok(None)
    }
}

/// The sequence number of a document of this index.
fn seq_of(index: &Sqlite, document: &Document) -> Result<Option<u64>> {
    let connection = &index.connection;
    let seq: Option<i64> = match document {
        Document::Entry(e) => {
            let sql = "SELECT seq FROM entries WHERE folder = (SELECT id FROM folders WHERE key = ?1) AND name = ?2
                       AND box = (SELECT id FROM boxes WHERE name = ?3)";
            let parent = e.path.parent().unwrap_or_default();
            let key = params![parent.key(), e.path.name(), e.box_name];
            connection.prepare_cached(sql)?.query_row(key, |r| r.get(0)).optional()?
        }
        Document::Mark(m) => {
            let sql = "SELECT seq FROM marks WHERE box = (SELECT id FROM boxes WHERE name = ?1) AND key = ?2";
            let key = params![m.box_name, m.path.key()];
            connection.prepare_cached(sql)?.query_row(key, |r| r.get(0)).optional()?
        }
        other => {
            let sql = "SELECT seq FROM documents WHERE id = ?1";
            connection.prepare_cached(sql)?.query_row([other.id()], |r| r.get(0)).optional()?
        }
    };
    Ok(seq.map(i64::unsigned_abs))
}

/// One of the tables that are merged by sequence number.
struct Source {
    sql: String,
    read: fn(&rusqlite::Row<'_>) -> Result<Document>,
    after: i64,
    upto: i64,
    page: std::collections::VecDeque<(i64, Result<Document>)>,
    complete: bool,
}

/// The columns and joins of a table, and how to read a row.
type Table = (&'static str, &'static str, &'static str, fn(&rusqlite::Row<'_>) -> Result<Document>);

const ENTRIES: Table =
    (ENTRY_COLUMNS, "entries e JOIN folders f ON f.id = e.folder JOIN boxes b ON b.id = e.box", "e.seq", |row| {
        Ok(Document::Entry(Entry { local: None, ..entry_of(row)? }))
    });
const MARKS: Table = (MARK_COLUMNS, "marks m JOIN boxes b ON b.id = m.box", "m.seq", |row| Ok(Document::Mark(mark_of(row)?)));
const DOCUMENTS: Table = ("json", "documents", "seq", |row| Document::from_json(row.get_ref(0)?.as_str()?));

impl Source {
    fn new((columns, from, seq, read): Table) -> Self {
        let sql = format!("SELECT {columns}, {seq} FROM {from} WHERE {seq} > ?1 AND {seq} <= ?3 ORDER BY {seq} LIMIT ?2");
        Self { sql, read, after: 0, upto: 0, page: std::collections::VecDeque::new(), complete: false }
    }

    fn fill(&mut self, index: &Sqlite) -> Result<()> {
        if !self.page.is_empty() || self.complete {
            return Ok(());
        }
        let mut statement = index.connection.prepare_cached(&self.sql)?;
        let last_column = statement.column_count() - 1;
        let mut rows = statement.query(params![self.after, PAGE, self.upto])?;
        while let Some(row) = rows.next()? {
            self.after = row.get(last_column)?;
            self.page.push_back((self.after, (self.read)(row)));
        }
        self.complete = self.page.is_empty();
        Ok(())
    }
}

/// All tables, from after the sequence number `seq` to `upto`.
fn between(seq: u64, upto: u64) -> [Source; 3] {
    let mut sources = [Source::new(ENTRIES), Source::new(MARKS), Source::new(DOCUMENTS)];
    for source in &mut sources {
        (source.after, source.upto) = (seq.cast_signed(), upto.cast_signed());
    }
    sources
}

/// The document with the least sequence number of all sources.
fn next(index: &Sqlite, sources: &mut [Source]) -> Result<Option<(i64, Result<Document>)>> {
    for source in &mut *sources {
        source.fill(index)?;
    }
    let first = sources.iter_mut().filter(|s| !s.page.is_empty()).min_by_key(|s| s.page.front().map(|p| p.0));
    Ok(first.and_then(|source| source.page.pop_front()))
}
