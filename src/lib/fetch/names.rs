//! The name that the loser of a conflict is kept under.

use jiff::Timestamp;

use crate::path::{NAME_MAX, SpacePath};
use crate::record::Sha1;

/// The conflict name of the content `sha1`, last modified at `mtime` (seconds since 1970), at `path`:
/// `name.conflict-YYYYMMDDTHHMMSS-<8 hex of its sha1>.ext`, in UTC, so that it is the same wherever it
/// is made (design section 6.1). The stem is cut where the name would be longer than 255 bytes.
#[must_use]
pub fn conflict_name(path: &SpacePath, mtime: i64, sha1: Sha1) -> SpacePath {
    numbered_name(path, mtime, sha1, 0)
}

/// As [`conflict_name`], with a number from 1 on for when that name is taken by something else.
#[must_use]
pub fn numbered_name(path: &SpacePath, mtime: i64, sha1: Sha1, number: u32) -> SpacePath {
    let time = Timestamp::from_second(mtime).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut infix = format!(".conflict-{}-{:.8}", time.strftime("%Y%m%dT%H%M%S"), sha1.to_string());
    if number > 0 {
        infix.push_str(&format!("-{number}"));
    }
    let (stem, extension) = split(path.name());
    let room = NAME_MAX.saturating_sub(infix.len() + extension.len());
    let name = [cut(stem, room), infix.as_bytes(), extension].concat();
    // a path too long to be lengthened keeps its folder and loses its name
    let folder = path.parent().unwrap_or_default();
    folder.join(&name).or_else(|_| folder.join(infix.as_bytes())).unwrap_or_else(|_| path.clone())
}

/// Stem and extension with its dot. A leading dot begins no extension, nor does one far from the end.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|&b| b == b'.') {
        Some(dot) if dot > 0 && name.len() - dot <= 16 => name.split_at(dot),
        _ => (name, b""),
    }
}

/// The first `room` bytes at most, no UTF-8 character cut in two.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    let mut end = stem.len().min(room);
    while end > 0 && end < stem.len() && stem[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &stem[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflict_names() {
        let sha1 = crate::hash::sha1_of(b"abc");
        let name = |raw: &str| {
            let path = SpacePath::from_relative(raw.as_bytes()).unwrap();
            String::from_utf8(conflict_name(&path, 1_295_303_519, sha1).raw()).unwrap()
        };
        assert_eq!(name("d/notes.html"), "/d/notes.conflict-20110117T223159-a9993e36.html");
        assert_eq!(name(".profile"), "/.profile.conflict-20110117T223159-a9993e36");
        assert_eq!(name("Makefile"), "/Makefile.conflict-20110117T223159-a9993e36");
        let long = name(&format!("{}.txt", "ä".repeat(125)));
        assert!(long.ends_with("ä.conflict-20110117T223159-a9993e36.txt") && long.len() <= 256, "{long}");
        let path = SpacePath::from_relative(b"a.b").unwrap();
        assert_eq!(numbered_name(&path, i64::MAX, sha1, 2).spelled(), "/a.conflict-19700101T000000-a9993e36-2.b");
    }
}
