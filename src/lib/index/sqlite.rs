//! The embedded index: one SQLite file, read and written by several processes at once.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

pub use super::boxes::{BoxId, BoxInfo, Boxes};
use super::columns::{ENTRY_COLUMNS, MARK_COLUMNS, entry_of, mark_of};
use super::{Index, Origin, Outcome, Select, Visit, changes, groups, put, range};
use crate::chance::now;
use crate::path::SpacePath;
use crate::record::{Document, Entry, Fields, Mark, Sha1, split_id};
use crate::stamp::{Clock, Stamp};

/// How long a writer waits for another process's transaction, which are all short.
pub(super) const BUSY: Duration = Duration::from_secs(30);

/// An open index.
#[derive(Debug)]
pub struct Sqlite {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) id: u32,
    pub(super) last_put: (u64, u64),
    pub(super) writable: bool,
}

/// How to open an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing will be written.
    Read,
    /// Documents will be put.
    Write,
}

impl Sqlite {
    /// Does many reads as one: of one state of the index, and with one lock. Where each takes its own, that is a
    /// fifth of the time.
    ///
    /// # Errors
    /// The index cannot be read, or `read` failed.
    pub fn at_once<T>(&self, read: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let state = self.connection.unchecked_transaction()?;
        let result = read(self);
        drop(state);
        result
    }

    /// The file; empty for one in memory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// This index's id, as in its stamps.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The sequence numbers before and after the last [`Index::put`] here: it issued those between.
    #[must_use]
    pub fn last_put(&self) -> (u64, u64) {
        self.last_put
    }

    pub(super) fn meta(&self, key: &str) -> Result<Option<i64>> {
        meta(&self.connection, key)
    }

    pub(super) fn meta_u32(&self, key: &str) -> Result<u32> {
        let value = self.meta(key)?.and_then(|v| u32::try_from(v).ok());
        value.with_context(|| format!("the index has no {key}: damaged"))
    }

    /// A clock that has seen every stamp of this index.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn clock(&self) -> Result<Clock> {
        Ok(Clock::new(self.id, last_stamp(&self.connection)?))
    }

    /// The space's document; none before the first box.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn space(&self) -> Result<Option<Fields>> {
        Ok(match self.get("space")? {
            Some(Document::Space(fields)) => Some(fields),
            _ => None,
        })
    }

    /// The document of the box `name`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn box_fields(&self, name: &str) -> Result<Option<Fields>> {
        Ok(match self.get(name)? {
            Some(Document::Box(_, fields)) => Some(fields),
            _ => None,
        })
    }

    /// The full entry of one box at one path.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn entry(&self, box_name: &str, path: &SpacePath) -> Result<Option<Entry>> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                "SELECT {ENTRY_COLUMNS} FROM entries e JOIN folders f ON f.id = e.folder JOIN boxes b ON b.id = e.box
                 WHERE f.key = ?1 AND e.name = ?2 AND b.name = ?3"
            )
        });
        let Some(parent) = path.parent() else { return Ok(None) };
        let mut statement = self.connection.prepare_cached(&SQL)?;
        let found = statement.query_row(params![parent.key(), path.name(), box_name], |r| Ok(entry_of(r)));
        found.optional()?.transpose()
    }

    /// All marks of a box, in path order.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn marks_of(&self, box_id: BoxId, visit: &mut dyn FnMut(Mark) -> Result<()>) -> Result<()> {
        let sql = format!("SELECT {MARK_COLUMNS} FROM marks m JOIN boxes b ON b.id = m.box WHERE m.box = ?1 ORDER BY m.key");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![box_id.0])?;
        while let Some(row) = rows.next()? {
            visit(mark_of(row)?)?;
        }
        Ok(())
    }

    /// The marks of all boxes at exactly `path`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn marks_at(&self, path: &SpacePath) -> Result<Vec<Mark>> {
        let sql = format!("SELECT {MARK_COLUMNS} FROM boxes b JOIN marks m ON m.box = b.id AND m.key = ?1 ORDER BY b.name");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([path.key()])?;
        let mut marks = Vec::new();
        while let Some(row) = rows.next()? {
            marks.push(mark_of(row)?);
        }
        Ok(marks)
    }

    /// How many files and symlinks the box `name` holds.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn count_files(&self, name: &str) -> Result<u64> {
        let sql = "SELECT count(*) FROM entries WHERE box = (SELECT id FROM boxes WHERE name = ?1) AND present AND ftype <> 1";
        Ok(self.connection.query_row(sql, [name], |r| r.get::<_, i64>(0))?.unsigned_abs())
    }

    /// Whether the box `name` holds anything, or has held it. Where it has not, all entries are looked at.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn has_entries(&self, name: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM entries WHERE box = (SELECT id FROM boxes WHERE name = ?1) LIMIT 1";
        Ok(self.connection.prepare_cached(sql)?.exists([name])?)
    }

    /// Whether anything is known at `path` or below it.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn knows(&self, path: &SpacePath) -> Result<bool> {
        let Some(parent) = path.parent() else { return Ok(true) };
        let mut here = self.connection.prepare_cached(
            "SELECT 1 FROM entries e JOIN folders f ON f.id = e.folder WHERE f.key = ?1 AND e.name = ?2 LIMIT 1",
        )?;
        if here.exists(params![parent.key(), path.name()])? {
            return Ok(true);
        }
        let (from, to) = groups::below(path.key());
        let mut below = self.connection.prepare_cached(
            "SELECT 1 FROM folders f WHERE (f.key = ?1 OR (f.key >= ?2 AND f.key < ?3))
             AND EXISTS (SELECT 1 FROM entries e WHERE e.folder = f.id) LIMIT 1",
        )?;
        Ok(below.exists(params![path.key(), from, to])?)
    }

    /// Whether any box has, or had, anything directly in `folder`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn knows_in(&self, folder: &SpacePath) -> Result<bool> {
        let sql = "SELECT 1 FROM entries WHERE folder = (SELECT id FROM folders WHERE key = ?1) LIMIT 1";
        Ok(self.connection.prepare_cached(sql)?.exists([folder.key()])?)
    }

    /// Remembers that `box_name` was seen to hold the content `sha1` at the time `ms` (since 1970).
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn set_verified(&mut self, box_name: &str, sha1: Sha1, ms: u64) -> Result<()> {
        self.set_all_verified([(box_name, sha1, ms)])
    }

    /// [`Sqlite::set_verified`] for many contents, in one transaction.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn set_all_verified<'a>(&mut self, seen: impl IntoIterator<Item = (&'a str, Sha1, u64)>) -> Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "INSERT OR REPLACE INTO verified (box, sha1, ms) SELECT id, ?2, ?3 FROM boxes WHERE name = ?1";
        for (box_name, sha1, ms) in seen {
            transaction.prepare_cached(sql)?.execute(params![box_name, sha1.0, i64::try_from(ms)?])?;
        }
        Ok(transaction.commit()?)
    }

    /// When `box_name` was last seen to hold the content `sha1`, in milliseconds since 1970.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn verified(&self, box_name: &str, sha1: Sha1) -> Result<Option<u64>> {
        let sql = "SELECT v.ms FROM verified v JOIN boxes b ON b.id = v.box WHERE b.name = ?1 AND v.sha1 = ?2";
        let ms: Option<i64> =
            self.connection.prepare_cached(sql)?.query_row(params![box_name, sha1.0], |r| r.get(0)).optional()?;
        Ok(ms.map(i64::unsigned_abs))
    }

    /// Whether the content `sha1` was seen in a box from here since the time `since` (ms since 1970). That the box
    /// says so itself is not enough: it may say so of a disk that has been wiped since.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn was_verified(&self, box_name: &str, sha1: Sha1, since: u64) -> Result<bool> {
        Ok(self.verified(box_name, sha1)?.is_some_and(|ms| ms >= since))
    }
}

