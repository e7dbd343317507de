//! What a file's content is: its sha1, and with the same read its media type. The file is looked at
//! before and after, so that the hash and the facts beside it are of one moment (design section 10.8).

pub mod ahead;
pub mod item;
mod magic;
pub mod stream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use sha1::Digest;

pub use stream::hash_stream;

use crate::boxfs::{BoxRoot, Kind, Stat, stat_of};
use crate::path::SpacePath;
use crate::record::Sha1;

/// Bytes read at a time.
pub const BLOCK: usize = 128 << 10;
/// Bytes that the media type is guessed from: beyond them the magic database has next to nothing.
const MAGIC: usize = 2048;
/// How often a file that is being written is read again.
const TRIES: u32 = 3;

/// What was read at a path, and what the file was while it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// Hash of the bytes, or of a symlink's target.
    pub sha1: Sha1,
    /// Media type; none for symlinks.
    pub mime: Option<String>,
    /// What fstat said before and after.
    pub stat: Stat,
    /// Whether an edit could hide in the same tick of the clock.
    pub racy: bool,
}

/// Hashes bytes as they pass by.
#[derive(Clone, Default)]
pub struct Hasher(sha1::Sha1);

impl Hasher {
    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all of them.
    #[must_use]
    pub fn finish(self) -> Sha1 {
        Sha1(self.0.finalize().into())
    }
}

