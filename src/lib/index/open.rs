//! Making and opening the file of an index: where it lies is anybody's disk, and what lies there may be
//! anybody's file. One that is not where it was is a copy, and gets another id.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::sqlite::{Access, BUSY, Sqlite, set_meta};
use super::{changes, couch, schema, seals, settled};
use crate::stamp::random_id;

impl Sqlite {
    /// Creates the index at `path`; harmless when it exists. Returns whether it was created.
    ///
    /// # Errors
    /// The path is a folder or some other file (which stays as it is), or cannot be written.
    pub fn create(path: &Path) -> Result<bool> {
        let named = || path.display().to_string();
        match std::fs::metadata(path) {
            Ok(meta) if !meta.is_file() => bail!("{}: not a file, so not an index", named()),
            Ok(_) if !Self::is_blank(path) => return Self::open(path, Access::Read).map(|_| false),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(named),
        }
        let mut connection = Connection::open(path).with_context(named)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL").with_context(named)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if schema::check(&transaction).is_ok() {
            return Ok(false);
        }
        schema::create(&transaction).with_context(named)?;
        place(&transaction, path)?;
        transaction.commit()?;
        Ok(true)
    }

    /// Whether the file at `path` is what an interrupted creation leaves, and holds nothing to lose: empty, or a
    /// database in which nothing was ever written.
    #[must_use]
    pub fn is_blank(path: &Path) -> bool {
        let is_empty = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == 0);
        is_empty || check_beside(path).and_then(|()| holds_nothing(path)).unwrap_or(false)
    }

    /// Opens an index that exists.
    ///
    /// # Errors
    /// There is none, it is damaged, of a newer ltr, or something else than an index.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let named = || path.display().to_string();
        match std::fs::metadata(path) {
            Ok(meta) if !meta.is_file() => bail!("{}: not a file, so not an index", named()),
            Ok(meta) if meta.len() == 0 => bail!("{}: empty, so not an index", named()),
            // SQLite would not say why. To open and close the file would let go of the locks of whatever else this
            // process has open on it (fcntl(2))
            Ok(_) => rustix::fs::access(path, rustix::fs::Access::READ_OK).map_err(std::io::Error::from).with_context(named)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!("{}: no index here", named()),
            Err(error) => return Err(error).with_context(named),
        }
        check_beside(path)?;
        let (connection, writable) = connect(path, access).with_context(named)?;
        schema::check(&connection).map_err(foreign).with_context(named)?;
        let mut index = Self { connection, path: path.to_path_buf(), id: 0, last_put: (0, 0), writable };
        index.id = index.settle(access).with_context(named)?;
        Ok(index)
    }

    /// An empty index that is in no file, with an id of its own, for as long as it is open.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn in_memory() -> Result<Self> {
        let connection = Connection::open_in_memory()?;
        tune(&connection, Access::Write)?;
        schema::create(&connection)?;
        let id = random_id();
        set_meta(&connection, "id", i64::from(id))?;
        Ok(Self { connection, path: PathBuf::new(), id, last_put: (0, 0), writable: true })
    }

    /// Forgets everything: what [`Sqlite::in_memory`] makes, but with the statements that this one has
    /// prepared. Where thousands of indexes are made one after the other, that is half of the time.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn empty(&mut self) -> Result<()> {
        let transaction = self.connection.transaction()?;
        for table in
            schema::TABLES.iter().chain(&couch::TABLES).chain(&settled::TABLES).chain(&seals::TABLES).chain(&changes::TABLES)
        {
            // some are made when they are first needed
            if !transaction.table_exists(None, *table)? {
                continue;
            }
            transaction.prepare_cached(&format!("DELETE FROM {table}"))?.execute([])?;
        }
        self.id = random_id();
        set_meta(&transaction, "id", i64::from(self.id))?;
        self.last_put = (0, 0);
        Ok(transaction.commit()?)
    }

    /// What becomes of a copy of this index in another place: one with another id, whose boxes are counted
    /// for by other hands. With `as_it_is`, one that somebody wrote over the file itself, which nothing tells
    /// from it. It is in no file.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn copy_in_memory(&self, as_it_is: bool) -> Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        let backup = rusqlite::backup::Backup::new(&self.connection, &mut connection)?;
        backup.run_to_completion(4096, Duration::ZERO, None)?;
        drop(backup);
        tune(&connection, Access::Write)?;
        let mut index = Self { connection, path: PathBuf::new(), id: 0, last_put: (0, 0), writable: true };
        if !as_it_is {
            index.draw_anew(None)?;
        }
        index.id = index.meta_u32("id")?;
        Ok(index)
    }

    /// Reads the id, and draws a new one where the file is not where it was: a copy or a restored
    /// backup must not pass for the index that its peers have checkpoints of, nor count edits with
    /// the same hand.
    fn settle(&mut self, access: Access) -> Result<u32> {
        if self.is_in_place()? {
            return self.meta_u32("id");
        }
        if access == Access::Read || !self.writable {
            // no checkpoint fits an id that nobody has seen, so everything is read
            return Ok(random_id());
        }
        let path = self.path.clone();
        self.draw_anew(Some(&path))?;
        self.meta_u32("id")
    }

    /// Another id, and other hands: somebody may go on with the old ones.
    fn draw_anew(&mut self, path: Option<&Path>) -> Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match path {
            Some(path) => place(&transaction, path)?,
            None => set_meta(&transaction, "id", i64::from(random_id()))?,
        }
        let boxes: Vec<i64> =
            transaction.prepare("SELECT box FROM own")?.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
        for box_id in boxes {
            transaction.prepare_cached("UPDATE own SET actor = ?2 WHERE box = ?1")?.execute(params![box_id, random_id()])?;
        }
        Ok(transaction.commit()?)
    }

    fn is_in_place(&self) -> Result<bool> {
        for (key, value) in file_id(&self.path)? {
            if self.meta(key)? != Some(value) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies the whole index to the new file `target`, for a dry run.
    ///
    /// # Errors
    /// The copy cannot be written.
    pub fn copy_to(&self, target: &Path) -> Result<()> {
        let mut copy = Connection::open(target).with_context(|| target.display().to_string())?;
        let backup = rusqlite::backup::Backup::new(&self.connection, &mut copy)?;
        backup.run_to_completion(4096, Duration::ZERO, None)?;
        Ok(())
    }
}

/// Refuses an index beside which is no file where SQLite has its own: it would wait for who writes to a
/// fifo, and whoever brings a disk may have made one.
fn check_beside(path: &Path) -> Result<()> {
    let real = path.canonicalize().with_context(|| path.display().to_string())?;
    for suffix in ["-journal", "-wal", "-shm"] {
        let mut beside = real.clone().into_os_string();
        beside.push(suffix);
        let regular = std::fs::symlink_metadata(&beside).map_or(true, |meta| meta.is_file());
        ensure!(regular, "{}: not a file, so the index cannot be used", beside.display());
    }
    Ok(())
}

/// Device and inode of the index's file.
pub(super) fn file_id(path: &Path) -> Result<[(&'static str, i64); 3]> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    // a backup that is put in the place of a deleted file often gets its inode, and never its birth
    let birth = meta.created().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let birth = birth.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0);
    Ok([("dev", meta.dev().cast_signed()), ("ino", meta.ino().cast_signed()), ("birth", birth)])
}

/// Records where the index lies, with a fresh id.
fn place(connection: &Connection, path: &Path) -> Result<()> {
    for (key, value) in file_id(path)? {
        set_meta(connection, key, value)?;
    }
    set_meta(connection, "id", i64::from(random_id()))
}

/// Whether nothing was ever written in the database at `path`.
fn holds_nothing(path: &Path) -> Result<bool> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    harden(&connection)?;
    connection.busy_timeout(BUSY)?;
    // one is counted up by whatever makes a table, the others by whom it belongs to
    for name in ["schema_version", "application_id", "user_version"] {
        if connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0))? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Opens the file as far as its disk allows: an archive disk may be mounted read-only, where even the
