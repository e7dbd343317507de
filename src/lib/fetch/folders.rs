//! Folders: made open to their owner, so that they can be filled, and given their modes at the end.

use anyhow::{Result, bail};

use super::examine::{in_the_way, is_known};
use super::names::numbered_name;
use super::plan::Plan;
use super::shelf::set_attributes;
use super::{Fact, Output, Run};
use crate::boxfs::Kind;
use crate::hash::{Hashed, hash_path};
use crate::path::SpacePath;
use crate::record::{Action, Mode, Verb};

impl Run<'_> {
    /// Makes a folder, where it is not there. When it now is, and is to get its mode, returns what had
    /// to be kept of a file in its place.
    pub(super) fn make_folder(&mut self, action: &Action) -> Option<Vec<Fact>> {
        self.try_make_folder(action).unwrap_or_else(|e| {
            self.fail(&action.path, &e);
            None
        })
    }

    fn try_make_folder(&mut self, action: &Action) -> Result<Option<Vec<Fact>>> {
        self.check_place(action)?;
        let open = Mode(0o700 | action.mode.0);
        let Some(stat) = self.root.look(&action.path).map_err(in_the_way)? else {
            let kept = self.kept_before(action)?;
            // what is not here cannot be kept, so nobody may be told that it was
            if action.have.is_some() && kept.is_empty() && !self.vacated.contains(&action.path) {
                self.report.notice(&format!("{}: deleted here and not committed: left alone", action.path));
                return Ok(None);
            }
            self.root.mkdir(&action.path, open)?;
            self.made = Some(action.path.clone());
            return Ok(Some(kept));
        };
        if action.have.is_none() && !self.root.lists(&action.path)? {
            bail!("another name here differs only in case");
        }
        match stat.kind {
            Kind::Dir => {
                if stat.mode.0 & 0o700 != 0o700 {
                    // it may have to be filled; its mode comes last. Not ours: then filling it fails by name
                    let _ = self.root.chmod(&action.path, open);
                }
                let mut kept = self.settle_displaced(action)?;
                if kept.is_empty() {
                    kept = self.kept_before(action)?;
                }
                Ok(Some(kept))
            }
            Kind::Other => bail!("something that is neither file, folder nor symlink is in the way"),
            Kind::File | Kind::Symlink => self.file_becomes_folder(action, open),
        }
    }

    /// Puts a folder in the place of a file: of one that the index describes, or else the file is kept.
    fn file_becomes_folder(&mut self, action: &Action, open: Mode) -> Result<Option<Vec<Fact>>> {
        let hashed = hash_path(self.root, &action.path)?;
        if action.have.is_none() {
            bail!("a file is in the way");
        }
        let slot = self.staging.slot("k-", hashed.sha1, &action.path)?;
        self.root.rename_noreplace(&action.path, &slot)?;
        let out = self.root.lstat(&slot)?;
        if !out.same_but_ctime(&hashed.stat) || (hashed.racy && hash_path(self.root, &slot)?.sha1 != hashed.sha1) {
            self.root.rename_noreplace(&slot, &action.path)?;
            bail!("changed while it was replaced");
        }
        if let Err(e) = self.root.mkdir(&action.path, open) {
            self.root.rename_noreplace(&slot, &action.path)?;
            return Err(e.into());
        }
        self.displaced_by_folder(action, &slot, &hashed).map(Some)
    }

    fn displaced_by_folder(&mut self, action: &Action, slot: &SpacePath, hashed: &Hashed) -> Result<Vec<Fact>> {
        let known = is_known(hashed, action.have.as_ref());
        if let (Verb::Conflict, Some(keep)) = (action.action, action.keep.clone().filter(|_| known)) {
            return Ok(vec![self.keep(slot, &keep, &action.path, hashed)?]);
        }
        if known {
            self.drop_displaced(slot, &action.path, hashed)?;
            return Ok(Vec::new());
        }
        let name = numbered_name(&action.path, hashed.stat.mtime, hashed.sha1, 0);
        self.report.notice(&format!("{}: was not committed: kept as {name}", action.path));
        Ok(vec![self.keep(slot, &name, &action.path, hashed)?])
    }

    /// Gives folders their modes and times, the deepest first; only then they are as the index may say.
    pub(super) fn finish_folders(&mut self, plan: &Plan, steps: &[u64], output: &mut Output<'_, '_, '_>) -> Result<()> {
        for &step in steps.iter().rev() {
            let action = plan.action(step)?;
            match set_attributes(self.root, &action.path, &action) {
                Ok((stat, refused)) => output.finished(self.as_it_is(&action, stat, refused)),
                Err(e) => self.fail(&action.path, &e.into()),
            }
            if output.is_full() {
                output.emit(self)?;
            }
        }
        output.emit(self)
    }
}
