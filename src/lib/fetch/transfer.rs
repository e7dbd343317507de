//! Bringing files from another machine, by the system's own programs: rsync where both sides have it,
//! else sftp, which speaks the protocol of today's scp; `tail` over ssh for what neither can name, and for what is
//! huge: it is hashed on its way from the pipe to the file, which takes a twentieth less of the processors than sftp
//! and the reading of what it wrote.
//!
//! It is sftp and not scp(1) because scp makes a connection for each file and always begins at the
//! start, while `get -a` takes the files of a batch through one connection and continues a file that was
//! broken off. Both read names as patterns, but with no shell on the other side, and a backslash makes
//! any byte stand for itself (sftp.c, makeargv; then glob(3)). Only a newline ends a line whatever stands
//! before it, and a line has 2047 bytes at most: the rest would be a command. Such names go by `tail`.

use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::follow::Follow;
use super::movers::{self, Event, Movers, Outcome, Want};
use super::program::{self, Sign};
use super::shelf::SourceFailed;
use super::ssh::{Elsewhere, Program, RemoteFile};
use crate::boxfs::{BoxRoot, Kind, STAGING};
use crate::path::SpacePath;
use crate::record::Sha1;
use crate::ssh::words_of;

/// Longest line of an sftp batch, in bytes; sftp's own buffer has 2048.
pub(crate) const LINE: usize = 2000;
/// From this size on a file is worth a program of its own.
const HUGE: u64 = 64 << 20;
/// How often it is looked whether too much comes, and told what came.
const LOOK: Duration = Duration::from_millis(50);

/// What became of a program that was to bring a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    /// All, or what there was of it.
    Some,
    /// What there was up to a file that is larger than it should be.
    Stopped,
    /// The program is missing, here or there.
    NotHere,
    /// The machine does not answer any more.
    Lost,
}

/// The transfer of a batch from one box.
pub(super) struct Transfer<'t, 'a> {
    pub(super) movers: &'t Movers<'a>,
    pub(super) id: usize,
    pub(super) from: &'t Arc<Elsewhere>,
}

impl Transfer<'_, '_> {
    /// Brings the files of `wants`, which are of one kind.
    pub(super) fn run(&self, wants: Vec<Want>) -> Vec<(Want, Outcome)> {
        // nothing holds a stream back to a rate
        let streams = |want: &Want| want.kind == movers::Kind::Large && want.action.size >= HUGE && self.movers.limit.is_none();
        let (huge, wants): (Vec<_>, Vec<_>) = wants.into_iter().partition(streams);
        let mut done = self.one_by_one(huge);
        done.extend(self.by_programs(wants));
        done
    }

    fn by_programs(&self, mut wants: Vec<Want>) -> Vec<(Want, Outcome)> {
        if wants.is_empty() {
            return Vec::new();
        }
        let large = wants.first().is_some_and(|want| want.kind == movers::Kind::Large);
        // sftp is twice as fast with what is large, and continues what another box began
        let programs = if large { [Program::Sftp, Program::Rsync] } else { [Program::Rsync, Program::Sftp] };
        for program in programs.into_iter().filter(|program| self.from.has(*program)) {
            if program == Program::Rsync && large && wants.iter().any(|want| self.staged_size(want) > 0) {
                continue;
            }
            let done = match program {
                Program::Rsync => self.by_rsync(wants),
                _ => self.by_sftp(wants),
            };
            match done {
                Ok(done) => return done,
                Err(back) => wants = back,
            }
            self.from.lacks(program);
        }
        self.one_by_one(wants)
    }

    fn one_by_one(&self, wants: Vec<Want>) -> Vec<(Want, Outcome)> {
        let mut done = Vec::with_capacity(wants.len());
        self.by_tail(wants, &mut done);
        done
    }

    fn outcome(&self, came: Result<Came>) -> Came {
        let came = came.unwrap_or_else(|e| {
            self.movers.say(format!("box {}: {e:#}", self.from.box_name));
            Came::Lost
        });
        if came == Came::Lost {
            self.from.lose();
        }
        came
    }

