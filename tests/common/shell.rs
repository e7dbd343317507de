//! The porcelain as a person runs it: in a home of its own, with the binaries that were just built.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(missing_docs, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use litter::hash::sha1_of;
use litter::path::{escape, unescape};

/// Arguments of timeout(1): a command that stands still fails its test, which says so, and not all tests after hours.
const LIMIT: [&str; 2] = ["--kill-after=10", "600"];

/// A folder for everything, and the environment of one person.
pub struct Shell {
    /// Gone with the shell.
    _dir: tempfile::TempDir,
    pub dir: PathBuf,
    pub home: PathBuf,
    /// Runs commands as this user; `None`: as the one that tests.
    pub uid: Option<u32>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub shown: String,
    pub status: i32,
    pub out: String,
    pub err: String,
    pub raw: Vec<u8>,
}

impl Ran {
    /// What it printed, when all went well.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert!(self.status == 0 && self.err.is_empty(), "{}: {}\n{}{}", self.shown, self.status, self.out, self.err);
        &self.out
    }

    /// It failed with this status, and named the thing, without a control byte.
    #[track_caller]
    pub fn fails(&self, status: i32, naming: &str) -> &Self {
        assert!(
            self.status == status && self.err.contains(naming),
            "{}: {} in place of {status} naming {naming:?}\n{}{}",
            self.shown,
            self.status,
            self.out,
            self.err
        );
        assert!(!self.err.contains("panicked"), "{}: {}", self.shown, self.err);
        assert!(!self.err.chars().any(|c| c.is_control() && c != '\n'), "{}: {:?}", self.shown, self.err);
        self
    }

    pub fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }

    pub fn sorted(&self) -> Vec<&str> {
        let mut lines = self.lines();
        lines.sort_unstable();
        lines
    }

    pub fn json(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Default for Shell {
    fn default() -> Self {
        Self::new()
    }
}

impl Shell {
    pub fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().canonicalize().unwrap();
        let home = dir.join("home");
        fs::create_dir_all(dir.join("tmp")).unwrap();
        fs::create_dir(&home).unwrap();
        Self { _dir: temp, dir, home, uid: None }
    }

    /// Lets other users into the folder.
    pub fn open_to_all(&self) {
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(self.at("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    }

    /// Two complete boxes, `a` and `b`, on one index `space`.
    pub fn with_boxes() -> Self {
        let shell = Self::new();
        shell.ltr(".", ["init", "space"]).ok();
        for name in ["a", "b"] {
            fs::create_dir(shell.at(name)).unwrap();
            shell.ltr(".", ["create", "space", name, name]).ok();
        }
        shell
    }

    /// The same with files that both have.
    pub fn with_files() -> Self {
        let shell = Self::with_boxes();
        shell.write("a/sub/one", "one").write("a/sub/deep/two", "two").write("a/three", "three");
        shell.ltr("a", ["commit"]).ok();
        shell.ltr("b", ["pull"]).ok();
        shell
    }

    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    pub fn write(&self, name: impl AsRef<Path>, text: &str) -> &Self {
        let file = self.at(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self
    }

    pub fn read(&self, name: impl AsRef<Path>) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    pub fn exists(&self, name: impl AsRef<Path>) -> bool {
        self.at(name).symlink_metadata().is_ok()
    }

    pub fn command(&self, cwd: impl AsRef<Path>, program: impl AsRef<OsStr>) -> Command {
        let binaries = Path::new(env!("CARGO_BIN_EXE_ltr-scan")).parent().unwrap();
        let porcelain = Path::new(env!("CARGO_MANIFEST_DIR")).join("porcelain");
        let path = format!("{}:{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", porcelain.display(), binaries.display());
        let program = program.as_ref();
        // execvp(3) looks in the PATH of this process
        let found = [&porcelain, binaries].into_iter().map(|p| p.join(program)).find(|p| p.exists());
        let mut command = Command::new(found.as_deref().map_or(program, Path::as_os_str));
        command.env_clear().env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC").env("USER", "me");
        // a machine under load answers when it can
        command.env("LTR_WAIT", "20");
        command.env("HOME", &self.home).env("TMPDIR", self.at("tmp")).current_dir(self.at(cwd));
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    #[track_caller]
    pub fn run<A: AsRef<OsStr>>(
        &self,
        cwd: impl AsRef<Path>,
        program: &str,
        args: impl IntoIterator<Item = A>,
        input: impl AsRef<[u8]>,
    ) -> Ran {
        let mut command = self.command(cwd, "timeout");
        command.args(LIMIT).arg(program).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let arguments = command.get_args().skip(LIMIT.len()).map(OsStr::to_string_lossy);
        let shown = arguments.collect::<Vec<_>>().join(" ");
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.as_ref().to_vec();
        // a command that stops early does not read to the end
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let left: Vec<_> = fs::read_dir(self.at("tmp")).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(left.is_empty(), "{shown} left {left:?}");
        Ran {
            shown,
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            raw: output.stdout,
        }
    }

    #[track_caller]
    pub fn ltr<A: AsRef<OsStr>>(&self, cwd: impl AsRef<Path>, args: impl IntoIterator<Item = A>) -> Ran {
        self.run(cwd, "ltr", args, "")
    }

    #[track_caller]
    pub fn sh(&self, cwd: impl AsRef<Path>, script: &str) -> Ran {
        self.run(cwd, "sh", ["-c", script], "")
    }

    /// Everything below a folder: kind, mode, mtime, inode and content. SQLite's own files beside an
    /// index come and go with each reader, and so does what is in TMPDIR.
    pub fn snapshot(&self, name: impl AsRef<Path>) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        look(&self.at(name), "", &mut |name, text| {
            if !name.ends_with("-wal") && !name.ends_with("-shm") && name != "tmp" {
                found.insert(name, text);
            }
        });
        found
    }

    /// The files of a box as another box should have them: mode, mtime and content.
    pub fn files(&self, name: impl AsRef<Path>) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let root = self.at(name);
        look(&root, "", &mut |name, _| {
            if [".ltr", ".ltr-tmp", ".ltr-index"].contains(&name.split('/').next().unwrap()) {
                return;
            }
            let file = root.join(OsStr::from_bytes(&unescape(&name).unwrap()));
            let meta = file.symlink_metadata().unwrap();
            let text = match meta.file_type() {
                kind if kind.is_symlink() => format!("-> {}", fs::read_link(&file).unwrap().display()),
                kind if kind.is_dir() => format!("dir {:o}", meta.mode()),
                _ => {
                    format!("{:o} {}.{:09} {}", meta.mode(), meta.mtime(), meta.mtime_nsec(), sha1_of(&fs::read(&file).unwrap()))
                }
            };
            found.insert(name, text);
        });
        found
    }
}

fn look(folder: &Path, prefix: &str, sink: &mut dyn FnMut(String, String)) {
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = format!("{prefix}{}", escape(file.file_name().unwrap().as_bytes()));
        let meta = file.symlink_metadata().unwrap();
        let content = if meta.is_symlink() {
            fs::read_link(&file).unwrap().display().to_string()
        } else if meta.is_file() {
            fs::read(&file).map_or_else(|e| e.to_string(), |b| sha1_of(&b).to_string())
        } else {
            String::new()
        };
        let (time, mode) = ((meta.mtime(), meta.mtime_nsec()), meta.permissions().mode());
        sink(name.clone(), format!("{mode:o} {time:?} {} {content}", meta.ino()));
        if meta.is_dir() {
            look(&file, &format!("{name}/"), sink);
        }
    }
}
