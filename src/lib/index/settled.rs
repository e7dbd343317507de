//! Where a plan for a box need not look again.
//!
//! Whether a box has something to do at a path follows from the rows of that path, from the box's marks and
//! policy, and from which boxes count. So a plan that has looked everywhere leaves behind up to where it had read
//! the index (a sequence number), and at which paths there was something to do. The next one looks at those and at
//! what was written since, and its time follows the change, not the space.

use std::time::Duration;

use anyhow::Result;
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};

use super::sqlite::{BUSY, BoxId, Sqlite};
use crate::path::SpacePath;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS settled (box INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rules TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS unsettled (
  box INTEGER NOT NULL, folder INTEGER NOT NULL, name BLOB NOT NULL,
  PRIMARY KEY (box, folder, name)) STRICT, WITHOUT ROWID;
";

/// The tables that [`Sqlite::set_settled`] makes.
pub(super) const TABLES: [&str; 2] = ["settled", "unsettled"];

/// Paths beyond which a list of them is not worth its memory (some ten MiB), and everything is looked at.
pub const MOST: usize = 100_000;

impl Sqlite {
    /// Up to where somebody who left word in `table` had read the index, if what was found then still holds for what
    /// was not written since: it was found under the same `rules`, and the box was not marked since.
    pub(super) fn looked_up_to(&self, table: &str, box_id: BoxId, rules: &str) -> Result<Option<i64>> {
        if !self.connection.table_exists(None, table)? {
            return Ok(None);
        }
        let sql = format!("SELECT seq FROM {table} WHERE box = ?1 AND rules = ?2");
        let seq: Option<i64> =
            self.connection.prepare_cached(&sql)?.query_row(params![box_id.0, rules], |r| r.get(0)).optional()?;
        let now = self.seq()?;
        let Some(seq) = seq.filter(|seq| u64::try_from(*seq).is_ok_and(|seq| seq <= now)) else { return Ok(None) };
        let marked = "SELECT 1 FROM marks WHERE seq > ?1 AND box = ?2";
        let marked = self.connection.prepare_cached(marked)?.exists(params![seq, box_id.0])?;
        Ok((!marked).then_some(seq))
    }

    /// Writes where nobody else is writing, and fails where somebody is.
    pub(super) fn without_waiting(&self, write: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.connection.busy_timeout(Duration::ZERO)?;
        let done = write(self);
        self.connection.busy_timeout(BUSY)?;
        done
    }

    /// The paths at which a plan for the box may find something to do, in path order; `None` where that is not
    /// known: no plan has looked everywhere under the same `rules`, the box was marked since, or they are too many.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn unsettled(&self, box_id: BoxId, rules: &str) -> Result<Option<Vec<SpacePath>>> {
        let Some(seq) = self.looked_up_to(TABLES[0], box_id, rules)? else { return Ok(None) };
        let sql = "SELECT key, name FROM
             (SELECT folder, name FROM entries WHERE seq > ?1 UNION ALL SELECT folder, name FROM unsettled WHERE box = ?2)
             JOIN folders ON id = folder LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![seq, box_id.0, i64::try_from(MOST)? + 1])?;
        let mut paths = Vec::new();
        while let Some(row) = rows.next()? {
            paths.push(SpacePath::from_key(row.get_ref(0)?.as_blob()?)?.join(row.get_ref(1)?.as_blob()?)?);
        }
        if paths.len() > MOST {
            return Ok(None);
        }
        paths.sort_unstable();
        paths.dedup();
        Ok(Some(paths))
    }

    /// Remembers that a plan for the box, which read what was written up to `seq` under `rules`, had nothing to do
    /// but at `paths`. Nobody is waited for: what is not remembered is looked at again.
    ///
    /// # Errors
    /// The index cannot be written, or is being written.
    pub fn set_settled(&self, box_id: BoxId, rules: &str, seq: u64, paths: &[SpacePath]) -> Result<()> {
        self.without_waiting(|index| index.write_settled(box_id, rules, seq, paths))
    }

    fn write_settled(&self, box_id: BoxId, rules: &str, seq: u64, paths: &[SpacePath]) -> Result<()> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        transaction.prepare_cached("DELETE FROM unsettled WHERE box = ?1")?.execute([box_id.0])?;
        // paths of one folder follow each other
        let mut last: Option<(SpacePath, Option<i64>)> = None;
        for path in paths {
            let Some(folder) = path.parent() else { continue };
            let known = last.take().filter(|(path, _)| *path == folder);
            let (folder, id) = match known {
                Some(known) => known,
                None => {
                    let sql = "SELECT id FROM folders WHERE key = ?1";
                    let id = transaction.prepare_cached(sql)?.query_row([folder.key()], |r| r.get(0)).optional()?;
                    (folder, id)
                }
            };
            if let Some(id) = id {
                let sql = "INSERT INTO unsettled VALUES (?1, ?2, ?3)";
                transaction.prepare_cached(sql)?.execute(params![box_id.0, id, path.name()])?;
            }
            last = Some((folder, id));
        }
        let sql = "INSERT OR REPLACE INTO settled (box, seq, rules) VALUES (?1, ?2, ?3)";
        transaction.prepare_cached(sql)?.execute(params![box_id.0, i64::try_from(seq)?, rules])?;
        Ok(transaction.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Index, Origin};
    use crate::plan::{Request, plan};
    use crate::reach::{Cost, Reach};
    use crate::record::{Document, Want};
    use crate::testing::{entry, mark, path};

    fn paths(paths: &[&str]) -> Vec<SpacePath> {
        paths.iter().map(|p| path(p)).collect()
    }

    fn index() -> Sqlite {
        let mut index = Sqlite::in_memory().unwrap();
        let documents = ["/a", "/a/b", "/a.c", "/d"].map(|p| Document::Entry(entry("x", p, 1, 0)));
        index.put(&documents, Origin::Here).unwrap();
        index
    }

    #[test]
    fn what_was_written_since_is_looked_at_with_what_was_left() {
        let mut index = index();
        let me = BoxId(7);
        assert_eq!(index.unsettled(me, "r").unwrap(), None, "no plan yet");
        index.set_settled(me, "r", index.seq().unwrap(), &paths(&["/d", "/a/b"])).unwrap();
        assert_eq!(index.unsettled(me, "r").unwrap(), Some(paths(&["/a/b", "/d"])));
        for path in ["/a.c", "/a", "/a/b"] {
            index.put(&[Document::Entry(entry("y", path, 2, 1))], Origin::Elsewhere).unwrap();
        }
        assert_eq!(index.unsettled(me, "r").unwrap(), Some(paths(&["/a", "/a/b", "/a.c", "/d"])), "in path order, each once");
        assert_eq!(index.unsettled(me, "other").unwrap(), None, "other rules");
        assert_eq!(index.unsettled(BoxId(8), "r").unwrap(), None, "another box");
        index.set_settled(me, "r", index.seq().unwrap(), &[]).unwrap();
        assert_eq!(index.unsettled(me, "r").unwrap(), Some(Vec::new()));
        index.set_settled(me, "r", index.seq().unwrap() + 1, &[]).unwrap();
        assert_eq!(index.unsettled(me, "r").unwrap(), None, "of an index that knew more");
    }

    #[test]
    fn a_mark_unsettles_its_own_box() {
        let mut index = index();
        let id = |index: &Sqlite, name: &str| index.boxes().unwrap().by_name(name).unwrap().id;
        index.put(&[Document::Entry(entry("y", "/e", 1, 0))], Origin::Here).unwrap();
        let (x, y) = (id(&index, "x"), id(&index, "y"));
        for me in [x, y] {
            index.set_settled(me, "r", index.seq().unwrap(), &[]).unwrap();
        }
        index.put(&[mark("x", "/a", Want::Want)], Origin::Here).unwrap();
        assert_eq!(index.unsettled(x, "r").unwrap(), None);
        assert_eq!(index.unsettled(y, "r").unwrap(), Some(Vec::new()));
    }

    #[test]
    fn a_plan_passes_over_what_is_settled_unless_it_is_whole() {
        let mut index = index();
        index.put(&[Document::Entry(entry("y", "/d", 1, 0))], Origin::Here).unwrap();
        let steps = |index: &Sqlite, whole: bool| {
            let reach = |_: &_| Reach { cost: Cost::Mounted, url: String::new() };
            let request =
                Request { box_name: "y".into(), under: Vec::new(), from: Vec::new(), reach: &reach, whole, remember: true };
            let mut out = Vec::new();
            plan(index, &request, &mut out).unwrap();
            String::from_utf8(out).unwrap().lines().count() - 1
        };
        let first = steps(&index, false);
        assert_eq!((first, steps(&index, false), steps(&index, true)), (3, 3, 3), "what is still to do is told again");
        // what no put did has no sequence number
        index
            .connection
            .execute("UPDATE entries SET present = 0 WHERE box = (SELECT id FROM boxes WHERE name = 'y')", [])
            .unwrap();
        assert_eq!((steps(&index, false), steps(&index, true)), (3, 4));
    }
}