/// The hash of `bytes`.
#[must_use]
pub fn sha1_of(bytes: &[u8]) -> Sha1 {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// Hashes the file or symlink at `path`.
///
/// # Errors
/// It cannot be read, is neither, or "changed while it was read" again and again.
pub fn hash_path(root: &BoxRoot, path: &SpacePath) -> io::Result<Hashed> {
    if root.lstat(path)?.kind == Kind::Symlink { hash_symlink(root, path) } else { hash_file(root, path) }
}

/// Hashes the regular file at `path`.
///
/// # Errors
/// As [`hash_path`].
pub fn hash_file(root: &BoxRoot, path: &SpacePath) -> io::Result<Hashed> {
    for _ in 0..TRIES {
        let begun = root.next_time();
        let (mut file, before) = root.open_seen(path)?;
        let named = mime_of_name(path.name());
        let (sha1, first) = read_all(&mut file, before.size, if named.is_none() { MAGIC } else { 0 })?;
        if stat_of(&file)?.unchanged(&before) {
            let mime = Some(named.unwrap_or_else(|| mime_of_content(&first)).to_owned());
            return Ok(Hashed { sha1, mime, stat: before, racy: is_racy(&before, begun, root) });
        }
    }
    Err(changed())
}

/// Hashes the target of the symlink at `path`.
///
/// # Errors
/// As [`hash_path`].
pub fn hash_symlink(root: &BoxRoot, path: &SpacePath) -> io::Result<Hashed> {
    for _ in 0..TRIES {
        let (begun, before) = (root.next_time(), root.lstat(path)?);
        let target = root.readlink(path)?;
        if root.lstat(path)?.unchanged(&before) {
            let racy = is_racy(&before, begun, root);
            return Ok(Hashed { sha1: sha1_of(&target), mime: None, stat: before, racy });
        }
    }
    Err(changed())
}

fn changed() -> io::Error {
    io::Error::other("changed while it was read")
}

thread_local! {
    /// What files are read into. To allocate and clear it for each small file took as long as hashing it.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BLOCK]);
}

/// The hash of what is left of a file, and its first bytes, `magic` of them at most.
fn read_all(file: &mut File, size: u64, magic: usize) -> io::Result<(Sha1, Vec<u8>)> {
    BUFFER.with_borrow_mut(|buffer| read_into(buffer, file, size, magic))
}

/// A file of `size` bytes is not asked whether it ends after them: when it does not, it has changed,
/// which the look afterwards tells. A size of 0 may be that of a file that the kernel makes up.
fn read_into(buffer: &mut [u8], file: &mut File, size: u64, magic: usize) -> io::Result<(Sha1, Vec<u8>)> {
    let mut first = Vec::new();
    let mut hasher = Hasher::default();
    let mut total = 0;
    while total == 0 || total < size {
        let read = match file.read(buffer) {
            Ok(0) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if first.len() < magic {
            first.extend_from_slice(&buffer[..read.min(magic - first.len())]);
        }
        hasher.update(&buffer[..read]);
        total += read as u64;
    }
    Ok((hasher.finish(), first))
}

/// Whether a file of `root` that looks like `stat` may be written without a new time once [`BoxRoot::next_time`] was
/// `begun`: the racy-git problem (git, Documentation/technical/racy-git).
#[must_use]
pub fn is_racy(stat: &Stat, begun: Duration, root: &BoxRoot) -> bool {
    racy(stat, begun, root.traits().is_some_and(|traits| traits.stable_ids))
}

/// Where the ctime can be relied upon it decides alone, for nobody can set it: a file that came with an
/// mtime ahead of the clock would else be hashed for years. Elsewhere such an mtime says nothing, and the
/// file stays suspect. A whole second may be all that the file system keeps, as ext4 with inodes of 128 bytes
/// (ext4(5)): then it stands for any time within it.
fn racy(stat: &Stat, begun: Duration, stable_ctime: bool) -> bool {
    let (second, nsec) = if stable_ctime { (stat.ctime, stat.ctime_nsec) } else { (stat.mtime, stat.mtime_nsec) };
    let changed = (second, if nsec == 0 { u32::MAX } else { nsec });
    changed >= (i64::try_from(begun.as_secs()).unwrap_or(i64::MAX), begun.subsec_nanos())
}

thread_local! {
    /// The media types of the endings met: to look each up anew took a tenth of what hashing a small file does.
    static ENDINGS: RefCell<HashMap<OsString, Option<&'static str>>> = RefCell::default();
}

/// How many endings are remembered: people have a few dozen, and files that are named by chance any number.
const ENDINGS_MAX: usize = 1024;

/// The media type that the name of a file says; where it says none, [`mime_of_content`] tells.
fn mime_of_name(name: &[u8]) -> Option<&'static str> {
    let ending = Path::new(OsStr::from_bytes(name)).extension()?;
    ENDINGS.with_borrow_mut(|known| {
        if let Some(&mime) = known.get(ending) {
            return mime;
        }
        let mime = mime_guess::from_ext(ending.to_str()?).first_raw();
        if known.len() < ENDINGS_MAX {
            known.insert(ending.to_owned(), mime);
        }
        mime
    })
}

fn mime_of_content(first: &[u8]) -> &'static str {
    if first.is_empty() { "inode/x-empty" } else { magic::media_type(first) }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_file_is_hashed_with_its_facts() {
        let dir = tempfile::tempdir().unwrap();
        let root = BoxRoot::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("a.html"), "abc").unwrap();
        let a = SpacePath::from_spelled("/a.html").unwrap();
        let young = hash_path(&root, &a).unwrap();
        // FIPS 180-4, example 1
        assert_eq!(young.sha1.to_string(), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!((young.mime.as_deref(), young.stat.size, young.racy), (Some("text/html"), 3, true));
        std::thread::sleep(Duration::from_millis(40));
        assert!(!hash_path(&root, &a).unwrap().racy);
        std::os::unix::fs::symlink("abc", dir.path().join("l")).unwrap();
        let link = hash_path(&root, &SpacePath::from_spelled("/l").unwrap()).unwrap();
        assert_eq!((link.sha1, link.mime), (young.sha1, None));
    }

    #[test]
    fn a_name_decides_before_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let root = BoxRoot::open(dir.path()).unwrap();
        for (name, content, mime) in [
            ("x.png", &b"%PDF-1.4"[..], "image/png"),
            ("png", b"\x89PNG\r\n\x1a\n", "image/png"),
            ("text", b"a", "text/plain"),
            ("bytes", b"\0", "application/octet-stream"),
            ("nothing", b"", "inode/x-empty"),
        ] {
            std::fs::write(dir.path().join(name), content).unwrap();
            let path = SpacePath::from_relative(name.as_bytes()).unwrap();
            assert_eq!(hash_path(&root, &path).unwrap().mime.as_deref(), Some(mime), "{name}");
        }
    }

    #[test]
    fn racy_is_what_could_be_written_once_more_at_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let stat = BoxRoot::open(dir.path()).unwrap().lstat(&SpacePath::root()).unwrap();
        let begun = Duration::from_millis(10_480);
        for (nsec, expected) in [(479_999_999, false), (480_000_000, true), (900_000_000, true), (0, true)] {
            let by_ctime = Stat { mtime: 0, mtime_nsec: 0, ctime: 10, ctime_nsec: nsec, ..stat };
            assert_eq!(racy(&by_ctime, begun, true), expected, "ctime {nsec}");
            let by_mtime = Stat { mtime: 10, mtime_nsec: nsec, ctime: 0, ctime_nsec: 0, ..stat };
            assert_eq!(racy(&by_mtime, begun, false), expected, "mtime {nsec}");
        }
        let ahead = Stat { mtime: 4_000_000_000, ctime: 9, ..stat };
        assert!(!racy(&ahead, begun, true), "the ctime alone decides");
        assert!(racy(&ahead, begun, false), "nothing else is known");
        let back = Stat { mtime: 0, ctime: 4_000_000_000, ..stat };
        assert!(racy(&back, begun, true) && !racy(&back, begun, false));
    }

    #[test]
    fn a_file_from_the_future_is_hashed_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = BoxRoot::open(dir.path()).unwrap();
        let file = File::create(dir.path().join("a")).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(86_400 * 365)).unwrap();
        std::thread::sleep(Duration::from_millis(40));
        let hashed = hash_path(&root, &SpacePath::from_spelled("/a").unwrap()).unwrap();
        assert_eq!(hashed.racy, !root.traits().unwrap().stable_ids);
    }
}
