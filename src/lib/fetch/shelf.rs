//! The staging folder as all threads of a run see it: a file gets its content, is checked, and has its
//! mode and time, before anybody hears of it. Who may use which name is the business of `staging.rs`.
//!
//! A small file is read whole, checked and then written, where blocks cannot be shared: so a file of 4 KiB from another
//! box of the same disk takes 16 system calls from the first look to its entry, and took 26 as a copy that can be resumed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

use anyhow::{Context, Result, anyhow};
use rustix::fs::Mode as Bits;
use rustix::io::Errno;

use super::movers::LARGE;
use crate::boxfs::{BoxRoot, Kind, Stat, set_mtime_of};
use crate::hash::{BLOCK, Hasher, hash_path, sha1_of};
use crate::path::SpacePath;
use crate::record::{Action, Ftype, Mode, Sha1};
use crate::ssh::is_silence;

/// The mode that a file is made with.
const CREATED: Mode = Mode(0o600);
/// Bits that many a umask takes away.
const MASKED: u32 = 0o022;
/// Bytes after which what was written is sent on to the disk while more comes, so that little is left to wait for.
pub(super) const WRITTEN: u64 = 64 << 20;

/// The staging folder.
#[derive(Clone)]
pub(super) struct Shelf<'a> {
    root: &'a BoxRoot,
    folder: SpacePath,
    /// Whether the file system was found not to share blocks between files.
    shares_nothing: Arc<AtomicBool>,
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

impl SourceFailed {
    /// Whether it said nothing any more.
    pub(super) fn is_silence(&self) -> bool {
        is_silence(&self.0)
    }
}

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

impl<'a> Shelf<'a> {
    pub(super) fn new(root: &'a BoxRoot, folder: SpacePath) -> Self {
        Self { root, folder, shares_nothing: Arc::default() }
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

    /// Copies content to `place`. What an interrupted run left there is continued; when that does not
    /// give the right hash it is thrown away and taken once from the start. Returns whether it is the
    /// right content; else nothing is left.
    pub(super) fn fill(&self, action: &Action, place: &SpacePath, origin: &mut dyn Origin) -> Result<bool> {
        let sha1 = action.sha1.context("a file has a sha1")?;
        if action.size < LARGE && (origin.file().is_none() || self.shares_nothing.load(Ordering::Relaxed)) {
            return self.fill_at_once(action, place, origin);
        }
        loop {
            let (mut file, kept) = self.begin(place, action.size)?;
            if self.copy(&mut file, kept, action.size, origin)? == sha1 {
                set_attributes(self.root, place, action)?;
                return Ok(true);
            }
            self.root.unlink(place)?;
            if kept == 0 {
                return Ok(false);
            }
        }
    }

    /// As [`Shelf::fill`], by way of memory: what is small is not worth to be continued.
    fn fill_at_once(&self, action: &Action, place: &SpacePath, origin: &mut dyn Origin) -> Result<bool> {
        let mut content = Vec::with_capacity(usize::try_from(action.size)? + 1);
        if action.size > 0 {
            // one byte more than there should be tells a file that has grown
            let reader = origin.open_at(0).map_err(source_failed)?;
            reader.take(action.size + 1).read_to_end(&mut content).map_err(source_failed)?;
            let read = content.len();
            if (read as u64) < action.size {
                return Err(source_failed(anyhow!("ended after {read} of {} bytes", action.size)));
            }
        }
        if Some(sha1_of(&content)) != action.sha1 {
            return Ok(false);
        }
        self.put(action, place, &content).map(|()| true)
    }

    /// Puts `content` at `place`, which nobody else uses. It has been compared with its hash.
    pub(super) fn put(&self, action: &Action, place: &SpacePath, content: &[u8]) -> Result<()> {
        // nobody else can look into the staging folder, so that it may have its mode from the beginning
        let mode = if action.mode.0 & MASKED == 0 { action.mode } else { CREATED };
        let mut file = match self.root.create_as(place, mode) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.root.unlink(place)?;
                self.root.create_as(place, mode)?
            }
            file => file?,
        };
        file.write_all(content)?;
        if action.mode != mode
            && let Err(e) = chmod_of(&file, action.mode)
            && !is_refusal(&e)
        {
            return Err(e.into());
        }
        Ok(set_mtime_of(&file, action.mtime, action.mtime_nsec)?)
    }

    /// Takes the file that another program put into the staging folder to `place`. `hash`: what it was
    /// seen to be while it came. Returns whether it is the right content; else nothing is left.
    pub(super) fn adopt(&self, action: &Action, file: &SpacePath, place: &SpacePath, hash: Option<Sha1>) -> Result<bool> {
        let sha1 = action.sha1.context("a file has a sha1")?;
        if hash != Some(sha1) && hash_path(self.root, file)?.sha1 != sha1 {
            self.root.unlink(file)?;
            return Ok(false);
        }
        if place != file {
            if self.root.look(place)?.is_some() {
                self.root.unlink(place)?;
            }
            self.root.rename_noreplace(file, place)?;
        }
        set_attributes(self.root, place, action)?;
        Ok(true)
    }

    /// Removes what is at `path` where another program may not append to it, as in [`Shelf::begin`].
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

    /// Appends to `file`, which holds the first `kept` bytes, and returns the hash of all.
    fn copy(&self, file: &mut File, kept: u64, size: u64, origin: &mut dyn Origin) -> Result<Sha1> {
        if kept == 0
            && let Some(source) = origin.file()
        {
            if rustix::fs::ioctl_ficlone(&*file, source).is_ok() {
                // the blocks are the source's: what cannot be read is its fault
                return Ok(pump_into(Hasher::default(), file, None, size.saturating_add(1))?.0.finish());
            }
            self.shares_nothing.store(true, Ordering::Relaxed);
        }
        file.rewind()?;
        let (mut hasher, mut total) = pump_into(Hasher::default(), file, None, kept)?;
        if total < size {
            let mut reader = origin.open_at(total).map_err(source_failed)?;
            // one byte more than there should be tells a file that has grown
            let (h, more) = pump_to_disk(hasher, &mut reader, file, (size - total).saturating_add(1))?;
            (hasher, total) = (h, total + more);
            if total < size {
                return Err(source_failed(anyhow!("ended after {total} of {size} bytes")));
            }
        }
        Ok(hasher.finish())
    }
}

