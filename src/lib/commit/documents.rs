//! The documents that record one change: entries with their next versions, and the marks that go along.

use anyhow::{Context, Result};

use super::out::Out;
use super::{Commit, still_purged};
use crate::chance::now;
use crate::index::groups::Row;
use crate::index::own::Own;
use crate::index::sqlite::{BoxId, Sqlite};
use crate::path::SpacePath;
use crate::record::{Change, Document, Entry, Extra, FileRecord, Ftype, Local, Mark, Mode, Want};
use crate::resolve::edited;
use crate::stamp::{Clock, random_id};
use crate::version::Version;
use crate::wants::Wants;

/// Who writes documents for a box.
#[derive(Clone, Debug)]
pub struct Author {
    /// Whose edits are counted, and up to which commit.
    pub own: Own,
    /// Issues the stamps.
    pub clock: Clock,
}

/// Makes documents, record by record.
pub(super) struct Documents<'a> {
    commit: &'a Commit,
    index: &'a Sqlite,
    author: Author,
    me: BoxId,
    wants: Wants<'a>,
    asked: SpacePath,
    /// The folder asked about last, and whether the index knows anything in it.
    folder: Option<(SpacePath, bool)>,
}

impl<'a> Documents<'a> {
    pub(super) fn new(commit: &'a Commit, index: &'a Sqlite, author: Author) -> Result<Self> {
        let boxes = index.boxes()?;
        let me = boxes.by_name(&commit.box_name).with_context(|| format!("no box {} in this index", commit.box_name))?.id;
        let wants = index.wants(&boxes, &commit.box_name)?;
        Ok(Self { commit, index, author, me, wants, asked: SpacePath::root(), folder: None })
    }

    /// A file that is new, modified, suspect or (named) purged.
    pub(super) fn changed(&mut self, record: &FileRecord, out: &mut dyn Out) -> Result<()> {
        if still_purged(self.commit, record) {
            return Ok(());
        }
        match record.change {
            Some(Change::New) => self.new_file(record, None, out),
            Some(Change::Modified) => self.modified(record, out),
            Some(Change::Suspect) => self.vouched(record, out),
            None if record.status.as_deref() == Some("p") && self.commit.is_named(&record.path) => self.resurrected(record, out),
            Some(Change::Gone) | None => Ok(()),
        }
    }

    /// The new name of something renamed.
    pub(super) fn renamed_here(&mut self, record: &FileRecord, old: &SpacePath, out: &mut dyn Out) -> Result<()> {
        self.new_file(record, Some(old.clone()), out)
    }

    fn new_file(&mut self, record: &FileRecord, renamed: Option<SpacePath>, out: &mut dyn Out) -> Result<()> {
        let rows = self.rows(&record.path)?;
        let mut version = if self.takes_no_note(record, &rows) {
            Version::of(random_id(), 1)
        } else {
            edited(&rows, self.me, self.author.own.actor, self.next_commit())
        };
        // whoever makes a file anew where the path was purged has seen the purge
        rows.iter().filter(|r| r.purged).for_each(|r| version.join(&r.version));
        let mut entry = self.entry(record, version, &rows)?;
        entry.local.get_or_insert_default().status = Some(if renamed.is_some() { "R" } else { "N" }.to_owned());
        entry.local.get_or_insert_default().renamed = renamed;
        self.put(Document::Entry(entry), out)?;
        self.clear_skip(record, out)
    }

    /// A new file under the name of one that this box had discarded, and that others still hold: its
    /// maker need not have thought of theirs, so both must survive.
    fn takes_no_note(&self, record: &FileRecord, rows: &[Row]) -> bool {
        let discarded = rows.iter().any(|r| r.box_id == self.me && !r.present && !r.purged);
        let content = (record.ftype, record.sha1);
        let others = rows.iter().any(|r| r.box_id != self.me && r.present && !r.purged && r.content() != content);
        discarded && others && !self.commit.is_named(&record.path)
    }

    /// What every box has at `path`. In a folder that the index does not know, that is nothing: two
    /// look-ups for each file of a new tree took a third of its commit.
    fn rows(&mut self, path: &SpacePath) -> Result<Vec<Row>> {
        let known = match &self.folder {
            Some((last, known)) if last.key() == path.split().0 => *known,
            _ => {
                let folder = path.parent().unwrap_or_default();
                let known = self.index.knows_in(&folder)?;
                self.folder = Some((folder, known));
                known
            }
        };
        if known { Ok(self.index.group(path)?.rows) } else { Ok(Vec::new()) }
    }

