//! The pure layer: boxes whose disks are maps, indexes in memory, clocks that are wrong by hours. What is
//! real is what decides: comparing, committing, merging, planning; see [`crate::fetch`] for the rest.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::rc::Rc;

use litter::chance::{self, Simulated};
use litter::commit::{Author, Commit, record, settle};
use litter::compare::{Compare, Comparer, Difference};
use litter::couch::visit::visit_with;
use litter::index::own::Own;
use litter::index::{Index, Origin};
use litter::path::SpacePath;
use litter::plan::{Request, plan};
use litter::reach::{Cost, Reach};
use litter::record::{Action, Change as Differs, Document, Entry, FORMAT, Fields, FileRecord, Ftype, Local, Mark, Policy, Want};
use litter::report::Collected;
use litter::resolve::{Heads, purged};
use litter::scan::Found;
use litter::stream::{Line, Reader, Writer};

use crate::couch::{Couches, FAULTS};
use crate::disk::{Disk, FAT, NATIVE};
use crate::fetch::{Fetch, Shift, shown};
use crate::peer::{self, Map};
use crate::rng::Rng;
use crate::store::Store;
use crate::system::{Change, Documents, Part, System, Told, Tree, path};
use crate::tally;

/// How often databases and replicas may have to meet before all is told.
const ROUNDS: usize = 12;

/// A day in autumn 2026, in milliseconds since 1970.
const BEGIN: u64 = 1_795_000_000_000;

struct ModelBox {
    name: String,
    disk: Disk,
    away: bool,
    /// The index that its cookie names on the machine where it is now.
    index: usize,
    backup: Option<(Disk, Store)>,
    /// A copy of its folder.
    copy: Option<Disk>,
}

/// The documents of an index as they were at a sequence number.
#[derive(Default)]
struct Read {
    seq: u64,
    by_id: BTreeMap<String, Rc<Document>>,
    all: Documents,
}

pub struct Model {
    boxes: Vec<ModelBox>,
    indexes: Vec<Store>,
    /// By how many milliseconds the clock of each index's machine is wrong.
    wrong: Vec<i64>,
    /// Another kind of peer, that some syncs go through.
    hub: Option<Map>,
    /// Databases on servers: each index is a replica of one of them.
    couches: Option<Couches>,
    now_ms: u64,
    cookies: u64,
    /// What was read of each index.
    read: RefCell<BTreeMap<usize, Read>>,
    /// All that was ever written, as it was written.
    written: Vec<Document>,
}

