//! What changes a box. The folder is looked up anew each time, the last name is never followed.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Mode as Bits, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::{BoxRoot, FOLDER, Kind, REGULAR, STAGING, name, regular, stat_of};
use crate::path::SpacePath;
use crate::record::Mode;

impl BoxRoot {
    /// Makes a folder.
    ///
    /// # Errors
    /// As mkdirat(2).
    pub fn mkdir(&self, path: &SpacePath, mode: Mode) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(self.fresh_folder_of(path)?, name(path), Bits::from_raw_mode(mode.0))?)
    }

    /// Makes a symlink to `target`, raw bytes.
    ///
    /// # Errors
    /// As symlinkat(2).
    pub fn symlink(&self, target: &[u8], path: &SpacePath) -> io::Result<()> {
        let target = std::ffi::OsStr::from_bytes(target);
        Ok(rustix::fs::symlinkat(target, self.fresh_folder_of(path)?, name(path))?)
    }

    /// Makes a file, which must not exist, for reading and writing; nobody else may read it.
    ///
    /// # Errors
    /// As openat(2).
    pub fn create(&self, path: &SpacePath) -> io::Result<File> {
        self.create_as(path, Mode(0o600))
    }

    /// As [`BoxRoot::create`], with a mode, from which the system takes what the umask says.
    ///
    /// # Errors
    /// As openat(2).
    pub fn create_as(&self, path: &SpacePath, mode: Mode) -> io::Result<File> {
        let flags = REGULAR | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        Ok(rustix::fs::openat(self.fresh_folder_of(path)?, name(path), flags, Bits::from_raw_mode(mode.0))?.into())
    }

    /// Opens a regular file for reading and writing.
    ///
    /// # Errors
    /// As openat(2); "not a regular file".
    pub fn reopen(&self, path: &SpacePath) -> io::Result<File> {
        let flags = REGULAR | OFlags::RDWR;
        Ok(regular(rustix::fs::openat(self.fresh_folder_of(path)?, name(path), flags, Bits::empty()))?.0)
    }

    /// Removes a file or symlink.
    ///
    /// # Errors
    /// As unlinkat(2).
    pub fn unlink(&self, path: &SpacePath) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self.fresh_folder_of(path)?, name(path), AtFlags::empty())?)
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// As unlinkat(2); `DirectoryNotEmpty`.
    pub fn rmdir(&self, path: &SpacePath) -> io::Result<()> {
        rustix::fs::unlinkat(self.fresh_folder_of(path)?, name(path), AtFlags::REMOVEDIR)?;
        if path.key() == STAGING.as_bytes() {
            self.hold(None);
        }
        Ok(())
    }

    /// Sets the permission bits of a file or folder; those that no [`Mode`] has stay as they are.
    ///
    /// # Errors
    /// As fchmod(2); `EPERM` on file systems without modes; a symlink is refused.
    pub fn chmod(&self, path: &SpacePath, mode: Mode) -> io::Result<()> {
        let folder = self.fresh_folder_of(path)?;
        let bits = |fd: &OwnedFd| Ok::<_, Errno>(Bits::from_raw_mode(mode.0 | (rustix::fs::fstat(fd)?.st_mode & 0o6000)));
        match rustix::fs::openat(&folder, name(path), REGULAR | OFlags::RDONLY, Bits::empty()) {
            Ok(fd) => Ok(rustix::fs::fchmod(&fd, bits(&fd)?)?),
            Err(Errno::ACCESS) => {
                // not readable even for its owner: fchmod(2) refuses O_PATH, so by way of /proc
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(&folder, name(path), flags, Bits::empty())?;
                if stat_of(&fd)?.kind == Kind::Symlink {
                    return Err(Errno::LOOP.into());
                }
                Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), bits(&fd)?)?)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Sets the modification time of whatever is at `path`; of a symlink, its own.
    ///
    /// # Errors
    /// As utimensat(2).
    pub fn set_mtime(&self, path: &SpacePath, mtime: i64, mtime_nsec: u32) -> io::Result<()> {
        let times = times(mtime, mtime_nsec);
        Ok(rustix::fs::utimensat(self.fresh_folder_of(path)?, name(path), &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Renames, and fails with `AlreadyExists` rather than replace anything.
    ///
    /// Where the file system cannot do that in one step (NFS, some FUSE), a hard link does it in two;
    /// without hard links it is a look and then a rename, and what appears in between is lost.
    ///
    /// # Errors
    /// As renameat2(2).
    pub fn rename_noreplace(&self, from: &SpacePath, to: &SpacePath) -> io::Result<()> {
        let (old, new) = (self.fresh_folder_of(from)?, self.fresh_folder_of(to)?);
        match rustix::fs::renameat_with(&old, name(from), &new, name(to), RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {}
            done => return Ok(done?),
        }
        self.link_noreplace(from, to)
    }

    /// What [`BoxRoot::rename_noreplace`] does where there is no renameat2.
    pub(super) fn link_noreplace(&self, from: &SpacePath, to: &SpacePath) -> io::Result<()> {
        let (old, new) = (self.fresh_folder_of(from)?, self.fresh_folder_of(to)?);
        match rustix::fs::linkat(&old, name(from), &new, name(to), AtFlags::empty()) {
            Ok(()) => return Ok(rustix::fs::unlinkat(&old, name(from), AtFlags::empty())?),
            Err(e @ (Errno::EXIST | Errno::NOENT)) => return Err(e.into()),
            Err(_) => {}
        }
        if self.look(to)?.is_some() {
            return Err(Errno::EXIST.into());
        }
        Ok(rustix::fs::renameat(&old, name(from), &new, name(to))?)
    }

    /// Lets two existing names change places in one step.
    ///
    /// Where the file system cannot (FAT before Linux 6.0, NFS), it is three renames by way of
    /// `staged` with `-out` appended, none of which replaces anything; `at` is missing for a moment.
    ///
    /// # Errors
    /// As renameat2(2).
    pub fn rename_exchange(&self, staged: &SpacePath, at: &SpacePath) -> io::Result<()> {
        let (old, new) = (self.fresh_folder_of(staged)?, self.fresh_folder_of(at)?);
        match rustix::fs::renameat_with(&old, name(staged), &new, name(at), RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS) => {}
            done => return Ok(done?),
        }
        self.exchange_slowly(staged, at)
    }

    /// What [`BoxRoot::rename_exchange`] does where there is no renameat2.
    pub(super) fn exchange_slowly(&self, staged: &SpacePath, at: &SpacePath) -> io::Result<()> {
        let mut out = staged.name().to_vec();
        out.extend_from_slice(b"-out");
        let folder = staged.parent().unwrap_or_default();
        let out = folder.join(&out).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        self.rename_noreplace(at, &out)?;
        if let Err(e) = self.rename_noreplace(staged, at) {
            self.rename_noreplace(&out, at)?;
            return Err(e);
        }
        self.rename_noreplace(&out, staged)
    }

    /// The staging folder, made when it is not there: nobody but the owner may look into it.
    ///
    /// # Errors
    /// It is a symlink or no folder; else as mkdirat(2).
    pub fn staging(&self) -> io::Result<SpacePath> {
        let path = SpacePath::from_relative(STAGING.as_bytes()).map_err(io::Error::other)?;
        self.hold(None);
        if let Err(e) = self.mkdir(&path, Mode(0o700))
            && e.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(e);
        }
        let stat = self.lstat(&path)?;
        if stat.kind != Kind::Dir {
            return Err(io::Error::other(format!("{STAGING} is not a folder")));
        }
        if stat.mode.0 & 0o077 != 0 {
            // fails where there are no modes, and there is nothing to be done about it there
            let _ = self.chmod(&path, Mode(0o700));
        }
        self.hold(Some(self.open_folder(&path)?));
        Ok(path)
    }

    /// Waits until everything written to the box's file system is on the disk.
    ///
    /// # Errors
    /// As syncfs(2).
    pub fn sync(&self) -> io::Result<()> {
        let fd = rustix::fs::openat(&self.fd, ".", FOLDER.difference(OFlags::PATH), Bits::empty())?;
        Ok(rustix::fs::syncfs(fd)?)
    }
}

/// Sets the modification time of an open file.
///
/// # Errors
/// As futimens(3).
pub fn set_mtime_of(file: &File, mtime: i64, mtime_nsec: u32) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &times(mtime, mtime_nsec))?)
}

fn times(mtime: i64, mtime_nsec: u32) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime, tv_nsec: mtime_nsec.into() },
    }
}
