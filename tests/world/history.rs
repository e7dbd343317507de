//! What people do, drawn by chance, and what must hold after every step of it.

use litter::record::{Policy, Want};

use crate::ledger::Ledger;
use crate::rng::Rng;
use crate::system::{Change, Node, Part, System, Told, Tree};
use crate::tally;

/// One thing that somebody does. Which of several is decided by numbers, so that what is left of a
/// history is one too when others are dropped.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    kind: Kind,
    b: u32,
    x: u32,
    y: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Create,
    Empty,
    Edit,
    Forge,
    Touch,
    Chmod,
    Copy,
    Rename,
    Swap,
    MoveFolder,
    Delete,
    DeleteFolder,
    ToFolder,
    ToLink,
    Mkdir,
    Commit,
    CommitPath,
    CommitCut,
    Skip,
    Want,
    Clear,
    Purge,
    PurgeFolder,
    Policy,
    Clock,
    Tell,
    Sync,
    SyncCut,
    Pull,
    PullFrom,
    PullCut,
    PullShifting,
    Serve,
    Away,
    Back,
    BackUp,
    Restore(Part),
    CopyFolder,
    Replica,
    Rebuild,
}

/// How often people do what.
const WEIGHTS: [(Kind, u32); 44] = [
    (Kind::Create, 14),
    (Kind::Empty, 1),
    (Kind::Edit, 12),
    (Kind::Forge, 2),
    (Kind::Touch, 2),
    (Kind::Chmod, 2),
    (Kind::Copy, 3),
    (Kind::Rename, 7),
    (Kind::Swap, 3),
    (Kind::MoveFolder, 2),
    (Kind::Delete, 4),
    (Kind::DeleteFolder, 1),
    (Kind::ToFolder, 1),
    (Kind::ToLink, 1),
    (Kind::Mkdir, 1),
    (Kind::Commit, 16),
    (Kind::CommitPath, 4),
    (Kind::CommitCut, 1),
    (Kind::Skip, 3),
    (Kind::Want, 2),
    (Kind::Clear, 2),
    (Kind::Purge, 2),
    (Kind::PurgeFolder, 1),
    (Kind::Clock, 1),
    (Kind::Tell, 2),
    (Kind::Policy, 1),
    (Kind::Sync, 12),
    (Kind::SyncCut, 2),
    (Kind::Pull, 14),
    (Kind::PullFrom, 3),
    (Kind::PullCut, 3),
    (Kind::PullShifting, 3),
    (Kind::Serve, 5),
    (Kind::Away, 1),
    (Kind::Back, 2),
    (Kind::BackUp, 2),
    (Kind::Restore(Part::Files), 1),
    (Kind::Restore(Part::Index), 1),
    (Kind::Restore(Part::InPlace), 1),
    (Kind::Restore(Part::Both), 1),
    (Kind::Restore(Part::BothInPlace), 1),
    (Kind::CopyFolder, 1),
    (Kind::Replica, 1),
    (Kind::Rebuild, 1),
];

const NAMES: [&str; 11] = ["a", "b", "d/a", "d/b", "d/e/c", "e", "d", "moved/a", "A", "f.txt", "d/e/f.txt"];
const FOLDERS: [&str; 5] = ["d", "d/e", "moved", "g", "g/d"];

/// `length` things, as people do them: but in each world some of them often, and some not at all, since
/// what is rare seldom meets what else is rare (Groce et al., "Swarm Testing", 2012).
pub fn drawn(rng: &mut Rng, length: usize) -> Vec<Op> {
    let mood = [0, 1, 1, 1, 1, 5];
    let weights = WEIGHTS.map(|(kind, weight)| (kind, weight * mood[rng.below(mood.len())]));
    let total: u32 = weights.iter().map(|w| w.1).sum();
    let kind = |at: u32| {
        let mut left = at % total;
        for (kind, weight) in weights {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        Kind::Commit
    };
    (0..length).map(|_| Op { kind: kind(rng.draw()), b: rng.draw(), x: rng.draw(), y: rng.draw() }).collect()
}

/// Everything that people do, by name.
pub fn kinds() -> impl Iterator<Item = String> {
    WEIGHTS.iter().map(|(kind, _)| format!("{kind:?}"))
}

/// A history on its way.
pub struct History<'a> {
    system: &'a mut dyn System,
    ledger: Ledger,
    written: u64,
    away: Vec<bool>,
    /// Whether the last pull had nothing to do.
    idle: bool,
    log: &'a mut Vec<String>,
}

