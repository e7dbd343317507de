//! The SQLite schema: folders once, files by folder and name, and columns for what ltr knows.
//!
//! Measured on 1M files: keyed by folder and name the database has 40 % of the size of one keyed by
//! path, and a status takes two thirds of the time; JSON in a column halves writes and quarters reads.
//! The key ends with the box, so that one range reads a path in all boxes.

use anyhow::{Result, bail};
use rusqlite::Connection;

/// `PRAGMA application_id`: "LtrI", so that `file` and ltr tell an index from other databases.
const APPLICATION_ID: i64 = 0x4c74_7249;
/// `PRAGMA user_version`: raised with every change of the schema.
const SCHEMA_VERSION: i64 = 1;

/// What every index has from the beginning. The index on sha1 is made when it is first asked for:
/// kept alive during a first bulk load it costs ten times as much.
const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE boxes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, commits INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE folders (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE entries (
  folder INTEGER NOT NULL, name BLOB NOT NULL, box INTEGER NOT NULL,
  ftype INTEGER NOT NULL, present INTEGER NOT NULL, purged INTEGER NOT NULL,
  size INTEGER NOT NULL, mtime INTEGER NOT NULL, mtime_nsec INTEGER NOT NULL, mode INTEGER NOT NULL,
  sha1 BLOB, commits INTEGER NOT NULL, version BLOB NOT NULL, stamp BLOB NOT NULL, seq INTEGER NOT NULL,
  ino INTEGER, ctime INTEGER, ctime_nsec INTEGER, dev INTEGER, racy INTEGER,
  mime TEXT, target TEXT, moved BLOB, extra TEXT,
  PRIMARY KEY (folder, name, box)) STRICT, WITHOUT ROWID;
CREATE INDEX entries_seq ON entries (seq);
CREATE INDEX entries_moved ON entries (moved) WHERE moved IS NOT NULL;
CREATE TABLE marks (
  box INTEGER NOT NULL, key BLOB NOT NULL, want INTEGER NOT NULL, seen INTEGER NOT NULL, alone INTEGER NOT NULL,
  stamp BLOB NOT NULL, seq INTEGER NOT NULL, extra TEXT,
  PRIMARY KEY (box, key)) STRICT, WITHOUT ROWID;
CREATE INDEX marks_seq ON marks (seq);
CREATE TABLE documents (id TEXT PRIMARY KEY, stamp BLOB NOT NULL, seq INTEGER NOT NULL, json TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX documents_seq ON documents (seq);
CREATE TABLE own (box INTEGER PRIMARY KEY, actor INTEGER NOT NULL, dev INTEGER NOT NULL, ino INTEGER NOT NULL, synced INTEGER NOT NULL) STRICT;
CREATE TABLE peers (id INTEGER PRIMARY KEY, pulled TEXT, pushed TEXT, synced_ms INTEGER NOT NULL) STRICT;
CREATE TABLE verified (box INTEGER NOT NULL, sha1 BLOB NOT NULL, ms INTEGER NOT NULL, PRIMARY KEY (box, sha1)) STRICT, WITHOUT ROWID;
";

/// The tables of [`SCHEMA`].
pub const TABLES: [&str; 9] = ["meta", "boxes", "folders", "entries", "marks", "documents", "own", "peers", "verified"];

/// Whether the file is an index that this ltr can use.
///
/// # Errors
/// It is another database, damaged, or of a newer ltr.
pub fn check(connection: &Connection) -> Result<()> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application: i64 = pragma("application_id")?;
    if application != APPLICATION_ID {
        bail!("not an index of ltr");
    }
    let version: i64 = pragma("user_version")?;
    if version > SCHEMA_VERSION {
        bail!("the index has schema version {version}, this ltr knows {SCHEMA_VERSION}: a newer ltr is needed");
    }
    if version < SCHEMA_VERSION {
        bail!("the index has schema version {version}, which this ltr does not know");
    }
    Ok(())
}

/// Makes an empty database an index.
///
/// # Errors
/// The file cannot be written.
pub fn create(connection: &Connection) -> Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(())
}