fn spool(text: &[u8]) -> File {
    let fd = rustix::fs::memfd_create("spool", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(text).unwrap();
    file
}

fn emptied() -> File {
    spool(b"")
}

impl Model {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let count = [2, 2, 2, 3, 3, 3, 4, 5][rng.below(8)];
        let hosts = match rng.below(3) {
            0 => 1,
            1 => count,
            _ => 1 + rng.below(count),
        };
        chance::simulate(Some(Simulated { now_ms: BEGIN, seed: rng.next() }));
        let indexes: Vec<Store> = (0..hosts).map(|_| Store::new()).collect();
        let hours = |rng: &mut Rng| i64::try_from(rng.below(13)).unwrap() - 6;
        let wrong = indexes.iter().map(|_| if rng.one_in(2) { 0 } else { hours(&mut rng) * 3_600_000 }).collect();
        let hub = rng.one_in(3).then(|| Map::new(0xcafe));
        let couches = rng.one_in(4).then(|| Couches::new(1 + rng.below(2)));
        let mut model = Self {
            boxes: Vec::new(),
            indexes,
            wrong,
            hub,
            couches,
            now_ms: BEGIN,
            cookies: 0,
            read: RefCell::default(),
            written: Vec::new(),
        };
        let mut space = Fields::default();
        let mut clock = model.indexes[0].clock().unwrap();
        let mincopies = if rng.one_in(5) { 2 } else { 1 };
        for (key, value) in [("uuid", "11111111-2222".into()), ("format", FORMAT.into()), ("mincopies", mincopies.into())] {
            space.set(key, value, clock.tick(chance::now()));
        }
        for index in 0..hosts {
            model.put(index, &[Document::Space(space.clone())]);
        }
        for b in 0..count {
            let policy = ["complete", "complete", "complete", "ondemand", "skeleton"][rng.below(5)];
            let kind = rng.below(8);
            model.make_box(b, b % hosts, policy, kind);
        }
        model.merge_all();
        model
    }

    fn make_box(&mut self, b: usize, index: usize, policy: &str, kind: usize) {
        let name = format!("box{b}");
        let cookie = self.cookie();
        let (fs, folds) = match kind {
            0 => (FAT, false),
            1 => (FAT, true),
            2 => (NATIVE, true),
            _ => (NATIVE, false),
        };
        self.at(index);
        let mut clock = self.indexes[index].clock().unwrap();
        let mut fields = Fields::default();
        for (key, value) in [("uuid", name.as_str()), ("policy", policy)] {
            fields.set(key, value.into(), clock.tick(chance::now()));
        }
        self.put(index, &[Document::Box(name.clone(), fields)]);
        self.indexes[index].adopt_box(&name, cookie, true).unwrap();
        self.boxes.push(ModelBox { name, disk: Disk::new(fs, folds, cookie), away: false, index, backup: None, copy: None });
    }

    fn cookie(&mut self) -> (u64, u64) {
        self.cookies += 1;
        (1, self.cookies)
    }

    /// From here on the clock is that of the index's machine.
    fn at(&self, index: usize) {
        let now_ms = self.now_ms.saturating_add_signed(self.wrong[index]);
        let seed = chance::simulated().map_or(0, |world| world.seed);
        chance::simulate(Some(Simulated { now_ms, seed }));
    }

    fn seconds(&self, index: usize) -> i64 {
        i64::try_from(self.now_ms.saturating_add_signed(self.wrong[index]) / 1000).unwrap()
    }

    fn merge(&mut self, from: usize, to: usize, cut: Option<u32>) {
        let Ok([source, target]) = self.indexes.get_disjoint_mut([from, to]) else { return };
        let known = target.peer(source.id()).unwrap().0;
        if let Some(checkpoint) = peer::read(&**source, &mut **target, known.as_deref(), cut) {
            target.set_peer(source.id(), Some(&checkpoint), None).unwrap();
        }
    }

    /// To the first, and from there to all; or by way of the databases.
    fn merge_all(&mut self) {
        if self.couches.is_some() {
            return self.visit_all();
        }
        for from in 1..self.indexes.len() {
            self.merge(from, 0, None);
        }
        self.merge_hub(0, None);
        for to in 1..self.indexes.len() {
            self.merge(0, to, None);
        }
    }

    fn merge_hub(&mut self, at: usize, cut: Option<u32>) {
        let Some(hub) = &mut self.hub else { return };
        let index = &mut self.indexes[at];
        let (pulled, pushed) = index.peer(hub.id).unwrap();
        // an index that was put back to an older state has a checkpoint that it does not honour
        let pushed = pushed.filter(|p| index.honours(p).unwrap());
        let back = peer::read(hub, &mut **index, pulled.as_deref(), cut);
        let there = peer::read(&**index, hub, pushed.as_deref(), cut);
        index.set_peer(hub.id, back.as_deref(), there.as_deref()).unwrap();
    }

    /// Which database an index is a replica of.
    fn database_of(&self, index: usize) -> usize {
        self.couches.as_ref().map_or(0, |couches| index % couches.count())
    }

    /// Brings a replica and its database up to date. `cut`: some request goes wrong.
    fn visit(&mut self, index: usize, cut: Option<u32>) -> Told {
        let number = self.database_of(index);
        self.at(index);
        let Some(couches) = &self.couches else { return Told::default() };
        if let Some(cut) = cut {
            let first = cut % 9;
            couches.spoil(first..first + 1 + (cut >> 4) % 2, FAULTS[(cut >> 8) as usize % FAULTS.len()]);
        }
        let mut report = Collected::default();
        let visited = visit_with(couches.client(number), &mut self.indexes[index], &mut report);
        let spoilt = couches.mend();
        let mut told = Told::default();
        told.failures.extend(report.failures.into_iter().map(|f| format!("{}: {}", f.0, f.1)));
        match visited {
            Err(why) => told.failures.push(format!("{why:#}")),
            Ok(pending) => assert!(pending == 0 || spoilt, "{pending} documents are still to be sent"),
        }
        assert!(told.failures.is_empty() || spoilt || couches.is_away(number), "a visit fails: {told:?}");
        told
    }

    /// What a command does with what it wrote, now and then. Whether it did.
    fn push(&mut self, index: usize) -> bool {
        let talks = self.couches.is_some() && self.now_ms.is_multiple_of(2000);
        if talks {
            self.visit(index, None);
        }
        talks
    }

    /// Databases and replicas tell each other all that they know.
    fn visit_all(&mut self) {
        let count = self.couches.as_ref().map_or(0, Couches::count);
        for _ in 0..ROUNDS {
            let before = self.couches.as_ref().map(Couches::seqs);
            for index in 0..self.indexes.len() {
                self.visit(index, None);
            }
            for from in 0..count {
                for to in 0..count {
                    self.couches.iter().for_each(|couches| couches.replicate(from, to, None));
                }
            }
            if self.couches.as_ref().map(Couches::seqs) == before {
                return;
            }
        }
        panic!("databases never settle");
    }

    /// A replica is deleted, and read again from the database. Whether that knows all of its boxes.
    fn rebuild_from_database(&mut self, at: usize) -> bool {
        let number = self.database_of(at);
        let Some(couches) = &self.couches else { return false };
        let known = self.boxes.iter().filter(|b| b.index == at).all(|b| couches.has(number, &b.name));
        if couches.is_away(number) || !known || !couches.has(number, "space") {
            return false;
        }
        self.read.borrow_mut().remove(&at);
        self.indexes[at] = Store::new();
        self.visit(at, None);
        for b in self.boxes.iter().filter(|b| b.index == at) {
            self.indexes[at].adopt_box(&b.name, b.disk.cookie, false).unwrap();
        }
        // the first visit after that is what lets it commit
        self.visit(at, None);
        tally::count("a replica is rebuilt from its database");
        true
    }

    /// The records of a scan that differ from the index, hashed.
    fn changes(&mut self, b: usize, under: &[SpacePath], told: &mut Told) -> Vec<u8> {
        let here = &mut self.boxes[b];
        let index = &self.indexes[here.index];
        let items = here.disk.items();
        let compare =
            Compare { box_name: here.name.clone(), under: under.to_vec(), all: false, fs: here.disk.fs, remember: false };
        let mut records = Vec::new();
        let mut out = |difference| {
            match difference {
                Difference::Record(record) => records.push(record),
                Difference::Unknown(found) => told.failures.push(format!("{found:?}")),
            }
            Ok(())
        };
        let mut comparer = Comparer::new(index, compare, None, &mut out).unwrap();
        for item in items {
            if under.is_empty() || under.iter().any(|u| item.path.is_within(u)) {
                comparer.found(Found::Item(item)).unwrap();
            }
        }
        comparer.finish().unwrap();
        let mut stream = Vec::new();
        let mut writer = Writer::new(&mut stream);
        for mut record in records {
            hash(&mut record, &here.disk);
            writer.put(&record).unwrap();
        }
        writer.end(serde_json::Map::new()).unwrap();
        stream
    }

    fn commit_of(&self, b: usize, named: Vec<SpacePath>) -> Commit {
        Commit { box_name: self.boxes[b].name.clone(), named, gone_ok: true, fs: self.boxes[b].disk.fs }
    }

    /// What a command that writes for a box does with its cookie.
    fn touch(&mut self, b: usize) -> i64 {
        self.cookies += 1;
        let now = i64::try_from(self.cookies).unwrap();
        self.boxes[b].disk.touched = now;
        now
    }

    fn own(&mut self, b: usize) -> Result<Own, Told> {
        let here = &self.boxes[b];
        let refused = |why: String| Told { refused: Some(why), ..Told::default() };
        if here.away {
            return Err(refused("the disk is away".to_owned()));
        }
        self.at(here.index);
        let before = here.disk.touched;
        let touched = here.disk.fs.stable_ids.then(|| (before, self.touch(b)));
        let here = &self.boxes[b];
        let index = &mut self.indexes[here.index];
        index.own_touched(&here.name, here.disk.cookie, touched).map_err(|e| refused(e.to_string()))
    }

    fn put(&mut self, index: usize, documents: &[Document]) {
        self.written.extend(documents.iter().cloned().map(|document| match document {
            Document::Entry(entry) => Document::Entry(Entry { local: None, ..entry }),
            other => other,
        }));
        self.indexes[index].put(documents, Origin::Here).unwrap();
    }

    /// A pull, cut short, or with something that happens to another box before so many steps are done.
    fn pull_while(&mut self, b: usize, from: Option<usize>, cut: Option<u32>, shift: Option<(u32, Shift)>) -> Told {
        let own = match self.own(b) {
            Ok(own) => own,
            Err(told) => return told,
        };
        let planned = self.planned(b, from, false);
        // not every time: the next plan goes on from the one that looked everywhere
        if self.now_ms.is_multiple_of(2000) {
            assert!(planned == self.planned(b, from, true), "another plan where every path is looked at");
        }
        let actions: Vec<Action> = records(&planned, |json| serde_json::from_str(json).unwrap());
        let index = self.boxes[b].index;
        let (name, nothing) = (self.boxes[b].name.clone(), Disk::new(NATIVE, false, (0, 0)));
        let mut disk = std::mem::replace(&mut self.boxes[b].disk, nothing);
        let others = self.boxes.iter_mut().enumerate().filter(|(at, o)| !o.away && *at != b);
        let others = others.map(|(_, o)| (o.name.clone(), &mut o.disk)).collect();
        let clock = self.indexes[index].clock().unwrap();
        let mut fetch = Fetch::new(name, &mut disk, others, clock, own.actor, own.commits);
        let shifts = shift.is_some();
        fetch.shift = shift.map(|(after, shift)| (after % (u32::try_from(actions.len()).unwrap() + 1), shift));
        fetch.cut = cut.map(|cut| cut % (u32::try_from(actions.len()).unwrap() + 1));
        fetch.run(&actions);
        let Fetch { mut facts, done, failures, notices, .. } = fetch;
        if let Some(cut) = cut {
            // the index learns of things after they are so
            facts.truncate((cut >> 16) as usize % (facts.len() + 1));
        }
        let clean = failures.is_empty() && notices.is_empty() && cut.is_none() && !shifts;
        let mut told = Told { steps: done, failures, ..Told::default() };
        told.letters = notices.into_iter().map(|n| ("!".to_owned(), n)).collect();
        if clean {
            let mut planned: Vec<String> = actions.iter().map(shown).collect();
            let mut steps = told.steps.clone();
            planned.sort();
            steps.sort();
            assert_eq!(planned, steps, "what was planned is what was done");
        }
        self.boxes[b].disk = disk;
        self.put(index, &facts);
        told.heard = self.push(index);
        told
    }

    /// Every database has what the indexes have, and no conflicts.
    fn check_databases(&self) -> Result<(), String> {
        let Some(couches) = &self.couches else { return Ok(()) };
        let mut here: Vec<String> = peer::documents(&*self.indexes[0]).iter().map(Document::canonical).collect();
        here.sort();
        for number in 0..couches.count() {
            let (mut there, conflicts) = couches.documents(number);
            there.sort();
            if conflicts > 0 || there != here {
                return Err(format!("database {number} has {conflicts} conflicts, or other documents than the indexes"));
            }
        }
        Ok(())
    }

    fn planned(&self, b: usize, from: Option<usize>, whole: bool) -> Vec<u8> {
        let here = &self.boxes[b];
        let reach = |info: &litter::index::sqlite::BoxInfo| {
            let there = self.boxes.iter().find(|other| other.name == info.name);
            let cost = match there {
                Some(there) if there.away => Cost::Nowhere,
                Some(there) if there.index == here.index => Cost::SameDisk,
                Some(_) => Cost::Mounted,
                None => Cost::Nowhere,
            };
            Reach { cost, url: info.name.clone() }
        };
        let from = from.map(|f| self.boxes[f].name.clone()).into_iter().collect();
        let request = Request { box_name: here.name.clone(), under: Vec::new(), from, reach: &reach, whole, remember: true };
        let mut out = Vec::new();
        plan(&self.indexes[here.index], &request, &mut out).unwrap();
        out
    }
}