/// shared memory of a WAL cannot be made.
fn connect(path: &Path, access: Access) -> Result<(Connection, bool)> {
    let common = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let write = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | common).and_then(|connection| {
        harden(&connection)?;
        connection.busy_timeout(BUSY)?;
        let writable = !connection.is_readonly(rusqlite::MAIN_DB)?;
        connection.pragma_query_value(None, "schema_version", |r| r.get::<_, i64>(0))?;
        Ok((connection, writable))
    });
    let (connection, writable) = match (write, access) {
        (Ok(open), _) => open,
        (Err(error), Access::Write) => return Err(foreign(error.into())),
        (Err(error), Access::Read) => match immutable(path, common) {
            Ok(connection) => (connection, false),
            Err(_) => return Err(foreign(error.into())),
        },
    };
    if access == Access::Write && !writable {
        bail!("the index cannot be written: read-only file or disk");
    }
    // FULL: what a peer was told must still be here after a power cut, or a number would be used twice
    connection.pragma_update(None, "synchronous", "FULL")?;
    tune(&connection, access)?;
    Ok((connection, writable))
}

fn tune(connection: &Connection, access: Access) -> Result<()> {
    if access == Access::Write {
        // a reader goes through once, and keeps to SQLite's own 2 MB: to have 16 MB of memory given and cleared
        // took 3 % of a status
        connection.pragma_update(None, "cache_size", -16_384)?;
    }
    // 32 MB: with SQLite's own 4 MB nearly every batch of a first commit waits for the same pages to be written twice
    connection.pragma_update(None, "wal_autocheckpoint", 8_000)?;
    connection.set_prepared_statement_cache_capacity(64);
    // SQLite with STAT4 would plan a statement anew for each value bound to it; measured on 100k look-ups
    // by path and by content, that is two thirds of the time
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// The schema of an index that came on a stick is anybody's: nothing in it runs (SQLite, "Defense Against
/// The Dark Arts"). Ltr's own has neither triggers nor views.
fn harden(connection: &Connection) -> rusqlite::Result<()> {
    for (config, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ] {
        connection.set_db_config(config, on)?;
    }
    Ok(())
}

/// A file on a disk that nobody can write to.
fn immutable(path: &Path, flags: OpenFlags) -> Result<Connection> {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | flags;
    let connection = Connection::open_with_flags(uri, flags)?;
    harden(&connection)?;
    connection.pragma_query_value(None, "schema_version", |r| r.get::<_, i64>(0))?;
    Ok(connection)
}

/// Says in ltr's words what SQLite calls "not a database".
fn foreign(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code) {
        Some(rusqlite::ErrorCode::NotADatabase) => error.context("not an index of ltr"),
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => error.context("the index is damaged"),
        Some(rusqlite::ErrorCode::CannotOpen) => error.context("the index cannot be opened: is it gone, or its disk read-only?"),
        Some(rusqlite::ErrorCode::SystemIoFailure) => error.context("the index cannot be read: is its disk full, or broken?"),
        _ => error,
    }
}
