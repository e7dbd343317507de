//! Boxes on real folders, driven through the library: what the porcelain composes, in one process.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "only tests use it")]
#![allow(missing_docs, reason = "helpers of tests")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use litter::boxfs::BoxRoot;
use litter::commit::{Author, Commit, Place, commit, record, settle};
use litter::compare::{Compare, Entries, compare_stream, compare_walk};
use litter::couch::places::Places;
use litter::create::{Create, create};
use litter::fetch::{Bounds, Me, Options, fetch};
use litter::fsinfo::FsTraits;
use litter::hash::hash_stream;
use litter::index::sqlite::{Access, Sqlite};
use litter::index::{Index, Origin, Select};
use litter::ltrbox;
use litter::path::SpacePath;
use litter::plan::{Request, plan};
use litter::query::{Purge, Scene, purge};
use litter::reach::Reaching;
use litter::record::{Action, Document, FileRecord, Policy, Want};
use litter::report::Collected;
use litter::scan::scan;
use litter::ssh::Ssh;
use litter::stream::{Line, Reader};
use serde_json::Value;

/// A folder for everything.
pub struct World {
    pub dir: tempfile::TempDir,
}

/// One box, with the index that it uses.
#[derive(Clone)]
pub struct TestBox {
    pub name: String,
    pub root: PathBuf,
    pub index: PathBuf,
    /// What was reported since the last look.
    pub said: Rc<RefCell<Collected>>,
}

/// What is on disk at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File { bytes: Vec<u8>, mode: u32, mtime: (i64, i64) },
    Dir { mode: u32 },
    Link(PathBuf),
}

pub fn path(text: &str) -> SpacePath {
    SpacePath::from_spelled(text).unwrap()
}

/// The records of a stream, and whether it was whole.
pub fn records(stream: &[u8]) -> Vec<Value> {
    let mut reader = Reader::new(stream);
    let mut all = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        match line {
            Line::Record { json, .. } => all.push(serde_json::from_str(json).unwrap()),
            Line::Error(error) => all.push(serde_json::json!({"type": "error", "path": error.path, "error": error.error})),
        }
    }
    all
}

/// Every document of an index but for what is drawn by chance or is of the very moment.
fn everything(index: &Sqlite) -> Vec<Value> {
    let mut all = Vec::new();
    let visit = &mut |document: Document| {
        let mut value = serde_json::to_value(&document).unwrap();
        value.as_object_mut().unwrap().remove("stamp");
        if let Some(version) = value["version"].as_object() {
            let mut counts: Vec<u64> = version.values().map(|count| count.as_u64().unwrap()).collect();
            counts.sort_unstable();
            value["version"] = counts.into();
        }
        all.push(value);
        Ok(())
    };
    index.range(&Select::default(), visit).unwrap();
    all
}

impl World {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// An index of its own for the space.
    pub fn index(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}.index"));
        Sqlite::create(&path).unwrap();
        path
    }

    /// A new box in a folder of its name.
    pub fn new_box(&self, index: &Path, name: &str, policy: &str) -> TestBox {
        let root = self.dir.path().join(name);
        fs::create_dir(&root).unwrap();
        let wish = Create {
            space: index.to_str().unwrap().to_owned(),
            box_name: name.to_owned(),
            dir: root.clone(),
            mkdir: false,
            dry_run: false,
            policy: Some(policy.parse::<Policy>().unwrap()),
            carry: false,
            reattach: false,
            resume: false,
            urls: vec![root.to_str().unwrap().to_owned()],
            host: None,
        };
        create(
            self.dir.path(),
            &wish,
            &litter::sync::Options::below(self.dir.path()).unwrap(),
            Vec::new(),
            &mut Collected::default(),
        )
        .unwrap();
        TestBox { name: name.to_owned(), root, index: index.to_path_buf(), said: Rc::default() }
    }

    /// Boxes of these names and policies on one index.
    pub fn boxes<const N: usize>(&self, names: [(&str, &str); N]) -> [TestBox; N] {
        let index = self.index("shared");
        names.map(|(name, policy)| self.new_box(&index, name, policy))
    }

    /// Boxes of these names, complete, each with an index of its own, synced once.
    pub fn apart<const N: usize>(&self, names: [&str; N]) -> [TestBox; N] {
        let mut first: Option<PathBuf> = None;
        names.map(|name| {
            let index = self.index(name);
            if let Some(first) = &first {
                sync(first, &index);
            }
            let made = self.new_box(&index, name, "complete");
            if let Some(first) = &first {
                sync(&index, first);
            }
            first.get_or_insert(index);
            made
        })
    }
}

