//! Bringing files from another machine, by the system's own programs: rsync where both sides have it,
//! else sftp, which speaks the protocol of today's scp; `tail` over ssh for what neither can name.
//!
//! It is sftp and not scp(1) because scp makes a connection for each file and always begins at the
//! start, while `get -a` takes the files of a batch through one connection and continues a file that was
//! broken off. Both read names as patterns, but with no shell on the other side, and a backslash makes
//! any byte stand for itself (sftp.c, makeargv; then glob(3)). Only a newline ends a line whatever stands
//! before it, and a line has 2047 bytes at most: the rest would be a command. Such names go by `tail`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::ssh::{Elsewhere, RemoteFile};
use super::staging::Staging;
use crate::boxfs::{BoxRoot, STAGING};
use crate::path::SpacePath;
use crate::record::{Action, Sha1};
use crate::report::Report;
use crate::ssh::words_of;

/// Seconds without a byte after which rsync gives up.
const TIMEOUT: &str = "--timeout=60";
/// Longest line of an sftp batch, in bytes; sftp's own buffer has 2048.
const LINE: usize = 2000;

/// A step, and where the other box has its content.
pub(super) type Wanted<'a> = (&'a Action, &'a SpacePath);

/// Content that came, and which program brought it: `rsync`, `scp` (its protocol) or `ssh`.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) path: SpacePath,
    pub(super) via: &'static str,
}

/// What became of a program that was to bring a batch.
enum Came {
    /// All, or what there was of it.
    Some,
    /// The program is missing, here or there.
    NotHere,
    /// The machine does not answer any more.
    Lost,
}

/// The transfer of a batch from one box.
pub(super) struct Transfer<'t, 's> {
    pub(super) from: &'t Elsewhere,
    pub(super) box_name: &'t str,
    pub(super) staging: &'t mut Staging<'s>,
    pub(super) report: &'t mut dyn Report,
}

impl Transfer<'_, '_> {
    /// Brings the files of `steps`; each one staged, or `None`. And whether the box still answers.
    pub(super) fn run(&mut self, steps: &[Wanted<'_>]) -> (Vec<Option<Arrived>>, bool) {
        if !Elsewhere::lacks(&self.from.no_rsync) {
            let name = format!("rsync-{}", self.box_name);
            let came = self.rsync(&name, steps);
            let came = self.outcome(came);
            if !matches!(came, Came::NotHere) {
                let staged = steps.iter().map(|(action, path)| self.take(&name, action, path)).collect();
                return (staged, matches!(came, Came::Some));
            }
            Elsewhere::found_missing(&self.from.no_rsync);
        }
        let before: Vec<u64> = steps.iter().map(|(action, _)| self.staged_size(action)).collect();
        let mut came = Came::NotHere;
        if !Elsewhere::lacks(&self.from.no_sftp) {
            let result = self.sftp(steps);
            came = self.outcome(result);
            if matches!(came, Came::NotHere) {
                Elsewhere::found_missing(&self.from.no_sftp);
            }
        }
        self.finish(steps, &before, !matches!(came, Came::Lost))
    }

    fn outcome(&mut self, came: Result<Came>) -> Came {
        came.unwrap_or_else(|e| {
            self.report.notice(&format!("box {}: {e:#}", self.box_name));
            Came::Lost
        })
    }

    fn rsync(&mut self, name: &str, steps: &[Wanted<'_>]) -> Result<Came> {
        let into = self.staging.at(name)?;
        let root = self.staging.root();
        if root.look(&into)?.is_none() {
            root.mkdir(&into, crate::record::Mode(0o700))?;
        }
        let mut text = Vec::new();
        for (_, path) in steps {
            text.extend_from_slice(path.to_relative().as_os_str().as_bytes());
            text.push(0);
        }
        let input = self.list(name, &text)?;
        let folder = root.path().join(STAGING).join(name);
        let output = match rsync(self.from, &folder)?.stdin(input).output() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Came::NotHere),
            output => output.context("rsync")?,
        };
        let said = String::from_utf8_lossy(&output.stderr);
        // a program that is not there says nothing in rsync's protocol, and its shell ends with 127
        let silent = ["not found", "(0 bytes received so far)"].iter().any(|text| said.contains(text));
        // rsync(1), EXIT VALUES
        Ok(match output.status.code() {
            Some(0 | 23 | 24) => Came::Some,
            Some(126 | 127) => Came::NotHere,
            Some(12) if silent => Came::NotHere,
            _ => {
                self.report.notice(&format!("box {}: {}", self.box_name, words_of(&output)));
                Came::Lost
            }
        })
    }

