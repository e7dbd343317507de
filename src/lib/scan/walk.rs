//! The walk itself: depth first, siblings sorted, on an explicit stack of open folders.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::fs::{FileType, readlinkat};
use rustix::io::Errno;

use super::ahead::{self, Ahead, Looks, Task};
use super::folder::{self, Access, Look, Names};
use super::ignored::{self, Rules};
use super::seal::seal;
use super::{CARRIED_INDEX, COOKIE, Found, Item, STAGING, Tracked, Why};
use crate::boxfs::is_own_name;
use crate::path::{SEPARATOR, SpacePath};
use crate::record::{Ftype, Mode, Sha1};

/// Folders that are kept open at a time; a process may have 1024 files open by default, and is not
/// alone with this walk. Those above are closed and, on the way back, opened again from the root.
const OPEN_MAX: usize = 256;
/// How many folders are opened again in one go, so that a deep tree does not cost its depth squared.
const REOPEN: usize = OPEN_MAX / 2;

/// [`COOKIE`] for the kernel.
const COOKIE_NAME: &CStr = c".ltr";

/// Walks the box at `root` and hands what it meets to `sink` in path order.
///
/// With `starts`, only what is at or below one of them is looked at (none, or the root among them:
/// everything); what is not there is passed over. The folders above a start are no items, but their
/// ignore rules apply, and no symlink among them is followed. Memory holds the names of the folders
/// between the root and the present one, and nothing else.
///
/// # Errors
/// `root` is no folder that can be listed; or `tracked` or `sink` failed. What cannot be read further
/// down is a [`Found::Failed`].
pub fn walk(
    root: &Path,
    starts: &[SpacePath],
    tracked: &mut dyn Tracked,
    sink: &mut dyn FnMut(Found) -> Result<()>,
) -> Result<()> {
    let root_fd = folder::open_root(root)?;
    let named = || root.display().to_string();
    let device = folder::look(&root_fd, c"").with_context(named)?.device;
    let starts = outermost(starts);
    let reach = if starts.is_empty() { Reach::Within } else { Reach::Above };
    let ahead = Ahead::new(device);
    let mut eye = Eye { device, starts, rules: Rules::default(), ahead: &ahead, tracked, sink };
    let fd = folder::open(&root_fd, c".", reach.access()).with_context(named)?;
    let frame = eye.frame(SpacePath::root(), fd, reach, false).with_context(named)?;
    let frame = eye.with_rules(frame);
    let mut walk = Walk { root: root_fd, frames: Vec::new(), eye };
    std::thread::scope(|scope| {
        let _closing = Closing(&ahead);
        ahead.start(scope);
        walk.enter(frame);
        walk.run()
    })
}

/// Lets the threads end however the walk does.
struct Closing<'a>(&'a Ahead);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The starts in path order without those below another; none for "everything".
fn outermost(starts: &[SpacePath]) -> Vec<SpacePath> {
    let mut starts = starts.to_vec();
    starts.sort_unstable();
    starts.dedup_by(|later, kept| later.is_within(kept));
    if starts.first().is_some_and(SpacePath::is_root) {
        starts.clear();
    }
    starts
}

/// How a path lies to the starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Not between the root and a start.
    Outside,
    /// A folder above a start.
    Above,
    /// A start or below one.
    Within,
}

impl Reach {
    fn access(self) -> Access {
        if self == Reach::Within { Access::List } else { Access::Pass }
    }
}

/// A folder that the walk is in.
struct Frame {
    path: SpacePath,
    /// None while it is closed for the sake of [`OPEN_MAX`].
    fd: Option<Arc<OwnedFd>>,
    names: Names,
    /// What was seen of the first of the names.
    looks: Looks,
    /// Subfolders that are in line to be read, and the first name that was not considered for it.
    tasks: VecDeque<Arc<Task>>,
    considered: usize,
    reach: Reach,
    /// It matches an ignore rule, and so does all below it.
    ignored: bool,
    /// Its rules are on the stack of rules.
    has_rules: bool,
    /// Why its `.ltrignore` does not apply: told where that file comes in path order.
    rules_error: Option<String>,
    /// Nobody wants to hear of what is in it, but for what is in the folders in it.
    sealed: bool,
}

