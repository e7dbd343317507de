//! The embedded index: one SQLite file, read and written by several processes at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row as SqlRow, TransactionBehavior, params};

use super::{Index, Origin, Outcome, Select, Visit, changes, couch, groups, put, schema, settled};
use crate::chance::now;
use crate::path::SpacePath;
use crate::record::{Attrs, Document, Entry, Extra, Fields, Ftype, Local, Mark, Mode, Sha1, Source, Want, split_id};
use crate::stamp::{Clock, Stamp, random_id};
use crate::version::Version;

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
        tune(&connection)?;
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
        for table in schema::TABLES.iter().chain(&couch::TABLES).chain(&settled::TABLES).chain(&changes::TABLES) {
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
        tune(&connection)?;
        let mut index = Self { connection, path: PathBuf::new(), id: 0, last_put: (0, 0), writable: true };
        if !as_it_is {
            index.draw_anew(None)?;
        }
        index.id = index.meta_u32("id")?;
        Ok(index)
    }

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

    pub(super) fn meta(&self, key: &str) -> Result<Option<i64>> {
        meta(&self.connection, key)
    }

    fn meta_u32(&self, key: &str) -> Result<u32> {
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

    /// All boxes that the index knows anything about, by name.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn boxes(&self) -> Result<Boxes> {
        let mut statement = self.connection.prepare_cached("SELECT id, name, commits FROM boxes ORDER BY name")?;
        let rows = statement.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, i64>(2)?)))?;
        let mut all = Vec::new();
        for row in rows {
            let (id, name, commits) = row?;
            let fields = self.box_fields(&name)?;
            all.push(BoxInfo { id: BoxId(id), commits: commits.unsigned_abs(), fields, name });
        }
        Ok(Boxes { all })
    }

    /// The full entry of one box at one path.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn entry(&self, box_name: &str, path: &SpacePath) -> Result<Option<Entry>> {
        let Some(parent) = path.parent() else { return Ok(None) };
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {ENTRY_COLUMNS} FROM entries e JOIN folders f ON f.id = e.folder JOIN boxes b ON b.id = e.box
             WHERE f.key = ?1 AND e.name = ?2 AND b.name = ?3"
        ))?;
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

    /// Whether the content `sha1` was seen at `source` since the time `since` (ms since 1970): by us, or
    /// by the box itself, which hashed it when it wrote its entry.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn was_verified(&self, source: &Source, sha1: Sha1, since: u64) -> Result<bool> {
        if self.verified(&source.box_name, sha1)?.is_some_and(|ms| ms >= since) {
            return Ok(true);
        }
        let entry = self.entry(&source.box_name, &source.path)?;
        // a stamp may run ahead of every clock, and then tells no time
        let told = |stamp: Stamp| stamp.ms >= since && stamp.ms <= now_ms();
        Ok(entry.is_some_and(|e| e.present && e.attrs.sha1 == Some(sha1) && told(e.stamp)))
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
        groups::range(self, select, visit)
    }
}

/// The number of a box within one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoxId(pub i64);

/// A box as the index knows it.
#[derive(Clone, Debug)]
pub struct BoxInfo {
    /// Its number here.
    pub id: BoxId,
    /// Its name.
    pub name: String,
    /// Its commit counter, as far as the index knows.
    pub commits: u64,
    /// Its document, where one has arrived.
    pub fields: Option<Fields>,
}

impl BoxInfo {
    /// Whether its copies count no longer.
    #[must_use]
    pub fn forgotten(&self) -> bool {
        self.fields.as_ref().is_some_and(Fields::forgotten)
    }
}

/// The boxes of an index, sorted by name.
#[derive(Clone, Debug, Default)]
pub struct Boxes {
    /// All of them, forgotten ones too.
    pub all: Vec<BoxInfo>,
}

impl Boxes {
    /// The box with this number.
    #[must_use]
    pub fn by_id(&self, id: BoxId) -> Option<&BoxInfo> {
        self.all.iter().find(|b| b.id == id)
    }

    /// The box of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&BoxInfo> {
        self.all.iter().find(|b| b.name == name)
    }

    /// Whether the copies of the box with this number count.
    #[must_use]
    pub fn counts(&self, id: BoxId) -> bool {
        self.by_id(id).is_some_and(|b| !b.forgotten())
    }
}

/// Splits `PREFIXbox:/path`; `None` when `id` has another form.
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

/// Opens the file as far as its disk allows: an archive disk may be mounted read-only, where even the
/// shared memory of a WAL cannot be made.
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
    tune(&connection)?;
    Ok((connection, writable))
}

