//! The rules of design section 10, each on real folders.

mod conflicts;
mod crashes;
mod dropping;
mod fetching;
mod moves;
mod races;
mod removing;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::hash::sha1_of;
use crate::record::Document;
use crate::report::Collected;
use crate::stamp::Stamp;

pub(super) const OLD: i64 = 1_295_303_519;

thread_local! {
    /// How many of the next reads of a source fail.
    pub(super) static FAULTS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

thread_local! {
    /// Whether modes are refused.
    pub(super) static NO_CHMOD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Stands for a disk that fails while it is read.
pub(super) fn fault(_offset: u64) -> Result<()> {
    let left = FAULTS.get();
    FAULTS.set(left.saturating_sub(1));
    anyhow::ensure!(left == 0, "Input/output error");
    Ok(())
}

/// Two boxes, `here` and `there`, side by side.
pub(super) struct World {
    dir: tempfile::TempDir,
    pub(super) gone_ok: bool,
    pub(super) total_files: u64,
    pub(super) reserve: u64,
    pub(super) trusted: bool,
    pub(super) awaited: bool,
}

/// What a run left behind.
pub(super) struct Ran {
    pub(super) lines: Vec<Value>,
    pub(super) exit: Result<Exit, String>,
    pub(super) report: Collected,
}

impl Ran {
    /// `path present|absent` of each entry, `VERB path` of each step done, in order.
    pub(super) fn told(&self) -> Vec<String> {
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        self.lines
            .iter()
            .filter(|line| !matches!(line["type"].as_str(), Some("verified" | "error")))
            .map(|line| match line["type"].as_str() {
                Some("entry") => {
                    format!("{} {}", text(line, "path"), if line["present"] == true { "present" } else { "absent" })
                }
                _ => format!("{} {}", text(line, "action"), text(line, "path")),
            })
            .collect()
    }

    pub(super) fn entry(&self, path: &str) -> &Value {
        self.lines.iter().rfind(|l| l["type"] == "entry" && l["path"] == path).unwrap()
    }

    /// Everything went well.
    pub(super) fn well(self) -> Self {
        assert_eq!(self.report.failures, []);
        assert_eq!(self.exit, Ok(Exit::Done), "{:?}", self.report);
        self
    }

    /// The only failure.
    pub(super) fn failure(&self) -> String {
        assert_eq!((&self.exit, self.report.failures.len()), (&Ok(Exit::Part), 1), "{:?}", self.report);
        format!("{}: {}", self.report.failures[0].0, self.report.failures[0].1)
    }
}

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["here", "there", "third"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join(".ltr"), format!("../index/{name}\n")).unwrap();
        }
        Self { dir, gone_ok: false, total_files: 100, reserve: 0, trusted: false, awaited: false }
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let at = self.at(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&at, text).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.at(path)).ok()
    }

    /// Every file of `here` but its cookie, the staging folder included.
    pub(super) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        list(&self.at("here"), &self.at("here"), &mut files);
        files.retain(|f| f != ".ltr");
        files.sort();
        files
    }

    pub(super) fn run(&self, actions: &[Value]) -> Ran {
        self.run_text(&stream(actions))
    }

    /// What a dry run says.
    pub(super) fn check(&self, actions: &[Value]) -> Result<Exit, String> {
        let root = BoxRoot::open(&self.at("here")).unwrap();
        let (input, spool) = (stream(actions), tempfile::tempfile().unwrap());
        let total_files = || Ok(self.total_files);
        let bounds = Bounds { gone_ok: self.gone_ok, total_files: &total_files, reserve: self.reserve };
        check(&root, input.as_bytes(), spool, &bounds, &mut Collected::default()).map_err(|e| format!("{e:#}"))
    }

    pub(super) fn run_text(&self, input: &str) -> Ran {
        let root = BoxRoot::open(&self.at("here")).unwrap();
        let (mut output, mut report) = (Vec::new(), Collected::default());
        let mut clock = Clock::new(7, Stamp::default());
        let mut me = Me { clock: &mut clock, actor: 0xaaaa_aaaa, commit: 16 };
        let ssh = Ssh::new("ssh", true).unwrap();
        let options = Options {
            bounds: Bounds { gone_ok: self.gone_ok, total_files: &|| Ok(self.total_files), reserve: self.reserve },
            my_host: None,
            uuid: None,
            places: None,
            ssh: &ssh,
            jobs: 2,
            limit: None,
            trusted: &|_, _| self.trusted,
            awaited: &|_| self.awaited,
            vouched: &|_, _| None,
        };
        let spool = tempfile::tempfile().unwrap();
        let exit = fetch(&root, input.as_bytes(), &mut output, spool, &mut me, &options, &mut report);
        let mut lines: Vec<Value> = output.split(|&b| b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
        if exit.is_ok() {
            assert_eq!(lines.pop().unwrap()["type"], "end");
        }
        for line in lines.iter().filter(|l| l["type"] == "entry") {
            Document::from_json(&line.to_string()).unwrap();
        }
        Ran { lines, exit: exit.map_err(|e| format!("{e:#}")), report }
    }

    /// Lends a run in `here` whose plan is empty, to look between its steps.
    pub(super) fn with_run<T>(&self, work: impl FnOnce(&mut Run<'_>) -> T) -> T {
        self.with_run_of("here", work)
    }

    /// The same in another box.
    pub(super) fn with_run_of<T>(&self, name: &str, work: impl FnOnce(&mut Run<'_>) -> T) -> T {
        let root = BoxRoot::open(&self.at(name)).unwrap();
        let ssh = Ssh::new("ssh", true).unwrap();
        let options = options(&ssh);
        let mut report = Collected::default();
        let mut run = Run {
            root: &root,
            staging: Staging::open(&root).unwrap(),
            actor: 0xaaaa_aaaa,
            commit: 16,
            report: &mut report,
            sources: &Sources::new(name, &options),
            needs: HashMap::new(),
            needed: HashSet::new(),
            served: HashSet::new(),
            vacated: HashSet::new(),
            have_at: HashMap::new(),
            own_folder: None,
            made: None,
            vouched: &|_, _| None,
            set_aside: Vec::new(),
            displaced: HashMap::new(),
            came_from: HashMap::new(),
            failed_at: HashSet::new(),
            came: HashMap::new(),
            verified: Vec::new(),
            failed: Vec::new(),
            failures: 0,
            bytes_done: 0,
            bytes_total: 0,
            files_done: 0,
            files_total: 0,
            begun: Instant::now(),
            transfers: BTreeMap::new(),
        };
        work(&mut run)
    }

    /// An action on a file with the content `text`, which `there` holds at the same path.
    pub(super) fn action(&self, verb: &str, path: &str, text: &str, more: Value) -> Value {
        let mut action = json!({
            "type":"action","action":verb,"box":"here","path":path,"ftype":"file","size":text.len(),
            "mtime":OLD,"mtime_nsec":5,"mode":"0640","sha1":sha1_of(text.as_bytes()),"mime":"text/plain",
            "version":{"1f2e3d4c":3},
            "from":[{"box":"there","url":self.at("there").to_str().unwrap(),"path":path}],
        });
        let Value::Object(more) = more else { panic!("an object") };
        action.as_object_mut().unwrap().extend(more);
        action
    }

    /// The `have` of a file with this content.
    pub(super) fn have(text: &str) -> Value {
        json!({"ftype":"file","size":text.len(),"sha1":sha1_of(text.as_bytes()),"mode":"0644"})
    }
}

/// The lines of a plan.
fn stream(actions: &[Value]) -> String {
    let end = json!({"type":"end","count":actions.len(),"errors":0});
    actions.iter().chain([&end]).map(|record| format!("{record}\n")).collect()
}

/// What nobody has decided otherwise.
pub(super) fn options(ssh: &Ssh) -> Options<'_> {
    Options {
        bounds: Bounds { gone_ok: false, total_files: &|| Ok(0), reserve: 0 },
        my_host: None,
        uuid: None,
        places: None,
        ssh,
        jobs: 2,
        limit: None,
        trusted: &|_, _| false,
        awaited: &|_| false,
        vouched: &|_, _| None,
    }
}

fn list(root: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            list(root, &path, files);
        } else {
            files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// The hash of `text` as it is spelled.
pub(super) fn hex(text: &str) -> String {
    sha1_of(text.as_bytes()).to_string()
}
