//! Folders in which a status need not look again.
//!
//! Whether there is anything to tell of the files in a folder follows from what lstat(2) says of them, from the rows
//! of that folder, and from what decides for the box at every path alike. So a status that had nothing to tell of a
//! folder leaves behind a seal, the hash of what it saw there, and up to where it had read the index.
//! As long as no row of that folder was written since, the same sight means the same, and neither need the rows be read
//! nor the files be told one by one.
//!
//! Measured on 200,000 files in 4,000 folders: a comparison takes 0.19 s instead of 0.28 s, and of processor time outside
//! of the kernel 0.05 s instead of 0.19 s.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, VecDeque};

use anyhow::Result;
use rusqlite::{Transaction, TransactionBehavior, params};

use super::settled::MOST;
use super::sqlite::{BoxId, Sqlite};
use crate::path::SpacePath;
use crate::record::Sha1;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS sealed (box INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rules TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS seals (
  box INTEGER NOT NULL, folder INTEGER NOT NULL, seal BLOB NOT NULL,
  PRIMARY KEY (box, folder)) STRICT, WITHOUT ROWID;
";

/// The tables that [`Sqlite::set_seals`] makes.
pub(super) const TABLES: [&str; 2] = ["sealed", "seals"];

/// Seals read at once.
const PAGE: usize = 1024;

/// Folders in which there was nothing to tell, with their seals.
pub type Clean = HashMap<SpacePath, Sha1>;

/// The seals of a box that hold, asked for in path order.
#[derive(Debug)]
pub struct Seals<'a> {
    index: &'a Sqlite,
    box_id: BoxId,
    /// Folders to come; without a seal where it holds no longer.
    page: VecDeque<(Vec<u8>, Option<Sha1>)>,
    /// Folders of which rows were written since.
    written: HashSet<i64>,
    no_more: bool,
}

impl Sqlite {
    /// The seals of a box that hold under `rules`; none where nothing is known.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn seals(&self, box_id: BoxId, rules: &str) -> Result<Seals<'_>> {
        let mut seals = Seals { index: self, box_id, page: VecDeque::new(), written: HashSet::new(), no_more: true };
        let Some(seq) = self.looked_up_to(TABLES[0], box_id, rules)? else { return Ok(seals) };
        let many = "SELECT 1 FROM entries WHERE seq > ?1 LIMIT 1 OFFSET ?2";
        seals.no_more = self.connection.prepare_cached(many)?.exists(params![seq, i64::try_from(MOST)?])?;
        if !seals.no_more {
            let mut statement = self.connection.prepare_cached("SELECT folder FROM entries WHERE seq > ?1")?;
            seals.written = statement.query_map([seq], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        }
        Ok(seals)
    }

    /// Remembers `new` seals of a status that read what was written up to `seq` under `rules`. Nobody is waited for:
    /// what is not remembered is looked at again.
    ///
    /// # Errors
    /// The index cannot be written, or is being written.
    pub fn set_seals(&self, box_id: BoxId, rules: &str, seq: u64, new: &Clean) -> Result<()> {
        self.without_waiting(|index| {
            let transaction = Transaction::new_unchecked(&index.connection, TransactionBehavior::Immediate)?;
            transaction.execute_batch(SCHEMA)?;
            // those that do not hold any more would seem to, with the new sequence number
            let before = index.looked_up_to(TABLES[0], box_id, rules)?;
            let sql =
                "DELETE FROM seals WHERE box = ?1 AND (?2 IS NULL OR folder IN (SELECT folder FROM entries WHERE seq > ?2))";
            transaction.prepare_cached(sql)?.execute(params![box_id.0, before])?;
            let sql = "INSERT OR REPLACE INTO seals SELECT ?1, id, ?3 FROM folders WHERE key = ?2";
            for (folder, seal) in new {
                transaction.prepare_cached(sql)?.execute(params![box_id.0, folder.key(), seal.0])?;
            }
            let sql = "INSERT OR REPLACE INTO sealed (box, seq, rules) VALUES (?1, ?2, ?3)";
            transaction.prepare_cached(sql)?.execute(params![box_id.0, i64::try_from(seq)?, rules])?;
            Ok(transaction.commit()?)
        })
    }
}

