//! Hashing large files while another program brings them, so that their last byte is the last that is
//! waited for.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::shelf::WRITTEN;
use crate::boxfs::BoxRoot;
use crate::hash::{BLOCK, Hasher};
use crate::path::SpacePath;
use crate::record::Sha1;

const LOOK: Duration = Duration::from_millis(3);
/// Files that grow, in the order in which they come.
pub(super) struct Follow<'f> {
    pub(super) root: &'f BoxRoot,
    pub(super) files: Vec<(SpacePath, u64)>,
    /// The program has ended.
    pub(super) over: AtomicBool,
    /// Bytes that were seen.
    pub(super) seen: AtomicU64,
}

impl Follow<'_> {
    /// The hash of each file, as far as it came whole. What was written out of order has a wrong one.
    pub(super) fn hashes(&self) -> Vec<Option<Sha1>> {
        self.files.iter().map(|(path, size)| self.hash(path, *size)).collect()
    }

    fn hash(&self, path: &SpacePath, size: u64) -> Option<Sha1> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; BLOCK];
        let (mut total, mut written) = (0, 0);
        let mut file = None;
        while total < size {
            let over = self.over.load(Ordering::Acquire);
            if file.is_none() {
                file = self.root.open_file(path).ok();
            }
            let read = match &mut file {
                Some(file) => file.read(&mut buffer).ok()?,
                None => 0,
            };
            if read == 0 {
                if over {
                    return None;
                }
                std::thread::sleep(LOOK);
                continue;
            }
            hasher.update(&buffer[..read]);
            total += read as u64;
            self.seen.fetch_add(read as u64, Ordering::Relaxed);
            if total - written >= WRITTEN
                && let Some(file) = &file
            {
                let _ = file.sync_data();
                written = total;
            }
        }
        Some(hasher.finish())
    }

    /// Whether a file is larger than it should be.
    pub(super) fn is_too_large(&self) -> bool {
        self.files.iter().any(|(path, size)| self.root.look(path).is_ok_and(|stat| stat.is_some_and(|s| s.size > *size)))
    }
}