impl Frame {
    fn new(path: SpacePath, fd: impl Into<Arc<OwnedFd>>, names: Names, reach: Reach) -> Self {
        let (looks, tasks, fd) = (Looks::new(), VecDeque::new(), Some(fd.into()));
        let (ignored, has_rules, rules_error, sealed) = (false, false, None, false);
        Self { path, fd, names, looks, tasks, considered: 0, reach, ignored, has_rules, rules_error, sealed }
    }

    /// Goes on to the next name that there is something to be said of; whether there is one.
    fn advance(&mut self) -> bool {
        while self.names.advance() {
            let look = self.names.at().and_then(|at| self.looks.get(at));
            let passed = self.sealed && look.is_some_and(|look| look.is_ok_and(|look| look.kind == FileType::RegularFile));
            if !passed {
                return true;
            }
        }
        false
    }

    /// The task of the subfolder that is the name number `at`, if it is in line; those before it were not
    /// used.
    fn task(&mut self, at: usize, ahead: &Ahead) -> Option<Arc<Task>> {
        while self.tasks.front().is_some_and(|task| task.at < at) {
            self.tasks.pop_front().into_iter().for_each(|task| ahead.discard(&task));
        }
        self.tasks.pop_front_if(|task| task.at == at)
    }
}

/// The stack of folders, and what looks at the names in them.
struct Walk<'a> {
    root: OwnedFd,
    frames: Vec<Frame>,
    eye: Eye<'a>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        while let Some(frame) = self.frames.last_mut() {
            if !frame.advance() {
                self.leave();
            } else if frame.fd.is_some() {
                self.step()?;
            } else if let Err(error) = self.reopen() {
                self.give_up(&error)?;
            } else {
                self.step()?;
            }
        }
        Ok(())
    }

    /// Looks at the current name of the innermost folder.
    fn step(&mut self) -> Result<()> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        let task = frame.names.at().and_then(|at| frame.task(at, self.eye.ahead));
        if task.is_some() {
            self.eye.queue(frame);
        }
        let (Some(fd), Some((name, hint))) = (&frame.fd, frame.names.current()) else { return Ok(()) };
        let is_rules = name == ignored::NAME;
        let inner = self.eye.meet(frame, fd, name, hint, task.as_deref())?;
        // it may have been ignored, or a file by now
        task.iter().for_each(|task| self.eye.ahead.discard(task));
        if is_rules && let Some(error) = frame.rules_error.take() {
            self.eye.fail(frame.path.join(name.to_bytes())?, error)?;
        }
        if let Some(inner) = inner {
            self.enter(inner);
        }
        Ok(())
    }

    fn enter(&mut self, mut frame: Frame) {
        self.eye.enter(&mut frame);
        self.frames.push(frame);
        if let Some(at) = self.frames.len().checked_sub(OPEN_MAX + 1) {
            self.eye.ahead.forget(at, self.frames[at].tasks.drain(..));
            self.frames[at].fd = None;
        }
    }

    fn leave(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        self.eye.ahead.leave(frame.tasks);
        if frame.has_rules {
            self.eye.rules.pop();
        }
    }

    /// Opens the innermost folder again, and some of those above it.
    fn reopen(&mut self) -> Result<(), Errno> {
        let Some(last) = self.frames.len().checked_sub(1) else { return Ok(()) };
        let kept = self.frames.len().saturating_sub(REOPEN);
        let mut fd = folder::open(&self.root, c".", Access::Pass)?;
        for at in 1..=last {
            let name = CString::new(self.frames[at].path.name()).map_err(|_| Errno::INVAL)?;
            let next = folder::open(&fd, &name, Access::Pass)?;
            if folder::look(&next, c"")?.device != self.eye.device {
                return Err(Errno::XDEV);
            }
            if at > kept {
                self.frames[at - 1].fd = Some(Arc::new(fd));
            }
            fd = next;
        }
        self.frames[last].fd = Some(Arc::new(fd));
        Ok(())
    }

    /// Leaves a folder that was moved or swapped while the walk was below it.
    fn give_up(&mut self, error: &Errno) -> Result<()> {
        let path = self.frames.last().map(|frame| frame.path.clone()).unwrap_or_default();
        self.leave();
        self.eye.fail(path, format!("cannot be opened again: {}", cause(*error)))
    }
}

/// Looks at one name after the other and decides what it is.
struct Eye<'a> {
    /// The device of the root: the walk stays on it.
    device: u64,
    starts: Vec<SpacePath>,
    rules: Rules,
    ahead: &'a Ahead,
    tracked: &'a mut dyn Tracked,
    sink: &'a mut dyn FnMut(Found) -> Result<()>,
}