/// What `ltr-hash` adds.
fn hash(record: &mut FileRecord, disk: &Disk) {
    if record.ftype == Ftype::Dir || record.local.is_none() {
        return;
    }
    let spot = &disk.spots[&record.path];
    record.sha1 = spot.sha1;
    if record.change == Some(Differs::Suspect)
        && let Some(was) = &record.was
    {
        let same = was.sha1 == spot.sha1 && was.ftype == record.ftype && record.mode.is_none_or(|m| m == was.mode);
        if same {
            record.status = record.otherwise.clone();
        } else {
            record.change = Some(Differs::Modified);
        }
    }
}

fn records<T>(stream: &[u8], read: impl Fn(&str) -> T) -> Vec<T> {
    let mut reader = Reader::new(stream);
    let mut all = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        if let Line::Record { json, .. } = line {
            all.push(read(json));
        }
    }
    all
}

impl System for Model {
    fn names(&self) -> Vec<String> {
        self.boxes.iter().map(|b| b.name.clone()).collect()
    }

    fn is_here(&self, b: usize) -> bool {
        !self.boxes[b].away
    }

    fn tree(&self, b: usize) -> Tree {
        self.boxes[b].disk.tree()
    }

    fn elsewhere(&self) -> Vec<Tree> {
        self.boxes.iter().filter_map(|b| b.copy.as_ref()).map(Disk::tree).collect()
    }

