//! A page of what an index has in one folder, as it was read: names and version vectors in one piece of memory,
//! and nothing made of a row before somebody asks for it.
//!
//! Nearly all that `ltr status` reads is as it was. To make a path, a vector and a list of rows of each of
//! 200,000 files before that was known took half of the time that the index took.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;

use anyhow::{Context, Result};
use rusqlite::types::ValueRef;
use rusqlite::{Row as SqlRow, Rows};

use super::boxes::BoxId;
use super::columns::{ftype_of, version_of};
use super::row::{Group, Looks, Row, Vouch};
use crate::path::{SEPARATOR, SpacePath};
use crate::record::{Mode, Sha1};
use crate::stamp::Stamp;

/// The columns of a row here.
pub(super) const ROW_COLUMNS: &str = "name, box, ftype, present, purged, size, mtime, mtime_nsec, mode, sha1, commits, version, stamp, ino, ctime, ctime_nsec, racy";

/// Paths of one folder in their order, each with its rows.
#[derive(Debug, Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    rows: Vec<Raw>,
    paths: VecDeque<PathRows>,
}

/// The rows of one path.
#[derive(Clone, Debug)]
struct PathRows {
    name: Range<usize>,
    rows: Range<usize>,
}

/// A row whose version vector is still bytes.
#[derive(Clone, Debug)]
struct Raw {
    box_id: BoxId,
    present: bool,
    purged: bool,
    looks: Looks,
    commit: u64,
    version: Range<usize>,
    stamp: Stamp,
}

impl Page {
    /// Leaves nothing to come.
    pub(super) fn clear(&mut self) {
        self.paths.clear();
    }

    /// Adds rows of [`ROW_COLUMNS`], sorted by name and box, and returns their number.
    pub(super) fn read(&mut self, rows: &mut Rows<'_>) -> Result<usize> {
        if self.paths.is_empty() {
            self.bytes.clear();
            self.rows.clear();
        }
        let before = self.rows.len();
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_blob()?;
            let raw = raw_of(row, &mut self.bytes)?;
            self.rows.push(raw);
            match self.paths.back_mut() {
                Some(last) if self.bytes[last.name.clone()] == *name => last.rows.end += 1,
                _ => {
                    let name = kept(&mut self.bytes, name);
                    self.paths.push_back(PathRows { name, rows: self.rows.len() - 1..self.rows.len() });
                }
            }
        }
        Ok(self.rows.len() - before)
    }

    /// How many paths there are.
    pub(super) fn len(&self) -> usize {
        self.paths.len()
    }

    /// The last name.
    pub(super) fn last_name(&self) -> Option<&[u8]> {
        self.paths.back().map(|path| &self.bytes[path.name.clone()])
    }

    /// Drops the last path.
    pub(super) fn drop_last(&mut self) {
        self.paths.pop_back();
    }

    /// How many of the paths come before the folder with the key `other`; of all, this is the page of the
    /// folder with the key `folder`.
    pub(super) fn before(&self, folder: &[u8], other: &[u8]) -> usize {
        self.paths.partition_point(|path| order(folder, &self.bytes[path.name.clone()], other) != Ordering::Greater)
    }

    /// Adds a group, when the page is empty.
    pub(super) fn only(&mut self, group: &Group) {
        *self = Self::default();
        for row in &group.rows {
            let version = kept(&mut self.bytes, &row.version.to_bytes());
            let Row { box_id, present, purged, commit, stamp, .. } = *row;
            self.rows.push(Raw { box_id, present, purged, looks: row.looks(), commit, version, stamp });
        }
        let name = kept(&mut self.bytes, group.path.name());
        self.paths.push_back(PathRows { name, rows: 0..self.rows.len() });
    }

    /// Takes the first path.
    pub(super) fn pop(&mut self, folder: &SpacePath) -> Result<Option<Group>> {
        let Some(path) = self.paths.pop_front() else { return Ok(None) };
        let rows = self.rows[path.rows].iter().map(|raw| self.row(raw)).collect::<Result<_>>()?;
        Ok(Some(Group { path: folder.join(&self.bytes[path.name])?, rows }))
    }

    /// Drops the first path.
    pub(super) fn pass(&mut self) {
        self.paths.pop_front();
    }

    /// What `me` has at the first path, when that is `name`, and it and all others that have something there
    /// hold the same version of the same.
    pub(super) fn alike(&self, name: &[u8], me: BoxId) -> Option<&Looks> {
        let path = self.paths.front().filter(|path| self.bytes[path.name.clone()] == *name)?;
        let rows = &self.rows[path.rows.clone()];
        let first = rows.first()?;
        let held = |raw: &Raw| raw.present && !raw.purged;
        let same = |raw: &Raw| {
            let version = self.bytes[raw.version.clone()] == self.bytes[first.version.clone()];
            held(raw) && raw.looks.content() == first.looks.content() && raw.looks.mode == first.looks.mode && version
        };
        let alike = held(first) && rows[1..].iter().all(same);
        rows.iter().find(|raw| alike && raw.box_id == me).map(|raw| &raw.looks)
    }

    fn row(&self, raw: &Raw) -> Result<Row> {
        let Looks { ftype, size, mtime, mode, sha1, vouch } = raw.looks;
        let version = version_of(&self.bytes[raw.version.clone()])?;
        let Raw { box_id, present, purged, commit, stamp, .. } = *raw;
        Ok(Row { box_id, ftype, present, purged, size, mtime, mode, sha1, commit, version, stamp, vouch })
    }
}