    /// The files of `wants` by rsync; all of them back, where it is missing.
    fn by_rsync(&self, wants: Vec<Want>) -> Result<Vec<(Want, Outcome)>, Vec<Want>> {
        let (wants, others): (Vec<_>, Vec<_>) =
            wants.into_iter().partition(|want| want.at(self.id).is_none_or(|(_, path)| is_for_rsync(&path.raw())));
        if wants.is_empty() {
            return Ok(self.without_rsync(others));
        }
        let name = format!("rsync-{}-{}", self.from.box_name, self.id);
        let files = wants.iter().filter_map(|want| Some((self.rsynced(&name, want)?, want.action.size))).collect();
        let (came, hashes) = self.following(files, |go_on| self.rsync(&name, &wants, go_on));
        let came = self.outcome(came);
        if came == Came::NotHere {
            return Err(wants.into_iter().chain(others).collect());
        }
        let hashes = hashes.into_iter().chain(std::iter::repeat(None));
        let mut done: Vec<_> = wants.into_iter().zip(hashes).map(|(want, hash)| self.take(&name, want, hash, &came)).collect();
        done.extend(self.without_rsync(others));
        Ok(done)
    }

    fn without_rsync(&self, wants: Vec<Want>) -> Vec<(Want, Outcome)> {
        let done = if self.from.has(Program::Sftp) { self.by_sftp(wants) } else { Err(wants) };
        done.unwrap_or_else(|wants| self.one_by_one(wants))
    }

    /// Where rsync puts the file of a want.
    fn rsynced(&self, name: &str, want: &Want) -> Option<SpacePath> {
        let (_, path) = want.at(self.id)?;
        SpacePath::from_relative(&[STAGING.as_bytes(), b"/", name.as_bytes(), &path.raw()].concat()).ok()
    }

    /// Runs `program` while the files that it brings are hashed.
    fn following(
        &self,
        files: Vec<(SpacePath, u64)>,
        program: impl FnOnce(&mut dyn FnMut() -> bool) -> Result<Came>,
    ) -> (Result<Came>, Vec<Option<Sha1>>) {
        let (over, seen) = (AtomicBool::new(false), AtomicU64::new(0));
        let follow = Follow { root: self.movers.shelf.root(), files, over, seen };
        std::thread::scope(|scope| {
            let hashes = std::thread::Builder::new().spawn_scoped(scope, || follow.hashes());
            let (mut looked, mut told) = (Instant::now(), 0);
            let mut tell = || {
                let seen = follow.seen.load(Ordering::Relaxed);
                self.movers.tell(Event::Bytes(seen - told, Arc::clone(self.from)));
                told = seen;
            };
            let mut stopped = false;
            let done = program(&mut || {
                if looked.elapsed() >= LOOK {
                    looked = Instant::now();
                    tell();
                    stopped |= follow.is_too_large();
                }
                !stopped
            });
            let done = if stopped { done.and(Ok(Came::Stopped)) } else { done };
            follow.over.store(true, Ordering::Release);
            // where the system gives no thread, they are hashed now that all have come
            let hashes = hashes.map_or_else(|_| follow.hashes(), |hashes| hashes.join().unwrap_or_default());
            tell();
            (done, hashes)
        })
    }

