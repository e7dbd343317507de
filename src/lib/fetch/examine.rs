//! What is at the destination of a step, before it is touched.

use std::io;

use anyhow::{Context, Result, bail, ensure};

use super::Run;
use super::movers::LARGE;
use super::window::is_plain;
use crate::boxfs::{COOKIE, Kind, Stat};
use crate::hash::{Hashed, hash_path};
use crate::path::SpacePath;
use crate::record::{Action, Ftype, Verb, Was};

/// What is at a destination.
pub(super) enum Seen {
    /// Nothing, and the index expects nothing or this run moved it away.
    Nothing,
    /// Nothing, though the index says that something is there: the user deleted it.
    Deleted,
    /// What is wanted.
    Wanted(Hashed),
    /// An empty folder that a file is to replace.
    EmptyFolder,
    /// A file or symlink with other content, be it what the index says or not.
    Other(Hashed),
    /// A large file that is read while its new content comes.
    Unread,
}

impl Seen {
    /// What a file or symlink is to a step.
    pub(super) fn of(hashed: Hashed, action: &Action) -> Self {
        if is_content(&hashed, action.ftype, action.sha1) { Self::Wanted(hashed) } else { Self::Other(hashed) }
    }

    /// What was seen, to be compared with what is there later.
    pub(super) fn stat(&self) -> Option<&Stat> {
        match self {
            Seen::Wanted(h) | Seen::Other(h) => Some(&h.stat),
            _ => None,
        }
    }
}

/// Whether content is what an entry says.
pub(super) fn is_content(hashed: &Hashed, ftype: Ftype, sha1: Option<crate::record::Sha1>) -> bool {
    hashed.stat.kind.ftype() == Some(ftype) && sha1 == Some(hashed.sha1)
}

/// Whether content is what the index says this box has.
pub(super) fn is_known(hashed: &Hashed, have: Option<&Was>) -> bool {
    have.is_some_and(|have| is_content(hashed, have.ftype, have.sha1))
}

impl Run<'_> {
    /// Looks at the destination of a step that brings a file or symlink.
    ///
    /// # Errors
    /// It cannot be read, or what is there cannot make room.
    pub(super) fn examine(&self, action: &Action) -> Result<Seen> {
        self.examine_if(action, |_| true)
    }

    /// As [`Run::examine`], but what is large and certainly about to be replaced is not read yet. In a folder that was
    /// just made nothing is: the rename that replaces nothing is the look.
    pub(super) fn glance(&self, action: &Action) -> Result<Seen> {
        let is_new = action.action == Verb::Fetch && action.have.is_none() && is_plain(action);
        if is_new && self.made.is_some() && self.made == action.path.parent() {
            return Ok(Seen::Nothing);
        }
        self.examine_if(action, |there| !can_wait(action, there))
    }

    fn examine_if(&self, action: &Action, read: impl Fn(&Stat) -> bool) -> Result<Seen> {
        let Some(stat) = self.root.look(&action.path).map_err(in_the_way)? else {
            ensure!(self.root.has_folder_of(&action.path)?, "its folder is not there");
            let expected = action.have.is_some() && !self.vacated.contains(&action.path);
            return Ok(if expected { Seen::Deleted } else { Seen::Nothing });
        };
        if action.have.is_none() && !self.root.lists(&action.path)? {
            bail!("another name here differs only in case");
        }
        match stat.kind {
            Kind::Dir if self.makes_room(action) => Ok(Seen::EmptyFolder),
            Kind::Dir => bail!("a folder is in the way"),
            Kind::Other => bail!("something that is neither file, folder nor symlink is in the way"),
            Kind::File if !read(&stat) => Ok(match (self.vouched)(&action.path, &stat) {
                Some(sha1) => Seen::of(Hashed { sha1, mime: None, stat, racy: false }, action),
                None => Seen::Unread,
            }),
            Kind::File | Kind::Symlink => {
                let hashed = hash_path(self.root, &action.path).context("cannot read what is there")?;
                Ok(Seen::of(hashed, action))
            }
        }
    }

    /// Refuses places that are another box's: a nested box is its own business.
    pub(super) fn check_place(&mut self, action: &Action) -> Result<()> {
        let paths: Vec<&SpacePath> =
            [Some(&action.path), action.source.as_ref(), action.keep.as_ref()].into_iter().flatten().collect();
        self.check_paths(&paths)
    }

    pub(super) fn check_paths(&mut self, paths: &[&SpacePath]) -> Result<()> {
        for path in paths {
            let mut folder = path.parent().filter(|f| !f.is_root());
            if folder == self.own_folder {
                continue;
            }
            let first = folder.clone();
            while let Some(inner) = folder.filter(|f| !f.is_root()) {
                let cookie = inner.join(COOKIE.as_bytes())?;
                if self.root.look(&cookie).is_ok_and(|stat| stat.is_some_and(|s| s.kind == Kind::File)) {
                    bail!("{inner} is another box");
                }
                folder = inner.parent();
            }
            self.own_folder = first;
        }
        Ok(())
    }

    /// As [`Run::examine`], without reading a file again that is as it was seen.
    pub(super) fn examine_again(&self, action: &Action, seen: Seen) -> Result<Seen> {
        let now = self.root.look(&action.path).map_err(in_the_way)?;
        match (seen.stat(), now) {
            (Some(then), Some(now)) if now.unchanged(then) => Ok(seen),
            _ => self.examine(action),
        }
    }

    fn makes_room(&self, action: &Action) -> bool {
        let was_folder = action.have.as_ref().is_some_and(|have| have.ftype == Ftype::Dir);
        action.action == Verb::Replace && was_folder && self.root.names(&action.path).is_ok_and(|names| names.is_empty())
    }

    /// Whether a step takes the place of a folder that the plan may yet empty.
    pub(super) fn waits_for_removes(&self, action: &Action) -> bool {
        let was_folder = action.have.as_ref().is_some_and(|have| have.ftype == Ftype::Dir);
        let folder = || self.root.lstat(&action.path).is_ok_and(|s| s.kind == Kind::Dir);
        action.action == Verb::Replace && action.ftype != Ftype::Dir && was_folder && folder() && !self.makes_room(action)
    }
}

/// Whether the file at the destination of a step can be read later: it is large, nobody looks at it but this
/// step, and it does not look like what is wanted, as what an interrupted run installed would.
fn can_wait(action: &Action, there: &Stat) -> bool {
    // a file system may round a time to two seconds
    let wanted = there.size == action.size && there.mtime.abs_diff(action.mtime) <= 2;
    there.size >= LARGE && action.action == Verb::Replace && is_plain(action) && action.have.is_some() && !wanted
}

/// Says what is wrong with a folder above.
pub(super) fn in_the_way(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::NotADirectory {
        return anyhow::anyhow!("a file is in the way of a folder");
    }
    error.into()
}
