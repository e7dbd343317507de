//! What an interrupted run left in the staging folder, and what this one leaves.
//!
//! What came out of the box is never thrown away for its name alone: it goes back to its path where
//! that is free, so that the plan does the step again with all its checks; else the step at that path
//! decides; else it is kept under a conflict name beside it; and what cannot be explained stays, and is
//! a failure until somebody has looked.

use std::collections::{HashMap, HashSet};
use std::io;

use anyhow::{Context, Result, anyhow, bail};

use super::foreign::step_aside;
use super::journal::is_slot;
use super::names::numbered_name;
use super::plan::Plan;
use super::{Fact, Options, Output, Run};
use crate::boxfs::{BoxRoot, COOKIE_STAGED, Kind, shown};
use crate::hash::{Hashed, hash_path};
use crate::path::SpacePath;
use crate::record::{Mode, Sha1, Verb};

impl Run<'_> {
    /// Sorts out what an interrupted run left in the staging folder.
    pub(super) fn recover(&mut self, plan: &Plan) -> Result<()> {
        for (was, is) in step_aside(&self.staging)? {
            self.report.notice(&format!("{}: is nothing that ltr put there: now {}", shown(&was), shown(&is)));
        }
        let names = self.staging.names()?;
        let noted = self.staging.noted()?;
        // what waits to go in first: what came out may be put back in its stead
        let (slots, ours): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| is_slot(name));
        for name in ours {
            if is_for_one_run(&name) {
                self.root.unlink(&self.staging.at(&name)?)?;
            }
        }
        for name in slots {
            let slot = self.staging.at(&name)?;
            if let Err(e) = self.recover_slot(plan, &name, &slot, &noted) {
                self.fail(&slot, &e.context("left by an interrupted run"));
            }
        }
        Ok(self.staging.remember()?)
    }

    fn recover_slot(&mut self, plan: &Plan, name: &str, slot: &SpacePath, noted: &HashMap<String, SpacePath>) -> Result<()> {
        let noted = noted.get(name.strip_suffix("-out").unwrap_or(name)).cloned();
        if name.starts_with("d-") {
            // a later step may take it from here as well, or get it otherwise: then this is not needed any more
            self.needed.extend(name.strip_prefix("d-").and_then(|hex| hex.parse::<Sha1>().ok()));
            if let Some(path) = noted {
                self.came_from.insert(slot.clone(), path.clone());
                let _ = self.put_back(slot, &path);
            }
            return Ok(());
        }
        let named = name.get(2..42).and_then(|hex| hex.parse::<Sha1>().ok());
        let hashed = hash_slot(self.root, slot);
        if let (true, Some(named), Ok(hashed)) = (name.starts_with("x-"), named, &hashed)
            && hashed.sha1 == named
        {
            return self.back_in_line(slot, named);
        }
        let path = match (noted, &hashed) {
            (Some(path), _) => path,
            (None, Ok(hashed)) => explain(plan, name, named, hashed.sha1)?.context("of unknown origin")?,
            (None, Err(e)) => bail!("of unknown origin: {e}"),
        };
        if !self.put_back(slot, &path)? {
            self.displaced.entry(path).or_default().push(slot.clone());
        }
        Ok(())
    }

    /// Puts what came out of `path` back where nothing is there now. Returns whether it is.
    fn put_back(&mut self, slot: &SpacePath, path: &SpacePath) -> Result<bool> {
        self.check_paths(&[path])?;
        if !self.root.look(path).is_ok_and(|there| there.is_none()) || self.root.rename_noreplace(slot, path).is_err() {
            return Ok(false);
        }
        self.report.notice(&format!("{path}: put back after an interrupted run"));
        Ok(true)
    }

    /// Content that was about to be exchanged, and was not.
    fn back_in_line(&self, path: &SpacePath, sha1: Sha1) -> Result<()> {
        let content = self.staging.at(&sha1.to_string())?;
        if self.root.lstat(path)?.kind != Kind::File {
            return Ok(self.root.unlink(path)?);
        }
        if self.root.look(&content)?.is_some() {
            self.root.unlink(&content)?;
        }
        Ok(self.root.rename_noreplace(path, &content)?)
    }

    /// Finds a place for what an interrupted run displaced, and no step of this one explained.
    pub(super) fn settle_rest(&mut self, output: &mut Output<'_, '_, '_>) -> Result<()> {
        for (path, slots) in std::mem::take(&mut self.displaced) {
            for slot in slots {
                if self.failed_at.contains(&path) {
                    self.report.notice(&format!("{path}: what was there is {}, until this succeeds", shown(&slot)));
                    continue;
                }
                self.settle_one(&slot, &path, output);
            }
        }
        output.emit(self)?;
        if self.failures == 0 {
            // what was set aside for a step that never came
            for (slot, path) in std::mem::take(&mut self.came_from) {
                if self.root.look(&slot)?.is_some() && !self.set_aside.contains(&slot) && !self.is_in_place(&slot) {
                    self.settle_one(&slot, &path, output);
                }
            }
        }
        output.emit(self)
    }

    fn settle_one(&mut self, slot: &SpacePath, path: &SpacePath, output: &mut Output<'_, '_, '_>) {
        match self.find_a_place(slot, path) {
            Ok(Some(fact)) => output.finished(fact),
            Ok(None) => {}
            Err(e) => self.fail(slot, &e.context(format!("left by an interrupted run, was {path}"))),
        }
    }

    fn find_a_place(&mut self, slot: &SpacePath, path: &SpacePath) -> Result<Option<Fact>> {
        if self.put_back(slot, path)? {
            return Ok(None);
        }
        let hashed = hash_slot(self.root, slot)?;
        if let Ok(there) = hash_path(self.root, path)
            && (there.stat.kind, there.sha1) == (hashed.stat.kind, hashed.sha1)
        {
            self.root.unlink(slot)?;
            return Ok(None);
        }
        let name = numbered_name(path, hashed.stat.mtime, hashed.sha1, 0);
        let fact = self.keep(slot, &name, path, &hashed)?;
        self.report.notice(&format!("{path}: displaced by an interrupted run: kept as {}", fact.path));
        Ok(Some(fact))
    }

    /// Removes the staging folder when nothing is left in it. What failed half-way stays, to be resumed.
    pub(super) fn clean_up(&mut self, plan: &Plan, options: &Options<'_>) {
        if let Err(e) = self.try_clean_up(plan, options) {
            let folder = self.staging.folder().clone();
            self.fail(&folder, &e.context("cannot be cleaned up"));
        }
    }

    fn try_clean_up(&mut self, plan: &Plan, options: &Options<'_>) -> Result<()> {
        let mut begun = HashSet::new();
        for name in self.staging.names()? {
            let path = self.staging.at(&name)?;
            if name.starts_with("d-") {
                self.drop_set_aside(&path)?;
            } else if is_for_one_run(&name) {
                self.root.unlink(&path)?;
            } else if name.starts_with("rsync-") {
                // a plan without a step does not tell what may yet be continued
                remove_below(self.root, &path, self.failures == 0 && !plan.forward.is_empty());
            } else if let Ok(sha1) = name.parse::<Sha1>() {
                begun.insert(sha1);
            }
        }
        for sha1 in self.of_no_use(plan, begun, options)? {
            self.root.unlink(&self.staging.at(&sha1.to_string())?)?;
        }
        self.staging.forget()?;
        match self.root.rmdir(self.staging.folder()) {
            // as it should, where something is left
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            done => Ok(done?),
        }
    }

    /// Of contents that are here in part or whole, those that no later pull will ask for: this one put
    /// them in their places by another way, or nobody has them any more.
    fn of_no_use(&self, plan: &Plan, mut begun: HashSet<Sha1>, options: &Options<'_>) -> Result<Vec<Sha1>> {
        let mut useless = Vec::new();
        if !begun.is_empty() {
            for &step in &plan.forward {
                if let Some(sha1) = plan.action(step)?.sha1
                    && begun.remove(&sha1)
                    && self.failures == 0
                {
                    useless.push(sha1);
                }
            }
        }
        useless.extend(begun.into_iter().filter(|&sha1| !(options.awaited)(sha1)));
        Ok(useless)
    }

    /// Gives up what was set aside for a later step: in this run when all steps succeeded, of an earlier
    /// run when this one put the same content in its place.
    fn drop_set_aside(&mut self, path: &SpacePath) -> io::Result<()> {
        if self.is_in_place(path) || (self.failures == 0 && self.set_aside.contains(path)) {
            return self.root.unlink(path);
        }
        if self.failures > 0 {
            self.report.notice(&format!("{}: waits for the next run", shown(path)));
        } else {
            self.fail(path, &anyhow!("left by an interrupted run"));
        }
        Ok(())
    }

    /// Whether this run put the content that `d-<sha1>` names where it belongs.
    fn is_in_place(&self, slot: &SpacePath) -> bool {
        let hex = str::from_utf8(slot.name()).ok().and_then(|name| name.strip_prefix("d-"));
        hex.and_then(|hex| hex.parse().ok()).is_some_and(|sha1: Sha1| self.have_at.contains_key(&sha1))
    }
}

