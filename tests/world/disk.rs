//! A disk of the model: names and what is at them, as far as its file system can tell.

use std::collections::BTreeMap;

use litter::fsinfo::FsTraits;
use litter::hash::sha1_of;
use litter::path::SpacePath;
use litter::record::{Ftype, Mode, Sha1};
use litter::scan::Item;

use crate::system::{Change, Node, Tree};

/// An ordinary disk.
pub const NATIVE: FsTraits = FsTraits { granularity_ns: 1, stable_ids: true, modes: true };
/// A stick: times of 2 s, no modes, and other inode numbers with every look.
pub const FAT: FsTraits = FsTraits { granularity_ns: 2_000_000_000, stable_ids: false, modes: false };

#[derive(Clone, Debug)]
pub struct Spot {
    pub node: Node,
    pub sha1: Option<Sha1>,
    pub ino: u64,
    pub ctime: i64,
}

impl Spot {
    pub fn ftype(&self) -> Ftype {
        match self.node {
            Node::File { .. } => Ftype::File,
            Node::Dir => Ftype::Dir,
            Node::Link(_) => Ftype::Symlink,
        }
    }

    pub fn content(&self) -> (Ftype, Option<Sha1>) {
        (self.ftype(), self.sha1)
    }

    pub fn mtime(&self) -> i64 {
        if let Node::File { mtime, .. } = self.node { mtime } else { 0 }
    }