    fn documents(&self, b: usize) -> Documents {
        let at = self.boxes[b].index;
        let mut read = self.read.borrow_mut();
        let known = read.entry(at).or_default();
        if self.indexes[at].seq().unwrap() != known.seq {
            let keep = &mut |_, document: Document| {
                known.by_id.insert(document.id(), Rc::new(document));
                Ok(())
            };
            known.seq = self.indexes[at].changes_after(known.seq, keep).unwrap();
            known.all = known.by_id.values().cloned().collect();
        }
        known.all.clone()
    }

    fn last_recorded(&self, b: usize, name: &str) -> Option<Entry> {
        let (box_name, at) = (&self.boxes[b].name, path(name));
        let all = self.written.iter().filter_map(|d| if let Document::Entry(entry) = d { Some(entry) } else { None });
        all.filter(|e| e.box_name == *box_name && e.path == at).max_by_key(|e| e.stamp).cloned()
    }

    fn index_of(&self, b: usize) -> usize {
        self.boxes[b].index
    }

    fn change(&mut self, b: usize, change: &Change) {
        let now = self.seconds(self.boxes[b].index);
        self.boxes[b].disk.change(change, now);
    }

    fn status(&mut self, b: usize) -> Told {
        let mut told = Told::default();
        let hashed = self.changes(b, &[], &mut told);
        let mut out = Vec::new();
        let index = &self.indexes[self.boxes[b].index];
        settle(&self.commit_of(b, Vec::new()), false, index, hashed.as_slice(), &mut out, emptied()).unwrap();
        for record in records::<FileRecord>(&out, |json| serde_json::from_str(json).unwrap()) {
            if let Some(letter) = record.status.filter(|s| s != "C") {
                told.letters.push((letter, record.path.spelled()));
            }
        }
        told
    }