type Held = Result<(), String>;

impl<'a> History<'a> {
    pub fn new(system: &'a mut dyn System, log: &'a mut Vec<String>) -> Self {
        let boxes = system.names().len();
        Self { system, ledger: Ledger::new(boxes), written: 0, away: vec![false; boxes], idle: true, log }
    }

    /// Does it all, lets the world settle, and says what did not hold.
    pub fn run(&mut self, ops: &[Op]) -> Held {
        for op in ops {
            self.step(*op)?;
        }
        self.settle()
    }

    fn boxes(&self) -> usize {
        self.away.len()
    }

    fn name(&self, b: usize) -> String {
        self.system.names()[b].clone()
    }

    fn say(&mut self, b: usize, what: &str) {
        let name = self.name(b);
        self.log.push(format!("{name}: {what}"));
    }

    fn step(&mut self, op: Op) -> Held {
        let b = op.b as usize % self.boxes();
        self.system.wait(3 + u64::from(op.y % 4000));
        if !self.system.is_here(b) && op.kind != Kind::Back {
            return Ok(());
        }
        let said = self.log.len();
        self.act(b, op)?;
        if self.log.len() > said {
            tally::count(&format!("{:?}", op.kind));
        }
        self.ledger.check(self.system)
    }

    fn act(&mut self, b: usize, op: Op) -> Held {
        match op.kind {
            Kind::Commit => self.commit(b, None, None)?,
            Kind::CommitCut => self.commit(b, None, Some(op.x))?,
            Kind::CommitPath => {
                let name = self.some_name(b, op);
                self.commit(b, name.as_deref(), None)?;
            }
            Kind::Pull => self.pull(b, None, None)?,
            Kind::PullFrom => self.pull(b, Some(op.x as usize % self.boxes()), None)?,
            Kind::PullCut => self.pull(b, None, Some(op.x))?,
            Kind::PullShifting => self.pull_shifting(b, op)?,
            Kind::Serve => {
                if let Some(what) = self.system.serve(op.x) {
                    self.say(b, &what);
                }
                self.unsettle_muddled();
            }
            Kind::Sync => self.sync(b, op.x as usize % self.boxes(), None)?,
            Kind::SyncCut => self.sync(b, op.x as usize % self.boxes(), Some(op.y))?,
            Kind::Skip | Kind::Want | Kind::Clear => self.mark(b, op),
            Kind::Purge | Kind::PurgeFolder => self.purge(b, op),
            Kind::Clock => {
                let hours = i64::from(op.x % 13) - 6;
                self.say(b, &format!("its clock is set to be wrong by {hours} h"));
                self.system.set_clock(b, hours);
            }
            Kind::Tell => {
                let other = op.x as usize % self.boxes();
                self.say(b, &format!("sync -d here -D box{other}"));
                self.system.tell(b, other);
                self.unsettle_muddled();
            }
            Kind::Policy => {
                let policy = [Policy::Complete, Policy::Ondemand, Policy::Skeleton][op.y as usize % 3];
                let whose = op.x as usize % self.boxes();
                self.say(b, &format!("set box{whose}.policy {policy}"));
                self.system.set_policy(b, whose, policy);
            }
            Kind::Away | Kind::Back | Kind::BackUp | Kind::Restore(_) | Kind::CopyFolder | Kind::Replica | Kind::Rebuild => {
                self.machine(b, op);
            }
            _ => self.edit(b, op),
        }
        Ok(())
    }

