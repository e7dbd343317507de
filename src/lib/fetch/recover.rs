//! What an interrupted run left in the staging folder, and what this one leaves.

use anyhow::Result;

use super::Run;
use crate::boxfs::{BoxRoot, Kind};
use crate::hash::hash_path;
use crate::path::SpacePath;
use crate::record::Sha1;

impl Run<'_> {
    /// Sorts out what an interrupted run left in the staging folder.
    pub(super) fn recover(&mut self) -> Result<()> {
        for name in self.staging.names()? {
            let path = self.staging.at(&name)?;
            let (prefix, rest) = name.split_at_checked(2).unwrap_or(("", ""));
            let sha1 = rest.get(..40).and_then(|hex| hex.parse::<Sha1>().ok());
            match (prefix, sha1) {
                ("x-" | "r-", Some(sha1)) => {
                    let right = hash_path(self.root, &path).is_ok_and(|h| h.sha1 == sha1);
                    match (prefix, right) {
                        // verified before it was put there
                        ("r-", true) => self.root.unlink(&path)?,
                        ("x-", true) => self.back_in_line(&path, sha1)?,
                        ("x-", false) if matches!(self.root.lstat(&path)?.kind, Kind::File | Kind::Symlink) => {
                            self.displaced.entry(sha1).or_default().push(path);
                        }
                        _ => self.left(&path),
                    }
                }
                ("l-", _) => self.root.unlink(&path)?,
                _ if is_duplicate(&name) => self.root.unlink(&path)?,
                _ => {}
            }
        }
        Ok(())
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

    /// Removes the staging folder when nothing is left in it. What failed half-way stays, to be resumed.
    pub(super) fn clean_up(&mut self) {
        for path in self.displaced.values().flatten() {
            self.report.notice(&format!("{path}: left by an interrupted run"));
        }
        for name in self.staging.names().unwrap_or_default() {
            let Ok(path) = self.staging.at(&name) else { continue };
            if let Some(hex) = name.strip_prefix("d-") {
                self.drop_set_aside(&path, hex);
            } else if name.starts_with("rsync-") {
                remove_empty(self.root, &path);
            }
        }
        // fails, as it should, where something is left
        let _ = self.root.rmdir(self.staging.folder());
    }

    /// Gives up what was set aside for a later step: in this run when all steps succeeded, of an earlier
    /// run when this one put the same content in its place.
    fn drop_set_aside(&mut self, path: &SpacePath, hex: &str) {
        let in_place = hex.parse().is_ok_and(|sha1: Sha1| self.have_at.contains_key(&sha1));
        if in_place || (self.failures == 0 && self.set_aside.contains(path)) {
            let _ = self.root.unlink(path);
        } else {
            self.left(path);
        }
    }

    fn left(&mut self, path: &SpacePath) {
        self.report.notice(&format!("{path}: left by an interrupted run"));
    }
}

/// Whether a name is `<sha1>+N`.
fn is_duplicate(name: &str) -> bool {
    name.split_once('+').is_some_and(|(hex, _)| hex.parse::<Sha1>().is_ok())
}

/// Removes the folders that rsync made, where nothing is left in them.
fn remove_empty(root: &BoxRoot, folder: &SpacePath) {
    for name in root.names(folder).unwrap_or_default() {
        if let Ok(path) = folder.join(&name)
            && root.lstat(&path).is_ok_and(|s| s.kind == Kind::Dir)
        {
            remove_empty(root, &path);
        }
    }
    let _ = root.rmdir(folder);
}