    fn modified(&mut self, record: &FileRecord, out: &mut dyn Out) -> Result<()> {
        let rows = self.index.group(&record.path)?.rows;
        let own = rows.iter().find(|r| r.box_id == self.me);
        let same_content = own.is_some_and(|o| o.content() == (record.ftype, record.sha1));
        let restored = own.is_some_and(|o| self.went_back(record, o))
            && !same_content
            && !self.commit.is_named(&record.path)
            && !self.had_elsewhere(record)?;
        let version = if restored {
            Version::of(random_id(), 1)
        } else {
            edited(&rows, self.me, self.author.own.actor, self.next_commit())
        };
        let mut entry = self.entry(record, version, &rows)?;
        if let Some(own) = own.filter(|_| same_content) {
            entry.commit = own.commit;
        }
        entry.local.get_or_insert_default().status = Some(record.status.clone().unwrap_or_else(|| "M".to_owned()));
        self.put(Document::Entry(entry), out)?;
        self.clear_skip(record, out)
    }

    /// A restored backup: older than what was here. Both must survive, so it is concurrent with all.
    fn went_back(&self, record: &FileRecord, own: &Row) -> bool {
        let mtime = (record.mtime, record.mtime_nsec);
        record.ftype != Ftype::Dir && mtime < own.mtime && !self.commit.fs.same_mtime(mtime, own.mtime)
    }

    /// Whether this is a file of this box from another path: names that were swapped are no backup. A backup
    /// of a content that is also elsewhere in the box is one all the same, and inodes tell them apart, where
    /// there are any.
    fn had_elsewhere(&self, record: &FileRecord) -> Result<bool> {
        let Some(sha1) = record.sha1 else { return Ok(false) };
        let inode = record.local.as_ref().map(|local| local.ino).filter(|_| self.commit.fs.stable_ids);
        let holders = self.index.holders(record.ftype, sha1)?;
        Ok(holders.iter().any(|(path, row)| {
            let same = inode.is_none() || row.vouch.map(|vouch| vouch.ino) == inode;
            row.box_id == self.me && *path != record.path && same
        }))
    }

    /// A suspect that a hash has cleared: the same document, or one with the new mtime at the same
    /// version, and fresh local facts.
    fn vouched(&mut self, record: &FileRecord, out: &mut dyn Out) -> Result<()> {
        let Some(mut entry) = self.index.entry(&self.commit.box_name, &record.path)? else { return Ok(()) };
        let cleared = record.sha1.is_some() && record.sha1 == entry.attrs.sha1;
        anyhow::ensure!(cleared, "{}: not hashed (is ltr-hash missing from the pipe?)", record.path);
        let mtime = (record.mtime, record.mtime_nsec);
        let same = self.commit.fs.same_mtime(mtime, (entry.attrs.mtime, entry.attrs.mtime_nsec));
        // a file system with 2 s granularity also shifts whole hours with the time zone
        if !same && self.commit.fs.granularity_ns < 2_000_000_000 {
            (entry.attrs.mtime, entry.attrs.mtime_nsec) = mtime;
            entry.stamp = self.author.clock.tick(now());
        }
        entry.local.clone_from(&record.local);
        out.document(Document::Entry(entry))
    }

    /// A purged copy that a person commits by name.
    fn resurrected(&mut self, record: &FileRecord, out: &mut dyn Out) -> Result<()> {
        let Some(mut entry) = self.index.entry(&self.commit.box_name, &record.path)? else { return Ok(()) };
        let rows = self.index.group(&record.path)?.rows;
        entry.version = crate::resolve::purged(&rows, self.author.own.actor, self.next_commit());
        (entry.purged, entry.moved, entry.commit) = (false, None, self.next_commit());
        let mut local = record.local.clone().unwrap_or_default();
        local.status = Some("N".to_owned());
        // nobody has looked into the file now: it was hashed when it was recorded
        local.racy = true;
        entry.local = Some(local);
        self.put(Document::Entry(entry), out)?;
        self.clear_skip(record, out)
    }