/// Merges two indexes both ways.
pub fn sync(a: &Path, b: &Path) {
    for (from, to) in [(a, b), (b, a)] {
        let source = Sqlite::open(from, Access::Write).unwrap();
        let mut target = Sqlite::open(to, Access::Write).unwrap();
        let mut documents = Vec::new();
        let checkpoint = source
            .changes(None, &mut |d| {
                documents.push(d);
                Ok(())
            })
            .unwrap();
        target.put(&documents, Origin::Elsewhere).unwrap();
        target.set_peer(source.id(), Some(&checkpoint), None).unwrap();
    }
}

impl TestBox {
    pub fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn write(&self, name: &str, bytes: &str) -> &Self {
        let file = self.at(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, bytes).unwrap();
        self
    }

    /// Writes a file with an mtime in seconds.
    pub fn write_at(&self, name: &str, bytes: &str, mtime: u64) -> &Self {
        self.write(name, bytes).touch(name, mtime)
    }

    pub fn touch(&self, name: &str, mtime: u64) -> &Self {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(mtime);
        fs::File::options().write(true).open(self.at(name)).unwrap().set_modified(time).unwrap();
        self
    }

    pub fn chmod(&self, name: &str, mode: u32) -> &Self {
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub fn mv(&self, from: &str, to: &str) -> &Self {
        fs::create_dir_all(self.at(to).parent().unwrap()).unwrap();
        fs::rename(self.at(from), self.at(to)).unwrap();
        self
    }

    pub fn rm(&self, name: &str) -> &Self {
        let path = self.at(name);
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        self
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.at(name).symlink_metadata().is_ok()
    }

    pub fn open(&self) -> Sqlite {
        Sqlite::open(&self.index, Access::Write).unwrap()
    }

    /// Everything below the root but ltr's own files.
    pub fn tree(&self) -> BTreeMap<String, Node> {
        let mut tree = BTreeMap::new();
        self.tree_below(&self.root.clone(), &mut tree);
        tree
    }

    fn tree_below(&self, folder: &Path, tree: &mut BTreeMap<String, Node>) {
        for entry in fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            let name = file.strip_prefix(&self.root).unwrap().to_string_lossy().into_owned();
            if [".ltr", ".ltr-tmp", ".ltr-index"].contains(&name.as_str()) {
                continue;
            }
            let meta = file.symlink_metadata().unwrap();
            let mode = meta.mode() & 0o7777;
            let node = if meta.is_symlink() {
                Node::Link(fs::read_link(&file).unwrap())
            } else if meta.is_dir() {
                self.tree_below(&file, tree);
                Node::Dir { mode }
            } else {
                Node::File { bytes: fs::read(&file).unwrap(), mode, mtime: (meta.mtime(), meta.mtime_nsec()) }
            };
            tree.insert(name, node);
        }
    }

    /// The contents of all files, sorted.
    pub fn contents(&self) -> Vec<String> {
        let files = self.tree().into_values().filter_map(|node| match node {
            Node::File { bytes, .. } => Some(String::from_utf8(bytes).unwrap()),
            _ => None,
        });
        let mut contents: Vec<String> = files.collect();
        contents.sort();
        contents
    }