    fn files(&self, b: usize) -> Vec<String> {
        let tree = self.system.tree(b);
        tree.into_iter().filter(|(_, node)| *node != Node::Dir).map(|(name, _)| name).collect()
    }

    fn folders(&self, b: usize) -> Vec<String> {
        let tree = self.system.tree(b);
        tree.into_iter().filter(|(_, node)| *node == Node::Dir).map(|(name, _)| name).collect()
    }

    fn any_name(&self, b: usize, op: Op) -> Option<String> {
        let files = self.files(b);
        files.get(op.x as usize % files.len().max(1)).cloned()
    }

    /// A file, a folder, or what may have been one.
    fn some_name(&self, b: usize, op: Op) -> Option<String> {
        match op.y % 3 {
            0 => Some(NAMES[op.x as usize % NAMES.len()].to_owned()),
            1 => Some(FOLDERS[op.x as usize % FOLDERS.len()].to_owned()),
            _ => self.any_name(b, op),
        }
    }

    /// Whether a person can put something at a name.
    fn is_free(&self, tree: &Tree, b: usize, name: &str) -> bool {
        let folds = self.system.folds_case(b);
        let find = |wanted: &str| {
            tree.iter().find(|(n, _)| if folds { n.eq_ignore_ascii_case(wanted) } else { *n == wanted }).map(|(_, node)| node)
        };
        find(name).is_none() && name.match_indices('/').all(|(at, _)| find(&name[..at]).is_none_or(|n| *n == Node::Dir))
    }

    fn content(&mut self, length: u32) -> String {
        self.written += 1;
        let dots = if length.is_multiple_of(4) { ".." } else { "" };
        format!("content {:03}{dots}", self.written)
    }

    /// Whatever an index has at these names, and a file above them, is given up: something else comes there.
    fn overwrite(&mut self, b: usize, name: &str) {
        for (at, _) in name.match_indices('/') {
            self.ledger.give_up(self.system, b, &name[..at]);
            self.ledger.changed(b, &name[..at]);
        }
        self.ledger.give_up(self.system, b, name);
        self.ledger.changed(b, name);
    }

    fn do_to(&mut self, b: usize, change: Change) {
        self.say(b, &format!("{change:?}"));
        self.system.change(b, &change);
    }

    fn write(&mut self, b: usize, name: &str, content: String, mtime: Option<i64>) {
        self.overwrite(b, name);
        self.ledger.wrote(&Node::File { content: content.clone(), mtime: 0, mode: 0 });
        self.do_to(b, Change::Write { name: name.to_owned(), content, mtime });
    }

    fn edit(&mut self, b: usize, op: Op) {
        let tree = self.system.tree(b);
        let fresh = NAMES[op.x as usize % NAMES.len()];
        match op.kind {
            Kind::Create | Kind::Empty if self.is_free(&tree, b, fresh) => {
                let content = if op.kind == Kind::Empty { String::new() } else { self.content(op.y) };
                self.write(b, fresh, content, None);
            }
            Kind::Mkdir => {
                let name = FOLDERS[op.x as usize % FOLDERS.len()];
                if self.is_free(&tree, b, name) {
                    self.overwrite(b, name);
                    self.do_to(b, Change::Mkdir(name.to_owned()));
                }
            }
            Kind::MoveFolder => self.move_folder(b, &tree, op),
            Kind::DeleteFolder => {
                let folders = self.folders(b);
                if let Some(name) = folders.get(op.x as usize % folders.len().max(1)) {
                    self.delete(b, name);
                }
            }
            _ => {
                if let Some(name) = self.any_name(b, op) {
                    self.edit_file(b, &name, &tree, op);
                }
            }
        }
    }

