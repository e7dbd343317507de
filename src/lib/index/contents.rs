//! Who holds a content, at whatever path; and where things were moved to.

use std::sync::LazyLock;

use anyhow::Result;
use rusqlite::params;

use super::page::{ROW_COLUMNS, row_of};
use super::row::Row;
use super::sqlite::Sqlite;
use crate::path::SpacePath;
use crate::record::{Ftype, Sha1};

impl Sqlite {
    /// Every present row with the content `sha1`, in path order of its folders.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn holders(&self, ftype: Ftype, sha1: Sha1) -> Result<Vec<(SpacePath, Row)>> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                "SELECT {ROW_COLUMNS}, key FROM entries JOIN folders ON id = folder
                 WHERE sha1 = ?1 AND present AND NOT purged"
            )
        });
        let mut statement = self.connection.prepare_cached(&SQL)?;
        let mut found = statement.query([sha1.0])?;
        let mut holders = Vec::new();
        while let Some(sql_row) = found.next()? {
            let row = row_of(sql_row)?;
            if row.ftype == ftype {
                let folder = SpacePath::from_key(sql_row.get_ref(17)?.as_blob()?)?;
                let path = folder.join(sql_row.get_ref(0)?.as_blob()?)?;
                holders.push((folder, path, row));
            }
        }
        // most contents have a row or two, for which SQLite would make a sorter: a third of a plan
        holders.sort_by(|a, b| (a.0.key(), a.1.name(), a.2.box_id).cmp(&(b.0.key(), b.1.name(), b.2.box_id)));
        Ok(holders.into_iter().map(|(_, path, row)| (path, row)).collect())
    }

    /// Whether more than `count` rows, present or not, have the content `sha1`: a fifth of the time of
    /// [`Sqlite::holders`], since no row is looked at.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn has_more_than(&self, count: usize, sha1: Sha1) -> Result<bool> {
        let sql = "SELECT 1 FROM entries WHERE sha1 = ?1 LIMIT 1 OFFSET ?2";
        Ok(self.connection.prepare_cached(sql)?.exists(params![sha1.0, i64::try_from(count)?])?)
    }

    /// The paths whose purge says that they were renamed to `path`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn moved_to(&self, path: &SpacePath) -> Result<Vec<SpacePath>> {
        let sql = "SELECT key, name FROM entries JOIN folders ON id = folder WHERE moved = ?1 AND purged";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([path.key()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(SpacePath::from_key(row.get_ref(0)?.as_blob()?)?.join(row.get_ref(1)?.as_blob()?)?);
        }
        Ok(found)
    }

    /// Whether [`Sqlite::index_contents`] has nothing to do.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn has_content_index(&self) -> Result<bool> {
        let known = "SELECT 1 FROM sqlite_master WHERE name = 'entries_sha1'";
        Ok(self.connection.prepare_cached(known)?.exists([])?)
    }

    /// Makes the index on content, without which [`Sqlite::holders`] reads every row. Left out while
    /// the first files are loaded, where it would cost ten times what it costs afterwards.
    ///
    /// # Errors
    /// The index cannot be written; a read-only one is used without.
    pub fn index_contents(&self) -> Result<()> {
        if !self.has_content_index()? {
            self.connection.execute_batch("CREATE INDEX IF NOT EXISTS entries_sha1 ON entries (sha1)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::record::{Document, Ftype, Sha1};
    use crate::testing::{entry, index_of};

    #[test]
    fn rows_of_a_content_are_counted_as_far_as_is_asked() {
        let rows = [("x", "/a", 1), ("y", "/a", 1), ("x", "/d/b", 1), ("x", "/c", 2)];
        let documents = rows.map(|(name, path, tint)| Document::Entry(entry(name, path, 1, tint)));
        let (_dir, index) = index_of(&documents);
        // with the index on content and without
        for _ in 0..2 {
            let more = |count, tint| index.has_more_than(count, Sha1([tint; 20])).unwrap();
            assert!(more(2, 1) && !more(3, 1) && more(0, 2) && !more(1, 2) && !more(0, 3));
            assert_eq!(index.holders(Ftype::File, Sha1([1; 20])).unwrap().len(), 3);
            index.index_contents().unwrap();
        }
    }
}
