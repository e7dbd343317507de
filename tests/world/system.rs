//! What a history needs of the world that it happens in, be it a model of one or real folders.

use std::collections::BTreeMap;
use std::rc::Rc;

use litter::path::SpacePath;
use litter::record::{Document, Entry, Policy, Want};

/// What is on disk at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File { content: String, mtime: i64, mode: u32 },
    Dir,
    Link(String),
}

impl Node {
    /// What nobody may lose: bytes, or where a symlink leads. Empty files are all alike.
    pub fn content(&self) -> Option<String> {
        match self {
            Node::File { content, .. } if !content.is_empty() => Some(content.clone()),
            Node::Link(target) => Some(format!("-> {target}")),
            _ => None,
        }
    }

    pub fn is_file(&self) -> bool {
        matches!(self, Node::File { .. })
    }
}

/// A folder's files by their names in it, ltr's own left out.
pub type Tree = BTreeMap<String, Node>;

/// All documents of an index, by their keys.
pub type Documents = Rc<[Rc<Document>]>;

/// What a person does to the files of a box.
#[derive(Clone, Debug)]
pub enum Change {
    /// `mtime`: seconds since 1970; none: now.
    Write {
        name: String,
        content: String,
        mtime: Option<i64>,
    },
    Remove(String),
    Rename(String, String),
    Mkdir(String),
    Link(String, String),
    Touch(String, i64),
    Chmod(String, u32),
}

/// What a command told.
#[derive(Clone, Default)]
pub struct Told {
    /// Letter and path (of a rename `/old -> /new`), of a commit or status.
    pub letters: Vec<(String, String)>,
    /// What a pull did, or would do.
    pub steps: Vec<String>,
    /// Each with the thing's name.
    pub failures: Vec<String>,
    /// It did nothing, for this reason.
    pub refused: Option<String>,
    /// It also heard what others know.
    pub heard: bool,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letters: Vec<String> = self.letters.iter().map(|(letter, path)| format!("{letter} {path}")).collect();
        for (what, all) in [("", &letters), ("did ", &self.steps), ("failed ", &self.failures)] {
            if !all.is_empty() {
                write!(f, " {what}{all:?}")?;
            }
        }
        self.refused.iter().try_for_each(|why| write!(f, " refused {why}"))
    }
}

/// Which part of last week's backup comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Files,
    Index,
    /// The index, written over the file that is there.
    InPlace,
    Both,
    /// Both, each file written over the one that is there.
    BothInPlace,
}

/// Boxes, indexes, and the commands. Boxes are numbered.
pub trait System {
    fn names(&self) -> Vec<String>;

    /// Whether the disk of a box is there.
    fn is_here(&self, b: usize) -> bool;

    fn tree(&self, b: usize) -> Tree;

    /// The files of disks that are away, and of copies of box folders.
    fn elsewhere(&self) -> Vec<Tree>;

    /// Contents in staging folders: on their way, or taken out of their place by a pull that was killed.
    fn staged(&self) -> Vec<String> {
        Vec::new()
    }

    /// Every document of the index that the box `b` uses.
    fn documents(&self, b: usize) -> Documents;

    /// What was last recorded of a name of the box: an index that lost it in a restore hears of it again.
    fn last_recorded(&self, b: usize, name: &str) -> Option<Entry>;

    /// A number for the index that the box uses.
    fn index_of(&self, b: usize) -> usize;

    fn change(&mut self, b: usize, change: &Change);

    fn status(&mut self, b: usize) -> Told;

    /// `cut`: only some of what it wrote arrives in the index.
    fn commit(&mut self, b: usize, path: Option<&str>, cut: Option<u32>) -> Told;

    fn pull(&mut self, b: usize, from: Option<usize>, cut: Option<u32>) -> Told;

    /// Pulls, while somebody changes a file of the box `other`: before so many steps are done, of as many as
    /// there are.
    fn pull_shifting(&mut self, b: usize, other: usize, change: &Change, after: u32) -> Told;

    /// Merges the index of `a` with that of `b`, or with something else that keeps documents.
    fn sync(&mut self, a: usize, b: usize, cut: Option<u32>) -> Told;

    /// By the hand of the box `by`, for the box `b`.
    fn mark(&mut self, by: usize, b: usize, path: &str, want: Want) -> Told;

    fn purge(&mut self, b: usize, path: &str) -> Told;

    fn set_policy(&mut self, by: usize, b: usize, policy: Policy) -> Told;

    /// Somebody sets the clock of the machine of a box.
    fn set_clock(&mut self, b: usize, hours: i64);

    /// What is new in the index of `a` goes to that of `b`, and nothing back.
    fn tell(&mut self, a: usize, b: usize) -> Told;

    fn go_away(&mut self, b: usize);

    fn come_back(&mut self, b: usize);

    fn back_up(&mut self, b: usize);

    /// Whether there was a backup.
    fn restore(&mut self, b: usize, part: Part) -> bool;

    /// Copies the folder with its cookie, or changes over to the copy.
    fn copy_folder(&mut self, b: usize);

    /// Goes on with another host's replica. Whether it could.
    fn other_replica(&mut self, b: usize, pick: u32) -> bool;

    /// Deletes the index of a box and makes it anew from another one. Whether it could.
    fn rebuild(&mut self, b: usize, pick: u32) -> bool;

    /// Merges all indexes with each other.
    fn meet(&mut self);

    /// Lets time go by.
    fn wait(&mut self, seconds: u64);

    /// Whether an edit that leaves size and mtime alone can be told on this box's disk.
    fn tells_forgeries(&self, b: usize) -> bool;

    /// Whether the disk takes two names for one that differ only in case.
    fn folds_case(&self, b: usize) -> bool;

    /// Something happens to servers and their databases: one is replicated to another, is away, comes back,
    /// is lost. What, where there are any.
    fn serve(&mut self, _: u32) -> Option<String> {
        None
    }

    /// A check of the system's own, at the end.
    fn check_end(&mut self) -> Result<(), String> {
        Ok(())
    }
}

pub fn path(name: &str) -> SpacePath {
    SpacePath::from_spelled(&format!("/{name}")).unwrap()
}
