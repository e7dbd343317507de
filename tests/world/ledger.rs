//! What is owed to people: the properties of the table in `main.rs`, told after every step.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use litter::hash::sha1_of;
use litter::record::{Document, Entry, Ftype};

use crate::system::{Node, System, Told, Tree, path};

/// What a person knows.
#[derive(Default)]
pub struct Ledger {
    /// Contents that nobody has overwritten, deleted or purged.
    pub owed: BTreeSet<String>,
    /// All that anybody ever wrote.
    written: HashSet<String>,
    /// By box: names that were changed since a commit looked at them. The empty name is all of them.
    dirty: Vec<BTreeSet<String>>,
    /// By box: names that somebody marked skip or deleted; what is below them too.
    unwanted: Vec<BTreeSet<String>>,
    /// Names that somebody purged or renamed, wherever.
    purged: BTreeSet<String>,
    /// By box: whether more than one hand writes for it, so that an index can be behind its disk.
    pub muddled: Vec<bool>,
}

fn is_below(name: &str, top: &str) -> bool {
    top.is_empty() || name == top || name.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

fn covers(names: &BTreeSet<String>, name: &str) -> bool {
    names.iter().any(|top| is_below(name, top))
}

/// The content of an entry, as [`Node::content`] has it; only its hash is known.
fn is_of(entry: &Entry, content: &str) -> bool {
    let (ftype, bytes) = match content.strip_prefix("-> ") {
        Some(target) => (Ftype::Symlink, target),
        None => (Ftype::File, content),
    };
    entry.attrs.ftype == ftype && entry.attrs.sha1 == Some(sha1_of(bytes.as_bytes()))
}

impl Ledger {
    pub fn new(boxes: usize) -> Self {
        Self {
            dirty: vec![BTreeSet::new(); boxes],
            unwanted: vec![BTreeSet::new(); boxes],
            muddled: vec![false; boxes],
            ..Self::default()
        }
    }

    pub fn wrote(&mut self, node: &Node) {
        if let Some(content) = node.content() {
            self.written.insert(content.clone());
            self.owed.insert(content);
        }
    }

    pub fn changed(&mut self, b: usize, name: &str) {
        self.dirty[b].insert(name.to_owned());
    }

    /// Nothing is known of the box until a commit has looked at all of it.
    pub fn unsettle(&mut self, b: usize) {
        self.dirty[b].insert(String::new());
    }

    /// A person gives up what is, or by an index was, at a name of a box.
    pub fn give_up(&mut self, system: &dyn System, b: usize, name: &str) {
        if let Some(content) = system.tree(b).get(name).and_then(Node::content) {
            self.owed.remove(&content);
        }
        let box_name = &system.names()[b];
        for index in 0..self.dirty.len() {
            for entry in entries(&system.documents(index)) {
                if entry.box_name == *box_name && entry.path == path(name) {
                    self.owed.retain(|content| !is_of(entry, content));
                }
            }
        }
        if let Some(entry) = system.last_recorded(b, name) {
            self.owed.retain(|content| !is_of(&entry, content));
        }
    }

    /// A person purges a name: everything that the index of the box knows there and below.
    pub fn purge(&mut self, system: &dyn System, b: usize, name: &str) {
        self.purged.insert(name.to_owned());
        for entry in entries(&system.documents(b)) {
            if entry.path.is_within(&path(name)) {
                self.owed.retain(|content| !is_of(entry, content));
            }
        }
    }

    /// A commit told of a rename: marks go along.
    pub fn renamed(&mut self, old: &str, new: &str) {
        self.purged.insert(old.to_owned());
        for unwanted in self.unwanted.iter_mut().filter(|unwanted| covers(unwanted, old)) {
            unwanted.insert(new.to_owned());
        }
    }

    /// An index that is behind the disk takes what a purge took there for deleted by hand.
    pub fn forget_purges(&mut self, b: usize, tree: &Tree) {
        let gone = self.purged.iter().filter(|name| !tree.contains_key(*name));
        self.unwanted[b].extend(gone.cloned());
    }

    /// The renames that the index has of a box.
    pub fn renames(documents: &[Rc<Document>], box_name: &str) -> Vec<(String, String)> {
        let moved = entries(documents).filter(|e| e.box_name == box_name && e.purged);
        moved.filter_map(|e| Some((e.path.spelled(), e.moved.as_ref()?.spelled()))).collect()
    }

    pub fn skip(&mut self, b: usize, name: &str) {
        self.unwanted[b].insert(name.to_owned());
    }

    /// A person deleted files: what is nowhere else is given up.
    pub fn lost_with(&mut self, system: &dyn System, gone: &Tree) {
        let mut there = everywhere(system);
        there.extend(system.staged());
        for content in gone.values().filter_map(Node::content) {
            if !there.contains(&content) {
                self.owed.remove(&content);
            }
        }
    }

    /// What was deleted after something else had come where the index has it: that was no discard.
    pub fn moved_and_gone(&mut self, system: &dyn System, b: usize, gone: &Tree) {
        let (tree, documents, names) = (system.tree(b), system.documents(b), system.names());
        for content in gone.values().filter_map(Node::content) {
            let mut own = entries(&documents).filter(|e| e.present && e.box_name == names[b] && is_of(e, &content));
            if own.any(|e| tree.get(&e.path.spelled()[1..]).is_some_and(|n| n.content().as_ref() != Some(&content))) {
                self.owed.remove(&content);
            }
        }
    }

    pub fn committed(&mut self, b: usize, name: Option<&str>) {
        match name {
            None => self.dirty[b].clear(),
            Some(top) => self.dirty[b].retain(|name| !is_below(name, top)),
        }
    }

    /// Nothing that is owed is nowhere; nothing is there that nobody wrote.
    pub fn check(&self, system: &dyn System) -> Result<(), String> {
        let there = everywhere(system);
        let staged = system.staged();
        let lost: Vec<_> = self.owed.iter().filter(|c| !there.contains(*c) && !staged.contains(c)).collect();
        if !lost.is_empty() {
            return Err(format!("lost: {lost:?}"));
        }
        let strange: Vec<_> = there.iter().filter(|content| !self.written.contains(*content)).collect();
        if strange.is_empty() { Ok(()) } else { Err(format!("nobody wrote {strange:?}")) }
    }

    /// The index claims no copy that is not on disk, but for what changed since.
    pub fn check_claims(&self, system: &dyn System, b: usize) -> Result<(), String> {
        let (box_name, tree) = (&system.names()[b], system.tree(b));
        for entry in entries(&system.documents(b)).filter(|e| e.present && e.box_name == *box_name) {
            let name = &entry.path.spelled()[1..];
            if covers(&self.dirty[b], name) || self.dirty[b].iter().any(|d| is_below(d, name)) {
                continue;
            }
            let there = match tree.get(name) {
                Some(Node::Dir) => entry.attrs.ftype == Ftype::Dir,
                Some(Node::File { content, .. }) => is_of(entry, content),
                Some(Node::Link(target)) => is_of(entry, &format!("-> {target}")),
                None => false,
            };
            if !there {
                return Err(format!("the index says that {box_name} holds {name}, and there is {:?}", tree.get(name)));
            }
        }
        Ok(())
    }

    /// A commit that took a last copy for discarded said so where the index could know it.
    pub fn check_letters(&self, before: &[Rc<Document>], box_name: &str, told: &Told) -> Result<(), String> {
        for (_, gone) in told.letters.iter().filter(|l| l.0 == "D") {
            let own = entries(before).find(|e| e.box_name == *box_name && e.path.spelled() == *gone);
            let Some(own) = own.filter(|e| e.attrs.ftype != Ftype::Dir && !e.purged) else { continue };
            let elsewhere =
                |e: &&Entry| e.box_name != *box_name && e.present && !e.purged && e.attrs.content() == own.attrs.content();
            if entries(before).find(elsewhere).is_none() {
                return Err(format!("{gone} is a last copy by the index, and D was said of it"));
            }
        }
        Ok(())
    }

    /// A person was told that the last copy went: others that the index knows of are given up too, where newer
    /// edits of their names take their place.
    pub fn announced(&mut self, before: &[Rc<Document>], box_name: &str, told: &Told) {
        for (_, gone) in told.letters.iter().filter(|l| l.0 == "L") {
            let Some(own) = entries(before).find(|e| e.box_name == *box_name && e.path.spelled() == *gone) else { continue };
            let copies =
                entries(before).filter(|e| e.box_name != *box_name && e.present && e.attrs.content() == own.attrs.content());
            let replaced = |copy: &Entry| {
                let mut there = entries(before).filter(|e| e.path == copy.path && e.attrs.content() != copy.attrs.content());
                there.any(|e| e.present && e.version.includes(&copy.version))
            };
            let copies: Vec<&Entry> = copies.collect();
            if !copies.is_empty() && copies.into_iter().all(replaced) {
                self.owed.retain(|content| !is_of(own, content));
            }
        }
    }

    /// A pull removed only what somebody marked, deleted, purged or renamed by name.
    pub fn check_removed(&self, b: usize, told: &Told) -> Result<(), String> {
        for step in &told.steps {
            let Some(name) = step.strip_prefix("remove /") else { continue };
            if !covers(&self.purged, name) && !covers(&self.unwanted[b], name) {
                return Err(format!("nobody asked for {step}"));
            }
        }
        Ok(())
    }

    /// Every box has all that it wants of what is owed, but where there `is_no_room` for it.
    pub fn check_wants(&self, system: &dyn System, b: usize, is_no_room: &dyn Fn(&str) -> bool) -> Result<(), String> {
        let (here, documents) = (system.tree(b), system.documents(b));
        let box_name = &system.names()[b];
        let has: HashSet<String> = here.values().filter_map(Node::content).collect();
        let policy = documents.iter().find_map(|d| match d.as_ref() {
            Document::Box(name, fields) if name == box_name => Some(fields.policy()),
            _ => None,
        });
        if policy != Some(litter::record::Policy::Complete) {
            return Ok(());
        }
        let held = (0..self.dirty.len()).filter(|other| *other != b).flat_map(|other| system.tree(other));
        for (name, node) in held {
            let Some(content) = node.content().filter(|c| self.owed.contains(c)) else { continue };
            // a last copy that a purge may not take is where it is, and nowhere wanted
            let at = path(&name);
            let purged = entries(&documents).any(|p| {
                p.purged
                    && p.path == at
                    && !entries(&documents).any(|e| e.path == at && e.present && !p.version.includes(&e.version))
            });
            if purged {
                continue;
            }
            if !covers(&self.unwanted[b], &name) && !has.contains(&content) && !is_no_room(&name) {
                return Err(format!("{box_name} wants {name} and lacks {content:?}"));
            }
        }
        Ok(())
    }
}

pub fn entries(documents: &[Rc<Document>]) -> impl Iterator<Item = &Entry> {
    documents.iter().filter_map(|d| if let Document::Entry(entry) = d.as_ref() { Some(entry) } else { None })
}

/// All contents that are on any disk.
pub fn everywhere(system: &dyn System) -> HashSet<String> {
    let trees = (0..system.names().len()).map(|b| system.tree(b)).chain(system.elsewhere());
    trees.flat_map(|tree| tree.into_values().filter_map(|node| node.content())).collect()
}

/// The contents of several trees, by content.
#[allow(dead_code, reason = "for logs")]
pub fn where_is(system: &dyn System) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (b, box_name) in system.names().into_iter().enumerate() {
        for (name, node) in system.tree(b) {
            if let Some(content) = node.content() {
                all.entry(content).or_default().push(format!("{box_name}:{name}"));
            }
        }
    }
    all
}
