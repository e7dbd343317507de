//! The join of what is on disk with what the index says: one pass over both in path order, from which
//! come the letters of `ltr status` and the changes that a commit records.
//!
//! Nothing is concluded about a path that was skipped or could not be read, nor about what lies below
//! it: absence is a conclusion too, so it is drawn only for what lstat says is not there.

pub(crate) mod letters;
mod stream;

use std::collections::VecDeque;

use anyhow::Result;

pub use self::stream::{Entries, compare_stream, compare_walk, differences};
use crate::boxfs::BoxRoot;
use crate::fsinfo::{self, FsTraits};
use crate::hash::sha1_of;
use crate::index::groups::{Group, Groups, Looks, Row};
use crate::index::seals::Clean;
use crate::index::settled;
use crate::index::sqlite::{BoxId, Boxes, Sqlite};
use crate::path::SpacePath;
use crate::record::{Attrs, Change, FileRecord, Ftype, Mode, Was};
use crate::resolve::{Decision, Heads, RULES, decide, kind};
use crate::scan::{Found, Item};
use crate::wants::{Intent, Wants};

/// Raised whenever a seal, or what it stands for beside [`RULES`], changes.
const SEALS: u32 = 1;

/// What to compare, and how.
#[derive(Clone, Debug)]
pub struct Compare {
    /// The box.
    pub box_name: String,
    /// Only at or below these paths; empty: everywhere.
    pub under: Vec<SpacePath>,
    /// Also what is in sync or skipped.
    pub all: bool,
    /// What the box's file system can express.
    pub fs: FsTraits,
    /// Leave in the index in which folders there was nothing to tell, for the next comparison.
    pub remember: bool,
}

/// Receives what differs.
pub type Differences<'a> = &'a mut dyn FnMut(Difference) -> Result<()>;

/// One result of the comparison.
#[allow(clippy::large_enum_variant, reason = "nearly all are records, and each is written at once")]
#[derive(Debug)]
pub enum Difference {
    /// A record with its letter.
    Record(FileRecord),
    /// What nothing could be concluded about, passed on.
    Unknown(Found),
}

/// Joins items, given in path order, with an index.
pub struct Comparer<'a> {
    index: &'a Sqlite,
    boxes: Boxes,
    me: BoxId,
    compare: Compare,
    wants: Wants<'a>,
    /// Confirms that a path is not there; none where the box cannot be looked at.
    root: Option<&'a BoxRoot>,
    groups: Option<Groups<'a>>,
    starts: VecDeque<SpacePath>,
    coming: Option<Group>,
    /// Nothing is concluded at or below this path.
    blind: Option<SpacePath>,
    /// A folder that is wanted whole: its line stands for all below.
    whole: Option<SpacePath>,
    /// What is to be remembered.
    clean: Clean,
    out: Differences<'a>,
}

