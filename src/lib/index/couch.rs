//! What a replica remembers of the databases it is a replica of: how far each was read, how far this
//! index was pushed there, and which revision of each document is there.
//!
//! A database is known by the mark that it carries (a `_local` document): one that was deleted and made
//! again has another, and everything is read and pushed anew.

use anyhow::Result;
use rusqlite::{OptionalExtension, TransactionBehavior, params};

use super::Index;
use super::sqlite::{Sqlite, now_ms};
use crate::record::Document;
use crate::stamp::Stamp;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS couch (
  id INTEGER PRIMARY KEY, mark TEXT NOT NULL UNIQUE, since TEXT, pushed INTEGER NOT NULL DEFAULT 0,
  seen TEXT, synced_ms INTEGER NOT NULL DEFAULT 0, away_ms INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS revs (
  couch INTEGER NOT NULL, id TEXT NOT NULL, rev TEXT, stamp BLOB, todo INTEGER NOT NULL,
  PRIMARY KEY (couch, id)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS revs_todo ON revs (couch, id) WHERE todo;
";

/// The tables of a replica.
pub(super) const TABLES: [&str; 2] = ["couch", "revs"];

/// A database, as far as this index knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Couch {
    /// Its number here.
    pub id: i64,
    /// The mark that it carries.
    pub mark: String,
    /// The update sequence up to which it was read, as JSON; opaque.
    pub since: Option<String>,
    /// The sequence number of this index up to which everything is there, or in the list of what is not.
    pub pushed: u64,
    /// How the database looked when it had been read to its end.
    pub seen: Option<String>,
    /// When that was, in milliseconds since 1970; 0: never.
    pub synced_ms: u64,
    /// When it did not answer, later than that; 0 where it did.
    pub away_ms: u64,
}

/// What a database has of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The document.
    pub id: String,
    /// The revision there; none where there is no such document.
    pub rev: Option<String>,
    /// The stamp of the document there; none where what is there is not ltr's.
    pub stamp: Option<Stamp>,
    /// The document here is to go there.
    pub todo: bool,
}

