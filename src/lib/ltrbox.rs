//! A box: a folder with a cookie that says which box of which space it is.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::boxfs::{BoxRoot, COOKIE, Stat};
use crate::cookie::{Cookie, cookie_path};
use crate::couch::places::Places;
use crate::index::own::Own;
use crate::index::sqlite::{Access, Sqlite};
use crate::path::{SpacePath, escape};
use crate::space::Space;

/// The box around a folder. A record of the type `located`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Located {
    /// Absolute, without symlinks.
    #[serde(serialize_with = "spelled")]
    pub root: PathBuf,
    /// Its name.
    #[serde(rename = "box")]
    pub box_name: String,
    /// The space, with an absolute path where it is a file.
    pub space: String,
    /// The SQLite file that reads are made from.
    #[serde(serialize_with = "spelled")]
    pub index: PathBuf,
    /// Where in the box the folder is.
    pub path: SpacePath,
    /// Whether the box carries its index.
    pub carried: bool,
}

/// A file name in the spelling of paths: JSON has no other way to hold bytes that are no UTF-8.
fn spelled<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escape(path.as_os_str().as_bytes()))
}

/// Finds the box around `dir`.
///
/// # Errors
/// There is none, or its cookie cannot be used.
pub fn locate(dir: &Path, places: &Places) -> Result<Located> {
    let dir = dir.canonicalize().with_context(|| dir.display().to_string())?;
    let root = dir.ancestors().find(|folder| folder.join(COOKIE).symlink_metadata().is_ok());
    let Some(root) = root else { bail!("{}: not in a box (no {COOKIE} here or in a folder above)", dir.display()) };
    let mut located = at(root, places)?;
    let relative = dir.strip_prefix(root).unwrap_or(Path::new(""));
    located.path = SpacePath::from_relative(relative.as_os_str().as_bytes())?;
    Ok(located)
}

/// The box whose root is `root`.
///
/// # Errors
/// There is none, or its cookie cannot be used.
pub fn at(root: &Path, places: &Places) -> Result<Located> {
    let cookie = Cookie::read(&BoxRoot::open(root).with_context(|| root.display().to_string())?)?;
    let named = || root.join(COOKIE).display().to_string();
    let space = Space::parse(&cookie.space, root).with_context(named)?;
    let index = file_of(&space, places);
    Ok(Located {
        root: root.to_path_buf(),
        box_name: cookie.box_name,
        space: space.to_string(),
        index,
        path: SpacePath::root(),
        carried: cookie.space.starts_with('.'),
    })
}

/// The index of SPACE without a box around: `root` is then `base`, where nothing is read.
///
/// # Errors
/// SPACE has none of the forms of a space.
pub fn elsewhere(space: &str, base: &Path, places: &Places) -> Result<Located> {
    let space = Space::parse(space, base)?;
    let index = file_of(&space, places);
    Ok(Located {
        root: base.to_path_buf(),
        box_name: String::new(),
        space: space.to_string(),
        index,
        path: SpacePath::root(),
        carried: false,
    })
}

/// The SQLite file that reads of a space are made from: its index, or the replica of one that is elsewhere.
#[must_use]
pub fn file_of(space: &Space, places: &Places) -> PathBuf {
    match space {
        Space::File(file) => file.clone(),
        Space::Http(database) => places.replica(database),
        Space::Ssh(remote) => places.replica_of(remote),
    }
}

impl Located {
    /// Opens the box's index.
    ///
    /// # Errors
    /// It is missing, damaged or unreadable; the message names the cookie that points there.
    pub fn open(&self, access: Access) -> Result<Sqlite> {
        let is_file = matches!(Space::parse(&self.space, &self.root), Ok(Space::File(_)));
        if !is_file && !self.index.exists() {
            bail!("{}: no replica of it on this machine yet (ltr sync makes one, when it answers)", self.space);
        }
        let index = Sqlite::open(&self.index, access);
        index.with_context(|| format!("the index that {} names", self.root.join(COOKIE).display()))
    }

    /// The hand that writes for this box in `index`. Touches the cookie: see [`crate::index::own`].
    ///
    /// # Errors
    /// See [`Sqlite::own`].
    pub fn own(&self, index: &mut Sqlite) -> Result<Own> {
        let root = BoxRoot::open(&self.root)?;
        let (found, before) = (cookie_stat(&root)?, touched(&self.root)?);
        // somebody else's cookie, or a read-only disk: then its ctime stays, and tells as much
        let _ = root.chmod(&cookie_path()?, found.mode);
        let touched = before.zip(touched(&self.root)?);
        index.own_touched(&self.box_name, (found.dev, found.ino), touched)
    }
}

/// When somebody last wrote, touched or renamed the cookie of the box at `root`: its ctime in nanoseconds
/// since 1970, until 2262. `None` where the file system does not keep it.
///
/// # Errors
/// There is none.
pub fn touched(root: &Path) -> Result<Option<i64>> {
    let root = BoxRoot::open(root)?;
    let stat = cookie_stat(&root)?;
    let ctime = stat.ctime.saturating_mul(1_000_000_000).saturating_add(i64::from(stat.ctime_nsec));
    Ok(root.traits().is_some_and(|traits| traits.stable_ids).then_some(ctime))
}

/// Device and inode of the cookie of the box at `root`.
///
/// # Errors
/// There is none.
pub fn cookie_id(root: &Path) -> Result<(u64, u64)> {
    let stat = cookie_stat(&BoxRoot::open(root)?)?;
    Ok((stat.dev, stat.ino))
}

fn cookie_stat(root: &BoxRoot) -> Result<Stat> {
    root.lstat(&cookie_path()?).with_context(|| root.path().join(COOKIE).display().to_string())
}