    /// A file that is gone: this box's copy is discarded, and not wanted here any more.
    pub(super) fn gone(&mut self, record: &FileRecord, out: &mut dyn Out) -> Result<()> {
        let Some(mut entry) = self.index.entry(&self.commit.box_name, &record.path)? else { return Ok(()) };
        let rows = self.index.group(&record.path)?.rows;
        entry.present = false;
        entry.local = Some(Local { status: record.status.clone(), ..Local::default() });
        // what was purged had to go, be it that somebody edited it meanwhile: nobody refused that edit. A pull
        // that was cut short leaves it so
        let purge = rows.iter().filter(|r| r.purged && r.version.includes(&entry.version)).max_by_key(|r| r.stamp);
        if let Some(purge) = purge {
            (entry.purged, entry.version) = (true, purge.version.clone());
            return self.put(Document::Entry(entry), out);
        }
        entry.commit = self.next_commit();
        let path = entry.path.clone();
        self.put(Document::Entry(entry), out)?;
        let seen = self.next_commit();
        self.put_mark(self.commit.box_name.clone(), path, Want::Skip, (seen, true), out)
    }

    /// The old name of something renamed: a purge that says where it went, so that other boxes move
    /// their copies. Marks go along.
    pub(super) fn renamed_away(&mut self, record: &FileRecord, new: Option<SpacePath>, out: &mut dyn Out) -> Result<()> {
        let Some(mut entry) = self.index.entry(&self.commit.box_name, &record.path)? else { return Ok(()) };
        let rows = self.index.group(&record.path)?.rows;
        entry.version = edited(&rows, self.me, self.author.own.actor, self.next_commit());
        (entry.present, entry.purged, entry.local) = (false, true, None);
        entry.commit = self.next_commit();
        entry.moved.clone_from(&new);
        self.put(Document::Entry(entry), out)?;
        let Some(new) = new else { return Ok(()) };
        for mark in self.index.marks_at(&record.path)? {
            if mark.want != Want::Cleared {
                self.put_mark(mark.box_name.clone(), new.clone(), mark.want, (mark.seen, mark.alone), out)?;
                self.put_mark(mark.box_name, record.path.clone(), Want::Cleared, (mark.seen, false), out)?;
            }
        }
        Ok(())
    }

    /// Committing a file clears a skip on its own path.
    fn clear_skip(&mut self, record: &FileRecord, out: &mut dyn Out) -> Result<()> {
        if record.path < self.asked {
            // held records come after the others: begin again
            self.wants = self.index.wants(&self.index.boxes()?, &self.commit.box_name)?;
        }
        self.asked.clone_from(&record.path);
        let intent = self.wants.at(&record.path, record.ftype)?;
        let own_skip = !intent.wanted && intent.mark.as_ref().is_some_and(|m| m.path == record.path);
        if !own_skip {
            return Ok(());
        }
        let seen = self.next_commit();
        self.put_mark(self.commit.box_name.clone(), record.path.clone(), Want::Cleared, (seen, false), out)
    }

    fn put_mark(
        &mut self,
        box_name: String,
        path: SpacePath,
        want: Want,
        (seen, alone): (u64, bool),
        out: &mut dyn Out,
    ) -> Result<()> {
        let stamp = self.author.clock.tick(now());
        out.document(Document::Mark(Mark { box_name, path, want, seen, alone, stamp, extra: Extra::new() }))
    }

    /// The number of the commit that is being made.
    fn next_commit(&self) -> u64 {
        self.author.own.commits + 1
    }

    /// The entry of what was seen on disk; what the file system cannot express is kept from before.
    fn entry(&self, record: &FileRecord, version: Version, rows: &[Row]) -> Result<Entry> {
        let old = match rows.iter().any(|r| r.box_id == self.me) {
            true => self.index.entry(&self.commit.box_name, &record.path)?,
            false => None,
        };
        let mut attrs = record.attrs();
        if record.mode.is_none() {
            let usual = Mode(if record.ftype == Ftype::Dir { 0o755 } else { 0o644 });
            attrs.mode = old.as_ref().filter(|o| o.attrs.ftype == record.ftype).map_or(usual, |o| o.attrs.mode);
        }
        let hashed = attrs.ftype == Ftype::Dir || attrs.sha1.is_some();
        anyhow::ensure!(hashed, "{}: not hashed (is ltr-hash missing from the pipe?)", record.path);
        Ok(Entry {
            box_name: self.commit.box_name.clone(),
            path: record.path.clone(),
            attrs,
            present: true,
            purged: false,
            moved: None,
            commit: self.next_commit(),
            version,
            stamp: crate::stamp::Stamp::default(),
            local: record.local.clone(),
            extra: old.map(|o| o.extra).unwrap_or_default(),
        })
    }

    fn put(&mut self, document: Document, out: &mut dyn Out) -> Result<()> {
        let stamp = self.author.clock.tick(now());
        let document = match document {
            Document::Entry(entry) => Document::Entry(Entry { stamp, ..entry }),
            other => other,
        };
        out.document(document)
    }
}
