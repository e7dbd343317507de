//! Two machines that are one: boxes `here` and `there`, each with an index of its own, and the porcelain
//! of the one reaching the other as `far` over a private sshd.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use it")]
#![allow(missing_docs, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::sshd::Sshd;

const PORCELAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/porcelain/ltr");

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
    /// What commands here find in their environment besides.
    pub env: Vec<(&'static str, String)>,
    /// For sockets, whose paths are short.
    runtime: tempfile::TempDir,
}

/// Tries cases side by side: what each waits for is another machine.
pub fn each<T: Sync>(cases: &[T], try_one: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..cases.len().min(8) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    try_one(case);
                }
            });
        }
    });
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
        Self::with(kit, |_| String::new())
    }

    /// The same with more lines in sshd's configuration; `lines` is given the folder of [`Far::wrap`].
    pub fn with(kit: Kit, lines: impl Fn(&Path) -> String) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let [bin, first] = ["bin", "first"].map(|name| dir.path().join(name));
        fs::create_dir(&bin).unwrap();
        fs::create_dir(&first).unwrap();
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
        path = format!("{}:{path}", first.display());
        let sftp = if kit.sftp { "Subsystem sftp internal-sftp\n" } else { "" };
        let Some(sshd) = Sshd::start_with(&path, &format!("{sftp}{}", lines(&first))) else {
            eprintln!("no sshd is installed: not tested");
            return None;
        };
        let ssh = sshd.ssh();
        let runtime = tempfile::Builder::new().prefix("ltr-t.").tempdir_in("/tmp").unwrap();
        let far = Self { dir, sshd, ssh, env: Vec::new(), runtime };
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
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Puts a shell script in the place of a program over there. In it, `it` runs the program itself, `some N` passes on
    /// so many bytes, each at once (head(1) would keep them, and who asks for more would wait), and
    /// `hang` does not come back while the test runs. Whoever asks for its version is told.
    pub fn wrap(&self, program: &str, script: &str) {
        let real = [binaries(), "/usr/bin".into(), "/bin".into(), "/usr/lib/openssh".into()]
            .map(|folder| folder.join(program))
            .into_iter()
            .find(|file| file.exists())
            .unwrap();
        let real = real.display();
        let [stays, go] = ["bin", "go"].map(|name| self.dir.path().join(name).display().to_string());
        let hang = format!("while test -e '{stays}' && ! test -e '{go}'; do sleep 0.1; done");
        let text = format!(
            "#!/bin/sh\nPATH=$PATH:/usr/bin:/bin\nit () {{ '{real}' \"$@\"; }}\nhang () {{ {hang}; }}\n\
             some () {{ dd bs=1 count=$1 status=none; }}\n\
             case $1 in --version) it \"$@\"; exit;; esac\n{script}\n"
        );
        let file = self.dir.path().join("first").join(program);
        // the old one may be running
        let _ = fs::remove_file(&file);
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Ends what hangs, and waits until it has let go of the box there.
    pub fn let_go(&self) {
        let go = self.dir.path().join("go");
        fs::write(&go, "").unwrap();
        let root = litter::boxfs::BoxRoot::open(&self.at("there")).unwrap();
        let free = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            litter::lock::take(&root).is_ok()
        });
        assert!(free, "the box there stays locked");
        fs::remove_file(go).unwrap();
    }

    /// The program itself is in its place again.
    pub fn unwrap(&self, program: &str) {
        fs::remove_file(self.dir.path().join("first").join(program)).unwrap();
    }

    /// A command that stands still fails its test, which says so, and not all tests after hours.
    fn within_limit(&self, program: &str, root: &str, args: &[&str]) -> Said {
        let mut command = self.command(Path::new("timeout"), root);
        Said::of(&command.args(["--kill-after=10", "600", program]).args(args).output().unwrap())
    }

    /// Runs a command of a shell, in the folder of everything.
    pub fn shell(&self, line: &str) -> Said {
        self.within_limit("/bin/sh", ".", &["-c", line])
    }

    /// The same, to be run.
    pub fn shell_command(&self, line: &str) -> Command {
        let mut command = self.command(Path::new("/bin/sh"), ".");
        command.args(["-c", line]);
        command
    }

    /// Runs `ltr ARGS` in a box.
    pub fn ltr(&self, root: &str, args: &[&str]) -> Said {
        self.within_limit(PORCELAIN, root, args)
    }

    pub fn porcelain(&self, root: &str, args: &[&str]) -> Command {
        let mut command = self.command(Path::new(PORCELAIN), root);
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

    /// Each file that `here` has is one of those `there`, to the last byte.
    #[track_caller]
    pub fn is_whole(&self, what: &str) {
        let there = self.tree("there");
        for (name, bytes) in self.tree("here") {
            let same = there.iter().any(|(other, text)| *other == name && *text == bytes);
            assert!(same, "{what}: {} is not what it should be", String::from_utf8_lossy(&name));
        }
    }

    /// The same command completes what was begun, and leaves nothing behind.
    #[track_caller]
    pub fn completes(&self, what: &str) {
        let said = self.ltr("here", &["pull", "there"]);
        assert_eq!(said.code, Some(0), "{what}: {}", said.err);
        assert!(self.tree("here") == self.tree("there"), "{what}: {}", said.err);
        assert!(!self.at("here/.ltr-tmp").exists(), "{what}: something is staged");
        assert_eq!(self.ltr("here", &["status"]).well().out, "", "{what}");
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
    /// What a command had to say.
    pub fn of(output: &Output) -> Self {
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
