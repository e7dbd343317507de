//! Reading a large file that is about to be replaced while its new content comes: both take as long as
//! the file, and of 10 MiB changed in 2 GiB the wait for the one was a third of all. What the index can vouch for is
//! not read at all.

use std::sync::mpsc::{Sender, channel};
use std::thread::Scope;

use super::movers::{Event, Movers};
use crate::boxfs::{BoxRoot, Stat};
use crate::fsinfo::Looks;
use crate::hash::hash_path;
use crate::path::SpacePath;
use crate::record::{Entry, Ftype, Sha1};

/// The content of a file of the box at `root` that looks like `stat`, where that is still what `entry` says, by the
/// facts that its index keeps (design section 4): nobody can set a ctime, on a file system that keeps it.
#[must_use]
pub fn vouched(root: &BoxRoot, entry: &Entry, stat: &Stat) -> Option<Sha1> {
    let attrs = &entry.attrs;
    let traits = root.traits().filter(|traits| traits.stable_ids)?;
    let local = entry.local.as_ref().filter(|local| !local.racy)?;
    let file = entry.present && attrs.ftype == Ftype::File && stat.kind.ftype() == Some(Ftype::File) && stat.size == attrs.size;
    let now = Looks { mtime: (stat.mtime, stat.mtime_nsec), ino: stat.ino, ctime: (stat.ctime, stat.ctime_nsec) };
    let then = Looks { mtime: (attrs.mtime, attrs.mtime_nsec), ino: local.ino, ctime: (local.ctime, local.ctime_nsec) };
    attrs.sha1.filter(|_| file && traits.same_looks(now, then))
}

/// What is to be read: the ticket of its step, and where it is.
type Asked = (usize, SpacePath);

/// Reads files one after the other, from the first that is asked for on.
#[derive(Default)]
pub(super) struct Looker {
    asked: Option<Sender<Asked>>,
}

impl Looker {
    /// Has the file at `path` read, and an [`Event::Read`] told. False where the system gives no thread.
    pub(super) fn read<'s>(&mut self, movers: &'s Movers<'_>, scope: &'s Scope<'s, '_>, ticket: usize, path: &SpacePath) -> bool {
        if self.asked.is_none() {
            let (asked, asking) = channel::<Asked>();
            let started = std::thread::Builder::new().spawn_scoped(scope, move || {
                for (ticket, path) in asking {
                    // why it cannot be read is found out once more, by who needs it
                    let there = hash_path(movers.shelf.root(), &path).ok();
                    movers.tell(Event::Read { ticket, there });
                }
            });
            self.asked = started.is_ok().then_some(asked);
        }
        self.asked.as_ref().is_some_and(|asked| asked.send((ticket, path.clone())).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::boxfs::Moment;
    use crate::hash::sha1_of;
    use crate::record::{Attrs, Extra};
    use crate::stamp::Stamp;
    use crate::version::Version;

    #[test]
    fn only_a_file_that_nobody_has_touched_is_vouched_for() {
        let dir = tempfile::tempdir().unwrap();
        let (root, path) = (BoxRoot::open(dir.path()).unwrap(), SpacePath::from_spelled("/a").unwrap());
        std::fs::write(dir.path().join("a"), "hello").unwrap();
        let stat = root.lstat(&path).unwrap();
        let (sha1, (size, mtime, mtime_nsec, mode)) =
            (Some(sha1_of(b"hello")), (stat.size, stat.mtime, stat.mtime_nsec, stat.mode));
        let mut known = Entry {
            box_name: "x".to_owned(),
            path: path.clone(),
            attrs: Attrs { ftype: Ftype::File, size, mtime, mtime_nsec, mode, sha1, mime: None, target: None },
            present: true,
            purged: false,
            moved: None,
            commit: 1,
            version: Version::of(1, 1),
            stamp: Stamp::default(),
            local: None,
            extra: Extra::new(),
        };
        assert_eq!(vouched(&root, &known, &stat), None, "of a box elsewhere nothing is known");
        known.local = Some(stat.local(true));
        assert_eq!(vouched(&root, &known, &stat), None, "as young as its hash");
        known.local = Some(stat.local(false));
        let stable = root.traits().unwrap().stable_ids;
        assert_eq!(vouched(&root, &known, &stat), known.attrs.sha1.filter(|_| stable));
        // what sets the time back sets the ctime
        let file = std::fs::File::options().write(true).open(dir.path().join("a")).unwrap();
        let before = file.metadata().unwrap();
        root.wait_past(Moment::now());
        std::io::Write::write_all(&mut &file, b"HELLO").unwrap();
        crate::boxfs::set_mtime_of(&file, before.mtime(), u32::try_from(before.mtime_nsec()).unwrap()).unwrap();
        let edited = root.lstat(&path).unwrap();
        assert_eq!((edited.size, edited.mtime, edited.mtime_nsec), (stat.size, stat.mtime, stat.mtime_nsec));
        assert_eq!(vouched(&root, &known, &edited), None);
    }
}
