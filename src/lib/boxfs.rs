//! File operations beneath a box's root, none of which can be led out of it: what an index or another
//! host names is hostile until checked (design section 10.5), and a folder of the box may become a
//! symlink between two looks.
//!
//! The folder that holds a path is opened by `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`, and
//! everything happens relative to that descriptor by the last name, which is never followed.

mod change;
mod clock;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode as Bits, OFlags, ResolveFlags};
use rustix::io::Errno;

pub use self::change::set_mtime_of;
pub use self::clock::Moment;
use crate::fsinfo::FsTraits;
use crate::path::{SEPARATOR, SpacePath};
use crate::record::{Ftype, Local, Mode};

/// The folder at a box's root in which content waits until it is whole.
pub const STAGING: &str = ".ltr-tmp";
/// The file at a box's root that says which box it is.
pub const COOKIE: &str = ".ltr";
/// What the name of a cookie begins with while it waits in the staging folder.
pub const COOKIE_STAGED: &[u8] = b"cookie-";
/// The folder of an index that a box carries with it.
pub const CARRIED_INDEX: &str = ".ltr-index";

/// What kind of thing is at a path, the ones that no entry can describe included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A device, fifo or socket.
    Other,
}

impl Kind {
    /// What an entry would call it.
    #[must_use]
    pub fn ftype(self) -> Option<Ftype> {
        match self {
            Kind::File => Some(Ftype::File),
            Kind::Dir => Some(Ftype::Dir),
            Kind::Symlink => Some(Ftype::Symlink),
            Kind::Other => None,
        }
    }
}

/// The part of stat(2) that says whether a file is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// File, folder, symlink or other.
    pub kind: Kind,
    /// Bytes; 0 for folders, whose size says nothing.
    pub size: u64,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds to add to `mtime`.
    pub mtime_nsec: u32,
    /// Permission bits.
    pub mode: Mode,
    /// Inode number.
    pub ino: u64,
    /// Device number.
    pub dev: u64,
    /// Status change time, seconds since 1970.
    pub ctime: i64,
    /// Nanoseconds to add to `ctime`.
    pub ctime_nsec: u32,
    /// Hard links.
    pub nlink: u64,
}

impl Stat {
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the widths differ between architectures")]
    fn new(s: &rustix::fs::Stat) -> Self {
        let kind = match FileType::from_raw_mode(s.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Other,
        };
        Self {
            kind,
            size: if kind == Kind::Dir { 0 } else { u64::try_from(s.st_size).unwrap_or(0) },
            mtime: s.st_mtime as i64,
            mtime_nsec: u32::try_from(s.st_mtime_nsec).unwrap_or(0),
            mode: Mode::new(s.st_mode),
            ino: s.st_ino as u64,
            dev: s.st_dev as u64,
            ctime: s.st_ctime as i64,
            ctime_nsec: u32::try_from(s.st_ctime_nsec).unwrap_or(0),
            nlink: s.st_nlink as u64,
        }
    }

    /// Whether a file seen as `self` and then as `other` was left alone in between.
    #[must_use]
    pub fn unchanged(&self, other: &Self) -> bool {
        Self { nlink: 0, ..*self } == Self { nlink: 0, ..*other }
    }

    /// As [`Stat::unchanged`], where the file was renamed in between, which sets the ctime.
    #[must_use]
    pub fn same_but_ctime(&self, other: &Self) -> bool {
        self.unchanged(&Self { ctime: self.ctime, ctime_nsec: self.ctime_nsec, ..*other })
    }

    /// The local facts of an entry.
    #[must_use]
    pub fn local(&self, racy: bool) -> Local {
        Local { ino: self.ino, ctime: self.ctime, ctime_nsec: self.ctime_nsec, dev: self.dev, racy, ..Local::default() }
    }
}

/// What a file is, by its descriptor.
///
/// # Errors
/// As fstat(2).
pub fn stat_of(file: impl AsFd) -> io::Result<Stat> {
    Ok(Stat::new(&rustix::fs::fstat(file)?))
}

/// Whether a path is ltr's own business (cookie, staging, carried index), and so nobody's file.
#[must_use]
pub fn is_own(path: &SpacePath) -> bool {
    path.key().split(|&b| b == SEPARATOR).enumerate().any(|(depth, name)| is_own_name(name, depth == 0))
}

/// Whether `name`, at a box's root or in a folder below it, is ltr's own. A cookie is so anywhere: below
/// the root it would make a box of its own. Case is ignored, since the file system may ignore it (git
/// learned this as CVE-2014-9390).
#[must_use]
pub fn is_own_name(name: &[u8], at_root: bool) -> bool {
    let is = |own: &str| name.eq_ignore_ascii_case(own.as_bytes());
    is(COOKIE) || (at_root && (is(STAGING) || is(CARRIED_INDEX)))
}

/// A path of a box as a person is told it: ltr's own files are no paths of the space, and go by their
/// names in the box.
#[must_use]
pub fn shown(path: &SpacePath) -> String {
    let spelled = path.spelled();
    if is_own(path) { spelled.trim_start_matches('/').to_owned() } else { spelled }
}

