//! The records that travel on pipes and rest in indexes: what a file is, which box holds it, what
//! should be where. ltr-records(5) specifies them field by field; what a newer ltr adds is kept in
//! `extra` and written again.

mod action;
mod check;
mod document;
mod fields;
mod file;
mod mode;
mod parse;
mod sha1;
#[cfg(test)]
mod tests;
mod wire;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::action::{Action, ActionTag, Source, Verb};
pub use self::document::{Document, Other, check_box_name, entry_id, mark_id, split_id};
pub use self::fields::{Fields, Policy};
pub use self::file::{Change, FileRecord, ScanTag, Was};
pub use self::mode::Mode;
pub(crate) use self::parse::Parse;
pub use self::sha1::Sha1;
use crate::path::SpacePath;
use crate::stamp::Stamp;
use crate::version::Version;

/// Unknown fields of a record.
pub type Extra = Map<String, Value>;

/// The format of documents that this ltr writes, `format` of the space document.
pub const FORMAT: u64 = 1;

/// Largest size of a file in bytes: what `off_t` and SQLite hold.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// What kind of file is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ftype {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
}

/// What a file is, wherever it is: content, and what travels with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attrs {
    /// File, folder or symlink.
    pub ftype: Ftype,
    /// Bytes; of a symlink, of its target; 0 for folders.
    pub size: u64,
    /// Modification time, seconds since 1970, as its creator recorded it.
    pub mtime: i64,
    /// Nanoseconds to add to `mtime`.
    pub mtime_nsec: u32,
    /// Permission bits.
    pub mode: Mode,
    /// Hash of the content; none for folders, and before hashing.
    pub sha1: Option<Sha1>,
    /// Media type of a file.
    pub mime: Option<String>,
    /// Target of a symlink as raw bytes in the spelling of paths.
    pub target: Option<String>,
}

impl Attrs {
    /// What is compared: kind and hash, never mtime or mode.
    #[must_use]
    pub fn content(&self) -> (Ftype, Option<Sha1>) {
        (self.ftype, self.sha1)
    }

    /// Whether both have the same content. A file without a hash equals nothing.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.content() == other.content() && (self.ftype == Ftype::Dir || self.sha1.is_some())
    }
}

/// The fact: what one box holds at one path.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The box that this is a fact about.
    pub box_name: String,
    /// Where.
    pub path: SpacePath,
    /// What is, or (absent, purged) was, there.
    pub attrs: Attrs,
    /// Whether the box holds it.
    pub present: bool,
    /// Whether the path was purged from the space at this version.
    pub purged: bool,
    /// A purge that a rename made: where the content went.
    pub moved: Option<SpacePath>,
    /// The box's commit counter when this was recorded.
    pub commit: u64,
    /// Which edit of the path this is.
    pub version: Version,
    /// When this document was written.
    pub stamp: Stamp,
    /// Local facts that accompany the document on a pipe; never stored or sent.
    pub local: Option<Local>,
    /// What this ltr does not know.
    pub extra: Extra,
}

/// What only the machine that holds the file can know: vouches for an entry without hashing again.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Local {
    /// Inode number.
    pub ino: u64,
    /// Status change time, seconds since 1970.
    pub ctime: i64,
    /// Nanoseconds to add to `ctime`.
    pub ctime_nsec: u32,
    /// Device number.
    #[serde(default)]
    pub dev: u64,
    /// Whether the file was as young as its hash, so that an edit could hide (racy-git).
    #[serde(default)]
    pub racy: bool,
    /// The letter that a commit shows for this document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Where a renamed file came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<SpacePath>,
}

/// An intention by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// The box should hold it.
    Want,
    /// The box should not hold it.
    Skip,
    /// Inherited again.
    Cleared,
}

/// The intention for one box and one path, and all below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The box that should follow it.
    pub box_name: String,
    /// The file or folder.
    pub path: SpacePath,
    /// What should be.
    pub want: Want,
    /// The box's commit counter as the writer knew it: what the box put there later stays.
    pub seen: u64,
    /// Made by a commit: holds for this path alone, not for what is below it.
    pub alone: bool,
    /// When this document was written.
    pub stamp: Stamp,
    /// What this ltr does not know.
    pub extra: Extra,
}
