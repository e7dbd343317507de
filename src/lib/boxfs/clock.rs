//! When the time that the kernel gives to a file that is written moves on. Two edits between which it does not
//! leave a file that looks the same: the racy-git problem (git, Documentation/technical/racy-git).

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use super::BoxRoot;

/// How far apart two writes must be to have different times where these are another machine's, or another program's:
/// a tick of its kernel, which is 10 ms at most, with some room.
const ELSEWHERE: Duration = Duration::from_millis(20);

/// A moment of the clock that never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Self(read(clock_gettime(ClockId::Monotonic)))
    }
}

fn read(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

impl BoxRoot {
    /// A file that is written from now on gets this time or a later one; since 1970.
    ///
    /// A file system of this machine takes it from the coarse clock (`current_time` in Linux's fs/inode.c), which
    /// stands still for longer than a tick where a virtual machine is not given its processors: so that is the clock to
    /// ask, and not how long ago something was. Elsewhere there is only that.
    #[must_use]
    pub fn next_time(&self) -> Duration {
        read(clock_gettime(ClockId::RealtimeCoarse)).saturating_sub(self.spread())
    }

    /// Whether a file that is written now gets another time than one that was written by `then`. A file may have a time
    /// between two ticks (multigrain timestamps in Linux's documentation), and the tick after it may be late.
    #[must_use]
    pub fn is_past(&self, then: Moment) -> bool {
        let spread = self.spread();
        read(clock_gettime(ClockId::MonotonicCoarse)) > then.0 + spread + spread / 4
    }

    /// Waits until [`BoxRoot::is_past`].
    pub fn wait_past(&self, then: Moment) {
        while !self.is_past(then) {
            let left = (then.0 + self.spread()).saturating_sub(Moment::now().0);
            // after that only a tick is waited for
            std::thread::sleep(left.max(read(clock_getres(ClockId::MonotonicCoarse)) / 4));
        }
    }

    /// By how much a time of the file system may be before the coarse clock's: nothing where it is this kernel's.
    fn spread(&self) -> Duration {
        match self.traits() {
            Some(traits) if traits.stable_ids => Duration::ZERO,
            Some(traits) => ELSEWHERE.max(Duration::from_nanos(traits.granularity_ns)),
            None => ELSEWHERE,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_written_after_a_wait_has_another_time() {
        let dir = tempfile::tempdir().unwrap();
        let root = BoxRoot::open(dir.path()).unwrap();
        let path = dir.path().join("a");
        let ctime = || std::fs::metadata(&path).map(|m| Duration::new(m.ctime() as u64, m.ctime_nsec() as u32)).unwrap();
        for round in 0..20 {
            let before = root.next_time();
            std::fs::write(&path, [round]).unwrap();
            let (written, then) = (ctime(), Moment::now());
            assert!(written >= before, "{written:?} {before:?}");
            root.wait_past(then);
            assert!(root.is_past(then));
            if root.traits().unwrap().stable_ids {
                assert!(written < root.next_time(), "{written:?}");
                std::fs::write(&path, [round + 1]).unwrap();
                assert!(ctime() > written, "{written:?}");
            }
        }
    }
}
