//! Renames: one path gone and one new, the only two with that content; and folders that files went
//! from and to under the same names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;

use super::{Change, FileRecord, Ftype, Spooled, Sqlite};
use crate::path::SpacePath;

/// Pairs of offsets of held records, each way sorted.
#[derive(Debug, Default)]
pub(super) struct Renames {
    /// `(old, new)`, sorted by old.
    by_old: Vec<(u64, u64)>,
    /// `(new, old)`, sorted by new.
    by_new: Vec<(u64, u64)>,
}

impl Renames {
    /// Finds the renames among held records. `new` and `gone` have the fingerprints and offsets of
    /// non-empty files.
    pub(super) fn find(
        new: Vec<(u64, u64)>,
        gone: Vec<(u64, u64)>,
        folders_gone: bool,
        held: &mut Spooled,
        index: &Sqlite,
        box_name: &str,
    ) -> Result<Self> {
        let mut renames = Self::default();
        let new = only(new);
        for (print, old_at) in only(gone) {
            let Ok(found) = new.binary_search_by_key(&print, |n| n.0) else { continue };
            let (old, fresh) = (held.get(old_at)?, held.get(new[found].1)?);
            if old.sha1 == fresh.sha1 && old.ftype == fresh.ftype && !held_twice(&old, index, box_name)? {
                renames.by_old.push((old_at, new[found].1));
            }
        }
        if folders_gone && !renames.by_old.is_empty() {
            renames.add_folders(held)?;
        }
        renames.by_old.sort_unstable();
        renames.by_new = renames.by_old.iter().map(|&(old, new)| (new, old)).collect();
        renames.by_new.sort_unstable();
        Ok(renames)
    }

    pub(super) fn is_old(&self, at: u64) -> bool {
        self.by_old.binary_search_by_key(&at, |p| p.0).is_ok()
    }

    /// Where the record at `at`, which is the old name of something, went.
    pub(super) fn new_of(&self, at: u64, held: &mut Spooled) -> Result<Option<SpacePath>> {
        partner(&self.by_old, at, held)
    }

    /// Where the record at `at` came from, when it is the new name of something.
    pub(super) fn old_of(&self, at: u64, held: &mut Spooled) -> Result<Option<SpacePath>> {
        partner(&self.by_new, at, held)
    }

    /// Takes along the folders whose files went over under the same names, and what else in them is
    /// the same on both sides: copies of one content, and empty files.
    fn add_folders(&mut self, held: &mut Spooled) -> Result<()> {
        let mut moved: BTreeMap<SpacePath, Option<SpacePath>> = BTreeMap::new();
        for &(old, new) in &self.by_old {
            let (mut old, mut new) = (held.get(old)?.path, held.get(new)?.path);
            while old.name() == new.name()
                && let (Some(o), Some(n)) = (old.parent(), new.parent())
                && !o.is_root()
                && !n.is_root()
                && o != n
            {
                let target = moved.entry(o.clone()).or_insert_with(|| Some(n.clone()));
                if target.as_ref() != Some(&n) {
                    *target = None;
                }
                (old, new) = (o, n);
            }
        }
        self.match_below(&moved, held)
    }

    fn match_below(&mut self, moved: &BTreeMap<SpacePath, Option<SpacePath>>, held: &mut Spooled) -> Result<()> {
        let taken: BTreeSet<u64> = self.by_old.iter().flat_map(|&(old, new)| [old, new]).collect();
        let mut expected: HashMap<SpacePath, (u64, FileRecord)> = HashMap::new();
        let mut fresh: HashMap<SpacePath, (u64, FileRecord)> = HashMap::new();
        held.rewind()?;
        while let Some((at, record)) = held.next()? {
            if taken.contains(&at) {
                continue;
            }
            match record.change {
                Some(Change::Gone) => {
                    if let Some(target) = target_of(&record.path, moved) {
                        expected.insert(target, (at, record));
                    }
                }
                Some(Change::New) => {
                    fresh.insert(record.path.clone(), (at, record));
                }
                _ => {}
            }
        }
        for (target, (old_at, old)) in expected {
            if let Some((new_at, new)) = fresh.get(&target)
                && old.ftype == new.ftype
                && (old.ftype == Ftype::Dir || (old.sha1.is_some() && old.sha1 == new.sha1))
            {
                self.by_old.push((old_at, *new_at));
            }
        }
        Ok(())
    }
}

fn partner(pairs: &[(u64, u64)], at: u64, held: &mut Spooled) -> Result<Option<SpacePath>> {
    match pairs.binary_search_by_key(&at, |p| p.0) {
        Ok(found) => Ok(Some(held.get(pairs[found].1)?.path)),
        Err(_) => Ok(None),
    }
}

/// Where `path` went with the nearest folder above it that moved.
fn target_of(path: &SpacePath, moved: &BTreeMap<SpacePath, Option<SpacePath>>) -> Option<SpacePath> {
    let mut folder = Some(path.clone());
    while let Some(here) = folder {
        if let Some(target) = moved.get(&here) {
            return target.as_ref().and_then(|t| path.rebased(&here, t));
        }
        folder = here.parent();
    }
    None
}

/// Those whose fingerprint is the only one, sorted by it.
fn only(mut all: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    all.sort_unstable();
    all.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() == 1).map(|same| same[0]).collect()
}

/// Whether the box has the content at another path too, so that nobody can tell what was renamed.
fn held_twice(old: &FileRecord, index: &Sqlite, box_name: &str) -> Result<bool> {
    let (Some(sha1), Some(me)) = (old.sha1, index.boxes()?.by_name(box_name).map(|b| b.id)) else { return Ok(false) };
    let holders = index.holders(old.ftype, sha1)?;
    Ok(holders.iter().any(|(path, row)| row.box_id == me && *path != old.path))
}
