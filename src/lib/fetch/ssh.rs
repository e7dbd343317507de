//! Boxes on other machines. No host or name is ever an option or a shell word: hosts are checked,
//! `--` precedes them, and what the shell there reads is quoted (design section 10.5).

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::staging::{Origin, Staging};
use crate::boxfs::{BoxRoot, COOKIE, STAGING};
use crate::path::SpacePath;
use crate::record::Action;
use crate::report::Report;

/// Seconds to wait for a connection, and then for a sign of life four times.
const PATIENCE: [&str; 2] = ["-oConnectTimeout=10", "-oServerAliveInterval=15"];
/// Seconds without a byte after which rsync gives up.
const TIMEOUT: &str = "--timeout=60";

/// A box's folder on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    path: String,
    interactive: bool,
}

impl Remote {
    /// Reads `[user@]host:/path` or `ssh://[user@]host[:port]/path`.
    ///
    /// # Errors
    /// Another form, or a user or host that could be taken for an option or a shell word.
    pub fn parse(url: &str, interactive: bool) -> Result<Self> {
        let (place, path, port) = if let Some(rest) = url.strip_prefix("ssh://") {
            let slash = rest.find('/').context("a url has a path")?;
            let (place, path) = rest.split_at(slash);
            match place.rsplit_once(':') {
                Some((place, port)) if !port.ends_with(']') => (place, path, Some(port.parse().context("not a port")?)),
                _ => (place, path, None),
            }
        } else {
            let colon = url.find(":/").with_context(|| format!("not the url of a box: {url}"))?;
            (&url[..colon], &url[colon + 1..], None)
        };
        // the rest of another kind of url, http://
        ensure!(!path.starts_with("//"), "not the url of a box: {url}");
        let (user, host) = match place.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, place),
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        for word in user.into_iter().chain([host]) {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+@%:".contains(&b) || b >= 0x80;
            ensure!(!word.is_empty() && !word.starts_with('-') && word.bytes().all(plain), "refused as a host: {place:?}");
        }
        ensure!(path.starts_with('/') && !path.contains(char::is_control), "refused as a folder: {path:?}");
        let path = if path == "/" { path } else { path.trim_end_matches('/') };
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port, path: path.to_owned(), interactive })
    }

    /// Whether it is on the machine `name`.
    #[must_use]
    pub fn is_host(&self, name: &str) -> bool {
        self.host.eq_ignore_ascii_case(name)
    }

    /// The box's root there.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The options that every ssh gets.
    fn options(&self) -> Vec<String> {
        let mut options = PATIENCE.map(str::to_owned).to_vec();
        if !self.interactive {
            options.push("-oBatchMode=yes".to_owned());
        }
        if let Some(port) = self.port {
            options.push(format!("-p{port}"));
        }
        options
    }

    fn target(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }

    /// `ssh` that runs `words` there, each quoted for the shell.
    ///
    /// # Errors
    /// A word holds a NUL.
    pub fn command(&self, words: &[&[u8]]) -> Result<Command> {
        let mut line = Vec::new();
        for word in words {
            if !line.is_empty() {
                line.push(b' ');
            }
            line.extend_from_slice(&quote(word)?);
        }
        let mut ssh = Command::new("ssh");
        ssh.args(self.options()).arg("--").arg(self.target()).arg(OsString::from_vec(line));
        Ok(ssh)
    }

    /// The path of a file there as raw bytes.
    fn file(&self, path: &SpacePath) -> Vec<u8> {
        [self.path.trim_end_matches('/').as_bytes(), &path.raw()].concat()
    }

    /// The text of the cookie there.
    ///
    /// # Errors
    /// The machine does not answer, or there is no box.
    pub fn read_cookie(&self) -> Result<Vec<u8>> {
        let cookie = format!("{}/{COOKIE}", self.path.trim_end_matches('/'));
        let output = self.command(&[b"cat", b"--", cookie.as_bytes()])?.stdin(Stdio::null()).output().context("ssh")?;
        if !output.status.success() {
            bail!("{}: {}", self.target(), last_line(&output));
        }
        Ok(output.stdout)
    }

    /// `ltr-verify` for the box `box_name` there, which answers requests and holds the lock.
    ///
    /// # Errors
    /// ssh cannot be run.
    pub fn verifier(&self, box_name: &str) -> Result<Child> {
        let words = [b"ltr-verify".as_slice(), b"--box", box_name.as_bytes(), b"--root", self.path.as_bytes()];
        let mut ssh = self.command(&words)?;
        Ok(ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?)
    }

    /// `rsync` that brings the files named on its stdin, NUL after each, into the folder `into`. It is
    /// never told to remove, to follow a symlink, or to take more than was asked for. `--inplace` so that
    /// even a kill leaves what came so far; nobody else looks into that folder.
    #[must_use]
    pub fn rsync(&self, into: &std::path::Path) -> Command {
        let mut shell = vec!["ssh".to_owned()];
        shell.extend(self.options());
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let target = self.user.as_ref().map_or_else(|| host.clone(), |user| format!("{user}@{host}"));
        let mut rsync = Command::new("rsync");
        rsync
            .args(["--files-from=-", "--from0", "--protect-args", "--no-implied-dirs", "--inplace", TIMEOUT, "-e"])
            .arg(shell.join(" "))
            .arg("--")
            .arg(format!("{target}:{}/", self.path.trim_end_matches('/')))
            .arg(into);
        rsync
    }
}

