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

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, anyhow, bail};

use crate::boxfs::{BoxRoot, Kind};
use crate::hash::{BLOCK, Hasher, hash_path, sha1_of};
use crate::path::{SpacePath, unescape};
use crate::record::{Action, Ftype, Mode, Sha1};

/// The staging folder of one run.
pub(super) struct Staging<'a> {
    root: &'a BoxRoot,
    folder: SpacePath,
    next: u64,
    /// What waits for installation, and so is nobody else's.
    pending: HashSet<SpacePath>,
}

/// Where bytes come from: opened at an offset, so that a transfer can be resumed.
pub(crate) trait Origin {
    /// The bytes from `offset` on.
    fn open_at(&mut self, offset: u64) -> Result<Box<dyn Read + '_>>;
    /// The file itself, for file systems that share blocks between files.
    fn file(&self) -> Option<&File> {
        None
    }
}

/// The bytes could not be had from where they were to come from: another source may have them. Any
/// other failure is this box's own.
#[derive(Debug)]
pub(super) struct SourceFailed(anyhow::Error);

impl std::fmt::Display for SourceFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for SourceFailed {}

fn source_failed(cause: impl Into<anyhow::Error>) -> anyhow::Error {
    SourceFailed(cause.into()).into()
}

impl Origin for File {
    fn open_at(&mut self, offset: u64) -> Result<Box<dyn Read + '_>> {
        #[cfg(test)]
        super::tests::fault(offset)?;
        self.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(self))
    }
    fn file(&self) -> Option<&File> {
        Some(self)
    }
}

impl<'a> Staging<'a> {
    /// Opens the staging folder, making it where it is not there.
    pub(super) fn open(root: &'a BoxRoot) -> Result<Self> {
        let folder = root.staging().with_context(|| format!("{}", root.path().display()))?;
        Ok(Self { root, folder, next: 0, pending: HashSet::new() })
    }

    /// The box that it is in.
    pub(super) fn root(&self) -> &'a BoxRoot {
        self.root
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> &SpacePath {
        &self.folder
    }

    /// The path of `name` in the staging folder.
    pub(super) fn at(&self, name: &str) -> io::Result<SpacePath> {
        self.folder.join(name.as_bytes()).map_err(io::Error::other)
    }