    fn edit_file(&mut self, b: usize, name: &str, tree: &Tree, op: Op) {
        let node = &tree[name];
        match (op.kind, node) {
            (Kind::Edit, Node::File { .. }) => {
                let content = self.content(op.y);
                self.write(b, name, content, None);
            }
            (Kind::Forge, Node::File { content, mtime, .. }) if self.system.tells_forgeries(b) && content.len() >= 11 => {
                let mut forged = self.content(1);
                forged.push_str(&content[11..]);
                self.write(b, name, forged, Some(*mtime));
            }
            (Kind::Touch, Node::File { mtime, .. }) => {
                self.ledger.changed(b, name);
                let shift = i64::from(op.y % 20_000) - 10_000;
                self.do_to(b, Change::Touch(name.to_owned(), mtime + shift));
            }
            (Kind::Chmod, Node::File { .. }) => {
                self.ledger.changed(b, name);
                let mode = if op.y.is_multiple_of(2) { 0o600 } else { 0o755 };
                self.do_to(b, Change::Chmod(name.to_owned(), mode));
            }
            (Kind::Copy, Node::File { content, mtime, .. }) => {
                let to = NAMES[op.y as usize % NAMES.len()];
                if self.is_free(tree, b, to) {
                    let keep = op.y.is_multiple_of(3).then_some(*mtime);
                    let owed = self.ledger.owed.contains(content);
                    self.write(b, to, content.clone(), keep);
                    if !owed {
                        self.ledger.owed.remove(content);
                    }
                }
            }
            (Kind::Rename, _) => {
                let to = NAMES[op.y as usize % NAMES.len()];
                if self.is_free(tree, b, to) && !to.starts_with(&format!("{name}/")) {
                    self.rename(b, name, to);
                }
            }
            (Kind::Swap, _) => {
                let files = self.files(b);
                let other = &files[op.y as usize % files.len()];
                if other != name && tree[other].is_file() && node.is_file() {
                    self.ledger.changed(b, name);
                    self.ledger.changed(b, other);
                    self.do_to(b, Change::Rename(name.to_owned(), "swapping".to_owned()));
                    self.do_to(b, Change::Rename(other.clone(), name.to_owned()));
                    self.do_to(b, Change::Rename("swapping".to_owned(), other.clone()));
                }
            }
            (Kind::Delete, _) => self.delete(b, name),
            (Kind::ToFolder, _) => {
                self.overwrite(b, name);
                self.do_to(b, Change::Remove(name.to_owned()));
                self.do_to(b, Change::Mkdir(name.to_owned()));
            }
            (Kind::ToLink, _) => {
                self.overwrite(b, name);
                self.do_to(b, Change::Remove(name.to_owned()));
                self.written += 1;
                let target = format!("target{}", self.written);
                self.ledger.wrote(&Node::Link(target.clone()));
                self.do_to(b, Change::Link(name.to_owned(), target));
            }
            _ => {}
        }
    }

    /// What moves is owed as before, wherever it is then.
    fn rename(&mut self, b: usize, from: &str, to: &str) {
        let owed = self.ledger.owed.clone();
        let moving: Vec<String> = self
            .system
            .tree(b)
            .into_iter()
            .filter(|(n, _)| n == from || n.starts_with(&format!("{from}/")))
            .filter_map(|n| n.1.content())
            .collect();
        self.overwrite(b, to);
        self.ledger.owed.extend(moving.into_iter().filter(|c| owed.contains(c)));
        self.ledger.changed(b, from);
        // a commit may not see that it was renamed: then it was deleted
        self.ledger.skip(b, from);
        self.do_to(b, Change::Rename(from.to_owned(), to.to_owned()));
    }

    fn move_folder(&mut self, b: usize, tree: &Tree, op: Op) {
        let folders = self.folders(b);
        let Some(from) = folders.get(op.x as usize % folders.len().max(1)) else { return };
        let to = FOLDERS[op.y as usize % FOLDERS.len()];
        if self.is_free(tree, b, to) && !to.starts_with(&format!("{from}/")) {
            // what an index has below the new name is overwritten by what comes there
            let below: Vec<String> =
                tree.keys().filter_map(|n| n.strip_prefix(&format!("{from}/"))).map(|rest| format!("{to}/{rest}")).collect();
            let (owed, moving) = (self.ledger.owed.clone(), tree.iter().filter(|(n, _)| n.starts_with(&format!("{from}/"))));
            let moving: Vec<String> = moving.filter_map(|(_, node)| node.content()).filter(|c| owed.contains(c)).collect();
            for name in below {
                self.overwrite(b, &name);
            }
            self.ledger.owed.extend(moving);
            self.rename(b, from, to);
        }
    }