/// A word as a POSIX shell reads it.
fn quote(word: &[u8]) -> Result<Vec<u8>> {
    Ok(shlex::bytes::try_quote(word)?.into_owned())
}

/// What a program said last.
fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => line.trim().to_owned(),
        None => output.status.to_string(),
    }
}

/// One file there, read by `tail`: what is done where there is no rsync.
struct RemoteFile<'a> {
    remote: &'a Remote,
    path: SpacePath,
    child: Option<Child>,
}

impl Origin for RemoteFile<'_> {
    fn open_at(&mut self, offset: u64) -> Result<Box<dyn Read + '_>> {
        let (start, file) = (format!("+{}", offset.saturating_add(1)), self.remote.file(&self.path));
        let mut ssh = self.remote.command(&[b"tail", b"-c", start.as_bytes(), b"--", &file])?;
        let child = ssh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().context("ssh")?;
        self.stop();
        let stdout = self.child.insert(child).stdout.take().context("ssh has an output")?;
        Ok(Box::new(stdout))
    }
}

impl RemoteFile<'_> {
    /// Ends the ssh of this file, which has ended or sends bytes that nobody wants. Returns whether it
    /// was the connection that failed: 255 by ssh(1).
    fn stop(&mut self) -> bool {
        let Some(mut child) = self.child.take() else { return false };
        let _ = child.kill();
        child.wait().is_ok_and(|status| status.code() == Some(255))
    }
}

impl Drop for RemoteFile<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What became of an rsync.
enum Came {
    /// All, or what there was of it.
    Some,
    /// There is no rsync, here or there.
    NoRsync,
    /// The machine does not answer any more.
    Lost,
}

/// The transfer of a batch from one box.
pub(super) struct Transfer<'t, 's> {
    pub(super) remote: &'t Remote,
    pub(super) box_name: &'t str,
    pub(super) staging: &'t mut Staging<'s>,
    pub(super) report: &'t mut dyn Report,
}

impl Transfer<'_, '_> {
    /// Brings the files of `steps`; each staged path, or `None`. And whether the box still answers.
    pub(super) fn run(&mut self, steps: &[(&Action, &SpacePath)]) -> (Vec<Option<SpacePath>>, bool) {
        let name = format!("rsync-{}", self.box_name);
        let came = self.rsync(&name, steps).unwrap_or_else(|e| {
            self.report.notice(&format!("box {}: {e:#}", self.box_name));
            Came::Lost
        });
        if matches!(came, Came::NoRsync) {
            return self.one_by_one(steps);
        }
        let staged = steps.iter().map(|(action, path)| self.take(&name, action, path)).collect();
        (staged, matches!(came, Came::Some))
    }

