//! One ssh connection to each machine, which all programs of a command share: what takes a second to
//! set up is set up once. It is an ssh `ControlMaster` of ltr's own, with its socket in a folder that
//! nobody else may enter, and it is closed at the end. A master that nobody closes, since ltr was
//! killed, ends by itself.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::hash::sha1_of;
use crate::ssh::{away, end_of, words_of};

/// Name of the environment variable that tells a child the folder of the sockets.
pub const CONNECTIONS: &str = "LTR_CONNECTIONS";

/// Seconds after which a master that nobody uses ends by itself.
const PERSIST: &str = "-oControlPersist=60";
/// Longest path of the folder: a socket's has 107 bytes, of which ssh wants 40 for the name and 17 for
/// its own purposes (sun_path, unix(7); mux.c).
const LONGEST: usize = 107 - 1 - 40 - 17;
/// How long a master of this machine may take to answer: it is stopped, or hangs.
const ANSWER: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Clone, Debug)]
enum Refusal {
    /// ssh gave up and had nothing to say of it.
    Silence,
    /// What it said, or what kept it from being run.
    Words(String),
}

impl Refusal {
    fn by(&self, host: &str) -> anyhow::Error {
        away(match self {
            Self::Silence => format!("{host} does not answer"),
            Self::Words(words) => format!("{host}: {words}"),
        })
    }
}

/// A connection, or why there is none: tried once.
type Opened = Arc<OnceLock<Result<(), Refusal>>>;

/// The connections of one command.
#[derive(Debug)]
pub struct Connections {
    folder: PathBuf,
    /// Removed at the end, where it is ours.
    own: Option<tempfile::TempDir>,
    /// A descriptor that no master may keep open: the lock of the box lasts as long as it.
    lock: Option<i32>,
    opened: Mutex<HashMap<String, Opened>>,
}

impl Connections {
    /// Uses the sockets in `folder`, which a process above made and closes. `lock` is the descriptor of
    /// the lock that it handed down.
    #[must_use]
    pub fn within(folder: PathBuf, lock: Option<i32>) -> Self {
        Self { folder, own: None, lock, opened: Mutex::default() }
    }

    /// Makes a folder for sockets below `parent`; they are closed when this is dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn below(parent: &Path, lock: Option<i32>) -> Result<Self> {
        let own = tempfile::Builder::new().prefix("ltr.").tempdir_in(parent).with_context(|| parent.display().to_string())?;
        Ok(Self { folder: own.path().to_path_buf(), own: Some(own), lock, opened: Mutex::default() })
    }

    /// Whether sockets have room in the folder, and no master would keep the box locked.
    fn usable(&self) -> bool {
        // dash takes no descriptor of two digits
        self.folder.as_os_str().len() <= LONGEST && self.lock.is_none_or(|fd| fd < 10)
    }

    /// The socket of the connection known as `key`. It is not ssh's `%C`, since one of a master that is dead
    /// or hangs is to be removed here: beside it ssh would make a connection that nobody shares or closes.
    fn socket(&self, key: &str) -> PathBuf {
        self.folder.join(sha1_of(key.as_bytes()).to_string())
    }

    /// The option with which ssh uses the connection known as `key`.
    pub(crate) fn option(&self, key: &str) -> String {
        if self.usable() { control_path(&self.socket(key)) } else { "-oControlPath=none".to_owned() }
    }

    /// Opens the connection to `host`, known as `key`, the first time; `words` is ssh with its options. It
    /// is given up when it takes longer than `limit`.
    ///
    /// # Errors
    /// What ssh has to say.
    pub(crate) fn open(
        &self,
        words: &[String],
        key: &str,
        host: &str,
        limit: Option<Duration>,
        tell: impl Fn(&Command),
    ) -> Result<()> {
        if !self.usable() {
            return Ok(());
        }
        let once = {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(opened.entry(key.to_owned()).or_default())
        };
        let opened = once.get_or_init(|| {
            let mut ssh = words.to_vec();
            ssh.extend([self.option(key), PERSIST.to_owned()]);
            if self.is_open(&ssh, key, host, limit) {
                return Ok(());
            }
            ssh.extend(["-M", "-N", "-f", "--", host].map(str::to_owned));
            match self.start(&ssh, limit, tell) {
                Ok(None) => Ok(()),
                Ok(Some(refusal)) => Err(refusal),
                Err(error) => Err(Refusal::Words(format!("{error:#}"))),
            }
        });
        opened.as_ref().copied().map_err(|refusal| refusal.by(host))
    }

    fn start(&self, ssh: &[String], limit: Option<Duration>, tell: impl Fn(&Command)) -> Result<Option<Refusal>> {
        let mut command = Command::new("sh");
        match self.lock {
            // the master stays, and must not keep the box locked
            Some(fd) => command.args(["-c", &format!("exec \"$@\" {fd}<&-"), "ssh"]).args(ssh),
            None => {
                command = Command::new(&ssh[0]);
                command.args(&ssh[1..])
            }
        };
        tell(&command);
        // no pipe: some masters keep it open
        let mut said = tempfile::tempfile()?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone()?);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", ssh[0]))?;
        let status = end_of(&mut child, limit)?;
        if status.success() {
            return Ok(None);
        }
        let mut stderr = Vec::new();
        said.rewind()?;
        said.take(1 << 16).read_to_end(&mut stderr)?;
        if stderr.is_empty() && status.code() == Some(255) {
            return Ok(Some(Refusal::Silence));
        }
        Ok(Some(Refusal::Words(words_of(&Output { status, stdout: Vec::new(), stderr }))))
    }

    /// Whether the connection known as `key` is there, and answers within `limit`; `words` is ssh with its
    /// options.
    pub(crate) fn is_alive(&self, words: &[String], key: &str, host: &str, limit: Option<Duration>) -> bool {
        let mut ssh = words.to_vec();
        ssh.push(self.option(key));
        self.usable() && self.is_open(&ssh, key, host, limit)
    }

    /// Whether a process above, or beside, has opened it. When that does not answer, it is as if it had not.
    fn is_open(&self, ssh: &[String], key: &str, host: &str, limit: Option<Duration>) -> bool {
        let socket = self.socket(key);
        if !socket.exists() {
            return false;
        }
        let mut check = Command::new(&ssh[0]);
        check.args(&ssh[1..]).args(["-Ocheck", "--", host]);
        let open = ask(&mut check, limit).is_ok_and(|status| status.success());
        if !open {
            let _ = fs::remove_file(socket);
        }
        open
    }
}

/// How ssh is told of a socket.
fn control_path(socket: &Path) -> String {
    format!("-oControlPath={}", socket.display().to_string().replace('%', "%%"))
}

/// Asks a master, which is here and has nothing to wait for.
fn ask(ssh: &mut Command, limit: Option<Duration>) -> std::io::Result<ExitStatus> {
    let mut asked = ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    end_of(&mut asked, Some(limit.map_or(ANSWER, |limit| limit.min(ANSWER))))
}

/// Ends the masters whose sockets are in `folder`. One that does not answer within `limit`, or a few seconds,
/// is left to itself: without its socket nobody uses it, so that it ends when it goes on.
pub fn close(folder: &Path, limit: Option<Duration>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let mut exit = Command::new("ssh");
        // no user's configuration says anything about the way to a socket
        exit.args(["-F", "none", &control_path(&entry.path()), "-Oexit", "--", "x"]);
        let _ = ask(&mut exit, limit);
        // a master answers before it removes its socket, and the folder is to go
        let _ = fs::remove_file(entry.path());
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        if self.own.is_some() {
            close(&self.folder, None);
        }
    }
}
