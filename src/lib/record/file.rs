//! The records of a scan, and what the stages after it add to them.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::wire::check_attrs;
use super::{Attrs, Extra, Ftype, Local, Mode, Sha1};
use crate::path::SpacePath;

/// What a scan saw at a path, and what the stages after it add. A record of the type `scan`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Always `scan`.
    #[serde(rename = "type")]
    pub kind: ScanTag,
    /// Where.
    pub path: SpacePath,
    /// What kind of file; of one that is gone, what it was.
    pub ftype: Ftype,
    /// Bytes.
    #[serde(default)]
    pub size: u64,
    /// Modification time, seconds since 1970.
    #[serde(default)]
    pub mtime: i64,
    /// Nanoseconds to add to `mtime`.
    #[serde(default)]
    pub mtime_nsec: u32,
    /// Permission bits; none where the file system has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Target of a symlink in the spelling of paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Inode, ctime and device as seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
    /// Hash of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<Sha1>,
    /// Media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// The letter of design section 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How the disk differs from the box's entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// The content hash that the entry has: what a suspect is held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Was>,
    /// The letter of a suspect that a hash clears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
    /// A folder wanted whole: this line stands for all below it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// Where a renamed file came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<SpacePath>,
    /// What this ltr does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The `type` of a [`FileRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ScanTag {
    /// `scan`
    #[default]
    #[serde(rename = "scan")]
    Scan,
}

/// How a file on disk differs from its box's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// No entry, or an absent one.
    New,
    /// Certainly other content or mode.
    Modified,
    /// Only a hash can tell.
    Suspect,
    /// Present in the index, not on disk.
    Gone,
}

/// What a box's entry says of a file that may have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// Kind of file.
    pub ftype: Ftype,
    /// Bytes.
    pub size: u64,
    /// Content hash; none for folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<Sha1>,
    /// Permission bits.
    pub mode: Mode,
}

impl FileRecord {
    /// A record with the attributes `attrs` and nothing else.
    #[must_use]
    pub fn new(path: SpacePath, attrs: &Attrs) -> Self {
        Self {
            kind: ScanTag::Scan,
            path,
            ftype: attrs.ftype,
            size: attrs.size,
            mtime: attrs.mtime,
            mtime_nsec: attrs.mtime_nsec,
            mode: Some(attrs.mode),
            target: attrs.target.clone(),
            local: None,
            sha1: attrs.sha1,
            mime: attrs.mime.clone(),
            status: None,
            change: None,
            was: None,
            otherwise: None,
            whole: false,
            renamed: None,
            extra: Extra::new(),
        }
    }

    /// The attributes that an entry of this file has.
    #[must_use]
    pub fn attrs(&self) -> Attrs {
        Attrs {
            ftype: self.ftype,
            size: self.size,
            mtime: self.mtime,
            mtime_nsec: self.mtime_nsec,
            mode: self.mode.unwrap_or_default(),
            sha1: self.sha1,
            mime: self.mime.clone(),
            target: self.target.clone(),
        }
    }

    /// Refuses what no scan can have seen.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.path.is_root(), "a record is not for /");
        check_attrs(&Attrs { mime: None, ..self.attrs() })
    }
}