    fn commit(&mut self, b: usize, name: Option<&str>, cut: Option<u32>) -> Told {
        let own = match self.own(b) {
            Ok(own) => own,
            Err(told) => return told,
        };
        let named: Vec<SpacePath> = name.iter().map(|n| path(n)).collect();
        let mut told = Told::default();
        let hashed = self.changes(b, &named, &mut told);
        let index = &self.indexes[self.boxes[b].index];
        let author = Author { own, clock: index.clock().unwrap() };
        let (mut out, mut report) = (Vec::new(), Collected::default());
        let input = (hashed.as_slice(), Some(spool(&hashed)));
        record(&self.commit_of(b, named), index, author, input, &mut out, emptied(), &mut report).unwrap();
        told.failures.extend(report.failures.into_iter().map(|f| format!("{}: {}", f.0, f.1)));
        let mut documents = records(&out, |json| Document::from_json(json).unwrap());
        if let Some(cut) = cut {
            documents.truncate(cut as usize % (documents.len() + 1));
        }
        for document in &documents {
            if let Document::Entry(Entry { local: Some(Local { status: Some(letter), renamed, .. }), path, .. }) = document {
                let shown = renamed.as_ref().map_or_else(|| path.spelled(), |old| format!("{old} -> {path}"));
                told.letters.push((letter.clone(), shown));
            }
        }
        self.put(self.boxes[b].index, &documents);
        told.heard = self.push(self.boxes[b].index);
        told
    }