/// Copies and hashes up to `limit` bytes.
pub(crate) fn pump(reader: &mut dyn Read, writer: Option<&mut File>, limit: u64) -> Result<(Sha1, u64)> {
    let (hasher, total) = pump_into(Hasher::default(), reader, writer, limit)?;
    Ok((hasher.finish(), total))
}

/// As [`pump_into`]; of what is large, what came is sent on to the disk while more comes.
fn pump_to_disk(hasher: Hasher, reader: &mut dyn Read, file: &mut File, limit: u64) -> Result<(Hasher, u64)> {
    if limit <= WRITTEN {
        return pump_into(hasher, reader, Some(file), limit);
    }
    let behind = file.try_clone()?;
    let (tell, told) = sync_channel(1);
    std::thread::scope(|scope| {
        let (mut hasher, mut total) = (hasher, 0);
        // where the system gives no thread, the sync at the end does it all
        let _ = std::thread::Builder::new().spawn_scoped(scope, move || {
            for () in told {
                // what cannot be written, that sync tells
                let _ = behind.sync_data();
            }
        });
        while total < limit {
            let part = WRITTEN.min(limit - total);
            let (h, came) = pump_into(hasher, reader, Some(file), part)?;
            (hasher, total) = (h, total + came);
            if came < part {
                break;
            }
            let _ = tell.try_send(());
        }
        drop(tell);
        Ok((hasher, total))
    })
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

/// Sets mode and mtime where they are not right already. Returns what is there then, and whether the mode
/// was refused: a file system without modes (FAT refuses with `EPERM`) cannot express it, which is no
/// failure there.
pub(super) fn set_attributes(root: &BoxRoot, path: &SpacePath, action: &Action) -> io::Result<(Stat, bool)> {
    let stat = root.lstat(path)?;
    let (mut refused, mut changed) = (false, false);
    if action.ftype != Ftype::Symlink && stat.mode != action.mode {
        match chmod(root, path, action.mode) {
            Err(e) if is_refusal(&e) => refused = true,
            done => done?,
        }
        changed = true;
    }
    if (stat.mtime, stat.mtime_nsec) != (action.mtime, action.mtime_nsec) {
        root.set_mtime(path, action.mtime, action.mtime_nsec)?;
        changed = true;
    }
    Ok((if changed { root.lstat(path)? } else { stat }, refused))
}

/// Whether a mode was refused for good. `EACCES` is no such answer: a folder may not be looked into, which may change.
fn is_refusal(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS))
}

fn chmod(root: &BoxRoot, path: &SpacePath, mode: Mode) -> io::Result<()> {
    #[cfg(test)]
    if super::tests::NO_CHMOD.get() {
        return Err(Errno::PERM.into());
    }
    root.chmod(path, mode)
}

/// As [`chmod`], of a file that was just made.
fn chmod_of(file: &File, mode: Mode) -> io::Result<()> {
    #[cfg(test)]
    if super::tests::NO_CHMOD.get() {
        return Err(Errno::PERM.into());
    }
    Ok(rustix::fs::fchmod(file, Bits::from_raw_mode(mode.0))?)
}