/// Reads a row of [`ROW_COLUMNS`].
pub(super) fn row_of(row: &SqlRow<'_>) -> Result<Row> {
    let mut page = Page::default();
    let raw = raw_of(row, &mut page.bytes)?;
    page.row(&raw)
}

fn raw_of(row: &SqlRow<'_>, bytes: &mut Vec<u8>) -> Result<Raw> {
    let number = |at| Ok::<_, anyhow::Error>(row.get_ref(at)?.as_i64()?);
    let nanoseconds = |at| Ok::<_, anyhow::Error>(u32::try_from(number(at)?)?);
    let vouch = match row.get_ref(13)? {
        ValueRef::Null => None,
        ino => {
            let ctime = (number(14)?, nanoseconds(15)?);
            Some(Vouch { ino: ino.as_i64()?.cast_unsigned(), ctime, racy: number(16)? != 0 })
        }
    };
    let looks = Looks {
        ftype: ftype_of(number(2)?)?,
        size: number(5)?.unsigned_abs(),
        mtime: (number(6)?, nanoseconds(7)?),
        mode: Mode::new(u32::try_from(number(8)?)?),
        sha1: row.get_ref(9)?.as_blob_or_null()?.map(<[u8; 20]>::try_from).transpose()?.map(Sha1),
        vouch,
    };
    let stamp = <[u8; 12]>::try_from(row.get_ref(12)?.as_blob()?).context("the index is damaged: a stamp")?;
    Ok(Raw {
        box_id: BoxId(number(1)?),
        present: number(3)? != 0,
        purged: number(4)? != 0,
        looks,
        commit: number(10)?.unsigned_abs(),
        version: kept(bytes, row.get_ref(11)?.as_blob()?),
        stamp: Stamp::from_bytes(stamp),
    })
}

fn kept(bytes: &mut Vec<u8>, more: &[u8]) -> Range<usize> {
    let start = bytes.len();
    bytes.extend_from_slice(more);
    start..bytes.len()
}

/// How the path of `name` in the folder with the key `folder` lies to that with the key `other`.
fn order(folder: &[u8], name: &[u8], other: &[u8]) -> Ordering {
    let Some((above, rest)) = other.split_at_checked(folder.len()) else { return folder.cmp(other) };
    let in_folder = || match rest.split_first() {
        _ if folder.is_empty() => name.cmp(rest),
        None => Ordering::Greater,
        Some((first, rest)) => SEPARATOR.cmp(first).then_with(|| name.cmp(rest)),
    };
    folder.cmp(above).then_with(in_folder)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_lie_as_their_paths_do(folder in "[ab/]{0,4}", name in "[ab]{1,3}", other in "[ab/]{0,5}") {
            let (folder, other) = (SpacePath::from_relative(folder.as_bytes()), SpacePath::from_relative(other.as_bytes()));
            if let (Ok(folder), Ok(other)) = (folder, other) {
                let path = folder.join(name.as_bytes()).unwrap();
                prop_assert_eq!(order(folder.key(), name.as_bytes(), other.key()), path.cmp(&other));
            }
        }
    }
}
