//! Documents as rows: which columns are read, and what is made of them.

use anyhow::{Context, Result, bail};
use rusqlite::Row as SqlRow;

use crate::path::SpacePath;
use crate::record::{Attrs, Entry, Extra, Ftype, Local, Mark, Mode, Sha1, Want};
use crate::stamp::Stamp;
use crate::version::Version;

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