    fn rsync(&self, name: &str, wants: &[Want], go_on: &mut dyn FnMut() -> bool) -> Result<Came> {
        let into = self.movers.shelf.at(name)?;
        let root = self.movers.shelf.root();
        if root.look(&into)?.is_none() {
            root.mkdir(&into, crate::record::Mode(0o700))?;
        }
        let mut text = Vec::new();
        for (_, path) in wants.iter().filter_map(|want| want.at(self.id)) {
            text.extend_from_slice(path.to_relative().as_os_str().as_bytes());
            text.push(0);
        }
        let input = self.list(name, &text)?;
        let folder = root.path().join(STAGING).join(name);
        let mut rsync = rsync(self.from, &folder, wants, root.path(), self.movers.limit)?;
        rsync.stdin(input);
        let output = match program::run(rsync, self.from.ssh.limit(), Sign::Read, |_| go_on()) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Came::NotHere),
            output => output.context("rsync")?,
        };
        let said = String::from_utf8_lossy(&output.stderr);
        // a program that is not there says nothing in rsync's protocol, and its shell ends with 127
        let silent = ["not found", "(0 bytes received so far)"].iter().any(|text| said.contains(text));
        // rsync(1), EXIT VALUES
        Ok(match output.status.code() {
            Some(0) => Came::Some,
            // ended from here, or by a pipe to a program that is not there
            None | Some(20) => Came::NotHere,
            // some were not to be read, and it says which
            Some(23 | 24) => {
                self.say(&output);
                Came::Some
            }
            Some(126 | 127) => Came::NotHere,
            // 1: an option that it does not know; 2: another protocol, or a shell that prints something; 4: a
            // name that it takes for another one
            Some(1 | 2 | 4) => {
                self.say(&output);
                Came::NotHere
            }
            Some(12) if silent => Came::NotHere,
            _ => {
                self.say(&output);
                Came::Lost
            }
        })
    }

    fn say(&self, output: &Output) {
        // it may be a line for each of a thousand files
        let lines = words_of(output);
        let words: Vec<&str> = lines.split("; ").take(20).collect();
        self.movers.say(format!("box {}: {}", self.from.box_name, words.join("; ")));
    }

    /// What became of a file that rsync was to bring.
    fn take(&self, name: &str, want: Want, hash: Option<Sha1>, came: &Came) -> (Want, Outcome) {
        let shelf = &self.movers.shelf;
        let found = self.rsynced(name, &want).and_then(|from| Some((shelf.root().lstat(&from).ok()?, from)));
        let Some((stat, from)) = found else {
            if *came == Came::Stopped {
                return (want, Outcome::Again);
            }
            if *came == Came::Some {
                self.not_there(&want);
            }
            return (want, Outcome::NotHad);
        };
        if stat.kind != Kind::File {
            // a folder that took its place
            self.not_there(&want);
            return (want, Outcome::NotHad);
        }
        if stat.size < want.action.size && *came == Came::Stopped {
            return (want, Outcome::Again);
        }
        if stat.size < want.action.size && *came == Came::Lost {
            // broken off: another box continues it under its own name, or this one does the next time
            if shelf.root().look(&want.place).is_ok_and(|there| there.is_none()) {
                let _ = shelf.root().rename_noreplace(&from, &want.place);
            }
            return (want, Outcome::NotHad);
        }
        let taken = shelf.adopt(&want.action, &from, &want.place, hash);
        self.settle(want, taken, "rsync")
    }

    /// Gets what it can into the places where [`super::shelf::Shelf::fill`] looks for beginnings, and
    /// then the rest by `tail`. All of `wants` back, where sftp is missing.
    fn by_sftp(&self, wants: Vec<Want>) -> Result<Vec<(Want, Outcome)>, Vec<Want>> {
        let (mut text, mut asked, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for want in &wants {
            let line = want.at(self.id).and_then(|(_, path)| get(&self.from.remote.file(path), want.place.name()));
            let line = line.filter(|_| self.movers.shelf.make_way(&want.place, want.action.size).unwrap_or(false));
            asked.push(line.is_some());
            if let Some(line) = line {
                text.extend_from_slice(&line);
                files.push((want.place.clone(), want.action.size));
            }
        }
        let before: Vec<u64> = wants.iter().map(|want| self.staged_size(want)).collect();
        let (mut came, mut hashes) = (Came::Some, Vec::new());
        if !text.is_empty() {
            let result;
            (result, hashes) = self.following(files, |go_on| self.sftp(&text, go_on));
            came = self.outcome(result);
            if came == Came::NotHere {
                return Err(wants);
            }
        }
        let (mut done, mut left, mut hashes) = (Vec::new(), Vec::new(), hashes.into_iter());
        for ((want, asked), before) in wants.into_iter().zip(asked).zip(before) {
            let hash = if asked { hashes.next().flatten() } else { None };
            let size = self.staged_size(&want);
            let stat = self.movers.shelf.root().look(&want.place).ok().flatten();
            if asked && stat.is_some() && (size == want.action.size && (before == 0 || hash == want.action.sha1)) {
                let taken = self.movers.shelf.adopt(&want.action, &want.place, &want.place, hash);
                done.push(self.settle(want, taken, "scp"));
            } else if asked && size > want.action.size {
                let taken = self.movers.shelf.root().unlink(&want.place).map(|()| false).map_err(Into::into);
                done.push(self.settle(want, taken, "scp"));
            } else if asked && came == Came::Stopped {
                done.push((want, Outcome::Again));
            } else if asked && stat.is_none() && !self.from.is_lost() {
                // sftp could not open it
                self.not_there(&want);
                done.push((want, Outcome::NotHad));
            } else {
                left.push(want);
            }
        }
        self.by_tail(left, &mut done);
        Ok(done)
    }

    fn sftp(&self, text: &[u8], go_on: &mut dyn FnMut() -> bool) -> Result<Came> {
        let input = self.list(&format!("sftp-{}-{}", self.from.box_name, self.id), text)?;
        let mut sftp = Command::new("sftp");
        sftp.args(["-q", "-D", &self.from.ssh.sftp_server(&self.from.remote)?, "-b", "-"]).env("LC_ALL", "C");
        if let Some(limit) = self.movers.limit {
            // Kbit a second
            sftp.arg("-l").arg(limit.saturating_mul(8).to_string());
        }
        sftp.current_dir(self.movers.shelf.root().path().join(STAGING)).stdin(input);
        self.from.ssh.tell(&sftp);
        let output = match program::run(sftp, self.from.ssh.limit(), Sign::Bytes, |_| go_on()) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Came::NotHere),
            output => output.context("sftp")?,
        };
        if output.status.success() {
            // each failed `get` is told by the file that did not come
            return Ok(Came::Some);
        }
        if output.status.code().is_none() {
            // ended from here, or by a pipe to a program that is not there
            return Ok(Came::NotHere);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        // "no such file": an sftp before OpenSSH 8.9, whose -D takes a program without arguments; "too
        // long": a shell that prints something
        let missing =
            ["subsystem request failed", "No such file or directory", "illegal option", "unknown option", "message too long"];
        // through a shared connection ssh does not say that there is no such subsystem
        let closed = said.contains("Connection closed") && self.from.ssh.is_connected(&self.from.remote);
        if closed || missing.iter().any(|text| said.contains(text)) {
            return Ok(Came::NotHere);
        }
        self.say(&output);
        Ok(Came::Lost)
    }

    /// Brings files one by one, while the box answers.
    fn by_tail(&self, wants: Vec<Want>, done: &mut Vec<(Want, Outcome)>) {
        for want in wants {
            // what is here whole needs no box that answers
            if self.from.is_lost() && self.staged_size(&want) != want.action.size {
                done.push((want, Outcome::NotHad));
                continue;
            }
            let Some((_, path)) = want.at(self.id) else { continue };
            let tell = |bytes| self.movers.tell(Event::Bytes(bytes, Arc::clone(self.from)));
            let mut file = RemoteFile::new(self.from, path, &tell);
            let taken = self.movers.shelf.fill(&want.action, &want.place, &mut file);
            if let Err(error) = &taken
                && (file.stop() || error.downcast_ref().is_some_and(SourceFailed::is_silence))
            {
                self.from.lose();
            }
            let via = if file.opened { "ssh" } else { "scp" };
            done.push(self.settle(want, taken, via));
        }
    }

    /// Bytes of a want that are there.
    fn staged_size(&self, want: &Want) -> u64 {
        self.movers.shelf.root().look(&want.place).ok().flatten().map_or(0, |stat| stat.size)
    }

    fn not_there(&self, want: &Want) {
        let path = want.at(self.id).map(|(_, path)| path.spelled()).unwrap_or_default();
        self.movers.say(format!("{path}: in box {}: not to be read, or not what it was at its last commit", self.from.box_name));
    }

    /// Says what was wrong with a file that came.
    fn settle(&self, want: Want, taken: Result<bool>, via: &'static str) -> (Want, Outcome) {
        let path = want.at(self.id).map(|(_, path)| path.spelled()).unwrap_or_default();
        let from = format!("{path}: in box {}", self.from.box_name);
        match taken {
            Ok(true) => (want, Outcome::Arrived(via)),
            Ok(false) => {
                self.movers.say(format!("{from}: source changed since its last commit"));
                (want, Outcome::NotHad)
            }
            Err(e) if e.is::<SourceFailed>() => {
                self.movers.say(format!("{from}: {e:#}"));
                (want, Outcome::NotHad)
            }
            Err(e) => (want, Outcome::Failed(e)),
        }
    }

    /// A file with what a program is to bring: an argument list would be too short, and a pipe could
    /// fill while the program waits for its messages to be read.
    fn list(&self, name: &str, text: &[u8]) -> Result<File> {
        let root: &BoxRoot = self.movers.shelf.root();
        let list = self.movers.shelf.at(&format!("{name}.list"))?;
        if root.look(&list)?.is_some() {
            root.unlink(&list)?;
        }
        root.create(&list)?.write_all(text)?;
        let file = root.open_file(&list)?;
        root.unlink(&list)?;
        Ok(file)
    }
}