    pub fn size(&self) -> u64 {
        match &self.node {
            Node::File { content, .. } => content.len() as u64,
            Node::Dir => 0,
            Node::Link(target) => target.len() as u64,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Disk {
    pub spots: BTreeMap<SpacePath, Spot>,
    pub fs: FsTraits,
    pub folds: bool,
    /// Device and inode of the cookie.
    pub cookie: (u64, u64),
    /// Its ctime.
    pub touched: i64,
    /// Counts changes: inode numbers and ctimes.
    pub ticks: u64,
}

impl Disk {
    pub fn new(fs: FsTraits, folds: bool, cookie: (u64, u64)) -> Self {
        Self { spots: BTreeMap::new(), fs, folds, cookie, touched: 0, ticks: 1 }
    }

    /// The path as it is spelled on this disk, as far as there is anything.
    pub fn real(&self, path: &SpacePath) -> SpacePath {
        if !self.folds || self.spots.contains_key(path) {
            return path.clone();
        }
        let mut real = SpacePath::root();
        for name in path.spelled().split('/').skip(1) {
            let wanted = real.join(name.as_bytes()).unwrap();
            let same = |p: &&SpacePath| p.parent() == Some(real.clone()) && p.name().eq_ignore_ascii_case(name.as_bytes());
            real = self.spots.keys().find(same).cloned().unwrap_or(wanted);
        }
        real
    }

    pub fn look(&self, path: &SpacePath) -> Option<&Spot> {
        self.spots.get(&self.real(path))
    }

    /// Whether the disk has exactly this name.
    pub fn lists(&self, path: &SpacePath) -> bool {
        self.spots.contains_key(path)
    }

    /// Whether something can be put at a path: its folder is one.
    pub fn has_folder_for(&self, path: &SpacePath) -> bool {
        path.parent().is_none_or(|p| p.is_root() || self.look(&p).is_some_and(|s| s.node == Node::Dir))
    }

    pub fn is_empty(&self, folder: &SpacePath) -> bool {
        let folder = self.real(folder);
        !self.spots.keys().any(|p| p.is_within(&folder) && *p != folder)
    }

    pub fn put(&mut self, path: &SpacePath, node: Node) {
        let path = self.real(path);
        self.ticks += 1;
        let sha1 = match &node {
            Node::File { content, .. } => Some(sha1_of(content.as_bytes())),
            Node::Link(target) => Some(sha1_of(target.as_bytes())),
            Node::Dir => None,
        };
        let ino = self.spots.get(&path).map_or(self.ticks, |s| s.ino);
        let node = self.as_kept(node);
        self.spots.insert(path, Spot { node, sha1, ino, ctime: i64::try_from(self.ticks).unwrap() });
    }

    fn as_kept(&self, node: Node) -> Node {
        match node {
            Node::File { content, mtime, mode } => {
                let seconds = i64::try_from(self.fs.granularity_ns / 1_000_000_000).unwrap().max(1);
                Node::File { content, mtime: mtime - mtime.rem_euclid(seconds), mode: if self.fs.modes { mode } else { 0o755 } }
            }
            other => other,
        }
    }

    pub fn take(&mut self, path: &SpacePath) -> Option<Spot> {
        let path = self.real(path);
        self.spots.remove(&path)
    }

    /// Renames a file, or a folder with all below.
    pub fn rename(&mut self, from: &SpacePath, to: &SpacePath) {
        let (from, to) = (self.real(from), self.real(to));
        let moved: Vec<SpacePath> = self.spots.keys().filter(|p| p.is_within(&from)).cloned().collect();
        for old in moved {
            let mut spot = self.spots.remove(&old).unwrap();
            if old == from {
                self.ticks += 1;
                spot.ctime = i64::try_from(self.ticks).unwrap();
            }
            self.spots.insert(old.rebased(&from, &to).unwrap(), spot);
        }
    }

    pub fn remove(&mut self, path: &SpacePath) {
        let path = self.real(path);
        self.spots.retain(|p, _| !p.is_within(&path));
    }

    /// Gives every file another inode and ctime, as a copy has them.
    pub fn make_all_new(&mut self) {
        for spot in self.spots.values_mut() {
            self.ticks += 1;
            (spot.ino, spot.ctime) = (self.ticks, i64::try_from(self.ticks).unwrap());
        }
    }

    /// What a person does. `now` is what the clock of this machine says.
    pub fn change(&mut self, change: &Change, now: i64) {
        let at = crate::system::path;
        match change {
            Change::Write { name, content, mtime } => {
                let path = at(name);
                self.make_folders(&path);
                let mode = match self.look(&path).map(|s| &s.node) {
                    Some(Node::File { mode, .. }) => *mode,
                    _ => 0o644,
                };
                self.put(&path, Node::File { content: content.clone(), mtime: mtime.unwrap_or(now), mode });
            }
            Change::Remove(name) => self.remove(&at(name)),
            Change::Rename(from, to) => {
                self.make_folders(&at(to));
                self.rename(&at(from), &at(to));
            }
            Change::Mkdir(name) => {
                self.make_folders(&at(name));
                self.put(&at(name), Node::Dir);
            }
            Change::Link(name, target) => {
                self.make_folders(&at(name));
                self.put(&at(name), Node::Link(target.clone()));
            }
            Change::Touch(name, time) => self.alter(&at(name), |mtime, _| *mtime = *time),
            Change::Chmod(name, bits) => self.alter(&at(name), |_, mode| *mode = *bits),
        }
    }

    fn alter(&mut self, path: &SpacePath, how: impl FnOnce(&mut i64, &mut u32)) {
        if let Some(Node::File { content, mut mtime, mut mode }) = self.look(path).map(|s| s.node.clone()) {
            how(&mut mtime, &mut mode);
            self.put(path, Node::File { content, mtime, mode });
        }
    }

    fn make_folders(&mut self, path: &SpacePath) {
        let mut above = Vec::new();
        let mut folder = path.parent();
        while let Some(p) = folder.filter(|p| !p.is_root()) {
            folder = p.parent();
            above.push(p);
        }
        for p in above.into_iter().rev() {
            if self.look(&p).is_none() {
                self.put(&p, Node::Dir);
            }
        }
    }

    pub fn tree(&self) -> Tree {
        self.spots.iter().map(|(p, s)| (p.spelled()[1..].to_owned(), s.node.clone())).collect()
    }

    /// What a scan sees, in path order.
    pub fn items(&mut self) -> Vec<Item> {
        self.ticks += 1;
        let shift = if self.fs.stable_ids { 0 } else { self.ticks << 20 };
        let item = |(path, spot): (&SpacePath, &Spot)| Item {
            path: path.clone(),
            ftype: spot.ftype(),
            size: spot.size(),
            mtime: spot.mtime(),
            mtime_nsec: 0,
            mode: Mode(match spot.node {
                Node::File { mode, .. } => mode,
                Node::Dir => 0o755,
                Node::Link(_) => 0o777,
            }),
            ino: spot.ino + shift,
            dev: self.cookie.0,
            ctime: spot.ctime,
            ctime_nsec: 0,
            target: if let Node::Link(target) = &spot.node { Some(target.clone().into_bytes()) } else { None },
        };
        self.spots.iter().map(item).collect()
    }
}
