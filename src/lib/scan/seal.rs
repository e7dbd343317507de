//! The seal of a folder: the hash of what lstat(2) says of all that is in it.

use std::ffi::CStr;

use rustix::fs::FileType;

use super::folder::Look;
use crate::hash::sha1_of;
use crate::record::Sha1;

/// Puts together what a seal is the hash of.
#[derive(Default)]
pub(super) struct Sealer(Vec<u8>);

impl Sealer {
    /// Adds a file or a folder; false for anything else, of which lstat(2) does not say enough. Of a folder only name and
    /// mode count, of a file all that tells whether it was changed (design section 4).
    pub(super) fn add(&mut self, name: &CStr, look: &Look) -> bool {
        let Look { kind, mode, size, mtime, ctime, ino, device: _ } = *look;
        self.0.extend_from_slice(name.to_bytes_with_nul());
        self.0.extend_from_slice(&mode.to_ne_bytes());
        if kind == FileType::RegularFile {
            self.0.extend_from_slice(&size.to_ne_bytes());
            for (seconds, nanoseconds) in [mtime, ctime] {
                self.0.extend_from_slice(&seconds.to_ne_bytes());
                self.0.extend_from_slice(&nanoseconds.to_ne_bytes());
            }
            self.0.extend_from_slice(&ino.to_ne_bytes());
        }
        matches!(kind, FileType::RegularFile | FileType::Directory)
    }

    /// The seal of what was added. It is of this machine: nobody else reads it.
    pub(super) fn seal(&mut self) -> Sha1 {
        let seal = sha1_of(&self.0);
        self.0.clear();
        seal
    }
}
