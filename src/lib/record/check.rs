//! What must hold of a document whoever wrote it, and what of one that another index says.

use std::time::SystemTime;

use anyhow::{Result, ensure};

use super::wire::{check_attrs, check_count};
use super::{Document, Entry, Ftype, Mark, check_box_name};
use crate::boxfs::is_own;
use crate::stamp::horizon;

impl Document {
    /// Refuses what [`Document::from_json`] refuses: for documents that came some other way, such as out
    /// of the tables of an index that is not ours.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<()> {
        match self {
            Document::Entry(entry) if entry.extra.is_empty() => entry.check(),
            Document::Mark(mark) if mark.extra.is_empty() => mark.check(),
            // unknown fields may have the names of known ones
            _ => Self::from_json(&serde_json::to_string(self)?).map(drop),
        }
    }

    /// [`Document::check`] for the word of another index, which moreover must not push a clock or a
    /// counter so far that those who learn of it cannot count on.
    ///
    /// No honest box counts more than one commit in a millisecond, so one limit serves stamps and
    /// counters; and since it moves on, what is written after the greatest that was let in is let in too.
    ///
    /// # Errors
    /// Names the field.
    pub fn check_foreign(&self, now: SystemTime) -> Result<()> {
        self.check()?;
        let (limit, stamp) = (horizon(now), self.stamp());
        ensure!(stamp.ms <= limit, "its stamp {stamp} is more than a year ahead of the clock here");
        let count = self.counter();
        ensure!(count <= limit, "its counter {count} is beyond what a box can have counted");
        Ok(())
    }

    /// How far it pushes a clock or a counter: what [`Document::check_foreign`] holds against its limit.
    #[must_use]
    pub fn reaches(&self) -> u64 {
        self.stamp().ms.max(self.counter())
    }

    fn counter(&self) -> u64 {
        match self {
            Document::Entry(entry) => entry.commit.max(entry.version.greatest()),
            Document::Mark(mark) => mark.seen,
            _ => 0,
        }
    }
}

impl Entry {
    pub(super) fn check(&self) -> Result<()> {
        check_box_name(&self.box_name)?;
        ensure!(!self.path.is_root(), "an entry is not for /");
        ensure!(!is_own(&self.path), "{} is a name of ltr's own", self.path);
        check_attrs(&self.attrs)?;
        ensure!(self.attrs.ftype == Ftype::Dir || self.attrs.sha1.is_some(), "an entry of a file or symlink has a sha1");
        check_count(self.commit)?;
        self.version.check()
    }
}

impl Mark {
    pub(super) fn check(&self) -> Result<()> {
        check_box_name(&self.box_name)?;
        check_count(self.seen)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::record::{Mode, Sha1};
    use crate::stamp::Clock;
    use crate::testing::{entry, folder, stamp};
    use crate::version::Version;

    const NOW: u64 = 1_800_000_000_000;
    const YEAR: u64 = 366 * 86_400_000;

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(ms)
    }

    #[test]
    fn what_a_reader_would_refuse_is_refused() {
        let good = entry("b", "/a", 1, 1);
        Document::Entry(good.clone()).check().unwrap();
        Document::Entry(folder("b", "/a")).check().unwrap();
        let bad: [fn(&mut Entry); 10] = [
            |e| e.box_name = "-oEvil\nx".into(),
            |e| e.attrs.sha1 = None,
            |e| e.attrs.mode = Mode(0o10_000),
            |e| e.attrs.mtime_nsec = 1_000_000_000,
            |e| e.attrs.size = u64::MAX,
            |e| e.attrs.ftype = Ftype::Symlink,
            |e| (e.attrs.ftype, e.attrs.size) = (Ftype::Dir, 0),
            |e| e.commit = 1 << 53,
            |e| e.version = Version::of(1, 0),
            |e| drop(e.extra.insert("size".into(), 5.into())),
        ];
        for (number, spoil) in bad.into_iter().enumerate() {
            let mut entry = good.clone();
            spoil(&mut entry);
            Document::Entry(entry).check().expect_err(&number.to_string());
        }
        let mut sized = folder("b", "/a");
        sized.attrs.size = 1;
        Document::Entry(sized.clone()).check().unwrap_err();
        (sized.attrs.size, sized.attrs.sha1) = (0, Some(Sha1([1; 20])));
        Document::Entry(sized).check().unwrap_err();
        for path in ["/.ltr", "/.ltr-tmp/x", "/.LTR-INDEX", "/a/.ltr", "/a/.LTR/x"] {
            Document::Entry(entry("b", path, 1, 1)).check().expect_err(path);
        }
        Document::Entry(entry("b", "/a/.ltr-tmp/x", 1, 1)).check().unwrap();
    }

    #[test]
    fn no_stranger_pushes_a_clock_or_a_counter_to_its_end() {
        let foreign = |change: &dyn Fn(&mut Entry), now| {
            let mut entry = entry("b", "/a", 1, 1);
            change(&mut entry);
            Document::Entry(entry).check_foreign(at(now)).is_ok()
        };
        for limit in [NOW + YEAR, NOW + YEAR + 1] {
            let changes: [&dyn Fn(&mut Entry); 3] =
                [&|e| e.stamp = stamp(limit), &|e| e.commit = limit, &|e| e.version = Version::of(1, limit)];
            for change in changes {
                assert_eq!(foreign(change, NOW), limit == NOW + YEAR, "{limit}");
                // and a while later, what follows it
                assert!(foreign(change, NOW + 1));
            }
        }
        assert!(!foreign(&|e| e.commit = (1 << 53) - 1, NOW));
        // a clock that fell back to 1970 does not refuse everything
        assert!(foreign(&|e| e.stamp = stamp(1_790_000_000_000), 0));
        // what follows the greatest stamp of all can still be read
        let mut clock = Clock::new(7, "ffffffffffff-fffe-00000001".parse().unwrap());
        for _ in 0..3 {
            let next = clock.tick(at(NOW));
            assert_eq!(next.to_string().parse(), Ok(next));
        }
    }
}
