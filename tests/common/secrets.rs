//! What nobody may see of a login: in files, in lists of processes, in what commands say.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]
#![allow(missing_docs, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;

/// The spellings of a password.
#[derive(Clone)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Of the login `user:password`.
    pub fn of(login: &str) -> Self {
        let password = login.split_once(':').unwrap().1;
        Self(vec![password.to_owned(), base64::engine::general_purpose::STANDARD.encode(login)])
    }

    /// Whether a text has one of them.
    pub fn are_in(&self, text: &[u8]) -> bool {
        self.0.iter().any(|secret| text.windows(secret.len()).any(|part| part == secret.as_bytes()))
    }

    /// The files below a folder that have one of them.
    pub fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        self.look(folder, &mut found);
        found.sort();
        found
    }

    fn look(&self, folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                self.look(&path, found);
            } else if self.are_in(path.as_os_str().as_encoded_bytes())
                || kind.is_file() && self.are_in(&fs::read(&path).unwrap_or_default())
                || kind.is_symlink() && self.are_in(fs::read_link(&path).unwrap().as_os_str().as_encoded_bytes())
            {
                found.push(path);
            }
        }
    }

    /// Looks at lists of processes from now on.
    pub fn watch(&self) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, secrets) = (Arc::clone(&stop), self.clone());
        let thread = std::thread::spawn(move || {
            let mut found = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                for process in fs::read_dir("/proc").unwrap().flatten() {
                    let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
                    if secrets.are_in(&line) {
                        found.push(String::from_utf8_lossy(&line).replace('\0', " "));
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            // a person's own command has it until it is read, and so has what ends it in time
            found.retain(|line| !line.contains("porcelain/ltr ") && !line.starts_with("timeout "));
            found
        });
        Watch { stop, thread }
    }
}

/// What lists of processes show while it lives.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Watch {
    /// The command lines that had a secret.
    pub fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}
