//! The steps of a plan.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::wire::check_attrs;
use super::{Attrs, Extra, Ftype, Mode, Sha1, Was, check_box_name};
use crate::path::SpacePath;
use crate::version::Version;

/// What an action does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Make a folder.
    Mkdir,
    /// Get a file from another box.
    Fetch,
    /// Copy a file of this box that has the content.
    Copy,
    /// Move a file or folder of this box, following a rename elsewhere.
    Move,
    /// Put newer content in the place of older.
    Replace,
    /// Set mode and mtime.
    Touch,
    /// Make a symlink.
    Link,
    /// Remove a copy that was purged, or marked skip.
    Remove,
    /// Keep this box's edit under a conflict name, then put the winner in its place.
    Conflict,
}

/// A place that holds the content of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The box.
    #[serde(rename = "box")]
    pub box_name: String,
    /// A folder, or `[user@]host:/path`: its root. Empty where the box has no url.
    pub url: String,
    /// The path in the space.
    pub path: SpacePath,
}

/// One step of a plan. A record of the type `action`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Always `action`.
    #[serde(rename = "type")]
    pub kind: ActionTag,
    /// What to do.
    pub action: Verb,
    /// The box that it is done in.
    #[serde(rename = "box")]
    pub box_name: String,
    /// Where: what will be there afterwards, or (remove) what goes.
    pub path: SpacePath,
    /// What `path` will be; of a remove, what it is.
    pub ftype: Ftype,
    /// Bytes of the wanted content.
    #[serde(default)]
    pub size: u64,
    /// Its modification time.
    #[serde(default)]
    pub mtime: i64,
    /// Nanoseconds of it.
    #[serde(default)]
    pub mtime_nsec: u32,
    /// Its permission bits.
    #[serde(default)]
    pub mode: Mode,
    /// Its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<Sha1>,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Target of a symlink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The version that this box's entry will have.
    pub version: Version,
    /// What the index says this box has at `path` now; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<Was>,
    /// Copy and move: where in this box the content is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SpacePath>,
    /// Other boxes that hold the content, cheapest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
    /// Conflict: the name that this box's edit is kept under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<SpacePath>,
    /// Remove: the path is purged, so no other copy is owed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub purged: bool,
    /// Remove, not purged: how many of `from` must hold the content before it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mincopies: Option<u64>,
    /// Touch: what is there is an edit of this box on top of `version`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edit: bool,
    /// What this ltr does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The `type` of an [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ActionTag {
    /// Planned.
    #[default]
    #[serde(rename = "action")]
    Action,
    /// Carried out by ltr-fetch.
    #[serde(rename = "done")]
    Done,
}

impl Action {
    /// The attributes that `path` will have.
    #[must_use]
    pub fn attrs(&self) -> Attrs {
        Attrs {
            ftype: self.ftype,
            size: self.size,
            mtime: self.mtime,
            mtime_nsec: self.mtime_nsec,
            mode: self.mode,
            sha1: self.sha1,
            mime: self.mime.clone(),
            target: self.target.clone(),
        }
    }

    /// Refuses a step that no plan of ltr's contains.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<()> {
        check_box_name(&self.box_name)?;
        ensure!(!self.path.is_root(), "an action is not for /");
        check_attrs(&self.attrs())?;
        self.from.iter().try_for_each(|s| check_box_name(&s.box_name))?;
        let hashed = self.ftype == Ftype::Dir || self.sha1.is_some();
        ensure!(hashed, "an action on a file or symlink has a sha1");
        ensure!(self.action != Verb::Conflict || self.keep.is_some(), "a conflict has a name to keep the edit under");
        ensure!(self.action != Verb::Move || self.source.is_some(), "a move has a source");
        Ok(())
    }
}
