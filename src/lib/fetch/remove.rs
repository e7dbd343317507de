//! Removing copies: the deepest first, each verified, and only while enough others are.

use anyhow::{Context, Result, bail};

use super::examine::{in_the_way, is_content};
use super::holders::Holders;
use super::plan::Plan;
use super::{Fact, Options, Output, Run};
use crate::boxfs::{Kind, shown};
use crate::hash::{Hashed, hash_path};
use crate::record::{Action, Ftype};

impl Run<'_> {
    /// Carries out the removes of a plan, in reverse order.
    pub(super) fn removes(&mut self, plan: &Plan, options: &Options<'_>, output: &mut Output<'_, '_, '_>) -> Result<()> {
        let mut holders = Holders::default();
        for &step in plan.removes.iter().rev() {
            let action = plan.action(step)?;
            match self.remove(&action, &mut holders, options) {
                Ok(true) => output.done(vec![removed(&action)], action),
                Ok(false) => {}
                Err(e) => self.fail(&action.path, &e),
            }
            if output.is_full() {
                output.emit(self)?;
            }
        }
        // the holders are let go only after this was told
        output.emit(self)
    }

    /// Removes one copy. Returns whether it is gone.
    fn remove(&mut self, action: &Action, holders: &mut Holders, options: &Options<'_>) -> Result<bool> {
        self.check_place(action)?;
        let Some(stat) = self.root.look(&action.path).map_err(in_the_way)? else { return Ok(true) };
        if !self.root.lists(&action.path)? {
            // on a file system without case, another name: not ours to remove
            return Ok(true);
        }
        if action.ftype == Ftype::Dir {
            return self.remove_folder(action, stat.kind);
        }
        let expected = action.have.as_ref().map_or((action.ftype, action.sha1), |have| (have.ftype, have.sha1));
        let hashed = match stat.kind {
            Kind::File | Kind::Symlink => Some(hash_path(self.root, &action.path)?),
            Kind::Dir | Kind::Other => None,
        };
        let Some(hashed) = hashed.filter(|h| is_content(h, expected.0, expected.1)) else {
            self.report.notice(&format!("{}: modified since the last commit: left", action.path));
            return Ok(false);
        };
        if !action.purged {
            // what is removed is what the holders are asked for
            let what = Action { ftype: expected.0, sha1: expected.1, size: hashed.stat.size, ..action.clone() };
            holders.verify(self.sources, &what, options, &mut self.verified, self.report)?;
        }
        self.unlink_verified(action, &hashed)
    }

    /// Takes a file out of its place, looks at it once more, and only then gives it up.
    pub(super) fn unlink_verified(&mut self, action: &Action, hashed: &Hashed) -> Result<bool> {
        let slot = self.staging.slot("r-", hashed.sha1, &action.path)?;
        self.root.rename_noreplace(&action.path, &slot)?;
        let out = self.root.lstat(&slot)?;
        let same = out.same_but_ctime(&hashed.stat) && (!hashed.racy || hash_path(self.root, &slot)?.sha1 == hashed.sha1);
        if !same {
            self.root
                .rename_noreplace(&slot, &action.path)
                .with_context(|| format!("changed while it was removed: it is {}", shown(&slot)))?;
            self.report.notice(&format!("{}: modified since the last commit: left", action.path));
            return Ok(false);
        }
        self.root.unlink(&slot)?;
        Ok(true)
    }

    fn remove_folder(&mut self, action: &Action, kind: Kind) -> Result<bool> {
        if kind != Kind::Dir {
            bail!("is no folder any more");
        }
        match self.root.rmdir(&action.path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
                self.report.notice(&format!("{}: not empty: left", action.path));
                Ok(false)
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// What is to be recorded of a copy that is gone.
fn removed(action: &Action) -> Fact {
    Fact { purged: action.purged, ..Fact::of(action, None) }
}
