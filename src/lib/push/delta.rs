//! A large file that changed goes as what differs from the version that the other box has: `rsync` compares it
//! with that, over there, and puts the new version under its name into a folder of the staging folder, from
//! where `sftp` renames it to its hash. Where anything of this fails, the file is sent whole.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::{Content, Progress, Push};
use crate::fetch::movers::LARGE;
use crate::fetch::program::Sign;
use crate::fetch::transfer::{LINE, escaped, is_for_rsync, rsync_of_names};
use crate::record::Ftype;
use crate::report::Report;

/// The box over there, as seen from a folder in its staging folder.
const BOX: &str = "../..";

/// Whether the other box has an older version of a file, under its name, that is worth comparing.
pub(super) fn is_one(content: &Content) -> bool {
    let had = content.action.have.as_ref();
    let worth = had.is_some_and(|had| had.ftype == Ftype::File && had.size.min(content.action.size) >= LARGE);
    let name = content.path.raw();
    worth && content.path == content.action.path && is_for_rsync(&name) && escaped(&name).is_some()
}

impl Push<'_> {
    /// Sends what differs of all files of which the other box has an older version. Returns whether all of
    /// them are over there now.
    pub(super) fn send_deltas(&self, spool: &File, progress: &mut Progress, report: &mut dyn Report) -> Result<bool> {
        // what was broken off is no version to compare with, so that each run has a folder of its own
        let folder = format!("rsync-push-{}", std::process::id());
        let (mut names, mut renames) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let (mut largest, mut all) = (0, 0_u64);
        for content in self.contents(spool) {
            let content = content?;
            if self.is_small(&content) || !is_one(&content) || self.open(&content).is_none() {
                continue;
            }
            let name = content.path.raw();
            names.write_all(&[name.strip_prefix(b"/").unwrap_or(&name), b"\0"].concat())?;
            let came = [self.staged(&folder).as_bytes(), &name].concat();
            let Some(line) = rename(&came, self.staged(&content.sha1.to_string()).as_bytes()) else { return Ok(false) };
            renames.write_all(&line)?;
            largest = largest.max(content.action.size);
            all = all.saturating_add(content.action.size);
        }
        let sent = largest > 0
            && self.rsync(names, &folder, largest, &mut |read| progress.tell(read.min(all), report))?
            && self.run_sftp(renames, &mut |_| ())?.status.success();
        if sent {
            progress.done(all, report);
        }
        Ok(sent)
    }

    /// `told` hears how much of them it has read.
    fn rsync(&self, mut names: File, folder: &str, largest: u64, told: &mut dyn FnMut(u64)) -> Result<bool> {
        names.rewind()?;
        let mut rsync = rsync_of_names(largest, Some(Path::new(BOX)), self.limit, self.ssh.limit());
        let mut root = self.root.path().as_os_str().to_owned();
        root.push("/");
        rsync.arg("-e").arg(self.ssh.rsh(self.remote)?).arg("--").arg(root);
        rsync.arg(format!("{}:{}/", self.remote.bracketed(), self.staged(folder))).stdin(names);
        match self.watched(rsync, Sign::Read, told) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            // whatever it failed for, sftp does without it or says why not
            output => Ok(output.with_context(|| format!("{}: rsync", self.remote.host))?.status.success()),
        }
    }
}

/// The line of an sftp batch that renames a file; none where no line can say it.
fn rename(from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    Some([b"rename ".as_slice(), &escaped(from)?, b" ", &escaped(to)?, b"\n"].concat()).filter(|line| line.len() <= LINE)
}
