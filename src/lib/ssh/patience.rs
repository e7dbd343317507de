//! How long the other side of a connection may keep silent. What ssh itself watches is the line: a
//! program that hangs over there, or that waits for a disk which does not answer, holds the line for ever
//! and says nothing. So each wait for a byte from there has an end.
//!
//! Time counts only while somebody here waits: not while a byte that came is looked at, nor while the
//! other side has nothing to answer.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::stream::widen;

/// How long a machine may say nothing where nobody has said otherwise.
pub const SILENCE: Duration = Duration::from_secs(60);
/// Bytes a second that the slowest disk reads: work that is no silence.
const SLOWEST: u64 = 4_000_000;
/// How often it is looked whether a program has ended, where the system does not tell.
const LOOK: Duration = Duration::from_millis(10);

/// What both directions of a program on another machine share.
#[derive(Debug)]
pub(crate) struct Life {
    /// None: for ever.
    limit: Option<Duration>,
    begun: Instant,
    /// When a byte last went either way, in milliseconds since `begun`.
    last: AtomicU64,
    /// What it may take besides, in milliseconds: it has something large to read.
    extra: AtomicU64,
    /// It waits for us.
    ours: AtomicBool,
    /// It was given up.
    silent: AtomicBool,
}

impl Life {
    pub(crate) fn new(limit: Option<Duration>) -> Arc<Self> {
        let (last, extra) = (AtomicU64::new(0), AtomicU64::new(0));
        let (ours, silent) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { limit, begun: Instant::now(), last, extra, ours, silent })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn moved(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// Allows for the reading of `bytes` over there.
    pub(crate) fn allow(&self, bytes: u64) {
        self.extra.store(bytes.saturating_mul(1000) / SLOWEST, Ordering::Relaxed);
    }

    /// Says whether the other side has nothing to answer, since it waits for what comes from here.
    pub(crate) fn is_ours(&self, ours: bool) {
        self.moved();
        self.ours.store(ours, Ordering::Relaxed);
    }

    /// Waits until `flags` hold for `file`.
    fn ready(&self, file: &impl AsFd, flags: PollFlags) -> io::Result<()> {
        let Some(limit) = self.limit else {
            return wait_for(file, flags, None).map(|_| ());
        };
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let from = self.now();
        while !self.silent.load(Ordering::Relaxed) {
            if self.ours.load(Ordering::Relaxed) {
                self.moved();
            }
            let limit = limit.saturating_add(self.extra.load(Ordering::Relaxed));
            let end = from.max(self.last.load(Ordering::Relaxed)).saturating_add(limit);
            let left = end.saturating_sub(self.now());
            if left == 0 {
                self.silent.store(true, Ordering::Relaxed);
            } else if wait_for(file, flags, Some(Duration::from_millis(left)))? {
                return Ok(());
            }
        }
        Err(self.error())
    }

    fn error(&self) -> io::Error {
        silence(self.limit.unwrap_or_default() + Duration::from_millis(self.extra.load(Ordering::Relaxed)))
    }
}

/// What is said of a machine that says nothing.
pub(crate) fn silence(limit: Duration) -> io::Error {
    let seconds = limit.as_secs_f64();
    io::Error::new(io::ErrorKind::TimedOut, format!("not a byte for {seconds} s: given up"))
}

/// Whether something failed because the other side kept silent.
pub(crate) fn is_silence(error: &Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut))
}

fn wait_for(file: &impl AsFd, flags: PollFlags, limit: Option<Duration>) -> io::Result<bool> {
    let limit = limit
        .map(|limit| Timespec { tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: limit.subsec_nanos().into() });
    match poll(&mut [PollFd::new(file, flags)], limit.as_ref()) {
        Err(rustix::io::Errno::INTR) => Ok(false),
        found => Ok(found? > 0),
    }
}

/// One direction of a program on another machine, whose silence ends.
#[derive(Debug)]
pub struct Patient<T> {
    pipe: T,
    life: Arc<Life>,
}

impl<T> Patient<T> {
    /// What both directions share.
    pub(crate) fn life(&self) -> &Arc<Life> {
        &self.life
    }
}

impl Patient<ChildStdout> {
    pub(crate) fn output(pipe: ChildStdout, life: &Arc<Life>) -> Self {
        widen(&pipe);
        Self { pipe, life: Arc::clone(life) }
    }
}

