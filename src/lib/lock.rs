//! Two commands that write to one box exclude each other: `flock(2)` on the cookie, which dies with
//! its process, so nothing is ever left behind by a crash (design section 10.6).

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;
use rustix::io::{Errno, FdFlags};

use crate::boxfs::{BoxRoot, Stat, stat_of};
use crate::cookie::{cookie_path, open_cookie};

/// The name of the environment variable that tells a child which descriptor holds the lock.
pub const LOCK_FD: &str = "LTR_LOCK_FD";

/// A box that nobody else may write to, until this is dropped.
#[derive(Debug)]
pub struct Lock {
    /// The cookie; none where a parent process holds the lock.
    cookie: Option<File>,
}

/// Locks the box at `root`, without waiting.
///
/// # Errors
/// There is no box, or it "is in use by ltr-commit (pid 123)".
pub fn take(root: &BoxRoot) -> Result<Lock> {
    let cookie = open_cookie(root)?;
    match rustix::fs::flock(&cookie, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { cookie: Some(cookie) }),
        Err(Errno::WOULDBLOCK) => {
            let holder = stat_of(&cookie).ok().and_then(|stat| holder(&stat));
            bail!("box at {} is in use by {}", root.path().display(), holder.unwrap_or_else(|| "another command".to_owned()))
        }
        Err(e) => Err(e).with_context(|| format!("cannot lock {}", root.path().display())),
    }
}

/// Locks the box at `root`, unless the descriptor `fd` that a parent handed down holds its lock.
///
/// # Errors
/// As [`take`].
pub fn take_or_inherit(root: &BoxRoot, fd: Option<RawFd>) -> Result<Lock> {
    match fd {
        Some(fd) if inherited(fd, root) => Ok(Lock { cookie: None }),
        _ => take(root),
    }
}

/// Whether the descriptor `fd` of this process is the cookie of the box at `root`: then who handed it
/// down has locked the box, and this process must not lock against its parent.
#[must_use]
pub fn inherited(fd: RawFd, root: &BoxRoot) -> bool {
    let (Ok(path), Ok(open)) = (cookie_path(), fs::metadata(format!("/proc/self/fd/{fd}"))) else { return false };
    root.lstat(&path).is_ok_and(|cookie| (cookie.dev, cookie.ino) == (open.dev(), open.ino()))
}

impl Lock {
    /// Lets the lock survive the next exec, and returns the descriptor for [`LOCK_FD`].
    ///
    /// # Errors
    /// As fcntl(2); there is none where the lock is a parent's.
    pub fn hand_down(&self) -> Result<RawFd> {
        let cookie = self.cookie.as_ref().context("the lock is held by the process above")?;
        rustix::io::fcntl_setfd(cookie.as_fd(), FdFlags::empty())?;
        Ok(cookie.as_raw_fd())
    }
}

/// How often /proc/locks is read: it comes a page at a time, and a lock that is let go between two pages of it
/// makes another one be passed over.
pub(crate) const READS: usize = 5;

/// Who holds the lock of a file, by /proc/locks.
fn holder(cookie: &Stat) -> Option<String> {
    let pid = (0..READS).find_map(|_| holder_pid(&fs::read_to_string("/proc/locks").ok()?, cookie))?;
    let cmdline = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).ok();
    let name = cmdline.and_then(|c| command_name(&c)).unwrap_or_else(|| "another command".to_owned());
    Some(format!("{name} (pid {pid})"))
}

/// The process in a line `1: FLOCK  ADVISORY  WRITE 4711 fd:00:1234 0 EOF`. Some file systems (btrfs)
/// show another device there than in stat, so the device only chooses between equal inodes.
fn holder_pid(locks: &str, cookie: &Stat) -> Option<u32> {
    let device = format!("{:02x}:{:02x}", rustix::fs::major(cookie.dev), rustix::fs::minor(cookie.dev));
    let lines: Vec<(u32, &str)> = locks
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            if fields.next() != Some("FLOCK") {
                return None;
            }
            let (pid, place) = (fields.nth(2)?.parse().ok()?, fields.next()?);
            let (device, inode) = place.rsplit_once(':')?;
            (inode.parse() == Ok(cookie.ino)).then_some((pid, device))
        })
        .collect();
    lines.iter().find(|l| l.1 == device).or(lines.first()).map(|l| l.0)
}

