//! The real layer: boxes are folders, and whatever is done with ltr is done by the commands that people
//! type. Machines are folders too: the index that a cookie names lies behind a symlink of each box, which
//! leads to the machine that the box is plugged into.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use litter::create::{Create, create};
use litter::index::sqlite::{Access, Sqlite};
use litter::record::{Entry, Policy, Want};
use litter::report::Collected;
use litter::sync::Options;
use serde_json::Value;

use crate::peer;
use crate::rng::Rng;
use crate::shell::{Ran, Shell};
use crate::system::{Change, Documents, Node, Part, System, Told, Tree, path};
use crate::tally;

/// What is ltr's own in a box.
const OWN: [&str; 3] = [".ltr", ".ltr-tmp", ".ltr-index"];

/// The programs that matter to a command, and calls at which they are killed.
const COMMIT_CALLS: [(&str, &str); 5] = [
    ("ltr-record", "getdents64"),
    ("ltr-record", "openat"),
    ("ltr-record", "write"),
    ("ltr-record", "pwrite64"),
    ("ltr-record", "fdatasync"),
];
const PULL_CALLS: [(&str, &str); 10] = [
    ("ltr-index-sync", "pwrite64"),
    ("ltr-plan", "write"),
    ("ltr-fetch", "openat2"),
    ("ltr-fetch", "write"),
    ("ltr-fetch", "syncfs"),
    ("ltr-fetch", "renameat2"),
    ("ltr-fetch", "unlinkat"),
    ("ltr-fetch", "mkdirat"),
    ("ltr-fetch", "utimensat"),
    ("ltr-fetch", "exit_group"),
];
const SYNC_CALLS: [(&str, &str); 3] =
    [("ltr-index-sync", "pwrite64"), ("ltr-index-sync", "fdatasync"), ("ltr-index-sync", "write")];

pub struct Real {
    shell: Shell,
    names: Vec<String>,
    away: Vec<bool>,
    carried: Vec<bool>,
    hosts: usize,
    /// The time on people's files.
    now: u64,
    wrong: Vec<i64>,
}

