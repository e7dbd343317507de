//! What a file system can express, so that what it cannot is never taken for an edit.
//!
//! A stick comes back from another machine with times rounded to 2 s, new inode numbers and no modes;
//! none of that is a difference. What is not known here counts as the cautious case: identities are
//! not trusted, times are compared exactly, and the price is a hash too many.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use rustix::fs::fstatfs;

/// What can be relied upon in a file's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsTraits {
    /// Granularity of modification times in nanoseconds; 1 where they are exact.
    pub granularity_ns: u64,
    /// Whether inode numbers, and ctimes of untouched files, stay the same from one mount to the next.
    pub stable_ids: bool,
    /// Whether permission bits are kept per file.
    pub modes: bool,
}

const NANOSECOND: u64 = 1;
const SECOND: u64 = 1_000_000_000;

/// An ordinary file system of Linux.
const NATIVE: FsTraits = FsTraits { granularity_ns: NANOSECOND, stable_ids: true, modes: true };
/// Anything that is not known to keep its ids.
const UNKNOWN: FsTraits = FsTraits { granularity_ns: NANOSECOND, stable_ids: false, modes: true };
/// FAT keeps the time of a write in units of 2 s (Microsoft, "FAT Specification", section 6.2). exFAT
/// has a field for 10 ms that writers may leave zero ("exFAT file system specification", section 7.4).
const FAT: FsTraits = FsTraits { granularity_ns: 2 * SECOND, stable_ids: false, modes: false };
/// NTFS counts units of 100 ns (Microsoft, "File Times").
const NTFS: FsTraits = FsTraits { granularity_ns: 100, stable_ids: false, modes: false };
/// What is at the other end of a share is unknown: it may be FAT, or a server that rounds to seconds.
const SHARE: FsTraits = FsTraits { granularity_ns: SECOND, stable_ids: false, modes: false };
/// The same with permission bits.
const USERLAND: FsTraits = FsTraits { granularity_ns: SECOND, stable_ids: false, modes: true };

/// What lstat(2) says of a file that changes with its content; times in seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// Modification time.
    pub mtime: (i64, u32),
    /// Inode number.
    pub ino: u64,
    /// Status change time.
    pub ctime: (i64, u32),
}

impl FsTraits {
    /// What the file system that holds the folder `path` can express.
    ///
    /// # Errors
    /// The folder cannot be opened, or fstatfs(2) fails.
    pub fn at(path: &std::path::Path) -> Result<Self> {
        let folder = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        Self::of(folder).with_context(|| path.display().to_string())
    }

    /// The traits of the file system that holds the open file `fd`.
    ///
    /// # Errors
    /// fstatfs(2) fails.
    pub fn of(fd: impl AsFd) -> Result<Self> {
        let stat = fstatfs(fd).context("cannot tell the file system")?;
        // f_type is signed, unsigned, 32 or 64 bits wide, by architecture; magic numbers have 32 bits
        Ok(Self::of_magic(stat.f_type as u32))
    }

    /// The traits of the file system with this `f_type`. The numbers are those of statfs(2) and of
    /// Linux's include/uapi/linux/magic.h; f2fs, zfs and ntfs3 have theirs in their own sources.
    fn of_magic(magic: u32) -> Self {
        match magic {
            // ext2 to ext4, xfs, btrfs, tmpfs
            0xEF53 | 0x5846_5342 | 0x9123_683E | 0x0102_1994 => NATIVE,
            // f2fs, zfs, overlayfs, ramfs
            0xF2F5_2010 | 0x2FC1_2FC1 | 0x794C_7630 | 0x8584_58F6 => NATIVE,
            // msdos and vfat, exfat
            0x4D44 | 0x2011_BAB0 => FAT,
            // ntfs3
            0x7366_746E => NTFS,
            // cifs, smb2, smb
            0xFF53_4D42 | 0xFE53_4D42 | 0x517B => SHARE,
            // fuse, 9p
            0x6573_5546 | 0x0102_1997 => USERLAND,
            // nfs (0x6969) among them: its times are exact, its ids are the server's
            _ => UNKNOWN,
        }
    }

    /// Whether two times (seconds since 1970, nanoseconds) are one as far as this file system can
    /// tell: they differ by less than its granularity.
    #[must_use]
    pub fn same_mtime(&self, a: (i64, u32), b: (i64, u32)) -> bool {
        let nanoseconds = |(s, ns): (i64, u32)| i128::from(s) * i128::from(SECOND) + i128::from(ns);
        nanoseconds(a).abs_diff(nanoseconds(b)) < u128::from(self.granularity_ns.max(1))
    }

    /// Whether a file of one size looks as it did: size and mtime can be forged, or kept by a tool; ctime and inode
    /// cannot, where this file system keeps them stable (design section 4).
    #[must_use]
    pub fn same_looks(&self, a: Looks, b: Looks) -> bool {
        self.same_mtime(a.mtime, b.mtime) && (!self.stable_ids || (a.ino, a.ctime) == (b.ino, b.ctime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_agree_at_the_granularity() {
        for (traits, a, b, same) in [
            (NATIVE, (5, 7), (5, 7), true),
            (NATIVE, (5, 7), (5, 8), false),
            (NATIVE, (5, 0), (4, 999_999_999), false),
            (NTFS, (5, 100), (5, 199), true),
            (NTFS, (5, 100), (5, 200), false),
            (FAT, (10, 0), (11, 999_999_999), true),
            (FAT, (10, 0), (12, 0), false),
            (FAT, (-2, 0), (-1, 5), true),
            (SHARE, (4, 999_999_999), (5, 0), true),
            (SHARE, (4, 0), (5, 0), false),
            (FAT, (i64::MIN, 0), (i64::MAX, 999_999_999), false),
        ] {
            assert_eq!(traits.same_mtime(a, b), same, "{traits:?} {a:?} {b:?}");
            assert_eq!(traits.same_mtime(b, a), same, "{traits:?} {b:?} {a:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_trusted() {
        for (magic, traits) in [
            (0xEF53, NATIVE),
            (0x9123_683E, NATIVE),
            (0x4D44, FAT),
            (0x2011_BAB0, FAT),
            (0x7366_746E, NTFS),
            (0x6969, UNKNOWN),
            (0xFF53_4D42, SHARE),
            (0x6573_5546, USERLAND),
            (0xDEAD_BEEF, UNKNOWN),
        ] {
            assert_eq!(FsTraits::of_magic(magic), traits, "{magic:#x}");
        }
    }

    #[test]
    fn a_real_file_system_answers() {
        let proc = FsTraits::of(std::fs::File::open("/proc").unwrap()).unwrap();
        assert_eq!(proc, UNKNOWN);
        let here = FsTraits::of(tempfile::tempfile().unwrap()).unwrap();
        assert!(here.granularity_ns > 0);
    }
}