fn tune(connection: &Connection) -> Result<()> {
    connection.pragma_update(None, "cache_size", -16_384)?;
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
        _ => error,
    }
}

/// The columns that [`entry_of`] reads, of `entries e`, `folders f`, `boxes b`.
pub(super) const ENTRY_COLUMNS: &str =
    "f.key, e.name, b.name, e.ftype, e.present, e.purged, e.size, e.mtime, e.mtime_nsec, e.mode,
 e.sha1, e.commits, e.version, e.stamp, e.ino, e.ctime, e.ctime_nsec, e.dev, e.racy, e.mime, e.target, e.moved, e.extra";

/// The columns that [`mark_of`] reads, of `marks m`, `boxes b`.
pub(super) const MARK_COLUMNS: &str = "b.name, m.key, m.want, m.seen, m.alone, m.stamp, m.extra";

/// Reads an entry from a row of [`ENTRY_COLUMNS`].
pub(super) fn entry_of(row: &SqlRow<'_>) -> Result<Entry> {
    let folder = SpacePath::from_key(row.get_ref(0)?.as_blob()?)?;
    Ok(Entry {
        path: folder.join(row.get_ref(1)?.as_blob()?)?,
        box_name: row.get(2)?,
        attrs: Attrs {
            ftype: ftype_of(row.get(3)?)?,
            size: row.get::<_, i64>(6)?.unsigned_abs(),
            mtime: row.get(7)?,
            mtime_nsec: row.get(8)?,
            mode: Mode::new(row.get(9)?),
            sha1: row.get::<_, Option<[u8; 20]>>(10)?.map(Sha1),
            mime: row.get(19)?,
            target: row.get(20)?,
        },
        present: row.get(4)?,
        purged: row.get(5)?,
        moved: row.get::<_, Option<Vec<u8>>>(21)?.map(|key| SpacePath::from_key(&key)).transpose()?,
        commit: row.get::<_, i64>(11)?.unsigned_abs(),
        version: version_of(row.get_ref(12)?.as_blob()?)?,
        stamp: Stamp::from_bytes(row.get(13)?),
        local: local_of(row, 14)?,
        extra: extra_of(row.get(22)?)?,
    })
}

/// Reads local facts from five columns that begin at `at`.
pub(super) fn local_of(row: &SqlRow<'_>, at: usize) -> Result<Option<Local>> {
    let Some(ino) = row.get::<_, Option<i64>>(at)? else { return Ok(None) };
    Ok(Some(Local {
        ino: ino.cast_unsigned(),
        ctime: row.get(at + 1)?,
        ctime_nsec: row.get(at + 2)?,
        dev: row.get::<_, i64>(at + 3)?.cast_unsigned(),
        racy: row.get(at + 4)?,
        ..Local::default()
    }))
}

/// Reads a mark from a row of [`MARK_COLUMNS`].
pub(super) fn mark_of(row: &SqlRow<'_>) -> Result<Mark> {
    Ok(Mark {
        box_name: row.get(0)?,
        path: SpacePath::from_key(row.get_ref(1)?.as_blob()?)?,
        want: match row.get::<_, i64>(2)? {
            0 => Want::Want,
            1 => Want::Skip,
            _ => Want::Cleared,
        },
        seen: row.get::<_, i64>(3)?.unsigned_abs(),
        alone: row.get(4)?,
        stamp: Stamp::from_bytes(row.get(5)?),
        extra: extra_of(row.get(6)?)?,
    })
}

pub(super) fn version_of(bytes: &[u8]) -> Result<Version> {
    Version::from_bytes(bytes).context("the index is damaged: a version vector")
}

pub(super) fn ftype_of(number: i64) -> Result<Ftype> {
    Ok(match number {
        0 => Ftype::File,
        1 => Ftype::Dir,
        2 => Ftype::Symlink,
        _ => bail!("the index is damaged: file type {number}"),
    })
}

pub(super) fn ftype_number(ftype: Ftype) -> i64 {
    match ftype {
        Ftype::File => 0,
        Ftype::Dir => 1,
        Ftype::Symlink => 2,
    }
}

fn extra_of(text: Option<String>) -> Result<Extra> {
    Ok(text.map(|t| serde_json::from_str(&t)).transpose()?.unwrap_or_default())
}

/// Milliseconds since 1970 now, for what the index remembers of time.
#[must_use]
pub fn now_ms() -> u64 {
    let now = now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