/// `rsync` that brings the files of `wants` into the folder `into`; nobody else looks into that folder. A
/// changed file is compared with the version of it that the box at `root` has.
fn rsync(from: &Elsewhere, into: &Path, wants: &[Want], root: &Path, limit: Option<u64>) -> Result<Command> {
    let changed = wants.first().is_some_and(|want| want.kind == movers::Kind::Changed);
    let largest = wants.iter().map(|want| want.action.size).max().unwrap_or(0);
    let mut rsync = rsync_of_names(largest, changed.then_some(root), limit, from.ssh.limit());
    let folder = from.remote.path.trim_end_matches('/');
    rsync.arg("-e").arg(from.ssh.rsh(&from.remote)?).arg("--").arg(format!("{}:{folder}/", from.remote.bracketed())).arg(into);
    from.ssh.tell(&rsync);
    Ok(rsync)
}

/// `rsync` that moves the files named on its stdin, NUL after each, of which none has more than `largest` bytes.
/// It is never told to remove, to follow a symlink, or to take more than was asked for. `--inplace` so that even
/// a kill leaves what came so far. With a `basis`, each file is compared with that of the same name there,
/// whatever the times of both say.
pub(crate) fn rsync_of_names(largest: u64, basis: Option<&Path>, limit: Option<u64>, silence: Option<Duration>) -> Command {
    let mut rsync = Command::new("rsync");
    rsync
        .args(["--files-from=-", "--from0", "--protect-args", "--no-implied-dirs", "--inplace"])
        // what has grown beyond all of them is not even begun
        .arg(format!("--max-size={}", largest.max(1)));
    if let Some(basis) = basis {
        let mut option = std::ffi::OsString::from("--copy-dest=");
        option.push(basis);
        rsync.args(["--ignore-times", "--no-whole-file"]).arg(option);
    }
    if let Some(limit) = limit {
        rsync.arg(format!("--bwlimit={limit}"));
    }
    if let Some(silence) = silence {
        // in whole seconds, of which 0 would be none
        rsync.arg(format!("--timeout={}", silence.as_secs_f64().ceil().max(1.0)));
    }
    rsync
}