/// The root of a box, held open.
#[derive(Debug)]
pub struct BoxRoot {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether openat2 is not to be had (before Linux 5.6, or forbidden by a sandbox).
    walk: AtomicBool,
    /// The folder that was read from last: most paths that follow lie in it as well.
    last: Mutex<Option<(SpacePath, Arc<OwnedFd>)>>,
    /// The staging folder, from [`BoxRoot::staging`] on.
    staging: Mutex<Option<Arc<OwnedFd>>>,
    traits: OnceLock<Option<FsTraits>>,
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const REGULAR: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl BoxRoot {
    /// Opens the folder `path`, which may itself be reached through symlinks.
    ///
    /// # Errors
    /// It is not there or no folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Bits::empty())?;
        let (walk, last, staging) = (AtomicBool::new(false), Mutex::default(), Mutex::default());
        Ok(Self { fd, path: path.to_owned(), walk, last, staging, traits: OnceLock::new() })
    }

    /// The same folder with a memory of its own for the folder read from last: for another thread, which reads elsewhere.
    /// None where the system has no more descriptors.
    #[must_use]
    pub fn another(&self) -> Option<Self> {
        let (fd, path, traits) = (self.fd.try_clone().ok()?, self.path.clone(), self.traits.clone());
        let walk = AtomicBool::new(self.walk.load(Ordering::Relaxed));
        Some(Self { fd, path, walk, last: Mutex::default(), staging: Mutex::default(), traits })
    }

    /// The path that it was opened by, for messages and for other programs.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its file system can express; none where that cannot be told.
    #[must_use]
    pub fn traits(&self) -> Option<FsTraits> {
        *self.traits.get_or_init(|| FsTraits::of(&self.fd).ok())
    }

    /// Bytes that this user may still write on the box's file system.
    ///
    /// # Errors
    /// As fstatvfs(3).
    pub fn free(&self) -> io::Result<u64> {
        let fs = rustix::fs::fstatvfs(&self.fd)?;
        Ok(fs.f_bavail.saturating_mul(fs.f_frsize))
    }

