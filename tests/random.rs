//! Random histories of real boxes: whatever people do, in whatever order indexes meet, no content is
//! lost that nobody overwrote, deleted or purged, and in the end all boxes agree.
//!
//! `LTR_HISTORIES=500 LTR_SEED=1 cargo test --release --test random` runs more of them, from another seed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod common;

use std::collections::BTreeSet;

use common::{Node, TestBox, World, sync};
use litter::hash::sha1_of;
use litter::record::Want;

/// A small generator of its own, so that a seed means the same history everywhere (Steele, Lea and
/// Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { all.get(self.below(all.len())) }
    }
}

struct History {
    rng: Rng,
    boxes: Vec<TestBox>,
    /// Contents that nobody has overwritten, deleted or purged.
    owed: BTreeSet<String>,
    written: u64,
    log: Vec<String>,
}

const NAMES: [&str; 8] = ["a", "b", "d/a", "d/b", "d/e/c", "e", "d", "moved/a"];

impl History {
    fn new(seed: u64, world: &World) -> Self {
        let mut rng = Rng(seed);
        let boxes = if rng.below(2) == 0 {
            world.apart(["x", "y", "z"]).to_vec()
        } else {
            let policy = ["complete", "ondemand", "skeleton"][rng.below(3)];
            world.boxes([("x", "complete"), ("y", "complete"), ("z", policy)]).to_vec()
        };
        Self { rng, boxes, owed: BTreeSet::new(), written: 0, log: Vec::new() }
    }

    fn files(&self, b: usize) -> Vec<String> {
        let tree = self.boxes[b].tree();
        tree.into_iter().filter(|(_, node)| matches!(node, Node::File { .. })).map(|(name, _)| name).collect()
    }

    fn everywhere(&self) -> BTreeSet<String> {
        self.boxes.iter().flat_map(TestBox::contents).collect()
    }

    fn step(&mut self) {
        let b = self.rng.below(self.boxes.len());
        let what = self.rng.below(100);
        let here = self.boxes[b].clone();
        let files = self.files(b);
        let file = self.rng.pick(&files).cloned();
        match (what, file) {
            (0..18, _) => self.create(b),
            (18..30, Some(file)) => self.edit(b, &file),
            (30..33, Some(file)) => {
                self.log.push(format!("{}: touch {file}", here.name));
                here.touch(&file, 1_600_000_000 + self.written);
            }
            (33..36, Some(file)) => {
                self.log.push(format!("{}: chmod {file}", here.name));
                let mode = if self.rng.below(2) == 0 { 0o600 } else { 0o755 };
                here.chmod(&file, mode);
            }
            (36..43, Some(file)) => self.rename(b, &file),
            (43..47, Some(file)) => self.delete(b, &file),
            (47..48, _) if here.at("d").is_dir() && !here.exists("moved") => {
                self.log.push(format!("{}: mv d moved", here.name));
                here.mv("d", "moved");
            }
            (48..51, _) => self.swap(b, &files),
            (51..66, _) => {
                let letters = here.commit();
                self.log.push(format!("{}: commit {letters:?}", here.name));
            }
            (66..82, _) => {
                let done = here.pull();
                self.log.push(format!("{}: pull {done:?}", here.name));
            }
            (82..94, _) => {
                let other = self.rng.below(self.boxes.len());
                self.log.push(format!("sync {} {}", here.name, self.boxes[other].name));
                if self.boxes[other].index != here.index {
                    sync(&here.index, &self.boxes[other].index);
                }
            }
            (94..97, Some(file)) if here.status().is_empty() => {
                self.log.push(format!("{}: mark --skip {file}", here.name));
                here.mark(&format!("/{file}"), Want::Skip);
            }
            (97..98, Some(file)) if here.status().is_empty() => {
                let content = here.read(&file);
                self.log.push(format!("{}: purge {file} ({content})", here.name));
                here.purge(&format!("/{file}"));
                // a person removed it by name; what else was at that path and known here went with it
                self.overwritten_everywhere(b, &file);
            }
            (98..100, Some(file)) => {
                self.log.push(format!("{}: mark --clear {file}", here.name));
                here.mark(&format!("/{file}"), Want::Cleared);
            }
            _ => {}
        }
        self.check();
    }

    fn content(&mut self) -> String {
        self.written += 1;
        let content = format!("content {}", self.written);
        self.owed.insert(content.clone());
        content
    }

    /// A file that was deleted and made anew before a commit is an edit: the old content is overwritten.
    fn overwrites(&mut self, b: usize, name: &str) {
        let here = &self.boxes[b];
        let entry = here.open().entry(&here.name, &common::path(&format!("/{name}"))).unwrap();
        if let Some(sha1) = entry.filter(|e| e.present).and_then(|e| e.attrs.sha1) {
            self.owed.retain(|content| sha1_of(content.as_bytes()) != sha1);
        }
    }

