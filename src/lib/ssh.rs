//! Programs on other machines, run by ssh: the one place where commands for it are put together.
//!
//! A host is never an option (`--` stands before it, and [`Remote`] refuses a leading `-`), and a word
//! is never more than one word of the shell there. What goes wrong is told apart by ssh's exit status:
//! 255 is ssh's own, and 127 is a shell that found no such program. What ssh or that program says
//! besides is handed to who asked, line by line, before anything is concluded from its end. What says
//! nothing at all is given up after a while.

mod patience;
mod words;

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};

pub(crate) use self::patience::{Life, end_of, is_silence, silence};
pub use self::patience::{Patient, SILENCE};
pub use self::words::Heard;
pub(crate) use self::words::Words;
use crate::connections::Connections;
use crate::exit::Exit;
use crate::shellword;
use crate::space::Remote;

/// How long a program that has nobody to talk to any more may take to end: 100 looks, 20 ms apart.
const LOOKS: (u32, Duration) = (100, Duration::from_millis(20));

/// How to call ssh.
#[derive(Clone, Debug)]
pub struct Ssh {
    program: Vec<String>,
    batch: bool,
    connections: Option<Arc<Connections>>,
    /// Gets each command that is run.
    told: Option<fn(&str)>,
    /// Gets what ssh, and what it runs, has to say.
    heard: Heard,
    /// How long the other side may say nothing; none: for ever.
    limit: Option<Duration>,
}

impl Ssh {
    /// `program` is a command line such as `ssh -F config`, split as a shell does; `batch`: nobody is
    /// there to be asked for a password.
    ///
    /// # Errors
    /// `program` is empty or has an open quote.
    pub fn new(program: &str, batch: bool) -> Result<Self> {
        let words = shlex::split(program).filter(|words| !words.is_empty());
        let program = words.with_context(|| format!("not a command line: {program}"))?;
        Ok(Self { program, batch, connections: None, told: None, heard: |_| {}, limit: Some(SILENCE) })
    }

    /// The same, with one connection to each machine that all commands share.
    #[must_use]
    pub fn sharing(mut self, connections: Arc<Connections>) -> Self {
        self.connections = Some(connections);
        self
    }

    /// The same, where each command is told before it is run.
    #[must_use]
    pub fn telling(mut self, told: Option<fn(&str)>) -> Self {
        self.told = told;
        self
    }

    /// The same, where the other side may say nothing for so long; none: for ever.
    #[must_use]
    pub fn patient(self, limit: Option<Duration>) -> Self {
        Self { limit, ..self }
    }

    /// How long the other side may say nothing.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Tells a command that is about to be run.
    pub fn tell(&self, command: &Command) {
        if let Some(told) = self.told {
            let words: Vec<&[u8]> =
                std::iter::once(command.get_program()).chain(command.get_args()).map(OsStrExt::as_bytes).collect();
            told(&shellword::shown(&words));
        }
    }

    /// Makes sure of the shared connection to `remote`'s machine, where connections are shared.
    ///
    /// # Errors
    /// There is none, and what ssh said of it; it is not tried again.
    pub fn connect(&self, remote: &Remote) -> Result<()> {
        let Some(connections) = &self.connections else { return Ok(()) };
        let mut words = self.program.clone();
        words.extend(self.own_options(remote));
        let host = bare(remote);
        // a person may take his time with a password
        let limit = self.limit.filter(|_| self.batch);
        connections.open(&words, &key(remote), &host, limit, |command| self.tell(command))
    }

    /// Whether the shared connection is certainly there: then a program that ended without a word ended
    /// there, and not with the line.
    #[must_use]
    pub fn is_connected(&self, remote: &Remote) -> bool {
        let Some(connections) = &self.connections else { return false };
        let words: Vec<String> = self.program.iter().cloned().chain(self.own_options(remote)).collect();
        connections.is_alive(&words, &key(remote), &bare(remote), self.limit)
    }

    /// The same, with `heard` for what ssh and the programs there say on stderr.
    #[must_use]
    pub fn hearing(self, heard: Heard) -> Self {
        Self { heard, ..self }
    }

