//! A box on another machine: its verifier, and one of its files as a stream.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::staging::Origin;
use crate::path::SpacePath;
use crate::space::Remote;
use crate::ssh::{Session, Ssh, if_file};

/// A box's folder on another machine, and how to get there.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(super) remote: Remote,
    pub(super) ssh: Ssh,
    /// What has been found missing on the way there is not tried again.
    pub(super) no_rsync: AtomicBool,
    pub(super) no_sftp: AtomicBool,
}

impl Elsewhere {
    pub(crate) fn new(remote: Remote, ssh: &Ssh) -> Self {
        Self { remote, ssh: ssh.clone(), no_rsync: AtomicBool::new(false), no_sftp: AtomicBool::new(false) }
    }

    /// `ltr-verify` for the box `box_name` there, which answers requests and holds the lock.
    ///
    /// # Errors
    /// ssh cannot be run.
    pub(super) fn verifier(&self, box_name: &str) -> Result<Session> {
        let words = ["ltr-verify", "--box", box_name, "--root", &self.remote.path];
        self.ssh.start(&self.remote, &words, true)
    }

    pub(super) fn lacks(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    pub(super) fn found_missing(flag: &AtomicBool) {
        flag.store(true, Ordering::Relaxed);
    }
}

/// One file there, read by `tail`.
pub(crate) struct RemoteFile<'a> {
    elsewhere: &'a Elsewhere,
    path: SpacePath,
    session: Option<Session>,
    /// Whether bytes were asked for.
    pub(super) opened: bool,
}

impl<'a> RemoteFile<'a> {
    pub(crate) fn new(elsewhere: &'a Elsewhere, path: &SpacePath) -> Self {
        Self { elsewhere, path: path.clone(), session: None, opened: false }
    }

    /// Ends the ssh of this file, which has ended or sends bytes that nobody wants. Returns whether it
    /// was the connection that failed: 255 by ssh(1).
    pub(super) fn stop(&mut self) -> bool {
        self.session.take().and_then(Session::hang_up) == Some(255)
    }
}

impl Origin for RemoteFile<'_> {
    fn open_at(&mut self, offset: u64) -> Result<Box<dyn Read + '_>> {
        let (start, file) = (format!("+{}", offset.saturating_add(1)), self.elsewhere.remote.file(&self.path));
        let words = if_file(&file, &[b"tail", b"-c", start.as_bytes(), b"--", &file]);
        let session = self.elsewhere.ssh.start(&self.elsewhere.remote, &words, false)?;
        self.stop();
        self.opened = true;
        let stdout = self.session.insert(session).stdout.take().context("ssh has an output")?;
        Ok(Box::new(stdout))
    }
}
