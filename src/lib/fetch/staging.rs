//! The staging folder `.ltr-tmp`, in which content waits until it is whole, checked and synced.
//!
//! What a name in it means, so that a run after a crash knows what it may throw away:
//! - `<sha1>`: content on its way in, whole or a beginning of it; ours.
//! - `<sha1>+N`: the same content once more; ours.
//! - `l-<sha1>+N`: a symlink on its way in; ours.
//! - `x-<sha1>-N`: where `<sha1>` changes places with what was there; afterwards the only copy of that.
//! - `d-<sha1>`: what was displaced, verified, and is the source of a later step.
//! - `r-<sha1>-N`: a copy about to be removed.
//! - `k-<sha1>-N`: a file in whose place a folder is made.
//! - `paths`: where the last four came from, see `journal.rs`.
//! - `rsync-<box>`: what rsync left.
//! - `cookie-<id>`: a cookie on its way in, see `create.rs`; ours.

use std::collections::HashSet;
use std::io;

use anyhow::{Context, Result, bail};

use super::shelf::{Origin, Shelf, set_attributes};
use crate::boxfs::{BoxRoot, Kind};
use crate::hash::{hash_path, sha1_of};
use crate::path::{SpacePath, unescape};
use crate::record::{Action, Mode, Sha1};

/// The staging folder of one run.
pub(super) struct Staging<'a> {
    shelf: Shelf<'a>,
    next: u64,
    /// What waits for installation, and so is nobody else's.
    pending: HashSet<SpacePath>,
    /// What contents may be there, for [`Staging::leftover`]; none: any.
    known: Option<HashSet<SpacePath>>,
}

impl<'a> Staging<'a> {
    /// Opens the staging folder, making it where it is not there.
    pub(super) fn open(root: &'a BoxRoot) -> Result<Self> {
        let folder = root.staging().with_context(|| format!("{}", root.path().display()))?;
        Ok(Self { shelf: Shelf::new(root, folder), next: 0, pending: HashSet::new(), known: None })
    }

    /// The names in it.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.root().names(self.folder())?.into_iter().filter_map(|n| String::from_utf8(n).ok()).collect())
    }

    /// Remembers what is there: from now on nobody but this run puts content here, and who looks for
    /// one that is not there need not ask the file system.
    pub(super) fn remember(&mut self) -> io::Result<()> {
        let paths = self.names()?.iter().map(|name| self.at(name)).collect::<io::Result<_>>()?;
        self.known = Some(paths);
        Ok(())
    }

    /// What is about to be at `path`.
    pub(super) fn expect(&mut self, path: &SpacePath) {
        if let Some(known) = &mut self.known {
            known.insert(path.clone());
        }
    }

    /// A name `PREFIX<sha1>SEP<N>` that nothing has yet.
    pub(super) fn fresh(&mut self, prefix: &str, sha1: Sha1, separator: char) -> io::Result<SpacePath> {
        loop {
            self.next += 1;
            let path = self.at(&format!("{prefix}{sha1}{separator}{}", self.next))?;
            if self.root().look(&path)?.is_none() {
                return Ok(path);
            }
        }
    }

    /// A name that nothing has yet, for what is about to come out of `path`.
    pub(super) fn slot(&mut self, prefix: &str, sha1: Sha1, path: &SpacePath) -> io::Result<SpacePath> {
        let slot = self.fresh(prefix, sha1, '-')?;
        self.note(&slot, path)?;
        Ok(slot)
    }

    /// Numbers up to this one are not to be used again.
    pub(super) fn used_up(&mut self, number: u64) {
        self.next = self.next.max(number);
    }

    /// Where content of this hash is to be staged: another name while the first waits for its turn.
    fn place(&mut self, sha1: Sha1) -> io::Result<SpacePath> {
        let plain = self.at(&sha1.to_string())?;
        if self.pending.contains(&plain) {
            return self.fresh("", sha1, '+');
        }
        self.expect(&plain);
        Ok(plain)
    }

    /// What an earlier run, or an earlier step of this one, left whole; not yet taken by another step.
    pub(super) fn leftover(&self, sha1: Sha1, size: u64) -> io::Result<Option<SpacePath>> {
        for name in [format!("{sha1}"), format!("d-{sha1}")] {
            let path = self.at(&name)?;
            if self.known.as_ref().is_some_and(|known| !known.contains(&path)) {
                continue;
            }
            let Some(stat) = self.root().look(&path)? else { continue };
            if stat.kind == Kind::File && stat.size > size && !name.starts_with("d-") && !self.pending.contains(&path) {
                // a push would never make it shorter
                self.root().unlink(&path)?;
                continue;
            }
            if stat.kind != Kind::File || stat.size != size || self.pending.contains(&path) {
                continue;
            }
            if stat.mode.0 & 0o400 == 0 {
                // it has its mode already, and that one lets nobody read it
                self.root().chmod(&path, Mode(0o600))?;
            }
            if hash_path(self.root(), &path)?.sha1 == sha1 {
                return Ok(Some(path));
            }
            if !name.starts_with("d-") {
                // whole, and wrong: nobody can complete it
                self.root().unlink(&path)?;
            }
        }
        Ok(None)
    }

    /// Gives staged content the mode and mtime of the action, and keeps it for its installation.
    pub(super) fn ready(&mut self, path: SpacePath, action: &Action) -> Result<SpacePath> {
        set_attributes(self.root(), &path, action)?;
        self.pending.insert(path.clone());
        Ok(path)
    }

    /// Staged content has left, or is given up.
    pub(super) fn release(&mut self, path: &SpacePath) {
        self.pending.remove(path);
    }

    /// Staged content is in its place.
    pub(super) fn gone(&mut self, path: &SpacePath) {
        self.release(path);
        if let Some(known) = &mut self.known {
            known.remove(path);
        }
    }

    /// Stages what a symlink needs: itself.
    pub(super) fn symlink(&mut self, action: &Action) -> Result<SpacePath> {
        let target = unescape(action.target.as_deref().context("a symlink has a target")?)?;
        let sha1 = sha1_of(&target);
        if action.sha1 != Some(sha1) {
            bail!("the target is not what its sha1 says");
        }
        let path = self.fresh("l-", sha1, '+')?;
        self.root().symlink(&target, &path)?;
        self.ready(path, action)
    }

    /// Copies content in. `None`: these are other bytes.
    pub(super) fn fill(&mut self, action: &Action, origin: &mut dyn Origin) -> Result<Option<SpacePath>> {
        let sha1 = action.sha1.context("a file has a sha1")?;
        let place = self.place(sha1)?;
        match self.shelf.fill(action, &place, origin) {
            Ok(true) => {
                self.pending.insert(place.clone());
                Ok(Some(place))
            }
            Ok(false) => Ok(None),
            Err(e) => {
                if place != self.at(&sha1.to_string())? {
                    // nobody continues a file of this name, and the room may be short
                    let _ = self.root().unlink(&place);
                }
                Err(e)
            }
        }
    }

    /// A place for content of this hash that is on its way.
    pub(super) fn reserve(&mut self, sha1: Sha1) -> io::Result<SpacePath> {
        let place = self.place(sha1)?;
        self.pending.insert(place.clone());
        Ok(place)
    }

    /// The folder as other threads see it.
    pub(super) fn shelf(&self) -> Shelf<'a> {
        self.shelf.clone()
    }
}

impl<'a> std::ops::Deref for Staging<'a> {
    type Target = Shelf<'a>;
    fn deref(&self) -> &Shelf<'a> {
        &self.shelf
    }
}