    /// The command that runs `words` on `remote`'s machine, each as one word whatever its bytes.
    ///
    /// # Errors
    /// A word has a NUL.
    pub fn command<T: AsRef<[u8]>>(&self, remote: &Remote, words: &[T]) -> Result<Command> {
        let line = shellword::join(words).with_context(|| remote.host.clone())?;
        let [program, options @ ..] = self.program.as_slice() else { bail!("no ssh program") };
        let mut command = Command::new(program);
        command.args(options).args(self.options(remote)?).args(["--", &bare(remote)]).arg(OsString::from_vec(line));
        self.tell(&command);
        Ok(command)
    }

    /// What every ssh is told, that of the shared connection included.
    fn options(&self, remote: &Remote) -> Result<Vec<String>> {
        self.connect(remote)?;
        let mut options = self.own_options(remote);
        options.extend(self.connections.as_ref().map(|connections| connections.option(&key(remote))));
        Ok(options)
    }

    fn own_options(&self, remote: &Remote) -> Vec<String> {
        // without the last, a laptop that was closed meanwhile would be waited for all night
        let mut options = ["-T", "-oConnectTimeout=10", "-oServerAliveInterval=15"].map(str::to_owned).to_vec();
        options.extend(self.batch.then(|| "-oBatchMode=yes".to_owned()));
        options.extend(remote.port.map(|port| format!("-p{port}")));
        options
    }

    /// ssh as rsync's `--rsh` wants it, which adds the host itself. In its quotes, a quote is doubled.
    ///
    /// # Errors
    /// As [`Ssh::connect`].
    pub fn rsh(&self, remote: &Remote) -> Result<String> {
        let words = self.program.iter().cloned().chain(self.options(remote)?);
        let quoted: Vec<String> = words.map(|word| format!("'{}'", word.replace('\'', "''"))).collect();
        Ok(quoted.join(" "))
    }

    /// ssh to the sftp server of `remote`'s machine, as sftp's `-D` wants it: no shell there reads a
    /// name. In its quotes, quotes and backslashes are escaped.
    ///
    /// # Errors
    /// As [`Ssh::connect`].
    pub fn sftp_server(&self, remote: &Remote) -> Result<String> {
        let words = self.program.iter().cloned().chain(self.options(remote)?);
        let words = words.chain(["-s".to_owned(), "--".to_owned(), bare(remote), "sftp".to_owned()]);
        let escape = |c: char| if "\\\"'".contains(c) { format!("\\{c}") } else { c.to_string() };
        let quoted: Vec<String> = words.map(|word| format!("\"{}\"", word.chars().map(escape).collect::<String>())).collect();
        Ok(quoted.join(" "))
    }

    /// Starts `words` on `remote`'s machine. Its output is to be read from here; its input comes from
    /// here where `input` says so, and else is empty.
    ///
    /// # Errors
    /// There is no ssh, or a word has a NUL.
    pub fn start<T: AsRef<[u8]>>(&self, remote: &Remote, words: &[T], input: bool) -> Result<Session> {
        ensure!(!words.is_empty(), "nothing to run on {}", remote.host);
        let program = String::from_utf8_lossy(words[0].as_ref()).into_owned();
        let mut command = self.command(remote, words)?;
        command.stdin(if input { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", self.program[0]))?;
        let life = Life::new(self.limit);
        let stdin = child.stdin.take().map(|stdin| Patient::input(stdin, &life)).transpose()?;
        let stdout = child.stdout.take().map(|stdout| Patient::output(stdout, &life));
        let words = Words::of(&mut child, &remote.host, self.heard);
        Ok(Session { child, words, host: remote.host.clone(), program, limit: self.limit, stdin, stdout })
    }

    /// What `words` write on `remote`'s machine, which is `limit` bytes at most.
    ///
    /// # Errors
    /// They fail there, or write more.
    pub fn ask<T: AsRef<[u8]>>(&self, remote: &Remote, words: &[T], limit: u64) -> Result<Vec<u8>> {
        let mut session = self.start(remote, words, false)?;
        let mut said = Vec::new();
        if let Some(output) = session.stdout.take() {
            output.take(limit + 1).read_to_end(&mut said).with_context(|| remote.host.clone())?;
        }
        ensure!(said.len() as u64 <= limit, "{}: says more than {limit} bytes", remote.host);
        let ended = session.finish()?;
        ensure!(ended == Exit::Done, "{}: done in part", remote.host);
        Ok(said)
    }
}

/// A machine that cannot be reached, or no more.
#[derive(Debug)]
struct Away(String);

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Away {}

/// The error of a machine that cannot be reached, with what there is to say of that.
pub(crate) fn away(words: String) -> Error {
    Away(words).into()
}

/// Whether an error is that the other machine did not answer: the next time it may.
pub(crate) fn is_away(error: &Error) -> bool {
    is_silence(error) || error.chain().any(|cause| cause.is::<Away>())
}

/// The words that run `words` where `file` is a regular file, and else fail: a program there would wait
/// for who writes to a fifo, for ever. The shell reads the names as arguments, not as text.
#[must_use]
pub fn if_file<'a>(file: &'a [u8], words: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let script: &[u8] = b"test -f \"$1\" && shift && exec \"$@\"";
    let script = [b"sh".as_slice(), b"-c", script, b"sh", file];
    script.into_iter().chain(words.iter().copied()).collect()
}

/// The host as ssh wants it: an IPv6 address without the brackets that a url needs.
fn bare(remote: &Remote) -> String {
    remote.host.replace(['[', ']'], "")
}

/// What connections to one machine have in common.
fn key(remote: &Remote) -> String {
    format!("{}:{}", bare(remote), remote.port.map_or_else(String::new, |port| port.to_string()))
}

/// What ssh, or a program that it ran, had to say: for a message.
#[must_use]
pub fn words_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { output.status.to_string() } else { lines.join("; ") }
}