    /// Gets what it can into the places where [`Staging::fill`] looks for beginnings.
    fn sftp(&mut self, steps: &[Wanted<'_>]) -> Result<Came> {
        let mut text = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (action, path) in steps {
            let Some(sha1) = action.sha1 else { continue };
            if let Some(line) = get(&self.from.remote.file(path), sha1)
                && self.can_append(action)?
                && seen.insert(sha1)
            {
                text.extend_from_slice(&line);
            }
        }
        if text.is_empty() {
            return Ok(Came::Some);
        }
        let input = self.list(&format!("sftp-{}", self.box_name), &text)?;
        let mut sftp = Command::new("sftp");
        sftp.args(["-q", "-D", &self.from.ssh.sftp_server(&self.from.remote)?, "-b", "-"]).env("LC_ALL", "C");
        sftp.current_dir(self.staging.root().path().join(STAGING)).stdin(input).stdout(Stdio::null());
        self.from.ssh.tell(&sftp);
        let output = match sftp.stderr(Stdio::piped()).output() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Came::NotHere),
            output => output.context("sftp")?,
        };
        let said = String::from_utf8_lossy(&output.stderr);
        // "no such file": an sftp before OpenSSH 8.9, whose -D takes a program without arguments
        let missing = ["subsystem request failed", "No such file or directory", "illegal option", "unknown option"];
        if output.status.success() {
            // each failed `get` is told by the file that did not come
            return Ok(Came::Some);
        }
        // through a shared connection ssh does not say that there is no such subsystem
        let closed = said.contains("Connection closed") && self.from.ssh.is_connected(&self.from.remote);
        if closed || missing.iter().any(|text| said.contains(text)) {
            return Ok(Came::NotHere);
        }
        self.report.notice(&format!("box {}: {}", self.box_name, words_of(&output)));
        Ok(Came::Lost)
    }

    /// Whether sftp may append to what is staged: as [`Staging::fill`], not to a file that has another
    /// name as well, nor through a symlink.
    fn can_append(&self, action: &Action) -> Result<bool> {
        let Some(path) = self.place(action) else { return Ok(false) };
        self.staging.make_way(&path, action.size)
    }

    fn place(&self, action: &Action) -> Option<SpacePath> {
        let path = self.staging.at(&action.sha1?.to_string()).ok()?;
        (!self.staging.is_pending(&path)).then_some(path)
    }

    /// Bytes that an earlier run left of it.
    fn staged_size(&self, action: &Action) -> u64 {
        let stat = self.place(action).and_then(|path| self.staging.root().look(&path).ok().flatten());
        stat.map_or(0, |s| s.size)
    }

    /// Checks what sftp brought, and brings the rest by `tail`, while the box answers.
    fn finish(&mut self, steps: &[Wanted<'_>], before: &[u64], mut alive: bool) -> (Vec<Option<Arrived>>, bool) {
        let mut came: HashMap<Sha1, SpacePath> = HashMap::new();
        let mut staged = Vec::with_capacity(steps.len());
        for ((action, path), before) in steps.iter().zip(before) {
            let twin = action.sha1.and_then(|sha1| came.get(&sha1)).and_then(|twin| self.staging.root().open_file(twin).ok());
            let arrived = if let Some(mut twin) = twin {
                self.staging.fill(action, &mut twin).map(|done| done.map(|path| Arrived { path, via: "scp" }))
            } else if *before == 0 && self.staged_size(action) == action.size && self.is_staged(action) {
                let place = self.place(action);
                let done = place.map_or(Ok(None), |place| self.staging.adopt(action, &place));
                done.map(|done| done.map(|path| Arrived { path, via: "scp" }))
            } else if alive || self.staged_size(action) == action.size {
                let mut file = RemoteFile::new(self.from, path);
                let done = self.staging.fill(action, &mut file);
                alive &= done.is_ok() || !file.stop();
                let via = if file.opened { "ssh" } else { "scp" };
                done.map(|done| done.map(|path| Arrived { path, via }))
            } else {
                staged.push(None);
                continue;
            };
            let arrived = self.settle(arrived, path);
            if let (Some(arrived), Some(sha1)) = (&arrived, action.sha1) {
                came.entry(sha1).or_insert_with(|| arrived.path.clone());
            }
            staged.push(arrived);
        }
        (staged, alive)
    }

    fn is_staged(&self, action: &Action) -> bool {
        self.place(action).is_some_and(|path| self.staging.root().look(&path).is_ok_and(|s| s.is_some()))
    }

    /// Stages a file that rsync brought.
    fn take(&mut self, name: &str, action: &Action, path: &SpacePath) -> Option<Arrived> {
        let from = SpacePath::from_relative(&[STAGING.as_bytes(), b"/", name.as_bytes(), &path.raw()].concat()).ok()?;
        let stat = self.staging.root().lstat(&from).ok()?;
        if stat.size < action.size {
            // broken off: it stays, and is continued
            return None;
        }
        let staged = self.staging.adopt(action, &from);
        self.settle(staged.map(|done| done.map(|path| Arrived { path, via: "rsync" })), path)
    }

    /// Says what was wrong with a file that came.
    fn settle(&mut self, staged: Result<Option<Arrived>>, path: &SpacePath) -> Option<Arrived> {
        match staged {
            Ok(Some(staged)) => return Some(staged),
            Ok(None) => {
                self.report.notice(&format!("{path}: in box {}: source changed since its last commit", self.box_name));
            }
            Err(e) => self.report.notice(&format!("{path}: in box {}: {e:#}", self.box_name)),
        }
        None
    }

    /// A file with what a program is to bring: an argument list would be too short, and a pipe could
    /// fill while the program waits for its messages to be read.
    fn list(&self, name: &str, text: &[u8]) -> Result<File> {
        let root: &BoxRoot = self.staging.root();
        let list = self.staging.at(&format!("{name}.list"))?;
        if root.look(&list)?.is_some() {
            root.unlink(&list)?;
        }
        root.create(&list)?.write_all(text)?;
        let file = root.open_file(&list)?;
        root.unlink(&list)?;
        Ok(file)
    }
}

