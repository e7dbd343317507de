//! The cookie: the file `.ltr` at a box's root, which says which box this is. It is compared before a
//! folder is believed to be a box (design section 10.7).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail, ensure};

use crate::boxfs::{BoxRoot, COOKIE};
use crate::path::SpacePath;
use crate::record::check_box_name;

/// Longest cookie in bytes: a URL.
pub const COOKIE_MAX: u64 = 8192;

/// What a cookie says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The index, as written: maybe relative to the box's root.
    pub space: String,
    /// The box.
    pub box_name: String,
}

impl Cookie {
    /// Reads the text of a cookie, one line `SPACE/boxname`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(text).context("a cookie is text")?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        let Some((space, box_name)) = line.rsplit_once('/') else { bail!("a cookie is SPACE/BOX") };
        if space.is_empty() || line.contains(char::is_control) {
            bail!("a cookie is one line, SPACE/BOX");
        }
        check_box_name(box_name)?;
        Ok(Self { space: space.to_owned(), box_name: box_name.to_owned() })
    }

    /// Reads the cookie of the box at `root`.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn read(root: &BoxRoot) -> Result<Self> {
        let mut text = Vec::new();
        let file = open_cookie(root)?;
        file.take(COOKIE_MAX + 1).read_to_end(&mut text)?;
        ensure!(text.len() as u64 <= COOKIE_MAX, "{}: too long for a cookie", root.path().join(COOKIE).display());
        Self::parse(&text).with_context(|| format!("{}", root.path().join(COOKIE).display()))
    }
}

/// Opens the cookie of the box at `root`.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn open_cookie(root: &BoxRoot) -> Result<File> {
    root.open_file(&cookie_path()?).map_err(|error| {
        let none = format!("no box at {}", root.path().display());
        // the folder is there, and what is missing is its .ltr
        if error.kind() == io::ErrorKind::NotFound { Error::msg(none) } else { Error::new(error).context(none) }
    })
}

/// The path of every cookie, in its box.
///
/// # Errors
/// Never: the name is a valid one.
pub fn cookie_path() -> Result<SpacePath> {
    Ok(SpacePath::from_relative(COOKIE.as_bytes())?)
}

/// The root of the box around `start`, an absolute path: the nearest folder upwards with a cookie.
#[must_use]
pub fn find_root(start: &Path) -> Option<PathBuf> {
    start.ancestors().find(|a| a.join(COOKIE).symlink_metadata().is_ok_and(|m| m.is_file())).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_names_index_and_box() {
        let cookie = Cookie::parse(b"http://maytag:5984/testspace/thomas@maytag\n").unwrap();
        assert_eq!((cookie.space.as_str(), cookie.box_name.as_str()), ("http://maytag:5984/testspace", "thomas@maytag"));
        for bad in ["", "\n", "box", "/box", "a/b\nc/d", "a/-b", "a/..", "a/b\n\n", "a/b\r\n"] {
            assert!(Cookie::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_nearest_box_is_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        assert_eq!(find_root(&dir.path().join("a/b")), None);
        std::fs::write(dir.path().join(COOKIE), "s/x\n").unwrap();
        assert_eq!(find_root(&dir.path().join("a/b")).as_deref(), Some(dir.path()));
        assert_eq!(Cookie::read(&BoxRoot::open(dir.path()).unwrap()).unwrap().box_name, "x");
    }
}
