//! Putting documents: the merge rule, in one transaction a batch.

use anyhow::{Context, Result, bail, ensure};
use rusqlite::{CachedStatement, Connection, OptionalExtension, TransactionBehavior, params};

use super::changes::begin_era;
use super::columns::{ENTRY_COLUMNS, MARK_COLUMNS, entry_of, ftype_number, mark_of};
use super::sqlite::{self, Sqlite};
use super::{Origin, Outcome};
use crate::path::SpacePath;
use crate::record::{Document, Entry, Extra, Fields, Mark, Other, Want};
use crate::stamp::{Stamp, random_id};

/// See [`super::Index::put`].
pub(super) fn put(index: &mut Sqlite, documents: &[Document], origin: Origin) -> Result<Vec<Outcome>> {
    let transaction = index.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut batch = Batch {
        connection: &transaction,
        upsert: transaction.prepare_cached(UPSERT)?,
        seq: sqlite::meta(&transaction, "seq")?.unwrap_or(0),
        stamp: sqlite::last_stamp(&transaction)?,
        folder: (Vec::new(), None),
        boxes: Vec::new(),
        origin,
    };
    let before = batch.seq;
    let mut outcomes = Vec::with_capacity(documents.len());
    for document in documents {
        outcomes.push(batch.put(document).with_context(|| document.id())?);
    }
    batch.finish()?;
    let after = batch.seq;
    drop(batch);
    // what somebody else wrote, or put in the place of this index, lies in between
    let (first, last) = index.last_put;
    if after > before && (first == last || last != before.unsigned_abs()) {
        begin_era(&transaction, before + 1)?;
    }
    transaction.commit()?;
    index.last_put = (before.unsigned_abs(), after.unsigned_abs());
    Ok(outcomes)
}

/// Writes an entry where there is none, an older one, or (`?25`) whatever is there.
const UPSERT: &str =
    "INSERT INTO entries VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24)
     ON CONFLICT (folder, name, box) DO UPDATE SET ftype=?4, present=?5, purged=?6, size=?7, mtime=?8, mtime_nsec=?9, mode=?10,
     sha1=?11, commits=?12, version=?13, stamp=?14, seq=?15, ino=?16, ctime=?17, ctime_nsec=?18, dev=?19, racy=?20,
     mime=?21, target=?22, moved=?23, extra=?24 WHERE ?25 OR ?14 > stamp";

/// What a batch keeps at hand between documents.
struct Batch<'a> {
    connection: &'a Connection,
    /// [`UPSERT`], which nearly every document needs.
    upsert: CachedStatement<'a>,
    seq: i64,
    stamp: Stamp,
    /// The folder used last: documents come sorted, so this one is mostly the next one's too.
    folder: (Vec<u8>, Option<i64>),
    boxes: Vec<Known>,
    origin: Origin,
}

/// A box that this batch has met.
struct Known {
    name: String,
    id: i64,
    commits: u64,
    /// Somebody else wrote for this box, which is this index's own.
    foreign: bool,
}