impl Index for Sqlite {
    fn get(&self, id: &str) -> Result<Option<Document>> {
        if let Some((box_name, path, is_mark)) = split_id(id) {
            if !is_mark {
                return Ok(self.entry(box_name, &path)?.map(Document::Entry));
            }
            let sql = format!("SELECT {MARK_COLUMNS} FROM marks m JOIN boxes b ON b.id = m.box WHERE b.name = ?1 AND m.key = ?2");
            let mut statement = self.connection.prepare_cached(&sql)?;
            let found = statement.query_row(params![box_name, path.key()], |r| Ok(mark_of(r)));
            return Ok(found.optional()?.transpose()?.map(Document::Mark));
        }
        let mut statement = self.connection.prepare_cached("SELECT json FROM documents WHERE id = ?1")?;
        let json: Option<String> = statement.query_row([id], |r| r.get(0)).optional()?;
        json.map(|j| Document::from_json(&j)).transpose()
    }

    fn put(&mut self, documents: &[Document], origin: Origin) -> Result<Vec<Outcome>> {
        put::put(self, documents, origin)
    }

    fn changes(&self, checkpoint: Option<&str>, visit: Visit<'_>) -> Result<String> {
        changes::changes(self, checkpoint, visit)
    }

    fn range(&self, select: &Select, visit: Visit<'_>) -> Result<()> {
        range::range(self, select, visit)
    }
}

pub(super) fn meta(connection: &Connection, key: &str) -> Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |r| r.get(0)).optional()?)
}

pub(super) fn set_meta(connection: &Connection, key: &str, value: i64) -> Result<()> {
    connection.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?.execute(params![key, value])?;
    Ok(())
}

pub(super) fn last_stamp(connection: &Connection) -> Result<Stamp> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = 'clock'")?;
    let bytes: Option<[u8; 12]> = statement.query_row([], |r| r.get(0)).optional()?;
    Ok(bytes.map(Stamp::from_bytes).unwrap_or_default())
}

/// Milliseconds since 1970 now, for what the index remembers of time.
#[must_use]
pub fn now_ms() -> u64 {
    let now = now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