impl Seals<'_> {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.no_more && self.page.is_empty()
    }

    /// Whether `seal` is what `folder` was left with.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn has(&mut self, folder: &SpacePath, seal: &Sha1) -> Result<bool> {
        while !self.is_empty() {
            let Some((key, known)) = self.page.front() else {
                self.read_from(folder)?;
                continue;
            };
            match key.as_slice().cmp(folder.key()) {
                Ordering::Less => self.page.pop_front(),
                Ordering::Equal => return Ok(known.as_ref() == Some(seal)),
                Ordering::Greater => return Ok(false),
            };
        }
        Ok(false)
    }

    fn read_from(&mut self, folder: &SpacePath) -> Result<()> {
        let sql = "SELECT id, key, seal FROM folders CROSS JOIN seals ON folder = id AND box = ?1
             WHERE key >= ?2 ORDER BY key LIMIT ?3";
        let mut statement = self.index.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![self.box_id.0, folder.key(), i64::try_from(PAGE)?])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            count += 1;
            let seal = if self.written.contains(&row.get(0)?) { None } else { Some(Sha1(row.get(2)?)) };
            self.page.push_back((row.get(1)?, seal));
        }
        self.no_more = count < PAGE;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Index, Origin};
    use crate::record::{Document, Want};
    use crate::testing::{entry, mark, path};

    #[test]
    fn of_a_folder_that_is_left_out_only_what_is_in_its_folders_comes() {
        let mut index = Sqlite::in_memory().unwrap();
        let documents = ["/a/1", "/a/b/1", "/a/c", "/d/1", "/d/2", "/e"].map(|p| Document::Entry(entry("x", p, 1, 0)));
        index.put(&documents, Origin::Here).unwrap();
        // asked for before its rows are read, and in the midst of them
        for read in 0..3 {
            let mut groups = index.groups(&SpacePath::root());
            let mut come: Vec<String> = Vec::new();
            for _ in 0..read {
                come.extend(groups.next().unwrap().map(|group| group.path.to_string()));
            }
            // what is in the root comes first
            if read == 0 {
                assert!(!groups.leave_out(&path("/a")).unwrap());
                assert_eq!(groups.next().unwrap().unwrap().path, path("/a/1"));
            }
            for folder in ["/a", "/c", "/d"] {
                while !groups.leave_out(&path(folder)).unwrap() {
                    come.extend(groups.next().unwrap().map(|group| group.path.to_string()));
                }
            }
            while let Some(group) = groups.next().unwrap() {
                come.push(group.path.to_string());
            }
            let before = if read == 0 { &[][..] } else { &["/a/1"] };
            assert_eq!(come, [before, &["/a/b/1", "/e"]].concat(), "after {read}");
        }
    }

    #[test]
    fn a_seal_holds_until_a_row_of_its_folder_is_written() {
        let mut index = Sqlite::in_memory().unwrap();
        let documents = ["/a/1", "/b/1", "/b/c/1"].map(|p| Document::Entry(entry("x", p, 1, 0)));
        index.put(&documents, Origin::Here).unwrap();
        let me = index.boxes().unwrap().by_name("x").unwrap().id;
        let held = |index: &Sqlite, rules: &str| {
            let mut seals = index.seals(me, rules).unwrap();
            let mut holds = |folder: &&str| seals.has(&path(folder), &Sha1([1; 20])).unwrap();
            ["/a", "/a/x", "/b", "/b/c", "/nowhere"].into_iter().filter(&mut holds).collect::<Vec<_>>().join(" ")
        };
        let set = |index: &Sqlite, seq: u64, folders: &[&str]| {
            let seals = folders.iter().map(|f| (path(f), Sha1([1; 20]))).collect();
            index.set_seals(me, "r", seq, &seals).unwrap();
        };
        assert_eq!(held(&index, "r"), "");
        let before = index.seq().unwrap();
        set(&index, before, &["/a", "/b", "/b/c", "/nowhere"]);
        assert_eq!((held(&index, "r").as_str(), held(&index, "other").as_str()), ("/a /b /b/c", ""));
        index.put(&[Document::Entry(entry("y", "/b/2", 1, 0))], Origin::Elsewhere).unwrap();
        assert_eq!(held(&index, "r"), "/a /b/c");
        // of a status that had read the index before that
        set(&index, before, &["/b"]);
        assert_eq!(held(&index, "r"), "/a /b/c");
        set(&index, index.seq().unwrap(), &[]);
        assert_eq!(held(&index, "r"), "/a /b/c", "what did not hold is gone for good");
        set(&index, index.seq().unwrap(), &["/b"]);
        assert_eq!(held(&index, "r"), "/a /b /b/c");
        index.put(&[mark("x", "/a", Want::Skip)], Origin::Here).unwrap();
        assert_eq!(held(&index, "r"), "", "the box was marked");
        set(&index, index.seq().unwrap(), &["/a"]);
        assert_eq!(held(&index, "r"), "/a");
    }
}