/// A program that runs on another machine. It is ended when this is dropped.
#[derive(Debug)]
pub struct Session {
    child: Child,
    words: Words,
    host: String,
    program: String,
    limit: Option<Duration>,
    /// Its input; until it is taken.
    pub stdin: Option<Patient<ChildStdin>>,
    /// Its output; until it is taken.
    pub stdout: Option<Patient<ChildStdout>>,
}

impl Session {
    /// The same, with another name for the program that is run there.
    #[must_use]
    pub fn named(mut self, program: &str) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    /// The machine, as it was named.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Waits for the end of a program whose output was read to its trailer.
    ///
    /// # Errors
    /// It did nothing, or was not heard of any more.
    pub fn finish(mut self) -> Result<Exit> {
        self.stdin = None;
        let status = end_of(&mut self.child, self.limit).with_context(|| format!("{}: {}", self.host, self.program))?;
        self.words.wait();
        match status.code() {
            Some(0) => Ok(Exit::Done),
            Some(1) => Ok(Exit::Part),
            Some(255) => Err(away(format!("{}: the connection was lost", self.host))),
            _ => bail!("{}: {} failed there ({status})", self.host, self.program),
        }
    }

    /// Ends a program whose output could not be read further than `lines` lines because of `error`;
    /// returns its exit status, where it is ltr's own, and the error as a person should read it.
    pub fn explain(mut self, error: Error, lines: u64) -> (Option<i32>, Error) {
        (self.stdin, self.stdout) = (None, None);
        if is_silence(&error) {
            return (None, error.context(format!("{}: {}", self.host, self.program)));
        }
        let code = self.settle().and_then(|status| status.code());
        let host = &self.host;
        let foreign = lines == 1 && error.chain().any(|cause| cause.is::<serde_json::Error>());
        let text = match code {
            Some(127) => format!("{host}: no ltr there ({}: command not found)", self.program),
            _ if foreign => return (None, anyhow!("{host}: {error}; does the login shell there print something?")),
            Some(255) if lines == 0 => return (code, away(format!("{host} does not answer"))),
            Some(255) => return (code, away(format!("{host}: the connection was lost"))),
            Some(code) if code != 0 && lines == 0 => format!("{host}: {} failed there (exit status {code})", self.program),
            _ => return (code, error.context(self.host.clone())),
        };
        (code, anyhow!(text))
    }

    /// Ends a program that nobody listens to any more; returns its exit status, where it ended by itself.
    pub fn hang_up(mut self) -> Option<i32> {
        (self.stdin, self.stdout) = (None, None);
        self.settle().and_then(|status| status.code())
    }