    /// What is at `path`; symlinks are not followed.
    ///
    /// # Errors
    /// `NotFound`; "a symlink is in the way"; else as fstatat(2).
    pub fn lstat(&self, path: &SpacePath) -> io::Result<Stat> {
        if path.is_root() {
            return stat_of(&self.fd);
        }
        let folder = self.folder_of(path)?;
        Ok(Stat::new(&rustix::fs::statat(&*folder, name(path), AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// As [`BoxRoot::lstat`], `None` where nothing is, not even the folder.
    ///
    /// # Errors
    /// As [`BoxRoot::lstat`]; a file in the place of a folder above is an error, not an absence.
    pub fn look(&self, path: &SpacePath) -> io::Result<Option<Stat>> {
        match self.lstat(path) {
            Ok(stat) => Ok(Some(stat)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether the folder that holds `path` is there.
    ///
    /// # Errors
    /// As [`BoxRoot::look`].
    pub fn has_folder_of(&self, path: &SpacePath) -> io::Result<bool> {
        match self.folder_of(path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Whether certainly nothing is at `path`: lstat says so, or what is above it is no folder.
    ///
    /// # Errors
    /// A folder above cannot be read, so that nothing is certain.
    pub fn is_gone(&self, path: &SpacePath) -> io::Result<bool> {
        let error = match self.look(path) {
            Ok(found) => return Ok(found.is_none()),
            Err(error) => error,
        };
        let mut above = path.parent();
        while let Some(folder) = above.filter(|f| !f.is_root()) {
            if self.look(&folder).is_ok_and(|found| found.is_none_or(|stat| stat.kind != Kind::Dir)) {
                return Ok(true);
            }
            above = folder.parent();
        }
        Err(error)
    }

    /// Opens a regular file for reading. A fifo or device is refused without waiting for it.
    ///
    /// # Errors
    /// As openat(2); "not a regular file".
    pub fn open_file(&self, path: &SpacePath) -> io::Result<File> {
        Ok(self.open_seen(path)?.0)
    }

    /// As [`BoxRoot::open_file`], with what fstat said of the open file.
    ///
    /// # Errors
    /// As [`BoxRoot::open_file`].
    pub fn open_seen(&self, path: &SpacePath) -> io::Result<(File, Stat)> {
        let folder = self.folder_of(path)?;
        regular(rustix::fs::openat(&*folder, name(path), REGULAR | OFlags::RDONLY, Bits::empty()))
    }

    /// The target of a symlink as raw bytes.
    ///
    /// # Errors
    /// As readlinkat(2).
    pub fn readlink(&self, path: &SpacePath) -> io::Result<Vec<u8>> {
        let folder = self.folder_of(path)?;
        Ok(rustix::fs::readlinkat(&*folder, name(path), Vec::new())?.into_bytes())
    }

    /// The names in a folder, in no order, without `.` and `..`.
    ///
    /// # Errors
    /// As openat(2) and getdents(2).
    pub fn names(&self, folder: &SpacePath) -> io::Result<Vec<Vec<u8>>> {
        let fd = self.open_folder(folder)?;
        let readable = rustix::fs::openat(&fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Bits::empty())?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(readable)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether the folder of `path`, which is there, lists exactly its name: on a file system without
    /// case it may be another name. The folder is read only where the other case is there as well.
    ///
    /// # Errors
    /// As [`BoxRoot::names`].
    pub fn lists(&self, path: &SpacePath) -> io::Result<bool> {
        let Some(folder) = path.parent() else { return Ok(true) };
        let (name, lower) = (path.name(), path.name().to_ascii_lowercase());
        if name.is_ascii() {
            let other = if name == lower { name.to_ascii_uppercase() } else { lower };
            if other == name || self.look(&folder.join(&other).map_err(io::Error::other)?)?.is_none() {
                return Ok(true);
            }
        }
        Ok(self.names(&folder)?.iter().any(|n| n == name))
    }

    /// The folder that holds `path`, for reading: the last one is remembered.
    fn folder_of(&self, path: &SpacePath) -> io::Result<Arc<OwnedFd>> {
        let key = path.split().0;
        if let Some(fd) = self.held(key) {
            return Ok(fd);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, fd)) = &*last
            && known.key() == key
            && !path.is_root()
        {
            return Ok(Arc::clone(fd));
        }
        let folder = parent(path)?;
        let fd = Arc::new(self.open_folder(&folder)?);
        *last = Some((folder, Arc::clone(&fd)));
        Ok(fd)
    }

    /// The folder that holds `path`, for changing it: looked up anew, for the one remembered may have
    /// been moved out of the box. The staging folder is ltr's own wherever it goes.
    fn fresh_folder_of(&self, path: &SpacePath) -> io::Result<Arc<OwnedFd>> {
        let folder = parent(path)?;
        self.held(folder.key()).map_or_else(|| self.open_folder(&folder).map(Arc::new), Ok)
    }

    /// The staging folder, if that is the folder with this key and it is in use.
    fn held(&self, folder: &[u8]) -> Option<Arc<OwnedFd>> {
        let staging = folder == STAGING.as_bytes();
        if staging { self.staging.lock().unwrap_or_else(PoisonError::into_inner).clone() } else { None }
    }

    fn hold(&self, staging: Option<OwnedFd>) {
        *self.staging.lock().unwrap_or_else(PoisonError::into_inner) = staging.map(Arc::new);
    }

    fn open_folder(&self, folder: &SpacePath) -> io::Result<OwnedFd> {
        if folder.is_root() {
            return self.fd.try_clone();
        }
        if self.walk.load(Ordering::Relaxed) {
            return self.walk_to(folder);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // with O_NOFOLLOW a symlink at the end would only be "not a directory"
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        match rustix::fs::openat2(&self.fd, folder.to_relative(), flags, Bits::empty(), resolve) {
            Ok(fd) => Ok(fd),
            Err(Errno::LOOP | Errno::XDEV) => Err(in_the_way()),
            Err(Errno::NOSYS | Errno::PERM) => {
                let fd = self.walk_to(folder)?;
                self.walk.store(true, Ordering::Relaxed);
                Ok(fd)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// What openat2 does, a component at a time.
    fn walk_to(&self, folder: &SpacePath) -> io::Result<OwnedFd> {
        let mut fd = self.fd.try_clone()?;
        for component in folder.key().split(|&b| b == SEPARATOR) {
            let component = OsStr::from_bytes(component);
            fd = match rustix::fs::openat(&fd, component, FOLDER, Bits::empty()) {
                Ok(next) => next,
                Err(e @ (Errno::NOTDIR | Errno::LOOP)) => {
                    let stat = rustix::fs::statat(&fd, component, AtFlags::SYMLINK_NOFOLLOW)?;
                    let symlink = Stat::new(&stat).kind == Kind::Symlink;
                    return Err(if symlink { in_the_way() } else { e.into() });
                }
                Err(e) => return Err(e.into()),
            };
        }
        Ok(fd)
    }
}

fn parent(path: &SpacePath) -> io::Result<SpacePath> {
    path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the root of a box is not a file in it"))
}

fn name(path: &SpacePath) -> &OsStr {
    OsStr::from_bytes(path.name())
}

fn in_the_way() -> io::Error {
    io::Error::other("a symlink is in the way")
}

fn regular(opened: rustix::io::Result<OwnedFd>) -> io::Result<(File, Stat)> {
    let fd = match opened {
        Err(Errno::LOOP | Errno::NXIO) => return Err(io::Error::other("not a regular file")),
        opened => opened?,
    };
    let stat = stat_of(&fd)?;
    if stat.kind != Kind::File {
        return Err(io::Error::other("not a regular file"));
    }
    Ok((File::from(fd), stat))
}
