//! Folders that are read ahead of the walk, by other threads: opened, listed, and each name in them
//! looked at, so that the walk itself mostly waits for nothing. So a second core takes part; and where a
//! disk is waited for, more threads come in, so that it always has several requests to choose from.
//!
//! What is read ahead is a hint and no more: whatever is not as it should be, the walk does itself, in
//! its own order and with its own words.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::folder::{self, Access, Look, Names};

/// Subfolders of each folder that are in line at a time.
const IN_LINE: usize = 16;
/// Names that may be known before their turn, in all and of one folder: each takes 80 bytes.
const NAMES: usize = 16_384;
const NAMES_OF_ONE: usize = 4096;
/// With so many known, nothing more is read but below the innermost folder.
const NAMES_OF_OUTER: usize = NAMES / 4;
/// Threads, at most: as many requests as a disk's own queue sorts with profit.
const THREADS: usize = 16;
/// A look that takes longer on the average has waited for a disk: from the cache it takes 2 us.
const SLOW: Duration = Duration::from_micros(40);

/// What lstat(2) says of the names in a folder, in their order, as far as it was asked.
pub(super) type Looks = Vec<Result<Look, Errno>>;

/// A folder that was read.
pub(super) struct Folder {
    pub(super) fd: OwnedFd,
    pub(super) names: Names,
    pub(super) looks: Looks,
}

/// A subfolder in line to be read.
pub(super) struct Task {
    /// Where it is among the names of its parent.
    pub(super) at: usize,
    name: CString,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Waiting(Arc<OwnedFd>),
    Running {
        /// Whether the walk waits for it: to wake nobody takes a system call as well.
        awaited: bool,
    },
    Done(Box<Folder>),
    /// Nobody wants it any more, or it is not fit to be used.
    Void,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Task {
    pub(super) fn new(at: usize, name: CString, parent: &Arc<OwnedFd>) -> Arc<Self> {
        Arc::new(Self { at, name, state: Mutex::new(State::Waiting(Arc::clone(parent))), changed: Condvar::new() })
    }

    /// It was read; false when nobody wants it any more.
    fn end(&self, read: Option<Folder>) -> bool {
        let mut state = locked(&self.state);
        let State::Running { awaited } = *state else { return false };
        *state = read.map_or(State::Void, |folder| State::Done(Box::new(folder)));
        drop(state);
        if awaited {
            self.changed.notify_all();
        }
        true
    }
}

/// The line of folders to be read, and who reads them.
pub(super) struct Ahead {
    /// The device that the walk stays on.
    device: u64,
    line: Mutex<Line>,
    news: Condvar,
}

#[derive(Default)]
struct Line {
    /// For each folder that the walk is in, outermost first: the innermost is needed first.
    levels: Vec<VecDeque<Arc<Task>>>,
    /// Names that were looked at and are not used yet.
    names: usize,
    threads: usize,
    /// How many of the threads wait for something to do.
    idle: usize,
    closed: bool,
}

impl Line {
    fn next(&mut self) -> Option<Arc<Task>> {
        if self.names >= NAMES {
            return None;
        }
        // what is needed late must not keep out what is needed soon
        let levels = if self.names < NAMES_OF_OUTER { usize::MAX } else { 1 };
        self.levels.iter_mut().rev().take(levels).find_map(VecDeque::pop_front)
    }
}

impl Ahead {
    pub(super) fn new(device: u64) -> Self {
        Self { device, line: Mutex::default(), news: Condvar::new() }
    }

    /// Starts a thread that reads ahead; one that cannot be had is done without.
    pub(super) fn start<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        let mut line = locked(&self.line);
        if line.threads < THREADS && Builder::new().spawn_scoped(scope, || self.serve(scope)).is_ok() {
            line.threads += 1;
        }
    }