    fn rsync(&mut self, name: &str, steps: &[(&Action, &SpacePath)]) -> Result<Came> {
        let (into, list) = (self.staging.at(name)?, self.staging.at(&format!("{name}.list"))?);
        let root = self.staging.root();
        if root.look(&into)?.is_none() {
            root.mkdir(&into, crate::record::Mode(0o700))?;
        }
        let input = write_list(root, &list, steps)?;
        let folder = root.path().join(STAGING).join(name);
        let output = self.remote.rsync(&folder).stdin(input).output();
        root.unlink(&list)?;
        let output = match output {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Came::NoRsync),
            output => output.context("rsync")?,
        };
        // rsync(1), EXIT VALUES
        Ok(match output.status.code() {
            Some(0 | 23 | 24) => Came::Some,
            Some(12 | 127) if String::from_utf8_lossy(&output.stderr).contains("not found") => Came::NoRsync,
            _ => {
                self.report.notice(&format!("box {}: {}", self.box_name, last_line(&output)));
                Came::Lost
            }
        })
    }

    /// Stages a file that rsync brought.
    fn take(&mut self, name: &str, action: &Action, path: &SpacePath) -> Option<SpacePath> {
        let from = SpacePath::from_relative(&[STAGING.as_bytes(), b"/", name.as_bytes(), &path.raw()].concat()).ok()?;
        let root = self.staging.root();
        let stat = root.lstat(&from).ok()?;
        if stat.size < action.size {
            // broken off: it stays, and is continued
            return None;
        }
        let staged = self.staging.adopt(action, &from);
        self.settle(staged, path)
    }

    /// Says what was wrong with a file that came.
    fn settle(&mut self, staged: Result<Option<SpacePath>>, path: &SpacePath) -> Option<SpacePath> {
        match staged {
            Ok(Some(staged)) => return Some(staged),
            Ok(None) => {
                self.report.notice(&format!("{path}: in box {}: source changed since its last commit", self.box_name));
            }
            Err(e) => self.report.notice(&format!("{path}: in box {}: {e:#}", self.box_name)),
        }
        None
    }

    fn one_by_one(&mut self, steps: &[(&Action, &SpacePath)]) -> (Vec<Option<SpacePath>>, bool) {
        let mut alive = true;
        let staged = steps
            .iter()
            .map(|(action, path)| {
                if !alive {
                    return None;
                }
                let mut file = RemoteFile { remote: self.remote, path: (*path).clone(), child: None };
                let staged = self.staging.fill(action, &mut file);
                alive = staged.is_ok() || !file.stop();
                self.settle(staged, path)
            })
            .collect();
        (staged, alive)
    }
}

/// Writes what rsync is to bring, and opens it for reading: an argument list would be too short.
fn write_list(root: &BoxRoot, list: &SpacePath, steps: &[(&Action, &SpacePath)]) -> Result<File> {
    if root.look(list)?.is_some() {
        root.unlink(list)?;
    }
    let mut text = Vec::new();
    for (_, path) in steps {
        text.extend_from_slice(path.to_relative().as_os_str().as_bytes());
        text.push(0);
    }
    root.create(list)?.write_all(&text)?;
    Ok(root.open_file(list)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        command.get_args().map(|a| a.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn hosts_that_are_options_or_shell_words_are_refused() {
        for bad in [
            "-oProxyCommand=x:/a",
            "-l@host:/a",
            "a b:/x",
            "host;rm:/x",
            "$(x):/x",
            ":/x",
            "@host:/x",
            "ssh://-oX/y",
            "ssh://host:port/x",
            "ssh://host",
            "host:relative",
            "a\nb:/x",
            "host:/a\nb",
            "http://host/x",
        ] {
            assert!(Remote::parse(bad, false).is_err(), "{bad:?}");
        }
        let remote = Remote::parse("ssh://thomas@maytag:2222/home/x/", false).unwrap();
        assert_eq!((remote.target().as_str(), remote.port, remote.path()), ("thomas@maytag", Some(2222), "/home/x"));
        assert!(Remote::parse("[::1]:/x", false).unwrap().is_host("::1"));
    }

    #[test]
    fn what_a_shell_there_reads_is_quoted() {
        let remote = Remote::parse("thomas@maytag:/home/t's $x", false).unwrap();
        let args = words(&remote.command(&[b"cat", b"--", &remote.file(&SpacePath::from_spelled("/a;b").unwrap())]).unwrap());
        assert_eq!(args[2..5], ["-oBatchMode=yes", "--", "thomas@maytag"]);
        assert_eq!(shlex::split(&args[5]).unwrap(), ["cat", "--", "/home/t's $x/a;b"]);
        let args = words(&Remote::parse("maytag:/x", true).unwrap().command(&[b"ls"]).unwrap());
        assert_eq!(args, [PATIENCE[0], PATIENCE[1], "--", "maytag", "ls"]);
    }

    #[test]
    fn rsync_takes_only_what_was_asked_for() {
        let remote = Remote::parse("ssh://[::1]:22/home/a b", false).unwrap();
        let args = words(&remote.rsync(std::path::Path::new("/into")));
        let expected = ["--", "[::1]:/home/a b/", "/into"];
        assert_eq!(args[args.len() - 3..], expected);
        assert!(args.contains(&"ssh -oConnectTimeout=10 -oServerAliveInterval=15 -oBatchMode=yes -p22".to_owned()));
        for bad in ["-a", "-r", "-L", "-l", "--delete", "--copy-links"] {
            assert!(!args.contains(&bad.to_owned()), "{bad}");
        }
    }
}
