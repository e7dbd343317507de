//! What a client of CouchDB needs of this machine, as the programs pass it in: where replicas and
//! passwords are kept, whom to trust, how long to wait, and how to ask a person.

use std::path::PathBuf;
use std::time::Duration;

use super::url::{Database, Secret, encode};
use crate::space::Remote;

/// Longest name of a replica's link; file systems end at 255 bytes.
const NAME_MAX: usize = 200;

/// Asks a person for the password of what the text says; `None` where nobody is there.
pub type Ask = fn(&str) -> Option<Secret>;

/// Folders and limits.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where replicas are kept: `${XDG_STATE_HOME:-~/.local/state}/ltr`.
    pub state: PathBuf,
    /// Where passwords are kept: `${XDG_CONFIG_HOME:-~/.config}/ltr`.
    pub config: PathBuf,
    /// The home folder, for `.netrc`.
    pub home: PathBuf,
    /// Certificates (PEM) of one's own authority, `LTR_CA_FILE`; trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long a command that can go on without the database waits for its first answer.
    pub wait: Duration,
    /// How to ask for a password.
    pub ask: Option<Ask>,
}

/// How long a command waits where nothing else is said: with all that it does besides, half a second at most.
pub const WAIT: Duration = Duration::from_millis(400);

impl Places {
    /// Everything below the folder `home`, nobody to ask.
    #[must_use]
    pub fn below(home: &std::path::Path) -> Self {
        Self {
            state: home.join(".local/state/ltr"),
            config: home.join(".config/ltr"),
            home: home.to_path_buf(),
            ca_file: None,
            wait: WAIT,
            ask: None,
        }
    }

    /// The file with passwords.
    #[must_use]
    pub fn credentials(&self) -> PathBuf {
        self.config.join("credentials")
    }

    /// Where passwords are looked up after that.
    #[must_use]
    pub fn netrc(&self) -> PathBuf {
        self.home.join(".netrc")
    }

    /// The folder of the replicas. Not a name that a space may well have: those are beside it.
    #[must_use]
    pub fn replicas(&self) -> PathBuf {
        self.state.join(".couch")
    }

    /// The replica of a database: a link to its file, whoever logs in. It need not be there yet.
    #[must_use]
    pub fn replica(&self, database: &Database) -> PathBuf {
        self.replicas().join(short(encode(&database.key())))
    }

    /// The replica of an index on another machine. It need not be there yet.
    #[must_use]
    pub fn replica_of(&self, remote: &Remote) -> PathBuf {
        self.state.join(".ssh").join(short(encode(&remote.to_string())))
    }
}

fn short(name: String) -> String {
    if name.len() > NAME_MAX { crate::hash::sha1_of(name.as_bytes()).to_string() } else { name }
}
