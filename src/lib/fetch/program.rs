//! A program that moves files for us, watched while it works: what it says is kept within bounds, and
//! it is ended when what comes is not what was asked for, or when nothing goes through it any more.

use std::io::{self, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ssh::silence;

/// What a program may say at most, in bytes; the rest is read and forgotten.
const WORDS: usize = 64 << 10;
const LOOK: Duration = Duration::from_millis(2);
/// How often it is looked whether anything goes through it.
const WATCH: Duration = Duration::from_millis(100);
/// How long the last words of a program that has ended are waited for: a process that it started, or an
/// ssh that shares its connection, may keep its stderr open for as long as the other side likes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a program may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(1);

/// What counts as a sign of life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// That it reads or writes.
    Bytes,
    /// That it, or a process of the same name that it started, reads. An rsync that gets nothing goes on
    /// writing: its keep-alive messages reset its own `--timeout` too (io.c, `check_timeout`), until
    /// all buffers on the way are full of them.
    Read,
}

/// Runs `command` to its end, or until `go_on`, which is told how many bytes it has read, says no. Its stdout
/// is not kept. It is killed when it has given no sign of life for as long as `limit`.
///
/// # Errors
/// It cannot be run, or was killed for its silence.
pub(crate) fn run(
    mut command: Command,
    limit: Option<Duration>,
    sign: Sign,
    mut go_on: impl FnMut(u64) -> bool,
) -> io::Result<Output> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let words = listen(&mut child);
    let (mut moved, mut seen, mut watched) = (Instant::now(), None, Instant::now());
    let watch = limit.unwrap_or(WATCH).min(WATCH);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Output { status, stdout: Vec::new(), stderr: heard(words) });
        }
        if watched.elapsed() >= watch {
            watched = Instant::now();
            let through = Through::of(child.id(), sign);
            if through.is_none() || through != seen {
                (moved, seen) = (watched, through);
            } else if let Some(limit) = limit
                && moved.elapsed() >= limit
            {
                end(&mut child);
                return Err(silence(limit));
            }
        }
        if !go_on(seen.map_or(0, |seen| seen.read)) {
            end(&mut child);
        }
        std::thread::sleep(LOOK);
    }
}

/// Ends a program: asked first, so that it ends what it has started, an rsync its receiver and its ssh.
fn end(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let asked = Instant::now();
    while asked.elapsed() < GRACE {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(LOOK);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The bytes that went through a program so far, as proc(5) counts them: of those of a program which waits
/// for the other side, nothing changes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Through {
    read: u64,
    /// 0 where that is no sign of life.
    written: u64,
}

impl Through {
    /// None where that is not told.
    fn of(id: u32, sign: Sign) -> Option<Self> {
        let mut through = Self::default();
        through.add(&id.to_string(), sign)?;
        if sign == Sign::Read {
            let name = |id: &str| std::fs::read_to_string(format!("/proc/{id}/comm")).ok();
            let own = name(&id.to_string());
            let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            for child in children.split_whitespace().filter(|child| name(child) == own) {
                through.add(child, sign);
            }
        }
        Some(through)
    }

    fn add(&mut self, id: &str, sign: Sign) -> Option<()> {
        let text = std::fs::read_to_string(format!("/proc/{id}/io")).ok()?;
        let count = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        self.read += count("rchar:")?;
        if sign == Sign::Bytes {
            self.written += count("wchar:")?;
        }
        Some(())
    }
}

/// What a program says on its stderr.
pub(crate) struct Listening {
    words: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

/// Reads what a program says on stderr, so that it never waits for a reader.
pub(crate) fn listen(child: &mut Child) -> Option<Listening> {
    let mut stderr = child.stderr.take()?;
    let words = Arc::new(Mutex::new(Vec::new()));
    let (sender, ended) = channel();
    let shared = Arc::clone(&words);
    // where the system gives no thread nobody listens, which is no reason to fail
    let listening = std::thread::Builder::new().spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stderr.read(&mut buffer) {
            let mut words = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let room = WORDS.saturating_sub(words.len()).min(read);
            words.extend_from_slice(&buffer[..room]);
        }
        drop(sender);
    });
    listening.ok().map(|_| Listening { words, ended })
}

/// What was heard of a program that has ended.
pub(crate) fn heard(listening: Option<Listening>) -> Vec<u8> {
    let Some(Listening { words, ended }) = listening else { return Vec::new() };
    // nothing is ever sent: the sender goes when the thread ends
    let _ = ended.recv_timeout(PATIENCE);
    std::mem::take(&mut words.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_sh(script: &str, limit: Duration) -> io::Result<Output> {
        let mut sh = Command::new("sh");
        sh.args(["-c", script]);
        run(sh, Some(limit), Sign::Bytes, |_| true)
    }

    #[test]
    fn a_program_through_which_nothing_goes_is_killed_and_what_it_left_behind_is_not_waited_for() {
        let begun = Instant::now();
        let error = run_sh("echo word >&2; sleep 600 & exec sleep 600", Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let output = run_sh("echo word >&2; sleep 600 & exit 3", Duration::from_secs(60)).unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(3), &b"word\n"[..]));
        assert!(begun.elapsed() < Duration::from_secs(500), "nothing waits for what goes on");
        // a program that is slow and moves something is let be
        let output = run_sh("for n in 1 2 3 4 5 6; do sleep 0.5; echo $n; done", Duration::from_secs(2)).unwrap();
        assert!(output.status.success());
    }

    #[test]
    fn what_only_writes_and_gets_nothing_is_given_up() {
        let error = run(Command::new("yes"), Some(Duration::from_millis(500)), Sign::Read, |_| true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