    fn serve<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        while let Some(task) = self.wait() {
            let begun = Instant::now();
            let looks = self.work(&task);
            if begun.elapsed() > SLOW * u32::try_from(looks + 2).unwrap_or(u32::MAX) {
                self.start(scope);
            }
        }
    }

    /// Reads a folder, where it still has to be, and returns how many names were looked at.
    fn work(&self, task: &Task) -> usize {
        let Some(parent) = begin(task) else { return 0 };
        let read = read(&parent, task, self.device);
        let looks = read.as_ref().map_or(0, |folder| folder.looks.len());
        locked(&self.line).names += looks;
        if !task.end(read) {
            self.used(looks);
        }
        looks
    }

    /// The next folder to read; none when there will be none.
    fn wait(&self) -> Option<Arc<Task>> {
        let mut line = locked(&self.line);
        loop {
            if line.closed {
                return None;
            }
            if let Some(task) = line.next() {
                return Some(task);
            }
            line.idle += 1;
            line = self.news.wait(line).unwrap_or_else(PoisonError::into_inner);
            line.idle -= 1;
        }
    }

    /// The walk goes into a folder.
    pub(super) fn enter(&self) {
        locked(&self.line).levels.push(VecDeque::new());
    }

    /// The walk leaves the innermost folder, of which `left` was not used.
    pub(super) fn leave(&self, left: impl IntoIterator<Item = Arc<Task>>) {
        locked(&self.line).levels.pop();
        left.into_iter().for_each(|task| drop(self.finish(&task, false)));
    }

    /// Puts subfolders of the innermost folder in line.
    pub(super) fn queue(&self, tasks: impl IntoIterator<Item = Arc<Task>>) {
        let mut line = locked(&self.line);
        if let Some(level) = line.levels.last_mut() {
            level.extend(tasks);
        }
        let idle = line.idle > 0;
        drop(line);
        if idle {
            self.news.notify_all();
        }
    }

    /// Nothing below the folder of this depth is to be read any more: its descriptor is to be closed.
    pub(super) fn forget(&self, depth: usize, tasks: impl IntoIterator<Item = Arc<Task>>) {
        if let Some(level) = locked(&self.line).levels.get_mut(depth) {
            level.clear();
        }
        tasks.into_iter().for_each(|task| drop(self.finish(&task, false)));
    }

    /// What was read of a subfolder that it is the turn of; none where the walk has to do it. While another
    /// thread is at it, this one reads what comes next: to wait for each other took longer than that.
    pub(super) fn take(&self, task: &Task) -> Option<Folder> {
        while matches!(*locked(&task.state), State::Running { .. }) {
            let next = locked(&self.line).next();
            let Some(next) = next else { break };
            self.work(&next);
        }
        self.finish(task, true)
    }

    fn finish(&self, task: &Task, wait: bool) -> Option<Folder> {
        let mut state = locked(&task.state);
        while wait && let State::Running { awaited } = &mut *state {
            *awaited = true;
            state = task.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let State::Done(folder) = std::mem::replace(&mut *state, State::Void) else { return None };
        drop(state);
        self.used(folder.looks.len());
        Some(*folder)
    }

    fn used(&self, looks: usize) {
        let mut line = locked(&self.line);
        let waited = line.idle > 0 && line.names >= NAMES_OF_OUTER;
        line.names = line.names.saturating_sub(looks);
        drop(line);
        if waited {
            self.news.notify_all();
        }
    }

    /// Lets the threads end.
    pub(super) fn close(&self) {
        locked(&self.line).closed = true;
        self.news.notify_all();
    }
}

/// How many more subfolders are to be put in line where `waiting` are.
pub(super) fn room(waiting: usize) -> usize {
    if waiting > IN_LINE / 2 { 0 } else { IN_LINE - waiting }
}

fn begin(task: &Task) -> Option<Arc<OwnedFd>> {
    let mut state = locked(&task.state);
    match std::mem::replace(&mut *state, State::Running { awaited: false }) {
        State::Waiting(parent) => Some(parent),
        other => {
            *state = other;
            None
        }
    }
}

/// Reads a folder, where it is one, on this device.
fn read(parent: &OwnedFd, task: &Task, device: u64) -> Option<Folder> {
    let here = |look: &Look| look.kind == FileType::Directory && look.device == device;
    folder::look(parent, &task.name).ok().filter(here)?;
    let fd = folder::open(parent, &task.name, Access::List).ok()?;
    folder::look(&fd, c"").ok().filter(here)?;
    let names = Names::list(&fd).ok()?;
    let look = |at| names.get(at).map_or(Err(Errno::NOENT), |(name, _)| folder::look(&fd, name));
    let looks = (0..names.len().min(NAMES_OF_ONE)).map(look).collect();
    Some(Folder { fd, names, looks })
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, write};
    use std::os::unix::fs::symlink;

    use super::*;

    /// Runs `with` while folders `a` and `b`, of two files each, and `l`, a symlink to `a`, are in line.
    fn in_line(with: impl FnOnce(&Ahead, Vec<Arc<Task>>)) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            create_dir(dir.path().join(name)).unwrap();
            for file in ["x", "y"] {
                write(dir.path().join(name).join(file), file).unwrap();
            }
        }
        symlink("a", dir.path().join("l")).unwrap();
        let root = folder::open_root(dir.path()).unwrap();
        let ahead = Ahead::new(folder::look(&root, c"").unwrap().device);
        let root = Arc::new(root);
        let tasks = [c"a", c"b", c"l"].into_iter().enumerate().map(|(at, name)| Task::new(at, name.to_owned(), &root));
        let tasks: Vec<_> = tasks.collect();
        std::thread::scope(|scope| {
            ahead.enter();
            ahead.queue(tasks.clone());
            ahead.start(scope);
            with(&ahead, tasks);
            ahead.close();
        });
        assert_eq!(locked(&ahead.line).names, 0);
    }

    /// Waits until none of `tasks` is in line.
    fn all_read(tasks: &[Arc<Task>]) {
        for task in tasks {
            let mut state = locked(&task.state);
            while matches!(*state, State::Waiting(_) | State::Running { .. }) {
                drop(state);
                std::thread::yield_now();
                state = locked(&task.state);
            }
        }
    }

    #[test]
    fn folders_are_read_and_symlinks_are_not_followed() {
        in_line(|ahead, tasks| {
            all_read(&tasks);
            let found: Vec<_> = tasks.iter().map(|task| ahead.take(task).map(|read| read.looks.len())).collect();
            assert_eq!(found, [Some(2), Some(2), None]);
            assert!(ahead.take(&tasks[0]).is_none());
        });
    }

    #[test]
    fn what_is_not_used_is_forgotten_read_or_not() {
        in_line(|ahead, tasks| ahead.leave(tasks));
        in_line(|ahead, tasks| {
            all_read(&tasks);
            ahead.forget(0, tasks);
        });
    }
}