/// The path that content came from, where that was not recorded: of a step that takes just that away,
/// or else brings what took its place.
fn explain(plan: &Plan, name: &str, named: Option<Sha1>, sha1: Sha1) -> Result<Option<SpacePath>> {
    let mut likely = None;
    for &step in plan.forward.iter().chain(&plan.removes) {
        let action = plan.action(step)?;
        let had = action.have.as_ref().map_or(action.sha1.filter(|_| action.action == Verb::Remove), |have| have.sha1);
        let has = had == Some(sha1) && (action.action == Verb::Remove) == name.starts_with("r-");
        let brings = name.starts_with("x-") && named.is_some() && action.sha1 == named && action.action != Verb::Remove;
        match (has, brings) {
            (true, true) => return Ok(Some(action.path)),
            (true, false) if !name.starts_with("x-") => return Ok(Some(action.path)),
            (true, false) | (false, true) => likely = likely.or(Some(action.path)),
            (false, false) => {}
        }
    }
    Ok(likely)
}

/// Hashes what is in the staging folder, though its mode may let nobody read it.
pub(super) fn hash_slot(root: &BoxRoot, slot: &SpacePath) -> Result<Hashed> {
    let stat = root.lstat(slot)?;
    if stat.kind != Kind::File || stat.mode.0 & 0o400 != 0 {
        return Ok(hash_path(root, slot)?);
    }
    root.chmod(slot, Mode(stat.mode.0 | 0o400))?;
    let hashed = hash_path(root, slot);
    root.chmod(slot, stat.mode)?;
    Ok(Hashed { stat: root.lstat(slot)?, ..hashed? })
}

/// Whether only the run that staged something under this name would look for it there: a symlink,
/// `<sha1>+N`, the list of what another program is to bring, or a cookie of a box that was made at last.
pub(super) fn is_for_one_run(name: &str) -> bool {
    let duplicate = name.split_once('+').is_some_and(|(hex, _)| hex.parse::<Sha1>().is_ok());
    let list = ["rsync-", "sftp-"].iter().any(|program| name.starts_with(program)) && name.ends_with(".list");
    duplicate || list || name.starts_with("l-") || name.as_bytes().starts_with(COOKIE_STAGED)
}

/// Removes the folders that rsync made: where nothing is left in them, or with what is.
fn remove_below(root: &BoxRoot, folder: &SpacePath, all: bool) {
    for name in root.names(folder).unwrap_or_default() {
        let Ok(path) = folder.join(&name) else { continue };
        match root.lstat(&path).map(|stat| stat.kind) {
            Ok(Kind::Dir) => remove_below(root, &path, all),
            Ok(_) if all => drop(root.unlink(&path)),
            _ => {}
        }
    }
    let _ = root.rmdir(folder);
}