impl Batch<'_> {
    fn put(&mut self, document: &Document) -> Result<Outcome> {
        let outcome = match document {
            Document::Entry(entry) => self.put_entry(entry)?,
            Document::Mark(mark) => self.put_mark(mark)?,
            Document::Space(fields) => self.put_space(fields)?,
            Document::Box(name, fields) => {
                self.box_at(name)?;
                self.put_fields(name, fields, |f| Document::Box(name.clone(), f))?
            }
            Document::Other(other) => self.put_other(other)?,
        };
        self.stamp = self.stamp.max(document.stamp());
        Ok(outcome)
    }

    fn cached(&self, sql: &str) -> Result<CachedStatement<'_>> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    fn put_entry(&mut self, entry: &Entry) -> Result<Outcome> {
        ensure!(!entry.path.is_root(), "an entry is not for /");
        let folder = self.folder_id(entry.path.split().0)?;
        let at = self.box_at(&entry.box_name)?;
        let box_id = self.boxes[at].id;
        let mut written = self.upsert_entry(entry, folder, box_id, false)?;
        let mut same = false;
        if !written && let Some(old) = self.old_entry(entry, folder, box_id)? {
            let new = Entry { local: None, ..entry.clone() };
            if old.stamp == new.stamp {
                same = old == new;
                let greater = !same && Document::Entry(new).canonical() > Document::Entry(old).canonical();
                written = greater && self.upsert_entry(entry, folder, box_id, true)?;
            }
        }
        if same && self.origin == Origin::Here {
            self.update_local(entry, folder, box_id)?;
        }
        if written {
            let known = &mut self.boxes[at];
            known.commits = known.commits.max(entry.commit);
            known.foreign |= self.origin == Origin::Elsewhere;
        }
        Ok(if written {
            Outcome::Written
        } else if same {
            Outcome::Unchanged
        } else {
            Outcome::Older
        })
    }

    /// Writes the entry where there is none, an older one, or (`force`) whatever is there. Local facts
    /// of a document that somebody else wrote are gone afterwards: the file is suspect.
    fn upsert_entry(&mut self, entry: &Entry, folder: i64, box_id: i64, force: bool) -> Result<bool> {
        let (a, local) = (&entry.attrs, entry.local.as_ref().filter(|_| self.origin == Origin::Here));
        let seq = self.seq + 1;
        let changed = self.upsert.execute(params![
            folder,
            entry.path.name(),
            box_id,
            ftype_number(a.ftype),
            entry.present,
            entry.purged,
            a.size.cast_signed(),
            a.mtime,
            a.mtime_nsec,
            a.mode.0,
            a.sha1.map(|s| s.0),
            entry.commit.cast_signed(),
            entry.version.to_bytes(),
            entry.stamp.to_bytes(),
            seq,
            local.map(|l| l.ino.cast_signed()),
            local.map(|l| l.ctime),
            local.map(|l| l.ctime_nsec),
            local.map(|l| l.dev.cast_signed()),
            local.map(|l| l.racy),
            a.mime,
            a.target,
            entry.moved.as_ref().map(SpacePath::key),
            extra_text(&entry.extra)?,
            force,
        ])?;
        if changed > 0 {
            self.seq = seq;
        }
        Ok(changed > 0)
    }

    fn old_entry(&self, entry: &Entry, folder: i64, box_id: i64) -> Result<Option<Entry>> {
        let sql = format!(
            "SELECT {ENTRY_COLUMNS} FROM entries e JOIN folders f ON f.id = e.folder JOIN boxes b ON b.id = e.box
             WHERE e.folder = ?1 AND e.name = ?2 AND e.box = ?3"
        );
        let mut statement = self.cached(&sql)?;
        let old = statement.query_row(params![folder, entry.path.name(), box_id], |r| Ok(entry_of(r))).optional()?;
        Ok(old.transpose()?.map(|e| Entry { local: None, ..e }))
    }

    fn update_local(&self, entry: &Entry, folder: i64, box_id: i64) -> Result<()> {
        let Some(local) = &entry.local else { return Ok(()) };
        let mut statement = self.cached(
            "UPDATE entries SET ino=?4, ctime=?5, ctime_nsec=?6, dev=?7, racy=?8 WHERE folder=?1 AND name=?2 AND box=?3",
        )?;
        statement.execute(params![
            folder,
            entry.path.name(),
            box_id,
            local.ino.cast_signed(),
            local.ctime,
            local.ctime_nsec,
            local.dev.cast_signed(),
            local.racy
        ])?;
        Ok(())
    }

    fn put_mark(&mut self, mark: &Mark) -> Result<Outcome> {
        let at = self.box_at(&mark.box_name)?;
        let box_id = self.boxes[at].id;
        let sql = format!("SELECT {MARK_COLUMNS} FROM marks m JOIN boxes b ON b.id = m.box WHERE m.box = ?1 AND m.key = ?2");
        let old = self.cached(&sql)?.query_row(params![box_id, mark.path.key()], |r| Ok(mark_of(r))).optional()?.transpose()?;
        let verdict = compare(mark.stamp, old.as_ref().map(|o| o.stamp), || {
            let (new, old) = (Document::Mark(mark.clone()), old.clone().map(Document::Mark));
            old.map_or(std::cmp::Ordering::Greater, |o| new.canonical().cmp(&o.canonical()))
        });
        if verdict == Outcome::Written {
            self.seq += 1;
            let want = match mark.want {
                Want::Want => 0,
                Want::Skip => 1,
                Want::Cleared => 2,
            };
            let mut statement = self.cached("INSERT OR REPLACE INTO marks VALUES (?1,?2,?3,?4,?5,?6,?7,?8)")?;
            statement.execute(params![
                box_id,
                mark.path.key(),
                want,
                mark.seen.cast_signed(),
                mark.alone,
                mark.stamp.to_bytes(),
                self.seq,
                extra_text(&mark.extra)?
            ])?;
        }
        Ok(verdict)
    }

    /// The uuid of a space never changes: another one is another space, and nothing of it gets in.
    fn put_space(&mut self, fields: &Fields) -> Result<Outcome> {
        if let Some(old) = self.old_json("space")? {
            let Document::Space(old) = Document::from_json(&old)? else { bail!("the index is damaged: no space") };
            if old.text("uuid") != fields.text("uuid") {
                bail!(
                    "another space: uuid {} here, {} there",
                    old.text("uuid").unwrap_or("-"),
                    fields.text("uuid").unwrap_or("-")
                );
            }
        }
        self.put_fields("space", fields, Document::Space)
    }

    fn put_fields(&mut self, id: &str, fields: &Fields, document: impl Fn(Fields) -> Document) -> Result<Outcome> {
        let old = match self.old_json(id)? {
            Some(json) => match Document::from_json(&json)? {
                Document::Space(fields) | Document::Box(_, fields) => fields,
                // one of an unknown type had taken the name
                _ => Fields::default(),
            },
            None => Fields::default(),
        };
        let mut merged = old.clone();
        if !merged.merge(fields) {
            return Ok(if merged == *fields { Outcome::Unchanged } else { Outcome::Older });
        }
        let stamp = merged.stamp();
        self.write_json(id, stamp, &document(merged).canonical())?;
        Ok(Outcome::Written)
    }

    fn put_other(&mut self, other: &Other) -> Result<Outcome> {
        let old = self.old_json(&other.id)?.map(|j| Document::from_json(&j)).transpose()?;
        // whatever order they come in, the known one stays
        let taken = other.id == "space" || matches!(old, Some(Document::Space(_) | Document::Box(..)));
        if taken {
            return Ok(Outcome::Older);
        }
        let new = Document::Other(other.clone()).canonical();
        let verdict = compare(other.stamp, old.as_ref().map(Document::stamp), || {
            old.as_ref().map_or(std::cmp::Ordering::Greater, |o| new.cmp(&o.canonical()))
        });
        if verdict == Outcome::Written {
            self.write_json(&other.id, other.stamp, &new)?;
        }
        Ok(verdict)
    }

    fn old_json(&self, id: &str) -> Result<Option<String>> {
        Ok(self.cached("SELECT json FROM documents WHERE id = ?1")?.query_row([id], |r| r.get(0)).optional()?)
    }

    fn write_json(&mut self, id: &str, stamp: Stamp, json: &str) -> Result<()> {
        self.seq += 1;
        let mut statement = self.cached("INSERT OR REPLACE INTO documents VALUES (?1,?2,?3,?4)")?;
        statement.execute(params![id, stamp.to_bytes(), self.seq, json])?;
        Ok(())
    }

    fn folder_id(&mut self, key: &[u8]) -> Result<i64> {
        if let (last, Some(id)) = &self.folder
            && last == key
        {
            return Ok(*id);
        }
        let found = self.cached("SELECT id FROM folders WHERE key = ?1")?.query_row([key], |r| r.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => {
                self.cached("INSERT INTO folders (key) VALUES (?1)")?.execute([key])?;
                self.connection.last_insert_rowid()
            }
        };
        self.folder = (key.to_vec(), Some(id));
        Ok(id)
    }

    fn box_at(&mut self, name: &str) -> Result<usize> {
        if let Some(at) = self.boxes.iter().position(|b| b.name == name) {
            return Ok(at);
        }
        self.cached("INSERT OR IGNORE INTO boxes (name) VALUES (?1)")?.execute([name])?;
        let (id, commits): (i64, i64) =
            self.cached("SELECT id, commits FROM boxes WHERE name = ?1")?.query_row([name], |r| Ok((r.get(0)?, r.get(1)?)))?;
        self.boxes.push(Known { name: name.to_owned(), id, commits: commits.unsigned_abs(), foreign: false });
        Ok(self.boxes.len() - 1)
    }

    fn finish(&self) -> Result<()> {
        sqlite::set_meta(self.connection, "seq", self.seq)?;
        self.cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('clock', ?1)")?.execute([self.stamp.to_bytes()])?;
        for known in &self.boxes {
            self.cached("UPDATE boxes SET commits = max(commits, ?2) WHERE id = ?1")?
                .execute(params![known.id, known.commits.cast_signed()])?;
            if known.foreign {
                self.cached("UPDATE own SET actor = ?2 WHERE box = ?1")?.execute(params![known.id, random_id()])?;
            }
        }
        Ok(())
    }
}

/// The merge rule: the greater stamp, of equal ones what `tie` says.
fn compare(new: Stamp, old: Option<Stamp>, tie: impl FnOnce() -> std::cmp::Ordering) -> Outcome {
    use std::cmp::Ordering::{Equal, Greater, Less};
    match old.map_or(Greater, |o| new.cmp(&o).then_with(tie)) {
        Greater => Outcome::Written,
        Equal => Outcome::Unchanged,
        Less => Outcome::Older,
    }
}

fn extra_text(extra: &Extra) -> Result<Option<String>> {
    if extra.is_empty() { Ok(None) } else { Ok(Some(serde_json::to_string(extra)?)) }
}