/// Whether rsync can be asked for a file of this name. Since 3.2.5 it looks through the names that come
/// with the pattern matcher of its filters, and takes a `*`, `?` or `[` after a backslash for the bare
/// character: what was asked for is then "unrequested" (exclude.c, `add_implied_include`).
pub(crate) fn is_for_rsync(name: &[u8]) -> bool {
    !(name.contains(&b'\\') && name.iter().any(|byte| b"*?[".contains(byte)))
}

/// The line of an sftp batch that gets `file`, or the rest of it; none where no line can say it. With
/// `-` before it, what fails does not end the batch.
fn get(file: &[u8], place: &[u8]) -> Option<Vec<u8>> {
    // the place is a hash, and perhaps a number
    let line = [b"-get -a ".as_slice(), &escaped(file)?, b" ", place, b"\n"].concat();
    (line.len() <= LINE).then_some(line)
}

/// A name as a line of an sftp batch has it; none where no line can say it.
pub(crate) fn escaped(file: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    for &byte in file {
        if matches!(byte, b'\n' | b'\r' | 0) {
            return None;
        }
        if !byte.is_ascii_alphanumeric() && !b"/._-".contains(&byte) {
            name.push(b'\\');
        }
        name.push(byte);
    }
    (name.len() <= LINE).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Remote;
    use crate::ssh::Ssh;

    fn elsewhere(text: &str) -> Elsewhere {
        Elsewhere::new("b", Remote::parse(text).unwrap().unwrap(), &Ssh::new("ssh", true).unwrap(), None)
    }

    #[test]
    fn rsync_takes_only_what_was_asked_for() {
        let command = rsync(&elsewhere("ssh://[::1]:22/home/a b"), Path::new("/into"), &[], Path::new("/box"), Some(7)).unwrap();
        let args: Vec<_> = command.get_args().map(|a| a.to_str().unwrap()).collect();
        assert_eq!(args[args.len() - 3..], ["--", "[::1]:/home/a b/", "/into"]);
        assert!(args.contains(&"'ssh' '-T' '-oConnectTimeout=10' '-oServerAliveInterval=15' '-oBatchMode=yes' '-p22'"));
        assert!(args.contains(&"--bwlimit=7"));
        for bad in ["-a", "-r", "-L", "-l", "--delete", "--copy-links"] {
            assert!(!args.contains(&bad), "{bad}");
        }
    }

    #[test]
    fn a_name_that_rsync_would_refuse_is_not_given_to_it() {
        let names: [&[u8]; 6] = [b"b\\c", b"*", b"a[b]?", b"b\\*c", b"\\/x[", b"?\\"];
        assert_eq!(names.map(is_for_rsync), [true, true, true, false, false, false]);
    }

    #[test]
    fn a_line_of_a_batch_names_one_file_or_is_none() {
        let sha1 = crate::hash::sha1_of(b"x");
        let line = |name: &[u8]| {
            get(name, sha1.to_string().as_bytes())
                .map(|line| line.strip_suffix(format!(" {sha1}\n").as_bytes()).unwrap().to_vec())
        };
        assert_eq!(line(b"/a b/*#\xff\\").unwrap(), b"-get -a /a\\ b/\\*\\#\\\xff\\\\");
        assert_eq!((line(b"/a\n!touch oops"), line(b"/a\r"), line(&[b'*'; 1000])), (None, None, None));
        assert!(line(&[b'a'; 1900]).is_some());
    }
}