impl Sqlite {
    /// Makes this index one that can be a replica.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn make_replica(&self) -> Result<()> {
        Ok(self.connection.execute_batch(SCHEMA)?)
    }

    /// Whether this index can be a replica.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn is_replica(&self) -> Result<bool> {
        Ok(self.connection.table_exists(None, "couch")?)
    }

    /// The database with this mark, or (without) the one used last.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn couch(&self, mark: Option<&str>) -> Result<Option<Couch>> {
        if !self.is_replica()? {
            return Ok(None);
        }
        let sql = "SELECT id, mark, since, pushed, seen, synced_ms, away_ms FROM couch
                   WHERE ?1 IS NULL OR mark = ?1 ORDER BY synced_ms DESC, id DESC LIMIT 1";
        let row = self.connection.prepare_cached(sql)?.query_row([mark], |r| {
            Ok(Couch {
                id: r.get(0)?,
                mark: r.get(1)?,
                since: r.get(2)?,
                pushed: r.get::<_, i64>(3)?.unsigned_abs(),
                seen: r.get(4)?,
                synced_ms: r.get::<_, i64>(5)?.unsigned_abs(),
                away_ms: r.get::<_, i64>(6)?.unsigned_abs(),
            })
        });
        Ok(row.optional()?)
    }

    /// Begins to know the database with this mark.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn add_couch(&mut self, mark: &str) -> Result<Couch> {
        self.connection.execute("INSERT OR IGNORE INTO couch (mark) VALUES (?1)", [mark])?;
        Ok(self.couch(Some(mark))?.unwrap_or_default())
    }

    /// Remembers that the database was read up to `since`.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn set_since(&mut self, couch: &mut Couch, since: &str) -> Result<()> {
        self.connection.execute("UPDATE couch SET since = ?2 WHERE id = ?1", params![couch.id, since])?;
        couch.since = Some(since.to_owned());
        Ok(())
    }

    /// Remembers that the database was read to its end when it looked like `seen`, and that every own box
    /// has been synced.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn set_seen(&mut self, couch: &mut Couch, seen: &str) -> Result<()> {
        let now = now_ms();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "UPDATE couch SET seen = ?2, synced_ms = ?3, away_ms = 0 WHERE id = ?1";
        transaction.execute(sql, params![couch.id, seen, i64::try_from(now)?])?;
        transaction.execute("UPDATE own SET synced = 1", [])?;
        transaction.commit()?;
        (couch.seen, couch.synced_ms, couch.away_ms) = (Some(seen.to_owned()), now, 0);
        Ok(())
    }

    /// Remembers that the database did not answer now, or (`false`) that it does.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn set_away(&mut self, couch: &Couch, away: bool) -> Result<()> {
        let ms = if away { i64::try_from(now_ms())? } else { 0 };
        self.connection.execute("UPDATE couch SET away_ms = ?2 WHERE id = ?1", params![couch.id, ms])?;
        Ok(())
    }

    /// What the database has of the document `id`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn known(&self, couch: &Couch, id: &str) -> Result<Option<Known>> {
        let mut statement = self.connection.prepare_cached("SELECT rev, stamp, todo FROM revs WHERE couch = ?1 AND id = ?2")?;
        let row = statement.query_row(params![couch.id, id], |r| {
            let stamp = r.get::<_, Option<[u8; 12]>>(1)?.map(Stamp::from_bytes);
            Ok(Known { id: id.to_owned(), rev: r.get(0)?, stamp, todo: r.get(2)? })
        });
        Ok(row.optional()?)
    }

    /// Remembers what the database has, and (`pushed`) up to where this index was pushed.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn set_known(&mut self, couch: &mut Couch, known: &[Known], pushed: Option<u64>) -> Result<()> {
        let pushed = pushed.unwrap_or(couch.pushed);
        if known.is_empty() && pushed == couch.pushed {
            return Ok(());
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let sql = "INSERT OR REPLACE INTO revs (couch, id, rev, stamp, todo) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut statement = transaction.prepare_cached(sql)?;
            for one in known {
                statement.execute(params![couch.id, one.id, one.rev, one.stamp.map(Stamp::to_bytes), one.todo])?;
            }
        }
        transaction.execute("UPDATE couch SET pushed = ?2 WHERE id = ?1", params![couch.id, i64::try_from(pushed)?])?;
        transaction.commit()?;
        couch.pushed = pushed;
        Ok(())
    }

    /// The next `limit` documents after the key `after` that are to go to the database although others after
    /// them went.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn todo(&self, couch: &Couch, after: &str, limit: usize) -> Result<Vec<Known>> {
        let sql = "SELECT id, rev, stamp FROM revs WHERE couch = ?1 AND id > ?2 AND todo ORDER BY id LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![couch.id, after, i64::try_from(limit)?], |r| {
            let stamp = r.get::<_, Option<[u8; 12]>>(2)?.map(Stamp::from_bytes);
            Ok(Known { id: r.get(0)?, rev: r.get(1)?, stamp, todo: true })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether any document is to go to the database: found at once where all of them are.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn is_ahead(&self, couch: &Couch) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM revs WHERE couch = ?1 AND todo)";
        if self.connection.query_row(sql, [couch.id], |r| r.get(0))? {
            return Ok(true);
        }
        let mut after = couch.pushed;
        loop {
            let page = self.page_after(after, 100)?;
            let Some(&(last, _)) = page.last() else { return Ok(false) };
            after = last;
            for (_, document) in page {
                if !self.is_there(couch, &document)? {
                    return Ok(true);
                }
            }
        }
    }

    /// Whether the database has the document, or it is counted among those that are to go there.
    fn is_there(&self, couch: &Couch, document: &Document) -> Result<bool> {
        let known = self.known(couch, &document.id())?;
        Ok(known.is_some_and(|known| known.todo || known.stamp == Some(document.stamp())))
    }

    /// How many documents are to go to the database.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn pending(&self, couch: &Couch) -> Result<u64> {
        let sql = "SELECT count(*) FROM revs WHERE couch = ?1 AND todo";
        let mut count = self.connection.query_row(sql, [couch.id], |r| r.get::<_, i64>(0))?.unsigned_abs();
        self.changes_after(couch.pushed, &mut |_, document| {
            count += u64::from(!self.is_there(couch, &document)?);
            Ok(())
        })?;
        Ok(count)
    }

    /// Whether there is a document with the key `id`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn has(&self, id: &str) -> Result<bool> {
        Ok(self.get(id)?.is_some())
    }
}
