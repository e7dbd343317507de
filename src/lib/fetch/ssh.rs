//! A box on another machine: its verifier, and one of its files as a stream.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::bulk::Tar;
use super::shelf::Origin;
use crate::path::SpacePath;
use crate::reach::far::check_box;
use crate::space::Remote;
use crate::ssh::{Session, Ssh, if_file};

/// How often it is told what came.
const TOLD: Duration = Duration::from_millis(50);

/// A program that may be missing, here or there: once that was found out, it is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Tar,
    Rsync,
    Sftp,
}

/// A box's folder on another machine, and how to get there.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(super) box_name: String,
    pub(super) remote: Remote,
    pub(super) ssh: Ssh,
    uuid: Option<String>,
    missing: [AtomicBool; 3],
    /// Whether it is the box that was meant, or why not.
    proven: OnceLock<Result<(), String>>,
    /// Why not was told.
    told: AtomicBool,
    lost: AtomicBool,
    /// A tar that waits for names.
    tar: Mutex<Option<Tar>>,
}

impl Elsewhere {
    pub(crate) fn new(box_name: &str, remote: Remote, ssh: &Ssh, uuid: Option<&str>) -> Self {
        let missing = [const { AtomicBool::new(false) }; 3];
        let (proven, told, lost) = (OnceLock::new(), AtomicBool::new(false), AtomicBool::new(false));
        let uuid = uuid.map(str::to_owned);
        Self { box_name: box_name.to_owned(), remote, ssh: ssh.clone(), uuid, missing, proven, told, lost, tar: Mutex::default() }
    }

    /// Makes sure, once, that this is the box that was meant (design section 10.7); else `say` hears why not.
    pub(super) fn prove(&self, say: &mut dyn FnMut(String)) -> bool {
        let Err(words) = self.proven() else { return true };
        if !self.told.swap(true, Ordering::Relaxed) {
            say(format!("box {}: {words}", self.box_name));
        }
        self.lose();
        false
    }

    /// As [`Elsewhere::prove`], for who has nobody to tell and wants nothing yet: that it is lost is for those to
    /// find out who would wait for it.
    pub(super) fn is_proven(&self) -> bool {
        self.proven().is_ok()
    }

    fn proven(&self) -> &Result<(), String> {
        let check = || check_box(&self.ssh, &self.remote, &self.box_name, self.uuid.as_deref());
        self.proven.get_or_init(|| check().map_err(|e| format!("{e:#}")))
    }

    /// Keeps a tar until it is needed.
    pub(super) fn keep(&self, tar: Option<Tar>) {
        *self.tar.lock().unwrap_or_else(PoisonError::into_inner) = tar;
    }

    /// A tar, the one that was kept first.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn tar(&self) -> Result<Tar> {
        let kept = self.tar.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.map_or_else(|| Tar::start(self), Ok)
    }

    /// Whether it was found not to answer.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// It does not answer any more.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// `ltr-verify` for the box there, which answers requests and holds the lock.
    ///
    /// # Errors
    /// ssh cannot be run.
    pub(super) fn verifier(&self) -> Result<Session> {
        let words = ["ltr-verify", "--box", &self.box_name, "--root", &self.remote.path];
        self.ssh.start(&self.remote, &words, true)
    }

    pub(super) fn has(&self, program: Program) -> bool {
        !self.missing[program as usize].load(Ordering::Relaxed)
    }

    pub(super) fn lacks(&self, program: Program) {
        self.missing[program as usize].store(true, Ordering::Relaxed);
    }
}

/// One file there, read by `tail`.
pub(crate) struct RemoteFile<'a> {
    elsewhere: &'a Elsewhere,
    path: SpacePath,
    /// Hears how many bytes came.
    tell: &'a dyn Fn(u64),
    session: Option<Session>,
    /// Whether bytes were asked for.
    pub(super) opened: bool,
}

impl<'a> RemoteFile<'a> {
    pub(crate) fn new(elsewhere: &'a Elsewhere, path: &SpacePath, tell: &'a dyn Fn(u64)) -> Self {
        Self { elsewhere, path: path.clone(), tell, session: None, opened: false }
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
        Ok(Box::new(Told { reader: stdout, tell: self.tell, untold: 0, last: Instant::now() }))
    }
}

/// Tells from time to time how many bytes were read.
struct Told<'a, R> {
    reader: R,
    tell: &'a dyn Fn(u64),
    untold: u64,
    last: Instant,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.untold += read as u64;
        if read == 0 || self.last.elapsed() >= TOLD {
            (self.tell)(std::mem::take(&mut self.untold));
            self.last = Instant::now();
        }
        Ok(read)
    }
}

impl<R> Drop for Told<'_, R> {
    fn drop(&mut self) {
        (self.tell)(self.untold);
    }
}