impl<'a> Comparer<'a> {
    /// Begins a comparison.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn new(index: &'a Sqlite, compare: Compare, root: Option<&'a BoxRoot>, out: Differences<'a>) -> Result<Self> {
        let boxes = index.boxes()?;
        let me = boxes.by_name(&compare.box_name).map_or(BoxId(-1), |b| b.id);
        let wants = index.wants(&boxes, &compare.box_name)?;
        let mut starts = compare.under.clone();
        starts.sort();
        starts.dedup();
        if starts.is_empty() {
            starts.push(SpacePath::root());
        }
        let mut starts: VecDeque<_> = starts.into();
        let mut outer: Option<SpacePath> = None;
        starts.retain(|start| {
            let nested = outer.as_ref().is_some_and(|o| start.is_within(o));
            if !nested {
                outer = Some(start.clone());
            }
            !nested
        });
        Ok(Self {
            index,
            boxes,
            me,
            compare,
            wants,
            root,
            groups: None,
            starts,
            coming: None,
            blind: None,
            whole: None,
            clean: Clean::new(),
            out,
        })
    }

    /// The box, and the rules under which seals of its folders hold; none where they are not to be used. Inode numbers and
    /// ctimes that do not last are no seal, and where only parts are compared there is less to gain.
    pub fn seal_rules(&self) -> Option<(BoxId, String)> {
        let fit = self.compare.fs.stable_ids && !self.compare.all && self.starts.len() == 1;
        fit.then(|| (self.me, format!("{SEALS} {RULES} {} {:?}", self.boxes.rules_for(self.me), self.compare.fs)))
    }

    /// Takes the next thing that a scan found.
    ///
    /// # Errors
    /// The index cannot be read, or the differences cannot be passed on.
    pub fn found(&mut self, found: Found) -> Result<()> {
        match found {
            Found::Item(item) if self.passes(&item)? => Ok(()),
            Found::Item(item) => {
                self.catch_up(&item.path)?;
                let group = self.take_at(&item.path)?;
                self.on_disk(&item, group.as_ref())
            }
            Found::Skipped { ref path, .. } | Found::Failed { ref path, .. } => {
                let path = path.clone();
                self.catch_up(&path)?;
                self.blind = Some(path);
                self.tell(Difference::Unknown(found))
            }
            Found::Unnamed { .. } => self.tell(Difference::Unknown(found)),
            Found::Folder { path, sealed: true, .. } => self.leave_out(&path),
            Found::Folder { path, seal, sealed: false } => {
                // the others are for the next comparison
                if self.compare.remember && self.clean.len() < settled::MOST {
                    self.clean.insert(path, seal);
                }
                Ok(())
            }
        }
    }

    /// Draws the conclusions about what no scan found. Only for a scan that was whole. Returns the folders
    /// in which there was nothing to tell.
    ///
    /// # Errors
    /// As [`Comparer::found`].
    pub fn finish(mut self) -> Result<Clean> {
        while let Some(group) = self.next_group()? {
            self.not_seen(&group)?;
        }
        Ok(self.clean)
    }

    /// Whether `item` is as it was, here and in all boxes that have it, so that there is nothing to tell: then the
    /// index's rows need not be made out.
    fn passes(&mut self, item: &Item) -> Result<bool> {
        let (Some(groups), None) = (&mut self.groups, &self.coming) else { return Ok(false) };
        if self.compare.all {
            return Ok(false);
        }
        let Some(own) = groups.alike_at(&item.path, self.me)? else { return Ok(false) };
        if change(item, Some(*own), &self.compare.fs).is_some() || self.wants.at(&item.path, item.ftype)?.skipped().is_some() {
            return Ok(false);
        }
        groups.pass();
        Ok(true)
    }

    /// Passes on what differs: the folder that it is in is not clean.
    fn tell(&mut self, difference: Difference) -> Result<()> {
        match &difference {
            Difference::Record(record) => self.not_clean(&record.path),
            Difference::Unknown(Found::Unnamed { folder, .. }) => drop(self.clean.remove(folder)),
            Difference::Unknown(Found::Skipped { path, .. } | Found::Failed { path, .. }) => {
                self.clean.remove(path);
                self.not_clean(path);
            }
            Difference::Unknown(Found::Item(_) | Found::Folder { .. }) => {}
        }
        (self.out)(difference)
    }

    fn not_clean(&mut self, path: &SpacePath) {
        if !self.clean.is_empty()
            && let Some(folder) = path.parent()
        {
            self.clean.remove(&folder);
        }
    }

    /// The scan passes over the files and folders directly in `folder`, and so does this.
    fn leave_out(&mut self, folder: &SpacePath) -> Result<()> {
        if self.groups.is_none() && !self.begin_next() {
            return Ok(());
        }
        if let Some(groups) = &mut self.groups
            && !groups.leave_out(folder)?
        {
            self.catch_up(folder)?;
            if let Some(groups) = &mut self.groups {
                groups.leave_out(folder)?;
            }
        }
        self.coming.take_if(|group| group.path.parent().is_some_and(|parent| parent == *folder));
        Ok(())
    }

    /// Turns to the next start; false when there is none.
    fn begin_next(&mut self) -> bool {
        self.groups = self.starts.pop_front().map(|start| self.index.groups(&start));
        self.groups.is_some()
    }

    /// Deals with everything that the index has before `path`.
    fn catch_up(&mut self, path: &SpacePath) -> Result<()> {
        while let Some(group) = self.next_group()? {
            if group.path >= *path {
                self.coming = Some(group);
                break;
            }
            self.not_seen(&group)?;
        }
        Ok(())
    }

    fn take_at(&mut self, path: &SpacePath) -> Result<Option<Group>> {
        if let Some(group) = self.next_group()? {
            if group.path == *path {
                return Ok(Some(group));
            }
            self.coming = Some(group);
        }
        Ok(None)
    }

    fn next_group(&mut self) -> Result<Option<Group>> {
        if let Some(group) = self.coming.take() {
            return Ok(Some(group));
        }
        loop {
            if let Some(groups) = &mut self.groups
                && let Some(group) = groups.next()?
            {
                return Ok(Some(group));
            }
            if !self.begin_next() {
                return Ok(None);
            }
        }
    }

    fn on_disk(&mut self, item: &Item, group: Option<&Group>) -> Result<()> {
        let rows = group.map_or(&[][..], |g| g.rows.as_slice());
        let own = rows.iter().find(|r| r.box_id == self.me);
        let intent = self.wants.at(&item.path, item.ftype)?;
        let held = own.filter(|r| r.present).map(Row::looks);
        let change = change(item, held, &self.compare.fs);
        let decision = decide(rows, self.me, &intent, |id| self.boxes.counts(id));
        let purged_content = if change == Some(Change::New) { self.purged_content(item, rows)? } else { None };
        let letter = letters::on_disk(change, &decision);
        if letter == letters::IN_SYNC && change.is_none() && !self.compare.all {
            return Ok(());
        }
        let mut record = item.clone().into_record(self.compare.fs.modes);
        if change == Some(Change::Suspect) {
            record.otherwise = Some(letters::unchanged(&decision).to_owned());
        }
        record.status = Some(letter.to_owned());
        record.change = change;
        record.was = own.filter(|r| r.present).map(was_of).or(purged_content);
        if item.ftype == Ftype::Symlink {
            record.sha1 = item.target.as_deref().map(sha1_of);
        }
        if change.is_none() {
            record.sha1 = own.and_then(|r| r.sha1);
        }
        self.tell(Difference::Record(record))
    }

    /// What was purged by name where a new file is: with that content it stays purged, which only a hash
    /// can tell. Boxes may have lost different contents to a purge: this box's own counts, and the latest,
    /// where they have the file's size. What went from here by a rename may come back.
    fn purged_content(&self, item: &Item, rows: &[Row]) -> Result<Option<Was>> {
        let purges = || rows.iter().filter(|r| r.purged && !r.present && r.size == item.size);
        let own = purges().find(|r| r.box_id == self.me);
        for purge in own.into_iter().chain(purges().max_by_key(|r| r.stamp)) {
            let Some(info) = self.boxes.by_id(purge.box_id) else { continue };
            if self.index.entry(&info.name, &item.path)?.is_none_or(|e| e.moved.is_none()) {
                return Ok(Some(was_of(purge)));
            }
        }
        Ok(None)
    }

    /// A path of the index that the scan did not come by.
    fn not_seen(&mut self, group: &Group) -> Result<()> {
        if self.blind.as_ref().is_some_and(|blind| group.path.is_within(blind)) {
            return Ok(());
        }
        let own = group.of(self.me);
        let ftype = kind(&group.rows, self.me, |id| self.boxes.counts(id));
        let intent = self.wants.at(&group.path, ftype)?;
        if let Some(own) = own.filter(|r| r.present) {
            return match self.is_gone(&group.path) {
                Ok(true) => self.gone(group, own),
                Ok(false) => {
                    self.not_clean(&group.path);
                    Ok(())
                }
                // whether it is still there cannot be told: that is no answer, and must not look like one
                Err(e) => self.tell(Difference::Unknown(Found::Failed { path: group.path.clone(), error: e.to_string() })),
            };
        }
        self.absent(group, &intent)
    }

    /// What lstat says is not there, in a folder that could be read. A scan may miss a file that is
    /// renamed while its folder is read, and passes over what has become ignored.
    fn is_gone(&self, path: &SpacePath) -> std::io::Result<bool> {
        self.root.map_or(Ok(true), |root| root.is_gone(path))
    }

    fn gone(&mut self, group: &Group, own: &Row) -> Result<()> {
        let mut record = self.record_of(group, own)?;
        let lost = own.ftype != Ftype::Dir && !own.purged && !self.held_elsewhere(group, own)?;
        record.status = Some(if lost { letters::LOST } else { letters::DISCARDED }.to_owned());
        record.change = Some(Change::Gone);
        record.was = Some(was_of(own));
        self.tell(Difference::Record(record))
    }

    /// Whether another box that counts has a copy of this content, at whatever path.
    fn held_elsewhere(&self, group: &Group, own: &Row) -> Result<bool> {
        let others = |row: &Row| row.box_id != self.me && row.present && !row.purged && self.boxes.counts(row.box_id);
        // everybody holds the empty content somewhere: of that, only this path counts
        let Some(sha1) = own.sha1.filter(|_| own.size > 0) else {
            return Ok(group.rows.iter().any(|row| others(row) && row.content() == own.content()));
        };
        for (path, row) in self.index.holders(own.ftype, sha1)? {
            if others(&row) && !self.is_going(&path, &row)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a copy elsewhere goes at its box's next pull, since it was purged or a newer edit replaces it.
    /// One that was renamed does not, nor one that a concurrent edit displaces.
    fn is_going(&self, path: &SpacePath, row: &Row) -> Result<bool> {
        let group = self.index.group(path)?;
        let heads = Heads::of(&group.rows, |id| self.boxes.counts(id));
        let Some(winner) = heads.winner() else { return Ok(false) };
        if !winner.purged {
            return Ok(!heads.have_content_of(row));
        }
        let Some(info) = self.boxes.by_id(winner.box_id) else { return Ok(false) };
        Ok(winner.version.includes(&row.version) && self.index.entry(&info.name, path)?.is_some_and(|e| e.moved.is_none()))
    }

    fn absent(&mut self, group: &Group, intent: &Intent) -> Result<()> {
        if self.whole.as_ref().is_some_and(|whole| group.path.is_within(whole)) {
            return Ok(());
        }
        let decision = decide(&group.rows, self.me, intent, |id| self.boxes.counts(id));
        let head = match decision {
            Decision::Fetch { head } => head,
            Decision::Skipped if self.compare.all => return self.put_absent(group, letters::SKIPPED, false),
            _ => return Ok(()),
        };
        let files_too = self.wants.at(&group.path, Ftype::File)?.wanted;
        let whole = head.ftype == Ftype::Dir && files_too && !self.wants.any_below(&group.path)?;
        if whole {
            self.whole = Some(group.path.clone());
        }
        self.put_absent(group, letters::wanted(intent), whole)
    }

    /// A record of what is not on disk, from what a box has.
    fn record_of(&self, group: &Group, row: &Row) -> Result<FileRecord> {
        let mut attrs = attrs_of(row);
        if row.ftype == Ftype::Symlink
            && let Some(info) = self.boxes.by_id(row.box_id)
        {
            attrs.target = self.index.entry(&info.name, &group.path)?.and_then(|e| e.attrs.target);
        }
        Ok(FileRecord::new(group.path.clone(), &attrs))
    }

    fn put_absent(&mut self, group: &Group, letter: &str, whole: bool) -> Result<()> {
        let heads = Heads::of(&group.rows, |id| self.boxes.counts(id));
        let Some(head) = heads.winner() else { return Ok(()) };
        let mut record = self.record_of(group, head)?;
        record.status = Some(letter.to_owned());
        record.whole = whole;
        self.tell(Difference::Record(record))
    }
}

/// How a file on disk differs from what its box's entry holds, if it does.
fn change(item: &Item, own: Option<Looks>, fs: &FsTraits) -> Option<Change> {
    let Some(own) = own else { return Some(Change::New) };
    if item.ftype != own.ftype || (fs.modes && item.ftype != Ftype::Symlink && item.mode != own.mode) {
        return Some(Change::Modified);
    }
    match item.ftype {
        Ftype::Dir => None,
        Ftype::Symlink => (item.target.as_deref().map(sha1_of) != own.sha1).then_some(Change::Modified),
        Ftype::File if item.size != own.size => Some(Change::Modified),
        Ftype::File => (!vouched(item, &own, fs)).then_some(Change::Suspect),
    }
}

/// Whether the file's looks prove that it has not changed since it was hashed.
fn vouched(item: &Item, own: &Looks, fs: &FsTraits) -> bool {
    let Some(vouch) = own.vouch else { return false };
    let now = fsinfo::Looks { mtime: (item.mtime, item.mtime_nsec), ino: item.ino, ctime: (item.ctime, item.ctime_nsec) };
    !vouch.racy && fs.same_looks(now, fsinfo::Looks { mtime: own.mtime, ino: vouch.ino, ctime: vouch.ctime })
}

fn was_of(row: &Row) -> Was {
    Was { ftype: row.ftype, size: row.size, sha1: row.sha1, mode: row.mode }
}

fn attrs_of(row: &Row) -> Attrs {
    Attrs {
        ftype: row.ftype,
        size: row.size,
        mtime: row.mtime.0,
        mtime_nsec: row.mtime.1,
        mode: Mode(row.mode.0),
        sha1: row.sha1,
        mime: None,
        target: None,
    }
}

#[cfg(test)]
mod tests;