    fn delete(&mut self, b: usize, name: &str) {
        let gone: Tree =
            self.system.tree(b).into_iter().filter(|(n, _)| n == name || n.starts_with(&format!("{name}/"))).collect();
        self.ledger.changed(b, name);
        self.ledger.skip(b, name);
        self.do_to(b, Change::Remove(name.to_owned()));
        self.ledger.lost_with(self.system, &gone);
        self.ledger.moved_and_gone(self.system, b, &gone);
    }

    fn commit(&mut self, b: usize, name: Option<&str>, cut: Option<u32>) -> Held {
        let (before, box_name) = (self.system.documents(b), self.name(b));
        let told = self.system.commit(b, name, cut);
        tally::told("commit", &told);
        self.say(b, &format!("commit {}{told:?}", name.unwrap_or("")));
        if told.refused.is_some() {
            return Ok(());
        }
        if cut.is_some() {
            self.ledger.unsettle(b);
        } else if told.failures.is_empty() {
            self.ledger.committed(b, name);
        }
        for (_, names) in told.letters.iter().filter(|l| l.0 == "R") {
            let (old, new) = names.split_once(" -> ").ok_or("a rename without an old name")?;
            self.ledger.renamed(&old[1..], &new[1..]);
        }
        if cut.is_some() {
            // of a rename the old name is recorded first, and told of with the new one
            for (old, new) in Ledger::renames(&self.system.documents(b), &box_name) {
                self.ledger.renamed(&old[1..], &new[1..]);
            }
        }
        self.ledger.check_letters(&before, &box_name, &told)?;
        self.ledger.announced(&before, &box_name, &told);
        self.hear(&told);
        self.ledger.check_claims(self.system, b)
    }

    fn pull(&mut self, b: usize, from: Option<usize>, cut: Option<u32>) -> Held {
        let told = self.system.pull(b, from.filter(|from| *from != b), cut);
        tally::told("pull", &told);
        self.say(b, &format!("pull {}{told:?}", if cut.is_some() { "cut short" } else { "" }));
        if cut.is_some() {
            self.ledger.unsettle(b);
            // a purge may have been carried out and not been recorded
            self.ledger.forget_purges(b, &self.system.tree(b));
        }
        self.idle = told.steps.is_empty();
        self.hear(&told);
        self.ledger.check_removed(b, &told)?;
        self.ledger.check_claims(self.system, b)
    }

    /// A pull during which somebody writes to a file of another box: that is read before, after, or never.
    fn pull_shifting(&mut self, b: usize, op: Op) -> Held {
        let other = op.x as usize % self.boxes();
        let files: Vec<String> = self.system.tree(other).into_iter().filter(|(_, n)| n.is_file()).map(|(n, _)| n).collect();
        let Some(name) = files.get((op.x >> 8) as usize % files.len().max(1)).cloned() else { return Ok(()) };
        if other == b || !self.system.is_here(other) {
            return Ok(());
        }
        let content = self.content(op.y);
        self.overwrite(other, &name);
        self.ledger.wrote(&Node::File { content: content.clone(), mtime: 0, mode: 0 });
        let change = Change::Write { name, content, mtime: None };
        let told = self.system.pull_shifting(b, other, &change, op.y >> 4);
        tally::told("pull-shifting", &told);
        self.say(b, &format!("pull {told:?}, while box{other} {change:?}"));
        self.hear(&told);
        self.ledger.check_removed(b, &told)?;
        self.ledger.check_claims(self.system, b)
    }