    pub fn changes(&self, under: &[&str], all: bool) -> Vec<u8> {
        let index = self.open();
        let under: Vec<_> = under.iter().map(|p| path(p)).collect();
        let fs = FsTraits::at(&self.root).unwrap();
        let compare = Compare { box_name: self.name.clone(), under: under.clone(), all, fs, remember: true };
        let mut out = Vec::new();
        compare_walk(&self.root, &index, compare.clone(), &mut out, &mut *self.said.borrow_mut()).unwrap();
        // a pipe of two programs leaves nothing behind, and passes over nothing
        let (mut scanned, mut piped) = (Vec::new(), Vec::new());
        scan(&self.root, &under, &mut Entries(&index), &mut scanned, &mut Collected::default()).unwrap();
        let root = BoxRoot::open(&self.root).unwrap();
        compare_stream(&index, compare, Some(&root), scanned.as_slice(), &mut piped).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&piped));
        out
    }

    fn commit_of(&self, named: &[&str]) -> Commit {
        Commit {
            box_name: self.name.clone(),
            named: named.iter().map(|p| path(p)).collect(),
            gone_ok: false,
            fs: FsTraits::at(&self.root).unwrap(),
        }
    }

    /// The letters of `ltr status`.
    pub fn status(&self) -> Vec<String> {
        let changes = self.changes(&[], false);
        let root = BoxRoot::open(&self.root).unwrap();
        let mut hashed = Vec::new();
        let spool = Some(tempfile::tempfile().unwrap());
        hash_stream(&root, changes.as_slice(), &mut hashed, true, spool, &mut *self.said.borrow_mut()).unwrap();
        let mut settled = Vec::new();
        settle(&self.commit_of(&[]), false, &self.open(), hashed.as_slice(), &mut settled, tempfile::tempfile().unwrap())
            .unwrap();
        letters(&settled)
    }

    /// Commits everything; returns the letters.
    pub fn commit(&self) -> Vec<String> {
        self.commit_paths(&[])
    }

    pub fn commit_paths(&self, named: &[&str]) -> Vec<String> {
        self.try_commit(named, false)
    }

    pub fn try_commit(&self, named: &[&str], gone_ok: bool) -> Vec<String> {
        let changes = self.changes(named, false);
        let root = BoxRoot::open(&self.root).unwrap();
        let mut hashed = Vec::new();
        hash_stream(&root, changes.as_slice(), &mut hashed, false, None, &mut *self.said.borrow_mut()).unwrap();
        let mut index = self.open();
        let own = ltrbox::at(&self.root, &Places::below(&self.root)).unwrap().own(&mut index).unwrap();
        let author = Author { own, clock: index.clock().unwrap() };
        let mut gone = tempfile::tempfile().unwrap();
        gone.write_all(&changes).unwrap();
        let what = Commit { gone_ok, ..self.commit_of(named) };
        let at_once = self.commit_at_once(&what, &index, author.clone());
        let mut out = Vec::new();
        let input = (hashed.as_slice(), Some(gone));
        record(&what, &index, author, input, &mut out, tempfile::tempfile().unwrap(), &mut *self.said.borrow_mut()).unwrap();
        self.put(&out);
        assert_eq!(at_once, (letters(&out), everything(&self.open())), "what `ltr commit` records and what its stages do");
        letters(&out)
    }

    /// The letters of a commit in one process, and what it makes of a copy of the index.
    fn commit_at_once(&self, what: &Commit, index: &Sqlite, author: Author) -> (Vec<String>, Vec<Value>) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("copy");
        index.copy_to(&path).unwrap();
        let [copy, mut target] = [(); 2].map(|()| Sqlite::open(&path, Access::Write).unwrap());
        let place = Place { root: &BoxRoot::open(&self.root).unwrap(), index: &copy, target: &mut target };
        let (mut out, mut said) = (Vec::new(), Collected::default());
        commit(what, place, author, &mut out, [(); 2].map(|()| tempfile::tempfile().unwrap()), &mut said).unwrap();
        (letters(&out), everything(&copy))
    }

    /// Puts the documents of a stream, as `ltr-index-put` does.
    pub fn put(&self, stream: &[u8]) {
        let documents: Vec<Document> = records(stream)
            .iter()
            .filter(|r| r.get("_id").is_some())
            .map(|r| Document::from_json(&r.to_string()).unwrap())
            .collect();
        self.open().put(&documents, Origin::Here).unwrap();
    }

    pub fn plan(&self, from: &[&str]) -> Vec<u8> {
        let index = self.open();
        let reaching = Reaching::new("here", &self.root, Vec::new(), None);
        let from = from.iter().map(|f| (*f).to_owned()).collect();
        let mut request = Request {
            box_name: self.name.clone(),
            under: Vec::new(),
            from,
            reach: &|info| reaching.to(info),
            whole: false,
            remember: true,
        };
        let (mut out, mut whole) = (Vec::new(), Vec::new());
        plan(&index, &request, &mut out).unwrap();
        request.whole = true;
        plan(&index, &request, &mut whole).unwrap();
        assert!(out == whole, "another plan where every path is looked at");
        out
    }

    /// Plans and fetches; returns the steps that were done as `verb path`.
    pub fn pull(&self) -> Vec<String> {
        self.pull_from(&[])
    }

    pub fn pull_from(&self, from: &[&str]) -> Vec<String> {
        let plan = self.plan(from);
        let planned = steps(&plan, "action");
        let done = self.fetch(&plan);
        if self.said.borrow().failures.is_empty() && self.said.borrow().notices.is_empty() {
            let (mut a, mut b) = (planned, done.clone());
            a.sort();
            b.sort();
            assert_eq!(a, b, "what was planned is what was done");
        }
        done
    }

    pub fn fetch(&self, plan: &[u8]) -> Vec<String> {
        let mut index = self.open();
        let own = ltrbox::at(&self.root, &Places::below(&self.root)).unwrap().own(&mut index).unwrap();
        let ssh = Ssh::new("ssh", true).unwrap();
        let root = BoxRoot::open(&self.root).unwrap();
        let options = Options {
            bounds: Bounds { gone_ok: false, total_files: &|| index.count_files(&self.name), reserve: 0 },
            my_host: Some("here"),
            uuid: None,
            places: None,
            ssh: &ssh,
            jobs: 2,
            limit: None,
            trusted: &|_, _| false,
            awaited: &|sha1| litter::plan::is_awaited(&index, &self.name, sha1).unwrap_or(true),
            vouched: &|path, stat| litter::fetch::vouched(&root, &index.entry(&self.name, path).ok()??, stat),
        };
        let mut clock = index.clock().unwrap();
        let mut me = Me { clock: &mut clock, actor: own.actor, commit: own.commits };
        let mut out = Vec::new();
        let spool = tempfile::tempfile().unwrap();
        fetch(&root, plan, &mut out, spool, &mut me, &options, &mut *self.said.borrow_mut()).unwrap();
        self.put(&out);
        steps(&out, "done")
    }

    pub fn mark(&self, name: &str, want: Want) {
        let mut index = self.open();
        let seen = index.boxes().unwrap().by_name(&self.name).unwrap().commits;
        let stamp = index.clock().unwrap().tick(std::time::SystemTime::now());
        let mark = litter::record::Mark {
            box_name: self.name.clone(),
            path: path(name),
            want,
            seen,
            alone: false,
            stamp,
            extra: Default::default(),
        };
        index.put(&[Document::Mark(mark)], Origin::Here).unwrap();
    }

    /// Purges a file from the space.
    pub fn purge(&self, name: &str) {
        self.purge_with(name, false);
    }

    /// Purges a folder, with all below.
    pub fn purge_all(&self, name: &str) {
        self.purge_with(name, true);
    }

    fn purge_with(&self, name: &str, recursive: bool) {
        let mut scene = Scene::open(&self.root, None, Access::Write, &Places::below(&self.root)).unwrap();
        let wish = Purge { paths: vec![name.into()], recursive, dry_run: false };
        let mut out = Vec::new();
        purge(&mut scene, &wish, &mut out).unwrap();
        self.put(&out);
    }

    /// Failures reported since the last call.
    pub fn failures(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.said.borrow_mut().failures)
    }

    /// Notices since the last call.
    pub fn notices(&self) -> Vec<String> {
        std::mem::take(&mut self.said.borrow_mut().notices)
    }
}

