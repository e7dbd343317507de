//! What the boxes have at a path, as far as comparing and planning need it.

use super::boxes::BoxId;
use crate::path::SpacePath;
use crate::record::{Ftype, Mode, Sha1};
use crate::stamp::Stamp;
use crate::version::Version;

/// What one box has at a path, as far as comparing and planning need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub box_id: BoxId,
    /// Kind of file.
    pub ftype: Ftype,
    /// Whether the box holds it.
    pub present: bool,
    /// Whether this is a purge.
    pub purged: bool,
    /// Bytes.
    pub size: u64,
    /// Modification time as its creator recorded it, seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Permission bits.
    pub mode: Mode,
    /// Content hash.
    pub sha1: Option<Sha1>,
    /// The box's commit counter then.
    pub commit: u64,
    /// Which edit.
    pub version: Version,
    /// When written.
    pub stamp: Stamp,
    /// Local facts, of a box of this machine.
    pub vouch: Option<Vouch>,
}

/// Local facts that let a file pass as unchanged without hashing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vouch {
    /// Inode.
    pub ino: u64,
    /// Status change time, seconds and nanoseconds.
    pub ctime: (i64, u32),
    /// As young as its hash: vouches for nothing.
    pub racy: bool,
}

impl Row {
    /// What is compared: kind and hash.
    #[must_use]
    pub fn content(&self) -> (Ftype, Option<Sha1>) {
        (self.ftype, self.sha1)
    }

    /// What is held against a file on disk.
    #[must_use]
    pub fn looks(&self) -> Looks {
        let Self { ftype, size, mtime, mode, sha1, vouch, .. } = *self;
        Looks { ftype, size, mtime, mode, sha1, vouch }
    }
}

/// Of a row, what is held against a file on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// Kind of file.
    pub ftype: Ftype,
    /// Bytes.
    pub size: u64,
    /// Modification time, seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Permission bits.
    pub mode: Mode,
    /// Content hash.
    pub sha1: Option<Sha1>,
    /// Local facts, of a box of this machine.
    pub vouch: Option<Vouch>,
}

impl Looks {
    /// What is compared: kind and hash.
    #[must_use]
    pub fn content(&self) -> (Ftype, Option<Sha1>) {
        (self.ftype, self.sha1)
    }
}

/// All rows of one path, sorted by box number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The path.
    pub path: SpacePath,
    /// What each box has there.
    pub rows: Vec<Row>,
}

impl Group {
    /// The row of one box.
    #[must_use]
    pub fn of(&self, box_id: BoxId) -> Option<&Row> {
        self.rows.iter().find(|r| r.box_id == box_id)
    }
}