    /// The status with which the program ends on its own, if it does soon.
    fn settle(&mut self) -> Option<ExitStatus> {
        for _ in 0..LOOKS.0 {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.words.wait();
                return Some(status);
            }
            std::thread::sleep(LOOKS.1);
        }
        None
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // both do nothing to a child that was waited for
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> Remote {
        Remote::parse(text).unwrap().unwrap()
    }

    fn words(command: &Command) -> Vec<String> {
        let all = std::iter::once(command.get_program()).chain(command.get_args());
        all.map(|word| word.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_word_stays_one_word() {
        let nasty = ["ltr-x", "/a b", "it's", "$(id)", "a\nb", "-n", "", "`id`", "\\", "ä;*"].map(str::to_owned);
        let ssh = Ssh::new("ssh -F 'my config'", true).unwrap();
        let line = words(&ssh.command(&remote("ssh://t@[::1]:2222/x"), &nasty).unwrap());
        let (command, options) = line.split_last().unwrap();
        assert_eq!(options[..3], ["ssh", "-F", "my config"]);
        assert!(options.contains(&"-oBatchMode=yes".to_owned()));
        assert!(options.contains(&"-p2222".to_owned()));
        assert_eq!(options[options.len() - 2..], ["--", "t@::1"]);
        assert_eq!(shlex::split(command).unwrap(), nasty);
        let shell = Command::new("sh").arg("-c").arg(format!("printf '%s|' {command}")).output().unwrap();
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), nasty.map(|w| w + "|").concat());
        assert!(ssh.command(&remote("h:/x"), &["a\0b"]).is_err());
        assert!(Ssh::new("", true).is_err() && Ssh::new("ssh 'x", true).is_err());
    }

    #[test]
    fn rsync_and_sftp_start_the_same_ssh() {
        let ssh = Ssh::new("ssh -F 'my \\ \"config'\\''s'", true).unwrap();
        let options = "-T -oConnectTimeout=10 -oServerAliveInterval=15 -oBatchMode=yes -p22".split(' ');
        let first = ["ssh", "-F", "my \\ \"config's"];
        let quoted: Vec<String> =
            first.into_iter().chain(options.clone()).map(|w| format!("'{}'", w.replace('\'', "''"))).collect();
        assert_eq!(ssh.rsh(&remote("ssh://t@[::1]:22/x")).unwrap(), quoted.join(" "));
        let server = ssh.sftp_server(&remote("ssh://t@[::1]:22/x")).unwrap();
        assert!(server.starts_with(r#""ssh" "-F" "my \\ \"config\'s" "-T""#), "{server}");
        assert!(server.ends_with(r#""-p22" "-s" "--" "t@::1" "sftp""#), "{server}");
    }

    #[test]
    fn the_end_of_a_program_is_told_apart() {
        let said = |script: &str, lines: u64, error: Error| {
            let ssh = Ssh::new(&format!("sh -c '{script}'"), false).unwrap();
            let session = ssh.start(&remote("h:/x"), &["ltr-x"], false).unwrap();
            format!("{:#}", session.explain(error, lines).1)
        };
        let json = || serde_json::from_str::<u8>("hello").map_err(Error::from).context("line 1 is not a record").unwrap_err();
        assert_eq!(said("exit 127", 0, anyhow!("cut")), "h: no ltr there (ltr-x: command not found)");
        assert_eq!(said("exit 255", 0, anyhow!("cut")), "h does not answer");
        assert_eq!(said("exit 255", 9, anyhow!("cut")), "h: the connection was lost");
        assert_eq!(said("exit 3", 0, anyhow!("cut")), "h: ltr-x failed there (exit status 3)");
        assert_eq!(said("exit 0", 4, anyhow!("cut")), "h: cut");
        assert_eq!(said("exit 0", 1, json()), "h: line 1 is not a record; does the login shell there print something?");
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_its_session() {
        let ssh = Ssh::new("sh -c 'exec sleep 600'", false).unwrap();
        let session = ssh.start(&remote("h:/x"), &["ltr-x"], true).unwrap();
        let process = format!("/proc/{}", session.child.id());
        assert!(std::fs::metadata(&process).is_ok());
        drop(session);
        assert!(std::fs::metadata(&process).is_err());
    }
}