/// `X  /path` for each record or document with a letter.
pub fn letters(stream: &[u8]) -> Vec<String> {
    let line = |r: &Value| {
        let status = r["status"].as_str().or_else(|| r["local"]["status"].as_str())?;
        let renamed = r["renamed"].as_str().or_else(|| r["local"]["renamed"].as_str());
        let path = r["path"].as_str()?;
        (status != "C").then(|| match renamed {
            Some(old) => format!("{status}  {old} -> {path}"),
            None => format!("{status}  {path}"),
        })
    };
    records(stream).iter().filter_map(line).collect()
}

/// `verb path` for each action of a stream.
pub fn steps(stream: &[u8], kind: &str) -> Vec<String> {
    let actions = records(stream).into_iter().filter(|r| r["type"] == kind);
    actions
        .map(|r| {
            let action: Action = serde_json::from_value(r).unwrap();
            let verb = serde_json::to_value(action.action).unwrap();
            match &action.source {
                Some(source) => format!("{} {source} {}", verb.as_str().unwrap(), action.path),
                None => format!("{} {}", verb.as_str().unwrap(), action.path),
            }
        })
        .collect()
}

/// The record at a path of a stream of file records.
pub fn record_at(stream: &[u8], name: &str) -> FileRecord {
    let found = records(stream).into_iter().find(|r| r["path"] == name).unwrap();
    serde_json::from_value(found).unwrap()
}
