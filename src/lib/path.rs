//! Paths of a space: one spelling, one order, and nothing that could leave a box.
//!
//! A [`SpacePath`] keeps the raw bytes as a *key* in which `/` is the byte 0, which no name can hold:
//! so comparing keys bytewise is path order, in memory and in the index alike.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;

/// Longest name of one component in bytes, `NAME_MAX` of limits.h(0p).
pub const NAME_MAX: usize = 255;
/// Longest path within a space in bytes, `PATH_MAX` of limits.h(0p).
pub const PATH_MAX: usize = 4096;
/// What stands for `/` in a key.
pub const SEPARATOR: u8 = 0;

/// Why a string is not the path of a file in a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Does not begin with `/`.
    NotAbsolute,
    /// A component is empty (`//`, or `/` at the end).
    Empty,
    /// A component is `.` or `..`.
    Dots,
    /// A NUL byte.
    Nul,
    /// A component longer than [`NAME_MAX`] or a path longer than [`PATH_MAX`].
    TooLong,
    /// An escape other than `\\` and `\xHH`, or one that was not needed.
    Spelling,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::NotAbsolute => "path does not begin with /",
            PathError::Empty => "empty path component",
            PathError::Dots => "path component . or ..",
            PathError::Nul => "NUL in path",
            PathError::TooLong => "path too long",
            PathError::Spelling => "not the one spelling of a path",
        })
    }
}

impl std::error::Error for PathError {}

/// The absolute path of a file within a space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SpacePath {
    key: Vec<u8>,
}

impl SpacePath {
    /// The root, `/`.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses the spelling used in records (`/a/b`, `\xHH`, `\\`).
    ///
    /// # Errors
    /// Anything that is not the canonical spelling of a path below the root, see [`PathError`].
    pub fn from_spelled(text: &str) -> Result<Self, PathError> {
        let relative = text.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        if !relative.as_bytes().contains(&b'\\') {
            // UTF-8 without a backslash has one spelling already; nearly all paths are such
            return Self::from_relative(relative.as_bytes());
        }
        let path = Self::from_relative(&unescape(relative)?)?;
        if escape(relative_bytes(&path.key).as_ref()) == relative { Ok(path) } else { Err(PathError::Spelling) }
    }

