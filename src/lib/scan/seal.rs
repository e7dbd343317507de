//! The seal of a folder: the hash of what lstat(2) says of all that is in it.

use rustix::fs::FileType;

use super::ahead::Looks;
use super::folder::Names;
use crate::hash::sha1_of;
use crate::record::Sha1;

/// The seal of a folder with these names, each of which was looked at; none where something in it is neither file nor
/// folder, of which lstat(2) does not say enough. Of a folder in it only name and mode count, of a file all that tells
/// whether it was changed (design section 4). It is of this machine: nobody else reads it.
pub(super) fn seal(names: &Names, looks: &Looks) -> Option<Sha1> {
    let mut seen = Vec::new();
    for (at, look) in looks.iter().enumerate() {
        let ((name, _), look) = (names.get(at)?, look.as_ref().ok()?);
        seen.extend_from_slice(name.to_bytes_with_nul());
        seen.extend_from_slice(&look.mode.to_ne_bytes());
        match look.kind {
            FileType::Directory => {}
            FileType::RegularFile => {
                seen.extend_from_slice(&look.size.to_ne_bytes());
                for (seconds, nanoseconds) in [look.mtime, look.ctime] {
                    seen.extend_from_slice(&seconds.to_ne_bytes());
                    seen.extend_from_slice(&nanoseconds.to_ne_bytes());
                }
                seen.extend_from_slice(&look.ino.to_ne_bytes());
            }
            _ => return None,
        }
    }
    Some(sha1_of(&seen))
}