    fn pull(&mut self, b: usize, from: Option<usize>, cut: Option<u32>) -> Told {
        self.pull_while(b, from, cut, None)
    }

    fn pull_shifting(&mut self, b: usize, other: usize, change: &Change, after: u32) -> Told {
        let now = self.seconds(self.boxes[other].index);
        let shift = Shift { box_name: self.boxes[other].name.clone(), change: change.clone(), now };
        let told = self.pull_while(b, None, None, Some((after, shift)));
        if told.refused.is_some() {
            self.boxes[other].disk.change(change, now);
        }
        told
    }

    fn sync(&mut self, a: usize, b: usize, cut: Option<u32>) -> Told {
        let (one, two) = (self.boxes[a].index, self.boxes[b].index);
        if self.couches.is_some() && (one == two || self.now_ms.is_multiple_of(3000)) {
            return self.visit(one, cut);
        }
        if one == two {
            self.merge_hub(one, cut);
        } else {
            self.merge(one, two, cut);
            self.merge(two, one, cut);
        }
        Told::default()
    }

    fn tell(&mut self, a: usize, b: usize) -> Told {
        self.merge(self.boxes[a].index, self.boxes[b].index, None);
        Told::default()
    }

    fn set_clock(&mut self, b: usize, hours: i64) {
        self.wrong[self.boxes[b].index] = hours * 3_600_000;
    }

    fn mark(&mut self, by: usize, b: usize, name: &str, want: Want) -> Told {
        let at = self.boxes[by].index;
        self.at(at);
        let index = &self.indexes[at];
        let box_name = self.boxes[b].name.clone();
        let Some(seen) = index.boxes().unwrap().by_name(&box_name).map(|b| b.commits) else { return Told::default() };
        let stamp = index.clock().unwrap().tick(chance::now());
        let mark = Mark { box_name, path: path(name), want, seen, alone: false, stamp, extra: Default::default() };
        self.put(at, &[Document::Mark(mark)]);
        Told::default()
    }

    fn purge(&mut self, b: usize, name: &str) -> Told {
        let own = match self.own(b) {
            Ok(own) => own,
            Err(told) => return told,
        };
        let at = self.boxes[b].index;
        let index = &self.indexes[at];
        let boxes = index.boxes().unwrap();
        let me = self.boxes[b].name.clone();
        let mut clock = index.clock().unwrap();
        let mut documents = Vec::new();
        let mut groups = index.groups(&path(name));
        while let Some(group) = groups.next().unwrap() {
            let heads = Heads::of(&group.rows, |_| true);
            let Some(winner) = heads.winner().filter(|w| !w.purged) else { continue };
            let theirs = index.entry(&boxes.by_id(winner.box_id).unwrap().name, &group.path).unwrap().unwrap();
            let mine = index.entry(&me, &group.path).unwrap();
            let present = mine.as_ref().is_some_and(|e| e.present);
            let version = purged(&group.rows, own.actor, own.commits + 1);
            let (commit, local) = mine.as_ref().map_or((0, None), |m| (m.commit, m.local.clone()));
            let local = local.or(Some(Local { racy: true, ..Local::default() }));
            let base = mine.filter(|_| present).unwrap_or(theirs);
            let stamp = clock.tick(chance::now());
            documents.push(Document::Entry(Entry {
                box_name: me.clone(),
                present,
                purged: true,
                moved: None,
                commit,
                version,
                stamp,
                local,
                ..base
            }));
        }
        self.put(at, &documents);
        Told::default()
    }

