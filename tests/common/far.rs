//! Two machines that are one: boxes `here` and `there`, each with an index of its own, and the porcelain
//! of the one reaching the other as `far` over a private sshd.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use it")]
#![allow(missing_docs, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::sshd::Sshd;

/// How the other machine is equipped.
#[derive(Clone, Copy)]
pub struct Kit {
    pub ltr: bool,
    pub rsync: bool,
    pub sftp: bool,
    pub tar: bool,
}

pub const ALL: Kit = Kit { ltr: true, rsync: true, sftp: true, tar: true };

pub struct Far {
    pub dir: tempfile::TempDir,
    pub sshd: Sshd,
    /// In place of ssh.
    pub ssh: String,
    /// For sockets, whose paths are short.
    runtime: tempfile::TempDir,
}

/// What a command said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

fn binaries() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_ltr-fetch")).parent().unwrap().to_path_buf()
}

impl Far {
    /// `None` where no sshd is installed.
    pub fn new(kit: Kit) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        // bash and env: for what a login shell may do before it runs a command
        for name in
            ["sh", "bash", "env", "cat", "tail"].into_iter().chain(kit.rsync.then_some("rsync")).chain(kit.tar.then_some("tar"))
        {
            let program = ["/usr/bin", "/bin"].map(|d| Path::new(d).join(name)).into_iter().find(|p| p.exists());
            if let Some(program) = program {
                symlink(program, bin.join(name)).unwrap();
            }
        }
        let mut path = bin.display().to_string();
        if kit.ltr {
            path = format!("{}:{path}", binaries().display());
        }
        let lines = if kit.sftp { "Subsystem sftp internal-sftp" } else { "" };
        let Some(sshd) = Sshd::start_with(&path, lines) else {
            eprintln!("no sshd is installed: not tested");
            return None;
        };
        let ssh = sshd.ssh();
        let runtime = tempfile::Builder::new().prefix("ltr-t.").tempdir_in("/tmp").unwrap();
        let far = Self { dir, sshd, ssh, runtime };
        fs::create_dir_all(far.at("i-there")).unwrap();
        far.set_up();
        Some(far)
    }

    /// The box `there`, and `here`, whose index knows it.
    fn set_up(&self) {
        for command in ["ltr-index-init ./i-there/s", "ltr-box-create ./i-there/s there there --mkdir"] {
            self.shell(command).well();
        }
        fs::create_dir(self.at("i-here")).unwrap();
        self.shell("ltr-index-init ./i-here/s && ltr-index-sync ./i-here/s ./i-there/s").well();
        self.shell("ltr-box-create ./i-here/s here here --mkdir && ltr-index-sync ./i-here/s ./i-there/s").well();
        for root in ["here", "there"] {
            let url = self.url();
            self.ltr(root, &["set", "there.urls", &format!("[\"{url}\"]")]).well();
        }
    }

    /// Everything is below a folder whose name no shell may read.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("it's [b]* $(touch oops)").join(name)
    }

    /// Where `there` is, as seen from here.
    pub fn url(&self) -> String {
        format!("{}@far:{}", user(), self.at("there").display())
    }

    fn command(&self, program: &Path, folder: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.at(folder)).env_clear().stdin(Stdio::null());
        let porcelain = concat!(env!("CARGO_MANIFEST_DIR"), "/porcelain");
        command.env("PATH", format!("{}:/usr/bin:/bin:{porcelain}", binaries().display()));
        command.env("HOME", self.dir.path()).env("LTR_SSH", &self.ssh).env("TMPDIR", self.dir.path());
        command.env("XDG_RUNTIME_DIR", self.runtime.path());
        command
    }

    /// Runs a command of a shell, in the folder of everything.
    pub fn shell(&self, line: &str) -> Said {
        Said::of(&self.command(Path::new("/bin/sh"), ".").args(["-c", line]).output().unwrap())
    }

    /// Runs `ltr ARGS` in a box.
    pub fn ltr(&self, root: &str, args: &[&str]) -> Said {
        Said::of(&self.porcelain(root, args).output().unwrap())
    }

    pub fn porcelain(&self, root: &str, args: &[&str]) -> Command {
        let ltr = Path::new(env!("CARGO_MANIFEST_DIR")).join("porcelain/ltr");
        let mut command = self.command(&ltr, root);
        command.args(args);
        command
    }

    /// Writes files of `there` and commits them.
    pub fn commit(&self, files: &[(&[u8], &str)]) {
        for (name, text) in files {
            let file =
                self.at("there").join(std::ffi::OsStr::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name)));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        self.ltr("there", &["commit"]).well();
    }

    /// Another box on the other machine, with what `there` has.
    pub fn third(&self) -> String {
        self.shell("ltr-box-create ./i-there/s third third --mkdir").well();
        let url = self.url().replace("/there", "/third");
        self.ltr("there", &["set", "third.urls", &format!("[\"{url}\"]")]).well();
        self.ltr("third", &["pull", "there"]).well();
        self.ltr("here", &["sync", "there"]).well();
        url
    }

    /// The contents of the files of a box that are not ltr's.
    pub fn tree(&self, root: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        walk(&self.at(root), &self.at(root), &mut found);
        found.sort();
        found
    }
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap();
        if name.as_os_str() == ".ltr" || name.as_os_str() == ".ltr-tmp" {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, found);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((name.as_os_str().as_encoded_bytes().to_vec(), bytes));
        }
    }
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Everything went well.
    pub fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    /// It ended with `code`, and stderr has `text`.
    pub fn failed(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(self.err.contains(text), "{text:?} is not in {:?}", self.err);
        self
    }
}