impl Real {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let count = 2 + rng.below(2);
        let hosts = 1 + rng.below(count);
        let shell = Shell::new();
        for host in 0..hosts {
            fs::create_dir(shell.at(format!("host{host}"))).unwrap();
            Sqlite::create(&shell.at(format!("host{host}/space"))).unwrap();
        }
        let names: Vec<String> = (0..count).map(|b| format!("box{b}")).collect();
        let carried: Vec<bool> = (0..count).map(|_| rng.one_in(4)).collect();
        let wrong = (0..count).map(|_| i64::try_from(rng.below(13)).unwrap() * 3600 - 6 * 3600).collect();
        let away = vec![false; count];
        let mut real = Self { shell, names, away, carried, hosts, now: 1_700_000_000, wrong };
        for b in 0..count {
            let policy = ["complete", "complete", "complete", "ondemand", "skeleton"][rng.below(5)];
            real.make_box(b, policy.parse().unwrap());
            // who comes later has heard of the space
            real.meet();
        }
        real
    }

    fn make_box(&mut self, b: usize, policy: Policy) {
        let at = self.shell.at(format!("at{b}"));
        symlink(self.shell.at(format!("host{}", b % self.hosts)), &at).unwrap();
        fs::create_dir(self.root(b)).unwrap();
        let wish = Create {
            space: at.join("space").display().to_string(),
            box_name: self.names[b].clone(),
            dir: self.root(b),
            mkdir: false,
            dry_run: false,
            policy: Some(policy),
            carry: self.carried[b],
            reattach: false,
            resume: false,
            urls: vec![self.root(b).display().to_string()],
            host: None,
        };
        create(&self.shell.dir, &wish, &Options::below(&self.shell.home).unwrap(), Vec::new(), &mut Collected::default())
            .unwrap();
    }

    fn root(&self, b: usize) -> PathBuf {
        self.shell.at(&self.names[b])
    }

    /// Where the folder is now.
    fn folder(&self, b: usize) -> PathBuf {
        if self.away[b] { self.shell.at(format!("{}.away", self.names[b])) } else { self.root(b) }
    }

    fn index(&self, b: usize) -> PathBuf {
        if self.carried[b] { self.folder(b).join(".ltr-index/space") } else { self.shell.at(format!("at{b}/space")) }
    }

    fn indexes(&self) -> Vec<PathBuf> {
        let hosts = (0..self.hosts).map(|host| self.shell.at(format!("host{host}/space")));
        let carried = (0..self.names.len()).filter(|b| self.carried[*b] && !self.away[*b]).map(|b| self.index(b));
        hosts.chain(carried.filter(|index| index.exists())).collect()
    }

    fn ltr(&self, b: usize, args: &[&str]) -> Ran {
        self.shell.ltr(&self.names[b], args)
    }

    fn told(&self, ran: &Ran) -> Told {
        let mut told = Told::default();
        let said: Vec<String> = ran.err.lines().map(str::to_owned).collect();
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        match ran.status {
            0 => told.letters.extend(said.into_iter().map(|s| ("!".to_owned(), s))),
            1 => told.failures = said,
            _ => told.refused = Some(said.join("; ")),
        }
        told
    }

    /// Runs a command of which one program is another script, which can run the real one as `$real`.
    fn run_with(&self, b: usize, args: &[&str], program: &str, script: &str) -> Ran {
        let folder = self.shell.at("shims");
        fs::create_dir(&folder).unwrap();
        let real = Path::new(env!("CARGO_BIN_EXE_ltr-scan")).with_file_name(program);
        let file = folder.join(program);
        fs::write(&file, format!("#!/bin/sh\nreal='{}'\nmet='{}'\n{script}\n", real.display(), self.shell.at("met").display()))
            .unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = self.shell.command(&self.names[b], "ltr");
        let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path).unwrap();
        let path = format!("{}:{}", folder.display(), path.to_str().unwrap());
        let output = command.args(args).env("PATH", path).stdin(Stdio::null()).output().unwrap();
        fs::remove_dir_all(folder).unwrap();
        for left in fs::read_dir(self.shell.at("tmp")).unwrap() {
            let left = left.unwrap().path();
            if left.is_dir() { fs::remove_dir_all(left) } else { fs::remove_file(left) }.unwrap();
        }
        Ran {
            shown: format!("{args:?} with another {program}"),
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            raw: output.stdout,
        }
    }

    /// Whether the script of [`Self::run_with`] said that it came to that.
    fn was_met(&self) -> bool {
        fs::remove_file(self.shell.at("met")).is_ok()
    }

    /// Runs a command of which a program is killed at one of its system calls, by count: whenever it is
    /// replayed it ends at the same one.
    fn killed(&self, b: usize, args: &[&str], cut: u32, points: &[(&str, &str)]) {
        let (program, call) = points[cut as usize % points.len()];
        let number = 1 + (cut >> 8) % 6;
        let script = format!(
            "test ! -e \"$met\" || exec \"$real\" \"$@\"\n\
             strace -q -o /dev/null -e trace={call} -e signal=none -e inject={call}:signal=KILL:when={number} \"$real\" \"$@\"\n\
             status=$?\ntest $status != 137 || : >\"$met\"\nexit $status"
        );
        let ran = self.run_with(b, args, program, &script);
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        let met = if self.was_met() { "killed at" } else { "never came to" };
        tally::count(&format!("{} {met} {program} {call}", args[0]));
    }

    /// `-n` says what the same command then does, and changes nothing.
    fn dry(&self, b: usize, args: &[&str]) -> Vec<String> {
        // an index is compared by its documents: the first reader after a kill lets SQLite write what its log has
        let look = || {
            let mut all = self.shell.snapshot(".");
            all.retain(|name, _| !name.ends_with(".ltr-index") && !name.ends_with("/space") && !is_host(name));
            let indexes = self.indexes().into_iter().map(|i| Sqlite::open(&i, Access::Read).unwrap());
            let documents = indexes.flat_map(|i| peer::documents(&i));
            all.extend(documents.map(|d| d.canonical()).enumerate().map(|(at, text)| (format!("document {at}"), text)));
            all
        };
        let before = look();
        let mut dry = vec!["-n"];
        dry.extend(args);
        let ran = self.ltr(b, &dry);
        let after = look();
        let changed: Vec<_> = after.iter().filter(|(name, text)| before.get(*name) != Some(*text)).collect();
        assert!(changed.is_empty() && before.len() == after.len(), "-n changed {changed:?}");
        steps(&ran, "action")
    }

    fn copy(&self, from: &Path, to: &Path) {
        let copied = std::process::Command::new("cp").arg("-a").arg("--").args([from, to]).status().unwrap();
        assert!(copied.success());
    }

    fn index_files(&self, index: &Path) -> Vec<PathBuf> {
        let beside = ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", index.display())));
        beside.into_iter().filter(|f| f.exists()).collect()
    }

    fn move_index_in(&self, b: usize, from: &Path, over: bool) {
        let to = self.index(b);
        if over {
            self.index_files(&to).iter().skip(1).for_each(|f| fs::remove_file(f).unwrap());
            fs::copy(from, to).unwrap();
            return;
        }
        self.index_files(&to).iter().for_each(|f| fs::remove_file(f).unwrap());
        // a copy under another name first: as a file that comes from a backup it is a new one
        let staged = self.shell.at("restored");
        fs::copy(from, &staged).unwrap();
        fs::rename(staged, to).unwrap();
    }

    fn backup(&self, b: usize) -> PathBuf {
        self.shell.at(format!("backup{b}"))
    }

    /// The files of a folder, by their names in it.
    fn tree_of(&self, root: &Path) -> Tree {
        let mut tree = Tree::new();
        below(root, "", &mut tree);
        tree
    }
}