/// The name of a command by its argument list; of a shell script, the script's.
fn command_name(cmdline: &[u8]) -> Option<String> {
    let base = |arg: &[u8]| String::from_utf8_lossy(arg.rsplit(|&b| b == b'/').next().unwrap_or(arg)).into_owned();
    let mut args = cmdline.split(|&b| b == 0).filter(|a| !a.is_empty());
    let program = base(args.next()?);
    if !matches!(program.as_str(), "sh" | "dash" | "bash" | "ash" | "ksh" | "mksh" | "busybox" | "env") {
        return Some(program);
    }
    // `sh -e SCRIPT` is the script, `sh -c TEXT` is the shell
    args.find(|a| *a == b"-c" || !a.starts_with(b"-")).filter(|a| *a != b"-c").map(base).or(Some(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_box() -> (tempfile::TempDir, BoxRoot) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".ltr"), "s/b\n").unwrap();
        let root = BoxRoot::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn the_second_is_told_who_holds_it() {
        let (_dir, root) = a_box();
        let lock = take(&root).unwrap();
        let error = take(&root).unwrap_err().to_string();
        assert!(error.contains("is in use by "), "{error}");
        if fs::read_to_string("/proc/locks").is_ok_and(|l| l.contains(&format!(" {} ", std::process::id()))) {
            assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        }
        drop(lock);
        take(&root).unwrap();
    }

    #[test]
    fn who_holds_it_is_told_whatever_else_is_locked_and_let_go() {
        let (dir, root) = a_box();
        let _lock = take(&root).unwrap();
        if !take(&root).unwrap_err().to_string().contains("(pid ") {
            // a /proc/locks that shows none
            return;
        }
        let others: Vec<File> = (0..300).map(|n| File::create(dir.path().join(n.to_string())).unwrap()).collect();
        let over = std::sync::atomic::AtomicBool::new(false);
        let unnamed = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    for how in [FlockOperation::LockExclusive, FlockOperation::Unlock] {
                        others.iter().for_each(|other| rustix::fs::flock(other, how).unwrap());
                    }
                }
            });
            let unnamed = (0..1000).filter(|_| !take(&root).unwrap_err().to_string().contains("(pid ")).count();
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            unnamed
        });
        assert_eq!(unnamed, 0);
    }

    #[test]
    fn a_lock_from_above_is_recognised() {
        let ((_dir, root), (_other_dir, other)) = (a_box(), a_box());
        let lock = take(&root).unwrap();
        let fd = lock.hand_down().unwrap();
        assert!(inherited(fd, &root) && !inherited(fd, &other) && !inherited(9999, &root));
        assert!(take_or_inherit(&root, Some(fd)).is_ok() && take_or_inherit(&root, None).is_err());
        assert!(take_or_inherit(&root, Some(9999)).is_err());
    }

    #[test]
    fn proc_is_read_as_it_is() {
        let (_dir, root) = a_box();
        let mut stat = root.lstat(&cookie_path().unwrap()).unwrap();
        (stat.ino, stat.dev) = (1234, rustix::fs::makedev(0xfd, 0));
        let locks = "1: POSIX  ADVISORY  WRITE 1 fd:00:1234 0 EOF\n2: FLOCK  ADVISORY  WRITE 2 00:01:1234 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 3 fd:00:1234 0 EOF\n3: -> FLOCK  ADVISORY  WRITE 4 fd:00:1234 0 EOF\n";
        assert_eq!(holder_pid(locks, &stat), Some(3));
        stat.dev = 77;
        assert_eq!(holder_pid(locks, &stat), Some(2));
        assert_eq!(command_name(b"/bin/sh\0-e\0/usr/bin/ltr-commit\0x\0").as_deref(), Some("ltr-commit"));
        assert_eq!(command_name(b"/usr/bin/ltr-fetch\0--root\0/x\0").as_deref(), Some("ltr-fetch"));
        assert_eq!(command_name(b"sh\0-c\0a; b\0").as_deref(), Some("sh"));
        assert_eq!(command_name(b""), None);
    }
}