    fn set_policy(&mut self, by: usize, b: usize, policy: Policy) -> Told {
        let at = self.boxes[by].index;
        self.at(at);
        let index = &self.indexes[at];
        let Some(mut fields) = index.box_fields(&self.boxes[b].name).unwrap() else { return Told::default() };
        let stamp = index.clock().unwrap().tick(chance::now());
        fields.set("policy", policy.to_string().into(), stamp);
        let document = Document::Box(self.boxes[b].name.clone(), fields);
        self.put(at, &[document]);
        Told::default()
    }

    fn go_away(&mut self, b: usize) {
        self.boxes[b].away = true;
    }

    fn come_back(&mut self, b: usize) {
        self.boxes[b].away = false;
    }

    fn back_up(&mut self, b: usize) {
        let index = Store::copy_of(&self.indexes[self.boxes[b].index], true);
        self.boxes[b].backup = Some((self.boxes[b].disk.clone(), index));
    }

    fn restore(&mut self, b: usize, part: Part) -> bool {
        let cookie = self.cookie();
        let here = &mut self.boxes[b];
        let Some((disk, index)) = &here.backup else { return false };
        // on a stick nothing tells, until it was plugged in again: its inodes are then other ones
        let part = match part {
            Part::InPlace if !here.disk.fs.stable_ids => Part::Index,
            Part::BothInPlace if !here.disk.fs.stable_ids => Part::Both,
            part => part,
        };
        if matches!(part, Part::Files | Part::Both | Part::BothInPlace) {
            let mut disk = disk.clone();
            disk.ticks = here.disk.ticks + (1 << 24);
            disk.make_all_new();
            disk.cookie = if part == Part::Both { cookie } else { here.disk.cookie };
            disk.touched = if part == Part::Files { here.disk.touched } else { i64::try_from(cookie.1).unwrap() };
            here.disk = disk;
        }
        if part != Part::Files {
            let index = Store::copy_of(index, matches!(part, Part::InPlace | Part::BothInPlace));
            self.read.borrow_mut().remove(&here.index);
            self.indexes[here.index] = index;
        }
        true
    }

    fn copy_folder(&mut self, b: usize) {
        let cookie = self.cookie();
        let here = &mut self.boxes[b];
        match &mut here.copy {
            Some(copy) => std::mem::swap(copy, &mut here.disk),
            None => {
                let mut copy = Disk { cookie, ..here.disk.clone() };
                copy.ticks += 1 << 32;
                copy.make_all_new();
                here.copy = Some(copy);
            }
        }
    }

    fn other_replica(&mut self, b: usize, pick: u32) -> bool {
        let at = pick as usize % self.indexes.len();
        let (name, cookie) = (self.boxes[b].name.clone(), self.boxes[b].disk.cookie);
        let index = &mut self.indexes[at];
        let known = index.boxes().unwrap().by_name(&name).is_some_and(|b| b.fields.is_some());
        if at == self.boxes[b].index || !known {
            return false;
        }
        if !index.is_own(&name).unwrap() {
            index.adopt_box(&name, cookie, false).unwrap();
        }
        self.boxes[b].index = at;
        true
    }

    fn rebuild(&mut self, b: usize, pick: u32) -> bool {
        let (at, from) = (self.boxes[b].index, pick as usize % self.indexes.len());
        let complete = self
            .boxes
            .iter()
            .all(|b| b.index != at || self.indexes[from].boxes().unwrap().by_name(&b.name).is_some_and(|b| b.fields.is_some()));
        if self.couches.is_some() && pick.is_multiple_of(2) {
            return self.rebuild_from_database(at);
        }
        if at == from || !complete {
            return false;
        }
        self.read.borrow_mut().remove(&at);
        self.indexes[at] = Store::new();
        self.merge(from, at, None);
        for b in self.boxes.iter().filter(|b| b.index == at) {
            self.indexes[at].adopt_box(&b.name, b.disk.cookie, false).unwrap();
        }
        true
    }