fn below(folder: &Path, prefix: &str, tree: &mut Tree) {
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = format!("{prefix}{}", file.file_name().unwrap().to_str().unwrap());
        if OWN.contains(&name.as_str()) {
            continue;
        }
        let meta = file.symlink_metadata().unwrap();
        let node = if meta.is_symlink() {
            Node::Link(fs::read_link(&file).unwrap().to_str().unwrap().to_owned())
        } else if meta.is_dir() {
            below(&file, &format!("{name}/"), tree);
            Node::Dir
        } else {
            let content = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            Node::File { content, mtime: meta.mtime(), mode: meta.mode() & 0o7777 }
        };
        tree.insert(name, node);
    }
}

/// SQLite's own files come and go in the folder of an index that is read.
fn is_host(name: &str) -> bool {
    name.starts_with("host") && !name.contains('/')
}

/// `verb path` for each record of a type that `--json` shows.
fn steps(ran: &Ran, kind: &str) -> Vec<String> {
    let records = ran.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut steps: Vec<String> = records
        .filter(|r| r["type"] == kind)
        .map(|r| {
            let text = |field: &str| r[field].as_str().unwrap_or_default().to_owned();
            match r["source"].as_str() {
                Some(source) => format!("{} {source} {}", text("action"), text("path")),
                None => format!("{} {}", text("action"), text("path")),
            }
        })
        .collect();
    steps.sort();
    steps
}

fn letters(ran: &Ran) -> Vec<(String, String)> {
    let line = |line: &str| line.split_once("  ").map(|(letter, path)| (letter.to_owned(), path.to_owned()));
    ran.out.lines().filter_map(line).collect()
}

impl System for Real {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn is_here(&self, b: usize) -> bool {
        !self.away[b]
    }

    fn tree(&self, b: usize) -> Tree {
        self.tree_of(&self.folder(b))
    }

    fn elsewhere(&self) -> Vec<Tree> {
        let copies = self.names.iter().map(|name| self.shell.at(format!("{name}.copy")));
        copies.filter(|copy| copy.exists()).map(|copy| self.tree_of(&copy)).collect()
    }

    fn staged(&self) -> Vec<String> {
        let mut found = Vec::new();
        for b in 0..self.names.len() {
            let mut tree = Tree::new();
            let staging = self.folder(b).join(".ltr-tmp");
            if staging.exists() {
                below(&staging, "staged/", &mut tree);
            }
            found.extend(tree.into_values().filter_map(|node| node.content()));
        }
        found
    }