    /// All contents that the index of a box knows at a path.
    fn overwritten_everywhere(&mut self, b: usize, name: &str) {
        let index = self.boxes[b].open();
        for other in &self.boxes {
            let entry = index.entry(&other.name, &common::path(&format!("/{name}"))).unwrap();
            if let Some(sha1) = entry.and_then(|e| e.attrs.sha1) {
                self.owed.retain(|content| sha1_of(content.as_bytes()) != sha1);
            }
        }
    }

    fn create(&mut self, b: usize) {
        let here = self.boxes[b].clone();
        let name = NAMES[self.rng.below(NAMES.len())];
        let free = !here.exists(name)
            && name.match_indices('/').all(|(at, _)| here.at(&name[..at]).is_dir() || !here.exists(&name[..at]));
        if free {
            self.overwrites(b, name);
            let content = self.content();
            self.log.push(format!("{}: create {name} {content:?}", here.name));
            let mtime = 1_500_000_000 + self.rng.next() % 1000;
            here.write_at(name, &content, mtime);
        }
    }

    fn edit(&mut self, b: usize, file: &str) {
        let here = self.boxes[b].clone();
        self.owed.remove(&here.read(file));
        let content = self.content();
        self.log.push(format!("{}: edit {file} {content:?}", here.name));
        here.write_at(file, &content, 1_700_000_000 + self.written);
    }

    fn rename(&mut self, b: usize, file: &str) {
        let here = self.boxes[b].clone();
        let to = NAMES[self.rng.below(NAMES.len())];
        let free = !here.exists(to) && to.match_indices('/').all(|(at, _)| here.at(&to[..at]).is_dir());
        if free {
            let content = here.read(file);
            self.overwrites(b, to);
            self.owed.insert(content);
            self.log.push(format!("{}: mv {file} {to}", here.name));
            here.mv(file, to);
        }
    }

    fn swap(&mut self, b: usize, files: &[String]) {
        let here = self.boxes[b].clone();
        let (Some(one), Some(two)) = (self.rng.pick(files).cloned(), self.rng.pick(files).cloned()) else { return };
        if one != two {
            self.log.push(format!("{}: swap {one} {two}", here.name));
            here.mv(&one, "swapping").mv(&two, &one).mv("swapping", &two);
        }
    }

    fn delete(&mut self, b: usize, file: &str) {
        let here = self.boxes[b].clone();
        let content = here.read(file);
        self.log.push(format!("{}: rm {file} ({content})", here.name));
        here.rm(file);
        if !self.everywhere().contains(&content) {
            self.owed.remove(&content);
        }
    }

    fn check(&self) {
        let there = self.everywhere();
        let lost: Vec<_> = self.owed.difference(&there).collect();
        assert!(lost.is_empty(), "lost {lost:?}\n{}", self.log.join("\n"));
    }

    /// Without new edits, everything settles, and one more round does nothing.
    fn settle(&mut self) {
        for b in self.boxes.clone() {
            let letters = b.commit();
            self.log.push(format!("{}: commit {letters:?}", b.name));
        }
        for round in 0..9 {
            let mut idle = true;
            for a in 0..self.boxes.len() {
                for b in 0..a {
                    if self.boxes[a].index != self.boxes[b].index {
                        sync(&self.boxes[a].index, &self.boxes[b].index);
                    }
                }
            }
            for b in self.boxes.clone() {
                b.failures();
                b.notices();
                let done = b.pull();
                self.log.push(format!("{}: round {round}: pull {done:?}, {:?}", b.name, b.said.borrow()));
                idle &= done.is_empty();
                self.check();
            }
            if idle {
                return self.agree();
            }
        }
        panic!("never settles\n{}", self.log.join("\n"));
    }

    fn agree(&self) {
        let shown = self.log.join("\n");
        for b in &self.boxes {
            let kept = |f: &(String, String)| f.1.contains("copies could be verified");
            let failures: Vec<_> = b.failures().into_iter().filter(|f| !kept(f)).collect();
            assert!(failures.is_empty(), "{} fails: {failures:?}\n{shown}", b.name);
            let letters: Vec<_> = b.status().into_iter().filter(|l| !l.starts_with('s')).collect();
            assert!(letters.is_empty(), "{} is not settled: {letters:?}\n{shown}", b.name);
        }
        let [first, rest @ ..] = self.boxes.as_slice() else { return };
        // a new mtime alone makes no version, so it need not travel
        let timeless = |node: Node| match node {
            Node::File { bytes, mode, .. } => Node::File { bytes, mode, mtime: (0, 0) },
            other => other,
        };
        let tree = first.tree();
        for other in rest {
            for (name, node) in other.tree() {
                if let Some(there) = tree.get(&name) {
                    let (one, two) = (timeless(there.clone()), timeless(node));
                    assert_eq!(one, two, "{name} differs between {} and {}\n{shown}", first.name, other.name);
                }
            }
        }
    }
}

#[test]
fn no_history_loses_anything() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let seed = number("LTR_SEED", 2026);
    for history in 0..number("LTR_HISTORIES", 25) {
        let world = World::new();
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(history);
        let mut history = History::new(seed, &world);
        history.log.push(format!("seed {seed}"));
        for _ in 0..40 {
            history.step();
        }
        history.settle();
    }
}