/// A name that lstat(2) knows.
struct Sight<'a> {
    parent: &'a OwnedFd,
    name: &'a CStr,
    path: SpacePath,
    look: Look,
    reach: Reach,
    ignored: bool,
    /// The folder that it is in is sealed.
    sealed: bool,
    /// It is a folder that was in line to be read.
    task: Option<&'a Task>,
}

impl Eye<'_> {
    /// The walk goes into a folder, of which the first subfolders may be in line already.
    fn enter(&mut self, frame: &mut Frame) {
        self.ahead.enter();
        let (kept, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut frame.tasks)
            .into_iter()
            .partition(|task| !frame.ignored && frame.names.get(task.at).is_some_and(|(name, _)| self.goes_into(frame, name)));
        left.iter().for_each(|task| self.ahead.discard(task));
        if !kept.is_empty() {
            self.ahead.queue(kept.iter().cloned());
        }
        frame.tasks = kept;
        self.queue(frame);
    }

    /// Puts the next subfolders of the innermost folder in line.
    fn queue(&mut self, frame: &mut Frame) {
        let (Some(fd), false) = (&frame.fd, frame.ignored || frame.reach != Reach::Within) else { return };
        let room = ahead::room(frame.tasks.len());
        let mut tasks = Vec::new();
        while tasks.len() < room
            && let Some((name, kind)) = frame.names.get(frame.considered)
        {
            if kind == FileType::Directory && self.goes_into(frame, name) {
                tasks.push(Task::new(frame.considered, name.to_owned(), fd));
            }
            frame.considered += 1;
        }
        if !tasks.is_empty() {
            frame.tasks.extend(tasks.iter().cloned());
            self.ahead.queue(tasks);
        }
    }

    /// Whether the walk will probably go into the folder `name`.
    fn goes_into(&mut self, frame: &Frame, name: &CStr) -> bool {
        let own = is_own_name(name.to_bytes(), frame.path.is_root());
        !own && frame.path.join(name.to_bytes()).is_ok_and(|path| !self.rules.ignore(&path, true))
    }

    /// Tells what `name` in `folder` is; a folder to go down into is returned.
    fn meet(
        &mut self,
        folder: &Frame,
        parent: &OwnedFd,
        name: &CStr,
        hint: FileType,
        task: Option<&Task>,
    ) -> Result<Option<Frame>> {
        let own = is_own_name(name.to_bytes(), folder.path.is_root());
        if own && folder.path.is_root() && OWN.contains(&name.to_bytes()) {
            return Ok(None);
        }
        let Ok(path) = folder.path.join(name.to_bytes()) else { return self.unnamed(folder, name) };
        let reach = if folder.reach == Reach::Within { Reach::Within } else { self.reach(&path) };
        if reach == Reach::Outside {
            return Ok(None);
        }
        if own {
            // somebody's, but no index takes it: that it is left out must not go unsaid
            return self.skip(path, Why::Own).map(|()| None);
        }
        let seen = folder.names.at().and_then(|at| folder.looks.get(at).copied());
        let seen = seen.unwrap_or_else(|| folder::look(parent, name));
        let kind = seen.as_ref().map_or(hint, |look| look.kind);
        let ignored = folder.ignored || self.rules.ignore(&path, kind == FileType::Directory);
        if ignored && reach == Reach::Within && !self.tracked.at_or_below(&path)? {
            return Ok(None);
        }
        match seen {
            Ok(look) => self.sort_out(Sight { parent, name, path, look, reach, ignored, sealed: folder.sealed, task }),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => self.fail(path, cause(error)).map(|()| None),
        }
    }

    fn sort_out(&mut self, sight: Sight<'_>) -> Result<Option<Frame>> {
        let kind = sight.look.kind;
        if sight.reach == Reach::Above && kind != FileType::Directory {
            // below a symlink there may be files, which are then not this box's; below a file, there are none
            let link = kind == FileType::Symlink;
            return if link { self.fail(sight.path, "a symlink is in the way".into()).map(|()| None) } else { Ok(None) };
        }
        match kind {
            FileType::Directory => return self.descend(sight),
            FileType::RegularFile => self.tell(item(&sight.look, sight.path, Ftype::File, None))?,
            FileType::Symlink => self.link(sight)?,
            FileType::Fifo => self.skip(sight.path, Why::Fifo)?,
            FileType::Socket => self.skip(sight.path, Why::Socket)?,
            FileType::CharacterDevice | FileType::BlockDevice => self.skip(sight.path, Why::Device)?,
            FileType::Unknown => self.fail(sight.path, "is of an unknown kind".into())?,
        }
        Ok(None)
    }

    fn link(&mut self, sight: Sight<'_>) -> Result<()> {
        match readlinkat(sight.parent, sight.name, Vec::new()) {
            Ok(target) if target.is_empty() => self.fail(sight.path, "is a symlink without a target".into()),
            Ok(target) => self.tell(item(&sight.look, sight.path, Ftype::Symlink, Some(target.into_bytes()))),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => self.fail(sight.path, cause(error)),
        }
    }

    fn descend(&mut self, sight: Sight<'_>) -> Result<Option<Frame>> {
        if sight.look.device != self.device {
            return self.skip(sight.path, Why::Mount).map(|()| None);
        }
        if let Some(read) = sight.task.and_then(|task| self.ahead.take(task)) {
            let ahead::Folder { fd, names, looks, tasks, considered } = read;
            let frame = Frame { looks, tasks, considered, ..Frame::new(sight.path.clone(), fd, names, sight.reach) };
            return self.go_in(&sight, Frame { ignored: sight.ignored, ..frame });
        }
        let opened = folder::open(sight.parent, sight.name, sight.reach.access());
        // opening may have mounted something (autofs), or something was mounted since the first look
        let opened = opened.and_then(|fd| folder::look(&fd, c"").map(|look| (fd, look.device)));
        match opened {
            Ok((_, device)) if device != self.device => self.skip(sight.path, Why::Mount).map(|()| None),
            Ok((fd, _)) => match self.frame(sight.path.clone(), fd, sight.reach, sight.ignored) {
                Ok(frame) => self.go_in(&sight, frame),
                Err(error) => self.unreadable(&sight, error),
            },
            Err(Errno::NOENT) => Ok(None),
            Err(error) => self.unreadable(&sight, error),
        }
    }

    fn go_in(&mut self, sight: &Sight<'_>, frame: Frame) -> Result<Option<Frame>> {
        if frame.fd.as_ref().is_some_and(|fd| holds_cookie(fd, &frame)) {
            frame.tasks.iter().for_each(|task| self.ahead.discard(task));
            return self.skip(frame.path, Why::Box).map(|()| None);
        }
        self.tell_folder(sight)?;
        let mut frame = self.with_rules(frame);
        if self.tracked.seals()
            && let Some(seal) = self.seal(&mut frame)
        {
            frame.sealed = self.tracked.is_sealed(&frame.path, &seal)?;
            (self.sink)(Found::Folder { path: frame.path.clone(), seal, sealed: frame.sealed })?;
        }
        Ok(Some(frame))
    }

    fn tell_folder(&mut self, sight: &Sight<'_>) -> Result<()> {
        let told = sight.reach == Reach::Within && !sight.sealed;
        if told { self.tell(item(&sight.look, sight.path.clone(), Ftype::Dir, None)) } else { Ok(()) }
    }

    /// The seal of a folder, if it is neither empty nor too large and all that matters of what is in it is what lstat(2) says.
    fn seal(&self, frame: &mut Frame) -> Option<Sha1> {
        let worth = (1..=ahead::NAMES_OF_ONE).contains(&frame.names.len());
        if !worth || frame.reach != Reach::Within || frame.ignored || frame.rules_error.is_some() {
            return None;
        }
        if let Some(fd) = &frame.fd {
            let unseen = (frame.looks.len()..).map_while(|at| frame.names.get(at)).map(|(name, _)| folder::look(fd, name));
            frame.looks.extend(unseen);
        }
        if self.ignores_any(frame) { None } else { seal(&frame.names, &frame.looks) }
    }

    /// Whether anything in a folder that was looked at matches an ignore rule.
    fn ignores_any(&self, frame: &Frame) -> bool {
        let ignores = |(at, look): (usize, &Result<Look, Errno>)| {
            let path = frame.names.get(at).and_then(|(name, _)| frame.path.join(name.to_bytes()).ok());
            let is_dir = look.is_ok_and(|look| look.kind == FileType::Directory);
            path.is_some_and(|path| self.rules.ignore(&path, is_dir))
        };
        !self.rules.is_empty() && frame.looks.iter().enumerate().any(ignores)
    }

    fn unreadable(&mut self, sight: &Sight<'_>, error: Errno) -> Result<Option<Frame>> {
        self.tell_folder(sight)?;
        self.fail(sight.path.clone(), cause(error)).map(|()| None)
    }

    /// An open folder with the names in it that matter, before its rules are read.
    fn frame(&self, path: SpacePath, fd: OwnedFd, reach: Reach, ignored: bool) -> Result<Frame, Errno> {
        let names = if reach == Reach::Within { Names::list(&fd)? } else { self.names_towards_starts(&path) };
        Ok(Frame { ignored, ..Frame::new(path, fd, names, reach) })
    }

    /// Reads the folder's `.ltrignore`. What lies in an ignored folder is ignored, whatever that says.
    fn with_rules(&mut self, mut frame: Frame) -> Frame {
        let Some(fd) = &frame.fd else { return frame };
        let may_have = frame.reach == Reach::Above || frame.names.contains(ignored::NAME);
        if frame.ignored || !may_have {
            return frame;
        }
        let pushed = self.rules.push(fd, &frame.path);
        frame.has_rules = pushed.has_rules;
        frame.rules_error = pushed.error;
        if frame.rules_error.is_some() {
            // above a start it is not among the names
            frame.names.push(ignored::NAME, FileType::RegularFile);
            frame.names.sort();
        }
        frame
    }

    fn reach(&self, path: &SpacePath) -> Reach {
        match self.starts.get(self.starts.partition_point(|start| start < path)) {
            Some(start) if start == path => Reach::Within,
            Some(start) if start.is_within(path) => Reach::Above,
            _ => Reach::Outside,
        }
    }

    /// The names in `folder`, which is above a start, that lead to one.
    fn names_towards_starts(&self, folder: &SpacePath) -> Names {
        let first = self.starts.partition_point(|start| start <= folder);
        let depth = if folder.is_root() { 0 } else { folder.key().len() + 1 };
        let mut names = Names::default();
        for start in self.starts[first..].iter().take_while(|start| start.is_within(folder)) {
            let name = start.key()[depth..].split(|&b| b == SEPARATOR).next().unwrap_or_default();
            if let Ok(name) = CString::new(name) {
                names.push(&name, FileType::Unknown);
            }
        }
        names.sort();
        names
    }

    fn unnamed(&mut self, folder: &Frame, name: &CStr) -> Result<Option<Frame>> {
        if !folder.ignored {
            (self.sink)(Found::Unnamed { folder: folder.path.clone(), name: name.to_bytes().to_vec() })?;
        }
        Ok(None)
    }

    fn tell(&mut self, item: Item) -> Result<()> {
        (self.sink)(Found::Item(item))
    }

    fn skip(&mut self, path: SpacePath, why: Why) -> Result<()> {
        (self.sink)(Found::Skipped { path, why })
    }

    fn fail(&mut self, path: SpacePath, error: String) -> Result<()> {
        (self.sink)(Found::Failed { path, error })
    }
}