    fn serve(&mut self, pick: u32) -> Option<String> {
        let couches = self.couches.as_ref()?;
        let count = couches.count();
        let (one, other) = (pick as usize % count, (pick >> 8) as usize % count);
        let what = match (pick >> 16) % 8 {
            0..=3 => {
                if one == other || couches.is_away(one) || couches.is_away(other) {
                    return None;
                }
                let cut = (pick >> 20).is_multiple_of(4).then_some(pick >> 24);
                couches.replicate(one, other, cut);
                format!("database {one} is replicated to {other}{}", if cut.is_some() { ", and cut short" } else { "" })
            }
            4 | 5 if couches.is_away(one) => {
                couches.set_away(one, false);
                format!("the server of database {one} answers again")
            }
            4 | 5 => {
                couches.set_away(one, true);
                format!("the server of database {one} goes away")
            }
            6 => {
                couches.make_anew(one);
                format!("database {one} is lost, and made anew")
            }
            _ => {
                let index = pick as usize % self.indexes.len();
                let told = self.visit(index, Some(pick >> 4));
                format!("index {index} visits its database, and a request goes wrong {told:?}")
            }
        };
        tally::count(&what.split(' ').filter(|w| w.parse::<u32>().is_err()).take(6).collect::<Vec<_>>().join(" "));
        Some(what)
    }

    fn meet(&mut self) {
        if let Some(couches) = &self.couches {
            (0..couches.count()).for_each(|number| couches.set_away(number, false));
        }
        for b in 0..self.boxes.len() {
            // a restored index may not know that it writes for the box: then it is taken up again
            let here = &self.boxes[b];
            let index = &mut self.indexes[here.index];
            if !index.is_own(&here.name).unwrap() {
                index.adopt_box(&here.name, here.disk.cookie, false).unwrap();
            }
        }
        self.merge_all();
    }

    fn wait(&mut self, seconds: u64) {
        self.now_ms += seconds * 1000;
    }

    fn tells_forgeries(&self, b: usize) -> bool {
        self.boxes[b].disk.fs.stable_ids
    }

    fn folds_case(&self, b: usize) -> bool {
        self.boxes[b].disk.folds
    }

    /// Merging all that was ever written, in any order and any batching, gives the same index.
    fn check_end(&mut self) -> Result<(), String> {
        let mut rng = Rng(self.now_ms);
        let mut map = Map::new(1);
        map.put(&self.written, Origin::Elsewhere).unwrap();
        let mut shuffled: Vec<&Document> = self.written.iter().collect();
        for at in (1..shuffled.len()).rev() {
            shuffled.swap(at, rng.below(at + 1));
        }
        let mut index = Store::new();
        let mut rest = shuffled.as_slice();
        while !rest.is_empty() {
            let (batch, next) = rest.split_at(1 + rng.below(rest.len()));
            let batch: Vec<Document> = batch.iter().copied().cloned().collect();
            index.put(&batch, Origin::Elsewhere).unwrap();
            rest = next;
        }
        let mut merged: Vec<String> = peer::documents(&*index).iter().map(Document::canonical).collect();
        merged.sort();
        if merged != map.canonical() {
            return Err("merging in another order gives another index".to_owned());
        }
        self.check_databases()
    }
}

#[allow(dead_code, reason = "read in logs")]
pub fn described(model: &Model) -> BTreeMap<String, String> {
    let of = |b: &ModelBox| {
        let fields = model.indexes[b.index].box_fields(&b.name).unwrap().unwrap_or_default();
        format!(
            "{} index {} {:?} {}",
            fields.policy(),
            b.index,
            b.disk.fs.granularity_ns,
            if b.disk.folds { "folds" } else { "" }
        )
    };
    model.boxes.iter().map(|b| (b.name.clone(), of(b))).collect()
}
