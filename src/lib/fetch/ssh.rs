//! A box on another machine: its cookie, its verifier, and one of its files as a stream.

use std::io::Read;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};

use super::staging::Origin;
use crate::boxfs::COOKIE;
use crate::path::SpacePath;
use crate::space::Remote;
use crate::ssh::{Ssh, words_of};

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

    /// The text of the cookie there.
    ///
    /// # Errors
    /// The machine does not answer, or there is no box.
    pub(crate) fn read_cookie(&self) -> Result<Vec<u8>> {
        let cookie = format!("{}/{COOKIE}", self.remote.path.trim_end_matches('/'));
        let mut ssh = self.ssh.command(&self.remote, &["cat", "--", &cookie])?;
        let output = ssh.stdin(Stdio::null()).output().context("cannot run ssh")?;
        ensure!(output.status.success(), "{}: {}", self.remote.host, words_of(&output));
        Ok(output.stdout)
    }

    /// `ltr-verify` for the box `box_name` there, which answers requests and holds the lock.
    ///
    /// # Errors
    /// ssh cannot be run.
    pub(super) fn verifier(&self, box_name: &str) -> Result<Child> {
        let words = ["ltr-verify", "--box", box_name, "--root", &self.remote.path];
        let mut ssh = self.ssh.command(&self.remote, &words)?;
        Ok(ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
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
    child: Option<Child>,
    /// Whether bytes were asked for.
    pub(super) opened: bool,
}

impl<'a> RemoteFile<'a> {
    pub(crate) fn new(elsewhere: &'a Elsewhere, path: &SpacePath) -> Self {
        Self { elsewhere, path: path.clone(), child: None, opened: false }
    }

    /// Ends the ssh of this file, which has ended or sends bytes that nobody wants. Returns whether it
    /// was the connection that failed: 255 by ssh(1).
    pub(super) fn stop(&mut self) -> bool {
        let Some(mut child) = self.child.take() else { return false };
        // its output has ended or is closed, so it is about to end by itself: with a status
        drop(child.stdout.take());
        for _ in 0..50 {
            if let Ok(Some(status)) = child.try_wait() {
                return status.code() == Some(255);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }
}

impl Origin for RemoteFile<'_> {
    fn open_at(&mut self, offset: u64) -> Result<Box<dyn Read + '_>> {
        let (start, file) = (format!("+{}", offset.saturating_add(1)), self.elsewhere.remote.file(&self.path));
        let words = [b"tail".as_slice(), b"-c", start.as_bytes(), b"--", &file];
        let mut ssh = self.elsewhere.ssh.command(&self.elsewhere.remote, &words)?;
        let child = ssh.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run ssh")?;
        self.stop();
        self.opened = true;
        let stdout = self.child.insert(child).stdout.take().context("ssh has an output")?;
        Ok(Box::new(stdout))
    }
}

impl Drop for RemoteFile<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