    fn sync(&mut self, a: usize, b: usize, cut: Option<u32>) -> Held {
        let told = self.system.sync(a, b, cut);
        tally::told("sync", &told);
        let other = self.name(b);
        self.say(a, &format!("sync {other} {} {told:?}", if cut.is_some() { "cut short" } else { "" }));
        self.unsettle_muddled();
        Ok(())
    }

    fn hear(&mut self, told: &Told) {
        if told.heard {
            self.unsettle_muddled();
        }
    }

    fn unsettle_muddled(&mut self) {
        for c in 0..self.boxes() {
            if self.ledger.muddled[c] {
                self.ledger.unsettle(c);
            }
        }
    }

    fn mark(&mut self, by: usize, op: Op) {
        let whose = op.y as usize % self.boxes();
        let mut names = self.files(by);
        names.extend(self.folders(by));
        let Some(name) = names.get(op.x as usize % names.len().max(1)) else { return };
        let name = if op.y.is_multiple_of(5) { NAMES[op.x as usize % NAMES.len()] } else { name };
        let want = match op.kind {
            Kind::Skip => Want::Skip,
            Kind::Want => Want::Want,
            _ => Want::Cleared,
        };
        if want == Want::Skip {
            self.ledger.skip(whose, name);
        }
        self.say(by, &format!("mark {want:?} {name} for box{whose}"));
        self.system.mark(by, whose, name, want);
    }

    fn purge(&mut self, b: usize, op: Op) {
        let folders = self.folders(b);
        let folder = folders.get(op.x as usize % folders.len().max(1)).cloned().filter(|_| op.kind == Kind::PurgeFolder);
        let Some(name) = folder.or_else(|| self.any_name(b, op)) else { return };
        self.say(b, &format!("rm -r {name}"));
        self.ledger.purge(self.system, b, &name);
        let told = self.system.purge(b, &name);
        if let Some(why) = told.refused {
            self.say(b, &why);
        }
    }

    /// What happens to disks, folders and indexes as a whole.
    fn machine(&mut self, b: usize, op: Op) {
        match op.kind {
            Kind::Away => {
                self.say(b, "its disk goes away");
                self.system.go_away(b);
            }
            Kind::Back => {
                if !self.system.is_here(b) {
                    self.say(b, "its disk is back");
                }
                self.system.come_back(b);
            }
            Kind::BackUp => self.back_up(b),
            Kind::Restore(part) => self.restore(b, part),
            Kind::CopyFolder => {
                self.say(b, "its folder is copied, or the copy is gone on with");
                let before = self.system.tree(b);
                self.system.copy_folder(b);
                // what the other one does not have was, as far as anyone can tell, deleted
                let after = self.system.tree(b);
                for name in before.keys().filter(|name| !after.contains_key(*name)) {
                    self.ledger.skip(b, name);
                }
                self.muddle(b);
            }
            Kind::Replica => {
                if self.system.other_replica(b, op.x) {
                    self.say(b, "goes on with another host's replica");
                    self.muddle(b);
                }
            }
            _ => {
                if self.system.rebuild(b, op.x) {
                    self.say(b, "its index is deleted and made anew");
                    self.muddle_index(b);
                }
            }
        }
    }

    fn muddle(&mut self, b: usize) {
        self.ledger.muddled[b] = true;
        self.ledger.forget_purges(b, &self.system.tree(b));
        self.ledger.unsettle(b);
    }

    fn muddle_index(&mut self, b: usize) {
        let index = self.system.index_of(b);
        for c in 0..self.boxes() {
            if self.system.index_of(c) == index {
                self.muddle(c);
            }
        }
    }

    fn back_up(&mut self, b: usize) {
        self.say(b, "backup");
        self.system.back_up(b);
    }