    /// The names in it.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.root.names(&self.folder)?.into_iter().filter_map(|n| String::from_utf8(n).ok()).collect())
    }

    /// A name `PREFIX<sha1>SEP<N>` that nothing has yet.
    pub(super) fn fresh(&mut self, prefix: &str, sha1: Sha1, separator: char) -> io::Result<SpacePath> {
        loop {
            self.next += 1;
            let path = self.at(&format!("{prefix}{sha1}{separator}{}", self.next))?;
            if self.root.look(&path)?.is_none() {
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
        if self.pending.contains(&plain) { self.fresh("", sha1, '+') } else { Ok(plain) }
    }

    /// What an earlier run, or an earlier step of this one, left whole; not yet taken by another step.
    pub(super) fn leftover(&self, sha1: Sha1, size: u64) -> io::Result<Option<SpacePath>> {
        for name in [format!("{sha1}"), format!("d-{sha1}")] {
            let path = self.at(&name)?;
            let Some(stat) = self.root.look(&path)? else { continue };
            if stat.kind != Kind::File || stat.size != size || self.pending.contains(&path) {
                continue;
            }
            if stat.mode.0 & 0o400 == 0 {
                // it has its mode already, and that one lets nobody read it
                self.root.chmod(&path, Mode(0o600))?;
            }
            if hash_path(self.root, &path)?.sha1 == sha1 {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Gives staged content the mode and mtime of the action, and keeps it for its installation.
    pub(super) fn ready(&mut self, path: SpacePath, action: &Action) -> Result<SpacePath> {
        set_attributes(self.root, &path, action)?;
        self.pending.insert(path.clone());
        Ok(path)
    }

    /// Staged content has left, or is given up.
    pub(super) fn release(&mut self, path: &SpacePath) {
        self.pending.remove(path);
    }

    /// Stages what a symlink needs: itself.
    pub(super) fn symlink(&mut self, action: &Action) -> Result<SpacePath> {
        let target = unescape(action.target.as_deref().context("a symlink has a target")?)?;
        let sha1 = sha1_of(&target);
        if action.sha1 != Some(sha1) {
            bail!("the target is not what its sha1 says");
        }
        let path = self.fresh("l-", sha1, '+')?;
        self.root.symlink(&target, &path)?;
        self.ready(path, action)
    }

    /// Copies content in. What an interrupted run left is continued; when that does not give the
    /// right hash it is thrown away and taken once from the start. `None`: these are other bytes.
    pub(super) fn fill(&mut self, action: &Action, origin: &mut dyn Origin) -> Result<Option<SpacePath>> {
        let sha1 = action.sha1.context("a file has a sha1")?;
        let path = self.place(sha1)?;
        loop {
            let (mut file, kept) = self.begin(&path, action.size)?;
            if copy(&mut file, kept, action.size, origin)? == sha1 {
                return self.ready(path, action).map(Some);
            }
            self.root.unlink(&path)?;
            if kept == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes a file that another program put into the staging folder. `None`: these are other bytes.
    pub(super) fn adopt(&mut self, action: &Action, file: &SpacePath) -> Result<Option<SpacePath>> {
        let sha1 = action.sha1.context("a file has a sha1")?;
        if hash_path(self.root, file)?.sha1 != sha1 {
            self.root.unlink(file)?;
            return Ok(None);
        }
        let path = self.place(sha1)?;
        if path != *file {
            if self.root.look(&path)?.is_some() {
                self.root.unlink(&path)?;
            }
            self.root.rename_noreplace(file, &path)?;
        }
        self.ready(path, action).map(Some)
    }

    /// Whether what is staged at `path` waits for its installation.
    pub(super) fn is_pending(&self, path: &SpacePath) -> bool {
        self.pending.contains(path)
    }

    /// Removes what is at `path` where another program may not append to it, as in [`Staging::begin`].
    /// Returns whether it may now.
    pub(super) fn make_way(&self, path: &SpacePath, size: u64) -> Result<bool> {
        match self.root.look(path)? {
            Some(stat) if stat.kind == Kind::Dir => return Ok(false),
            Some(stat) if stat.kind != Kind::File || stat.size > size || stat.nlink != 1 => self.root.unlink(path)?,
            _ => {}
        }
        Ok(true)
    }

    /// Opens the staged file, with how many bytes of it are there. One that has another name as well
    /// is not ours alone any more, and not written to.
    fn begin(&self, path: &SpacePath, size: u64) -> io::Result<(File, u64)> {
        if let Some(stat) = self.root.look(path)? {
            if stat.kind == Kind::File && stat.size <= size && stat.nlink == 1 {
                let file = self.root.reopen(path);
                if let Ok(file) = file {
                    return Ok((file, stat.size));
                }
            }
            self.root.unlink(path)?;
        }
        Ok((self.root.create(path)?, 0))
    }
}

/// Appends to `file`, which holds the first `kept` bytes, and returns the hash of all.
fn copy(file: &mut File, kept: u64, size: u64, origin: &mut dyn Origin) -> Result<Sha1> {
    if kept == 0
        && let Some(source) = origin.file()
        && rustix::fs::ioctl_ficlone(&*file, source).is_ok()
    {
        // the blocks are the source's: what cannot be read is its fault
        return Ok(pump_into(Hasher::default(), file, None, size.saturating_add(1))?.0.finish());
    }
    file.rewind()?;
    let (mut hasher, mut total) = pump_into(Hasher::default(), file, None, kept)?;
    if total < size {
        let mut reader = origin.open_at(total).map_err(source_failed)?;
        // one byte more than there should be tells a file that has grown
        let (h, more) = pump_into(hasher, &mut reader, Some(file), (size - total).saturating_add(1))?;
        (hasher, total) = (h, total + more);
        if total < size {
            return Err(source_failed(anyhow!("ended after {total} of {size} bytes")));
        }
    }
    Ok(hasher.finish())
}

/// Copies and hashes up to `limit` bytes.
pub(crate) fn pump(reader: &mut dyn Read, writer: Option<&mut File>, limit: u64) -> Result<(Sha1, u64)> {
    let (hasher, total) = pump_into(Hasher::default(), reader, writer, limit)?;
    Ok((hasher.finish(), total))
}

/// Hashes up to `limit` bytes, and writes them where there is a writer. What cannot be read is
/// [`SourceFailed`], what cannot be written is not.
fn pump_into(mut hasher: Hasher, reader: &mut dyn Read, mut writer: Option<&mut File>, limit: u64) -> Result<(Hasher, u64)> {
    let mut buffer = vec![0; BLOCK];
    let mut total = 0;
    while total < limit {
        let room = usize::try_from(limit - total).unwrap_or(BLOCK).min(BLOCK);
        let read = match reader.read(&mut buffer[..room]) {
            Ok(0) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(source_failed)?,
        };
        hasher.update(&buffer[..read]);
        if let Some(file) = &mut writer {
            file.write_all(&buffer[..read])?;
        }
        total += read as u64;
    }
    Ok((hasher, total))
}

/// Sets mode and mtime where they are not right already. Returns whether the mode was refused: a file
/// system without modes (FAT refuses with `EPERM`) cannot express it, which is no failure there.
pub(super) fn set_attributes(root: &BoxRoot, path: &SpacePath, action: &Action) -> io::Result<bool> {
    let stat = root.lstat(path)?;
    let mut refused = false;
    if action.ftype != Ftype::Symlink && stat.mode != action.mode {
        match chmod(root, path, action.mode) {
            Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => refused = true,
            done => done?,
        }
    }
    if (stat.mtime, stat.mtime_nsec) != (action.mtime, action.mtime_nsec) {
        root.set_mtime(path, action.mtime, action.mtime_nsec)?;
    }
    Ok(refused)
}

fn chmod(root: &BoxRoot, path: &SpacePath, mode: Mode) -> io::Result<()> {
    #[cfg(test)]
    if super::tests::NO_CHMOD.get() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    root.chmod(path, mode)
}
