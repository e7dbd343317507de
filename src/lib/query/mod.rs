//! What a person asks of the index and tells it, offline: what is where, what differs, what should be.
//!
//! Every question begins with a [`Scene`]: an index, the box around the current folder where there is
//! one, and the PATH arguments as paths of the space. Answers are streams of records.

mod boxes;
mod copies;
mod diff;
mod list;
mod locate;
mod mark;
mod purge;
mod set;
mod show;
mod stat;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub use boxes::list_boxes;
pub use copies::CopiesFilter;
pub use diff::diff;
pub use list::{List, list};
pub use locate::{put_located, put_shell};
pub use mark::{MarkPaths, mark};
pub use purge::{Purge, purge};
pub(crate) use set::check_url;
pub use set::{Assignment, set};
pub use show::show;
pub use stat::stat;

use crate::boxfs::{BoxRoot, is_own};
use crate::couch::places::Places;
use crate::index::sqlite::{Access, BoxId, BoxInfo, Boxes, Sqlite};
use crate::ltrbox::{Located, file_of, locate};
use crate::path::SpacePath;
use crate::pathspec;
use crate::quote::for_terminal;
use crate::record::{Ftype, Policy};
use crate::space::Space;
use crate::wants::{Intent, Wants};

/// Where a question is asked.
#[derive(Debug)]
pub struct Scene {
    /// The index that knows the answer.
    pub index: Sqlite,
    /// The box around the current folder; none where a space was named instead.
    pub located: Option<Located>,
    cwd: PathBuf,
}

impl Scene {
    /// The box around `cwd` and its index, or else the index that `space` names.
    ///
    /// # Errors
    /// There is no box here, or the index cannot be opened.
    pub fn open(cwd: &Path, space: Option<&str>, access: Access, places: &Places) -> Result<Self> {
        let Some(space) = space else {
            let located = locate(cwd, places)?;
            return Ok(Self { index: located.open(access)?, located: Some(located), cwd: cwd.to_path_buf() });
        };
        let file = file_of(&Space::parse(space, cwd)?, places);
        Ok(Self { index: Sqlite::open(&file, access)?, located: None, cwd: cwd.to_path_buf() })
    }

    /// The path of the space that `arg` means; it need not be known.
    ///
    /// # Errors
    /// It is outside the box, or (without a box) no path of a space.
    pub fn resolve(&self, arg: &OsStr) -> Result<SpacePath> {
        if let Some(located) = &self.located {
            return pathspec::resolve(arg, &self.cwd, &located.root);
        }
        let shown = || for_terminal(arg.as_bytes());
        let Some(relative) = arg.as_bytes().strip_prefix(b"/") else {
            bail!("{}: not a path of the space (they begin with /)", shown());
        };
        SpacePath::from_relative(relative.strip_suffix(b"/").unwrap_or(relative)).with_context(shown)
    }

    /// The path of the space that `arg` means, which the index knows or which is in the box.
    ///
    /// # Errors
    /// Neither, or as [`Scene::resolve`]; the message names `arg`.
    pub fn known(&self, arg: &OsStr) -> Result<SpacePath> {
        let path = self.resolve(arg)?;
        if !self.index.knows(&path)? && !self.on_disk(&path).with_context(|| for_terminal(arg.as_bytes()))? {
            let nowhere = if self.located.is_some() { "neither in the space nor on disk" } else { "not in the space" };
            bail!("{}: {nowhere}", for_terminal(arg.as_bytes()));
        }
        Ok(path)
    }

    /// All of `args` as [`Scene::known`] takes them.
    ///
    /// # Errors
    /// As [`Scene::known`].
    pub fn all_known(&self, args: &[OsString]) -> Result<Vec<SpacePath>> {
        args.iter().map(|arg| self.known(arg)).collect()
    }

    fn on_disk(&self, path: &SpacePath) -> Result<bool> {
        let Some(located) = &self.located else { return Ok(false) };
        Ok(!is_own(path) && BoxRoot::open(&located.root)?.look(path)?.is_some())
    }

    /// The name of the box here.
    #[must_use]
    pub fn here(&self) -> Option<&str> {
        self.located.as_ref().map(|l| l.box_name.as_str())
    }

    /// The number of the box here.
    fn here_id(&self, boxes: &Boxes) -> Option<BoxId> {
        Some(boxes.by_name(self.here()?)?.id)
    }

    /// The box `name`, or else the one here.
    fn chosen<'a>(&self, boxes: &'a Boxes, name: Option<&str>) -> Result<&'a BoxInfo> {
        let name = name.or(self.here()).context("no box here: name one with -b")?;
        boxes.by_name(name).with_context(|| no_such_box(name))
    }

    /// What `info` should hold at `path`, from the marks on the way there.
    fn intent(&self, info: &BoxInfo, path: &SpacePath, ftype: Ftype) -> Result<Intent> {
        let mut ways: Vec<SpacePath> = std::iter::successors(Some(path.clone()), SpacePath::parent).collect();
        let policy = info.fields.as_ref().map_or(Policy::default(), crate::record::Fields::policy);
        let marks = move || {
            while let Some(way) = ways.pop() {
                if let Some(mark) = mark::existing(&self.index, &info.name, &way)? {
                    return Ok(Some(mark));
                }
            }
            Ok(None)
        };
        Wants::new(policy, Box::new(marks)).at(path, ftype)
    }
}

/// The message about a box that the index does not know.
fn no_such_box(name: &str) -> String {
    format!("no box {name:?} in this space")
}

/// The numbers of the boxes whose copies count. Asked for every row, so it is short and flat.
fn counting(boxes: &Boxes) -> Vec<BoxId> {
    boxes.all.iter().filter(|b| !b.forgotten()).map(|b| b.id).collect()
}

#[cfg(test)]
mod tests;