    fn documents(&self, b: usize) -> Documents {
        peer::documents(&Sqlite::open(&self.index(b), Access::Read).unwrap()).into_iter().map(Rc::new).collect()
    }

    fn last_recorded(&self, b: usize, name: &str) -> Option<Entry> {
        let entry = |index: PathBuf| Sqlite::open(&index, Access::Read).unwrap().entry(&self.names[b], &path(name)).unwrap();
        self.indexes().into_iter().filter_map(entry).max_by_key(|e| e.stamp)
    }

    fn index_of(&self, b: usize) -> usize {
        let ids: Vec<PathBuf> = self.indexes().iter().filter_map(|i| i.canonicalize().ok()).collect();
        let own = self.index(b).canonicalize().unwrap();
        ids.iter().position(|i| *i == own).unwrap_or(usize::MAX)
    }

    fn change(&mut self, b: usize, change: &Change) {
        let at = |name: &str| {
            let path = self.root(b).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        let touch = |path: &Path, mtime: i64| {
            let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(mtime).unwrap());
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        match change {
            Change::Write { name, content, mtime } => {
                let path = at(name);
                let mut file = fs::File::create(&path).unwrap();
                file.write_all(content.as_bytes()).unwrap();
                drop(file);
                // some files are as young as their commit
                let now = self.now.saturating_add_signed(self.wrong[b]);
                match mtime {
                    Some(mtime) => touch(&path, *mtime),
                    None if !now.is_multiple_of(4) => touch(&path, i64::try_from(now).unwrap()),
                    None => {}
                }
            }
            Change::Remove(name) => {
                let path = at(name);
                let folder = path.is_dir() && !path.is_symlink();
                if folder { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
            }
            Change::Rename(from, to) => fs::rename(at(from), at(to)).unwrap(),
            Change::Mkdir(name) => fs::create_dir(at(name)).unwrap(),
            Change::Link(name, target) => symlink(target, at(name)).unwrap(),
            Change::Touch(name, mtime) => touch(&at(name), *mtime),
            Change::Chmod(name, mode) => fs::set_permissions(at(name), fs::Permissions::from_mode(*mode)).unwrap(),
        }
    }

    fn status(&mut self, b: usize) -> Told {
        let ran = self.ltr(b, &["status"]);
        Told { letters: letters(&ran), ..self.told(&ran) }
    }

    fn commit(&mut self, b: usize, path: Option<&str>, cut: Option<u32>) -> Told {
        let mut args = vec!["commit", "--gone-ok"];
        args.extend(path);
        if let Some(cut) = cut {
            self.killed(b, &args, cut, &COMMIT_CALLS);
            return Told::default();
        }
        let ran = self.ltr(b, &args);
        let told = self.told(&ran);
        Told { letters: letters(&ran), ..told }
    }

    fn pull(&mut self, b: usize, from: Option<usize>, cut: Option<u32>) -> Told {
        let mut args = vec!["pull", "--gone-ok", "--json"];
        if cut.is_some() {
            args.extend(["-j", "1"]);
        }
        args.extend(from.map(|from| self.names[from].as_str()));
        if let Some(cut) = cut {
            self.killed(b, &args, cut, &PULL_CALLS);
            return Told::default();
        }
        let planned = self.now.is_multiple_of(3).then(|| self.dry(b, &args));
        let ran = self.ltr(b, &args);
        let told = Told { steps: steps(&ran, "done"), ..self.told(&ran) };
        if let Some(planned) = planned.filter(|_| told.failures.is_empty() && told.letters.is_empty() && told.refused.is_none()) {
            assert_eq!(planned, told.steps, "what -n printed is what was done");
        }
        told
    }

    /// The file is written in place, after the sources were synced, after the plan was made, or after what it
    /// says was done.
    fn pull_shifting(&mut self, b: usize, other: usize, change: &Change, after: u32) -> Told {
        let Change::Write { name, content, .. } = change else { return Told::default() };
        let staged = self.shell.at("shifted");
        fs::write(&staged, content).unwrap();
        let now = self.now.saturating_add_signed(self.wrong[other]);
        if !now.is_multiple_of(4) {
            let time = UNIX_EPOCH + Duration::from_secs(now);
            fs::File::options().write(true).open(&staged).unwrap().set_modified(time).unwrap();
        }
        let target = self.root(other).join(name);
        let write = format!("cat '{0}' >'{1}'\ntouch -r '{0}' '{1}'", staged.display(), target.display());
        let change = format!("test -e \"$met\" || {{\n: >\"$met\"\n{write}\n}}");
        let args = ["pull", "--gone-ok", "--json"];
        let (program, script) = match after % 3 {
            0 => ("ltr-plan", format!("{change}\nexec \"$real\" \"$@\"")),
            1 => ("ltr-fetch", format!("{change}\nexec \"$real\" \"$@\"")),
            _ => ("ltr-fetch", format!("\"$real\" \"$@\"\nstatus=$?\n{change}\nexit $status")),
        };
        let ran = self.run_with(b, &args, program, &script);
        if !self.was_met() {
            let written = self.shell.sh(".", &write);
            assert_eq!(written.status, 0, "{written:?}");
        }
        fs::remove_file(staged).unwrap();
        Told { steps: steps(&ran, "done"), ..self.told(&ran) }
    }

    fn sync(&mut self, a: usize, b: usize, cut: Option<u32>) -> Told {
        let other = self.folder(b).display().to_string();
        if let Some(cut) = cut {
            self.killed(a, &["sync", &other], cut, &SYNC_CALLS);
            return Told::default();
        }
        self.told(&self.ltr(a, &["sync", &other]))
    }

    fn tell(&mut self, a: usize, b: usize) -> Told {
        if self.away[b] {
            return Told::default();
        }
        let (from, to) = (self.index(a).display().to_string(), self.index(b).display().to_string());
        self.told(&self.ltr(a, &["sync", "-d", &from, "-D", &to]))
    }

    /// Only that of its files: the time of the machine is everybody's.
    fn set_clock(&mut self, b: usize, hours: i64) {
        self.wrong[b] = hours * 3600;
    }

    fn mark(&mut self, by: usize, b: usize, path: &str, want: Want) -> Told {
        let want = match want {
            Want::Want => "--want",
            Want::Skip => "--skip",
            Want::Cleared => "--clear",
        };
        self.told(&self.ltr(by, &["mark", "-b", &self.names[b], want, "--", path]))
    }

    fn purge(&mut self, b: usize, path: &str) -> Told {
        self.told(&self.ltr(b, &["rm", "-r", "--", path]))
    }

    fn set_policy(&mut self, by: usize, b: usize, policy: Policy) -> Told {
        let key = format!("{}.policy", self.names[b]);
        self.told(&self.ltr(by, &["set", &key, &policy.to_string()]))
    }

    fn go_away(&mut self, b: usize) {
        fs::rename(self.root(b), self.shell.at(format!("{}.away", self.names[b]))).unwrap();
        self.away[b] = true;
    }

    fn come_back(&mut self, b: usize) {
        if self.away[b] {
            fs::rename(self.folder(b), self.root(b)).unwrap();
            self.away[b] = false;
        }
    }

    fn back_up(&mut self, b: usize) {
        let to = self.backup(b);
        if to.exists() {
            fs::remove_dir_all(&to).unwrap();
        }
        fs::create_dir(&to).unwrap();
        self.copy(&self.root(b), &to.join("files"));
        Sqlite::open(&self.index(b), Access::Read).unwrap().copy_to(&to.join("index")).unwrap();
    }

    fn restore(&mut self, b: usize, part: Part) -> bool {
        let from = self.backup(b);
        if !from.exists() {
            return false;
        }
        let over = matches!(part, Part::InPlace | Part::BothInPlace);
        if matches!(part, Part::Files | Part::Both | Part::BothInPlace) {
            let comes = |path: &Path| {
                let own = OWN.iter().any(|own| path.ends_with(own));
                !own || (part == Part::Both && path.file_name().is_some_and(|name| name == ".ltr"))
            };
            // the files that go are there until all have come, so that none gets the inode of another
            let staged = self.shell.at("restoring");
            self.copy(&from.join("files"), &staged);
            let gone = self.shell.at("gone");
            fs::create_dir(&gone).unwrap();
            for (folder, to) in [(self.root(b), gone.clone()), (staged.clone(), self.root(b))] {
                for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| comes(path)) {
                    fs::rename(&path, to.join(path.file_name().unwrap())).unwrap();
                }
            }
            [staged, gone].iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
        }
        if part != Part::Files {
            self.move_index_in(b, &from.join("index"), over);
        }
        true
    }

    fn copy_folder(&mut self, b: usize) {
        let (root, copy) = (self.root(b), self.shell.at(format!("{}.copy", self.names[b])));
        if copy.exists() {
            let aside = self.shell.at("aside");
            fs::rename(&root, &aside).unwrap();
            fs::rename(&copy, &root).unwrap();
            fs::rename(&aside, &copy).unwrap();
        } else {
            self.copy(&root, &copy);
        }
    }

    fn other_replica(&mut self, b: usize, pick: u32) -> bool {
        let host = self.shell.at(format!("host{}", pick as usize % self.hosts));
        let at = self.shell.at(format!("at{b}"));
        let known = Sqlite::open(&host.join("space"), Access::Read).unwrap().box_fields(&self.names[b]).unwrap().is_some();
        if self.carried[b] || !known || fs::read_link(&at).unwrap() == host {
            return false;
        }
        fs::remove_file(&at).unwrap();
        symlink(host, &at).unwrap();
        self.reattach(b);
        true
    }

    fn rebuild(&mut self, b: usize, pick: u32) -> bool {
        let all = self.indexes();
        let from = &all[pick as usize % all.len()];
        let index = self.index(b);
        if from.canonicalize().unwrap() == index.canonicalize().unwrap() {
            return false;
        }
        let sharing: Vec<usize> = (0..self.names.len()).filter(|c| self.index_of(*c) == self.index_of(b)).collect();
        let there = Sqlite::open(from, Access::Read).unwrap();
        if sharing.iter().any(|c| self.away[*c] || there.box_fields(&self.names[*c]).unwrap().is_none()) {
            return false;
        }
        self.index_files(&index).iter().for_each(|f| fs::remove_file(f).unwrap());
        let name = index.display().to_string();
        self.shell.ltr(".", ["init", &name]).ok();
        self.shell.ltr(".", ["sync", "-d", &from.display().to_string(), "-D", &name]).ok();
        sharing.iter().for_each(|c| self.reattach(*c));
        true
    }

    fn meet(&mut self) {
        for b in 0..self.names.len() {
            if self.index(b).exists()
                && self.root(b).join(".ltr").exists()
                && !Sqlite::open(&self.index(b), Access::Read).unwrap().is_own(&self.names[b]).unwrap()
            {
                self.reattach(b);
            }
        }
        let all = self.indexes();
        for _ in 0..2 {
            for other in &all[1..] {
                let pair = [all[0].display().to_string(), other.display().to_string()];
                let ran = self.shell.run(".", "ltr-index-sync", pair, "");
                assert_eq!(ran.status, 0, "{ran:?}");
            }
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
    }

    fn tells_forgeries(&self, _: usize) -> bool {
        true
    }

    fn folds_case(&self, _: usize) -> bool {
        false
    }

    fn check_end(&mut self) -> Result<(), String> {
        let left: Vec<String> = self.staged();
        if left.is_empty() { Ok(()) } else { Err(format!("left in a staging folder: {left:?}")) }
    }
}

impl Real {
    /// Takes a box up again where its index is new: what the message of a refused commit says.
    fn reattach(&self, b: usize) {
        let space = match self.carried[b] {
            true => self.index(b),
            false => self.shell.at(format!("at{b}/space")),
        };
        let ran = self.shell.ltr(".", ["create", "--reattach", &space.display().to_string(), &self.names[b], &self.names[b]]);
        assert!(ran.status == 0, "{ran:?}");
    }
}