    /// From raw bytes relative to a box's root: `a/b`; empty for the root.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn from_relative(raw: &[u8]) -> Result<Self, PathError> {
        if raw.is_empty() {
            return Ok(Self::root());
        }
        if raw.len() > PATH_MAX {
            return Err(PathError::TooLong);
        }
        raw.split(|&b| b == b'/').try_for_each(check_name)?;
        Ok(Self { key: raw.iter().map(|&b| if b == b'/' { SEPARATOR } else { b }).collect() })
    }

    /// From a key as [`SpacePath::key`] gives it.
    ///
    /// # Errors
    /// See [`PathError`]; keys that this module made are always accepted.
    pub fn from_key(key: &[u8]) -> Result<Self, PathError> {
        if key.is_empty() {
            return Ok(Self::root());
        }
        if key.len() > PATH_MAX {
            return Err(PathError::TooLong);
        }
        if key.contains(&b'/') {
            return Err(PathError::Spelling);
        }
        key.split(|&b| b == SEPARATOR).try_for_each(check_name)?;
        Ok(Self { key: key.to_vec() })
    }

    /// The bytes whose order is path order.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.key.is_empty()
    }

    /// The spelling used in records.
    #[must_use]
    pub fn spelled(&self) -> String {
        let mut text = String::with_capacity(self.key.len() + 1);
        text.push('/');
        if let (Ok(plain), false) = (str::from_utf8(&self.key), self.key.contains(&b'\\')) {
            // replaced in one go: a path is written several times on its way through a pipe
            plain.split('\0').enumerate().for_each(|(at, name)| {
                if at > 0 {
                    text.push('/');
                }
                text.push_str(name);
            });
            return text;
        }
        text.push_str(&escape(&relative_bytes(&self.key)));
        text
    }

    /// The raw bytes with a leading `/`, for people and for `-0`.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        let mut raw = vec![b'/'];
        raw.extend_from_slice(&relative_bytes(&self.key));
        raw
    }

    /// The file name within a box, relative to its root; `.` for the root itself.
    #[must_use]
    pub fn to_relative(&self) -> PathBuf {
        if self.is_root() {
            return PathBuf::from(".");
        }
        PathBuf::from(OsStr::from_bytes(&relative_bytes(&self.key)))
    }

    /// The key of the folder that holds this path, and the last component; both empty for the root.
    #[must_use]
    pub fn split(&self) -> (&[u8], &[u8]) {
        match self.key.iter().rposition(|&b| b == SEPARATOR) {
            Some(at) => (&self.key[..at], &self.key[at + 1..]),
            None => (&[], &self.key),
        }
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.split().1
    }

    /// The folder that holds this path; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.key.iter().rposition(|&b| b == SEPARATOR).unwrap_or(0);
        Some(Self { key: self.key[..end].to_vec() })
    }

    /// The path of `name` in this folder.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        check_name(name)?;
        let mut key = Vec::with_capacity(self.key.len() + 1 + name.len());
        key.extend_from_slice(&self.key);
        if !self.is_root() {
            key.push(SEPARATOR);
        }
        key.extend_from_slice(name);
        if key.len() > PATH_MAX { Err(PathError::TooLong) } else { Ok(Self { key }) }
    }

    /// Whether this path is `folder` or lies below it.
    #[must_use]
    pub fn is_within(&self, folder: &Self) -> bool {
        key_is_within(&self.key, &folder.key)
    }

    /// This path with the leading `from` replaced by `to`; `None` when it is not within `from`, or would be
    /// longer than a path can be.
    #[must_use]
    pub fn rebased(&self, from: &Self, to: &Self) -> Option<Self> {
        if !self.is_within(from) {
            return None;
        }
        let rest = &self.key[from.key.len()..];
        let rest = rest.strip_prefix(&[SEPARATOR]).unwrap_or(rest);
        let mut key = to.key.clone();
        if !key.is_empty() && !rest.is_empty() {
            key.push(SEPARATOR);
        }
        key.extend_from_slice(rest);
        (key.len() <= PATH_MAX).then_some(Self { key })
    }
}

/// Whether the path with `key` is the folder with the key `folder`, or below it.
#[must_use]
pub fn key_is_within(key: &[u8], folder: &[u8]) -> bool {
    folder.is_empty() || (key.starts_with(folder) && (key.len() == folder.len() || key[folder.len()] == SEPARATOR))
}

impl fmt::Display for SpacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelled())
    }
}

impl Serialize for SpacePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.spelled())
    }
}

impl<'de> Deserialize<'de> for SpacePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Spelled;
        impl Visitor<'_> for Spelled {
            type Value = SpacePath;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path of a space")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SpacePath, E> {
                SpacePath::from_spelled(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Spelled)
    }
}

/// Refuses what cannot be the name of a file in a folder.
fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" => Err(PathError::Empty),
        b"." | b".." => Err(PathError::Dots),
        _ if name.contains(&0) || name.contains(&b'/') => Err(PathError::Nul),
        _ if name.len() > NAME_MAX => Err(PathError::TooLong),
        _ => Ok(()),
    }
}

fn relative_bytes(key: &[u8]) -> Cow<'_, [u8]> {
    if key.contains(&SEPARATOR) {
        Cow::Owned(key.iter().map(|&b| if b == SEPARATOR { b'/' } else { b }).collect())
    } else {
        Cow::Borrowed(key)
    }
}