    fn restore(&mut self, b: usize, part: Part) {
        let before = self.system.tree(b);
        if !self.system.restore(b, part) {
            // who is about to need a backup had better have one
            return self.back_up(b);
        }
        self.say(b, &format!("restored from last week's backup: {part:?}"));
        if matches!(part, Part::Files | Part::Both | Part::BothInPlace) {
            self.ledger.lost_with(self.system, &before);
            let after = self.system.tree(b);
            for (name, node) in &after {
                // an older mtime tells that it came from a backup; with any other it is an edit
                let older = match (before.get(name), node) {
                    (Some(Node::File { mtime: was, .. }), Node::File { mtime: is, .. }) => is < was,
                    _ => false,
                };
                // where inodes tell nothing, what is there was perhaps renamed to here
                let renamed =
                    !self.system.tells_forgeries(b) && before.iter().any(|(n, old)| n != name && old.content() == node.content());
                if before.get(name) != Some(node) && (!older || renamed) {
                    let kept = node.content().filter(|c| self.ledger.owed.contains(c));
                    self.overwrite(b, name);
                    self.ledger.owed.extend(kept);
                }
            }
            // what is not in the backup was deleted by whoever restored it
            for name in before.keys().filter(|name| !after.contains_key(*name)) {
                self.ledger.skip(b, name);
            }
            self.muddle(b);
        }
        if part != Part::Files {
            self.muddle_index(b);
        }
    }

    /// Without new edits, everything settles, and one more round does nothing.
    fn settle(&mut self) -> Held {
        self.log.push("settle".to_owned());
        for b in 0..self.boxes() {
            self.system.come_back(b);
        }
        // what was purged when one commits may be so no more when the next one has
        for _ in 0..2 {
            self.meet()?;
            for b in 0..self.boxes() {
                self.commit(b, None, None)?;
            }
        }
        for _ in 0..12 {
            self.meet()?;
            let mut idle = true;
            for b in 0..self.boxes() {
                self.pull(b, None, None)?;
                self.ledger.check(self.system)?;
                idle &= self.idle;
            }
            if idle {
                return self.agree();
            }
        }
        Err("never settles".to_owned())
    }

    fn meet(&mut self) -> Held {
        self.system.meet();
        self.unsettle_muddled();
        Ok(())
    }

    fn agree(&mut self) -> Held {
        self.meet()?;
        let first: Vec<String> = self.system.documents(0).iter().map(|d| d.canonical()).collect();
        for b in 0..self.boxes() {
            let told = self.system.status(b);
            tally::told("at the end", &told);
            self.say(b, &format!("status {told:?}"));
            // a folder in which purged content is back, which nobody may remove, makes no room for a file
            let is_kept = |name: &str| told.letters.iter().any(|l| l.0 == "p" && l.1.starts_with(&format!("{name}/")));
            let is_open = |l: &&(String, String)| match l.0.as_str() {
                "s" | "p" => false,
                "U" => !is_kept(&l.1),
                _ => true,
            };
            let open: Vec<_> = told.letters.iter().filter(is_open).collect();
            if !open.is_empty() && !(0..self.boxes()).any(|b| self.system.folds_case(b)) {
                return Err(format!("{} is not settled: {open:?}", self.name(b)));
            }
            let documents: Vec<String> = self.system.documents(b).iter().map(|d| d.canonical()).collect();
            if let Some(differs) = documents.iter().find(|d| !first.contains(d)) {
                return Err(format!("indexes differ: {differs}"));
            }
            if let Some(lacks) = first.iter().find(|d| !documents.contains(d)) {
                return Err(format!("indexes differ: {} lacks {lacks}", self.name(b)));
            }
            if !self.system.folds_case(b) {
                self.ledger.check_wants(self.system, b, &|name| is_kept(&format!("/{name}")))?;
            }
        }
        self.system.check_end()
    }
}

/// Drops what does not matter for `fails`.
pub fn shrunk(ops: Vec<Op>, mut fails: impl FnMut(&[Op]) -> bool) -> Vec<Op> {
    let mut ops = ops;
    let mut size = ops.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + size).min(ops.len()));
            if fails(&fewer) {
                ops = fewer;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    ops
}