/// `rsync` that brings the files named on its stdin, NUL after each, into the folder `into`. It is
/// never told to remove, to follow a symlink, or to take more than was asked for. `--inplace` so that
/// even a kill leaves what came so far; nobody else looks into that folder.
fn rsync(from: &Elsewhere, into: &Path) -> Result<Command> {
    let mut rsync = Command::new("rsync");
    let folder = from.remote.path.trim_end_matches('/');
    rsync
        .args(["--files-from=-", "--from0", "--protect-args", "--no-implied-dirs", "--inplace", TIMEOUT, "-e"])
        .arg(from.ssh.rsh(&from.remote)?)
        .arg("--")
        .arg(format!("{}:{folder}/", from.remote.bracketed()))
        .arg(into);
    from.ssh.tell(&rsync);
    Ok(rsync)
}

/// The line of an sftp batch that gets `file`, or the rest of it; none where no line can say it. With
/// `-` before it, what fails does not end the batch.
fn get(file: &[u8], sha1: Sha1) -> Option<Vec<u8>> {
    let mut line = b"-get -a ".to_vec();
    for &byte in file {
        if matches!(byte, b'\n' | b'\r' | 0) {
            return None;
        }
        if !byte.is_ascii_alphanumeric() && !b"/._-".contains(&byte) {
            line.push(b'\\');
        }
        line.push(byte);
    }
    line.extend_from_slice(format!(" {sha1}\n").as_bytes());
    (line.len() <= LINE).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Remote;
    use crate::ssh::Ssh;

    fn elsewhere(text: &str) -> Elsewhere {
        Elsewhere::new(Remote::parse(text).unwrap().unwrap(), &Ssh::new("ssh", true).unwrap())
    }

    #[test]
    fn rsync_takes_only_what_was_asked_for() {
        let command = rsync(&elsewhere("ssh://[::1]:22/home/a b"), Path::new("/into")).unwrap();
        let args: Vec<_> = command.get_args().map(|a| a.to_str().unwrap()).collect();
        assert_eq!(args[args.len() - 3..], ["--", "[::1]:/home/a b/", "/into"]);
        assert!(args.contains(&"'ssh' '-T' '-oConnectTimeout=10' '-oServerAliveInterval=15' '-oBatchMode=yes' '-p22'"));
        for bad in ["-a", "-r", "-L", "-l", "--delete", "--copy-links"] {
            assert!(!args.contains(&bad), "{bad}");
        }
    }

    #[test]
    fn a_line_of_a_batch_names_one_file_or_is_none() {
        let sha1 = crate::hash::sha1_of(b"x");
        let line = |name: &[u8]| get(name, sha1).map(|line| line.strip_suffix(format!(" {sha1}\n").as_bytes()).unwrap().to_vec());
        assert_eq!(line(b"/a b/*#\xff\\").unwrap(), b"-get -a /a\\ b/\\*\\#\\\xff\\\\");
        assert_eq!((line(b"/a\n!touch oops"), line(b"/a\r"), line(&[b'*'; 1000])), (None, None, None));
        assert!(line(&[b'a'; 1900]).is_some());
    }
}