/// What ltr itself makes at the root.
const OWN: [&[u8]; 3] = [COOKIE.as_bytes(), STAGING.as_bytes(), CARRIED_INDEX.as_bytes()];

/// Whether the folder is a box of its own. A cookie that is a symlink counts: to take the files of a
/// box for one's own is worse than to leave a folder out.
fn holds_cookie(folder: impl AsFd, frame: &Frame) -> bool {
    let listed = frame.reach == Reach::Above || frame.names.contains(COOKIE_NAME);
    listed && folder::look(folder, COOKIE_NAME).is_ok_and(|look| look.kind != FileType::Directory)
}

fn item(look: &Look, path: SpacePath, ftype: Ftype, target: Option<Vec<u8>>) -> Item {
    let (size, mode) = match ftype {
        Ftype::File => (look.size, look.mode),
        Ftype::Dir => (0, look.mode),
        Ftype::Symlink => (target.as_ref().map_or(0, Vec::len) as u64, 0o777),
    };
    Item {
        path,
        ftype,
        size,
        mtime: look.mtime.0,
        mtime_nsec: look.mtime.1,
        mode: Mode::new(mode),
        ino: look.ino,
        dev: look.device,
        ctime: look.ctime.0,
        ctime_nsec: look.ctime.1,
        target,
    }
}

/// An error number as a person reads it.
fn cause(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}