/// Writes any bytes (a path, the target of a symlink) as a string: bytes that are not valid UTF-8 as
/// `\xHH`, a backslash as `\\`.
#[must_use]
pub fn escape(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for (i, part) in chunk.valid().split('\\').enumerate() {
            if i > 0 {
                text.push_str("\\\\");
            }
            text.push_str(part);
        }
        for byte in chunk.invalid() {
            // writing to a String cannot fail
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The bytes that [`escape`] wrote.
///
/// # Errors
/// [`PathError::Spelling`] for any other escape.
pub fn unescape(text: &str) -> Result<Vec<u8>, PathError> {
    let mut raw = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            raw.push(first);
            continue;
        }
        match tail {
            [b'\\', tail @ ..] => {
                raw.push(b'\\');
                rest = tail;
            }
            [b'x', high, low, tail @ ..] => {
                let digits = hex::value(*high).zip(hex::value(*low));
                raw.push(digits.map(|(high, low)| high << 4 | low).ok_or(PathError::Spelling)?);
                rest = tail;
            }
            _ => return Err(PathError::Spelling),
        }
    }
    Ok(raw)
}

/// The raw path of `path` below `root`.
#[must_use]
pub fn on_disk(root: &Path, path: &SpacePath) -> PathBuf {
    if path.is_root() { root.to_path_buf() } else { root.join(path.to_relative()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_survive_the_spelling(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(unescape(&escape(&raw)), Ok(raw.clone()));
            if let Ok(path) = SpacePath::from_relative(&raw) {
                prop_assert_eq!(SpacePath::from_spelled(&path.spelled()), Ok(path.clone()));
                prop_assert_eq!(SpacePath::from_key(path.key()), Ok(path));
            }
        }

        #[test]
        fn a_name_has_one_spelling(text in "/[a-c\\\\xf0-9]{0,8}") {
            if let Ok(path) = SpacePath::from_spelled(&text) {
                prop_assert_eq!(path.spelled(), text);
            }
        }

        #[test]
        fn path_order_is_component_order(a in "[a-c./]{1,8}", b in "[a-c./]{1,8}") {
            if let (Ok(pa), Ok(pb)) = (SpacePath::from_relative(a.as_bytes()), SpacePath::from_relative(b.as_bytes())) {
                let (ca, cb): (Vec<_>, Vec<_>) = (a.split('/').collect(), b.split('/').collect());
                prop_assert_eq!(pa.cmp(&pb), ca.cmp(&cb));
            }
        }
    }

    #[test]
    fn what_could_leave_a_box_is_refused() {
        for (text, error) in [
            ("", PathError::NotAbsolute),
            ("a", PathError::NotAbsolute),
            ("/a/", PathError::Empty),
            ("//a", PathError::Empty),
            ("/..", PathError::Dots),
            ("/a/../b", PathError::Dots),
            ("/./a", PathError::Dots),
            ("/a\0b", PathError::Nul),
            ("/a\\x00b", PathError::Nul),
            ("/a\\x2e", PathError::Spelling),
            ("/a\\xFF", PathError::Spelling),
            ("/a\\q", PathError::Spelling),
            ("/a\\", PathError::Spelling),
            ("/a\\x2fb", PathError::Spelling),
            ("/\\x2e\\x2e", PathError::Dots),
        ] {
            assert_eq!(SpacePath::from_spelled(text), Err(error), "{text:?}");
        }
        assert_eq!(SpacePath::from_spelled(&format!("/{}", "a".repeat(300))), Err(PathError::TooLong));
    }

    #[test]
    fn rebasing_keeps_what_is_below() {
        let path = |t: &str| SpacePath::from_spelled(t).unwrap();
        assert_eq!(path("/a/b/c").rebased(&path("/a"), &path("/x/y")), Some(path("/x/y/b/c")));
        assert_eq!(path("/a").rebased(&path("/a"), &path("/x")), Some(path("/x")));
        assert_eq!(path("/a/b").rebased(&SpacePath::root(), &path("/x")), Some(path("/x/a/b")));
        assert_eq!(path("/ab").rebased(&path("/a"), &path("/x")), None);
        // its own reader would refuse it
        let (long, far) = (format!("/a/{}n", "n/".repeat(2040)), format!("/{}", "x".repeat(200)));
        assert_eq!(path(&long).rebased(&path("/a"), &path(&far)), None);
    }
}
