//! What can be counted over the whole index without reading documents.

use anyhow::Result;
use rusqlite::params;

use super::columns::{ftype_number, ftype_of};
use super::sqlite::{BoxId, Sqlite};
use crate::record::{Ftype, Sha1};
use crate::stamp::Stamp;

/// What one box holds, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// The box.
    pub box_id: BoxId,
    /// Files and symlinks that it holds.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The greatest stamp of its entries, absent ones too.
    pub last: Stamp,
}

impl Sqlite {
    /// What every box holds, counted in one pass; boxes without entries are left out.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn totals(&self) -> Result<Vec<Total>> {
        let mut statement = self.connection.prepare("SELECT box, ftype, present, size, stamp FROM entries")?;
        let mut rows = statement.query([])?;
        let mut totals: Vec<Total> = Vec::new();
        while let Some(row) = rows.next()? {
            let box_id = BoxId(row.get(0)?);
            let at = totals.iter().position(|t| t.box_id == box_id).unwrap_or_else(|| {
                totals.push(Total { box_id, files: 0, bytes: 0, last: Stamp::default() });
                totals.len() - 1
            });
            let total = &mut totals[at];
            if row.get(2)? && ftype_of(row.get(1)?)? != Ftype::Dir {
                total.files += 1;
                // sizes are anybody's word: the sum of a few hostile ones would overflow
                total.bytes = total.bytes.saturating_add(row.get::<_, i64>(3)?.unsigned_abs());
            }
            total.last = total.last.max(Stamp::from_bytes(row.get(4)?));
        }
        Ok(totals)
    }

    /// Which boxes hold the content `sha1` at any path, forgotten ones too; a box once for each path.
    /// Quick after [`Sqlite::index_contents`].
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn boxes_with(&self, ftype: Ftype, sha1: Sha1) -> Result<Vec<BoxId>> {
        let sql = "SELECT box FROM entries WHERE sha1 = ?1 AND ftype = ?2 AND present AND NOT purged";
        let mut statement = self.connection.prepare_cached(sql)?;
        let ids = statement.query_map(params![sha1.0, ftype_number(ftype)], |r| Ok(BoxId(r.get(0)?)))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    }
}