impl Patient<ChildStdin> {
    /// # Errors
    /// The pipe cannot be told not to wait by itself.
    pub(crate) fn input(pipe: ChildStdin, life: &Arc<Life>) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&pipe)?;
        rustix::fs::fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
        Ok(Self { pipe, life: Arc::clone(life) })
    }
}

impl<T: Read + AsFd> Read for Patient<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.life.ready(&self.pipe, PollFlags::IN)?;
        let read = self.pipe.read(buffer);
        self.life.moved();
        read
    }
}

impl<T: Write + AsFd> Write for Patient<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.pipe.write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.life.ready(&self.pipe, PollFlags::OUT)?,
                written => {
                    self.life.moved();
                    return written;
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

/// Waits for the end of a program that has nothing more to do; it is killed when that takes too long.
///
/// # Errors
/// It took too long.
pub(crate) fn end_of(child: &mut Child, limit: Option<Duration>) -> io::Result<ExitStatus> {
    let Some(limit) = limit else { return child.wait() };
    let begun = Instant::now();
    // pidfd_open(2), since Linux 5.3
    let watched = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let watched = watched.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(silence(limit));
        }
        if watched.as_ref().is_none_or(|fd| wait_for(fd, PollFlags::IN, Some(left)).is_err()) {
            std::thread::sleep(LOOK.min(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const SOON: Duration = Duration::from_secs(2);

    fn child(script: &str) -> (Child, Patient<ChildStdin>, Patient<ChildStdout>) {
        let mut command = Command::new("sh");
        let mut child = command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let life = Life::new(Some(SOON));
        let input = Patient::input(child.stdin.take().unwrap(), &life).unwrap();
        let output = Patient::output(child.stdout.take().unwrap(), &life);
        (child, input, output)
    }

    fn end(mut child: Child) {
        let _ = child.kill();
        let _ = child.wait();
    }

    #[test]
    fn what_comes_slowly_comes_and_what_does_not_come_is_given_up_once() {
        let (it, _input, mut output) = child("for n in 1 2 3 4 5; do sleep 0.5; echo $n; done; exec sleep 600");
        let (mut came, mut byte) = (Vec::new(), [0]);
        let error = loop {
            match output.read(&mut byte) {
                Ok(read) => came.extend_from_slice(&byte[..read]),
                Err(e) => break e,
            }
        };
        assert_eq!(came, b"1\n2\n3\n4\n5\n");
        assert_eq!(error.to_string(), "not a byte for 2 s: given up");
        assert!(is_silence(&Error::from(error).context("h")));
        // from then on nobody waits, however long it may take
        output.life.allow(u64::MAX);
        assert!(output.read(&mut byte).is_err());
        end(it);
    }

    #[test]
    fn who_does_not_read_is_given_up_and_what_was_read_is_whole() {
        let (it, mut input, _output) = child("exec sleep 600");
        let error = input.write_all(&[0; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        end(it);
        let (it, mut input, mut output) = child("sleep 0.1; exec cksum");
        input.write_all(&vec![b'x'; 1 << 20]).unwrap();
        drop(input);
        let mut sum = String::new();
        output.read_to_string(&mut sum).unwrap();
        assert!(sum.ends_with(" 1048576\n"), "{sum}");
        end(it);
    }

    #[test]
    fn whoever_waits_for_us_or_reads_something_large_is_waited_for() {
        let (it, mut input, mut output) = child("read -r line; echo $line; sleep 3; echo done");
        input.life.is_ours(true);
        let late = std::thread::spawn(move || {
            std::thread::sleep(SOON * 2);
            input.life.is_ours(false);
            input.write_all(b"word\n").unwrap();
            input.life.allow(40_000_000);
        });
        let mut said = String::new();
        output.read_to_string(&mut said).unwrap();
        assert_eq!(said, "word\ndone\n");
        late.join().unwrap();
        end(it);
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let (mut it, _input, _output) = child("exec sleep 600");
        assert_eq!(end_of(&mut it, Some(SOON)).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (mut it, _input, _output) = child("exit 7");
        assert_eq!(end_of(&mut it, Some(SILENCE)).unwrap().code(), Some(7));
    }
}
