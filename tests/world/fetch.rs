//! A pull in the model: what `ltr-fetch` does, step by step, without its staging folder. It is held to
//! design section 10 by the same properties as the model's other parts, and by the real layer to the
//! real thing.

use std::collections::{BTreeMap, HashMap, HashSet};

use litter::chance;
use litter::fetch::names::numbered_name;
use litter::path::SpacePath;
use litter::record::{Action, Attrs, Document, Entry, Extra, Ftype, Local, Mode, Sha1, Verb, Was};
use litter::stamp::Clock;
use litter::version::Version;

use crate::disk::{Disk, Spot};
use crate::system::{Change, Node};

/// The box that pulls, and those around it.
pub struct Fetch<'a> {
    pub box_name: String,
    pub disk: &'a mut Disk,
    /// Those in reach.
    pub others: BTreeMap<String, &'a mut Disk>,
    /// Before so many steps are done, somebody changes a file of another box.
    pub shift: Option<(u32, Shift)>,
    pub clock: Clock,
    pub actor: u32,
    pub commits: u64,
    /// Carry out only so many steps.
    pub cut: Option<u32>,
    pub facts: Vec<Document>,
    pub done: Vec<String>,
    pub failures: Vec<String>,
    pub notices: Vec<String>,
    vacated: HashSet<SpacePath>,
    /// What was displaced and a later step needs, with where it came from.
    aside: HashMap<Sha1, (SpacePath, Spot)>,
    /// Who takes content from a path, and whether something else comes there.
    needs: HashMap<SpacePath, (u32, bool)>,
}

/// What somebody does to another box while this one pulls.
pub struct Shift {
    pub box_name: String,
    pub change: Change,
    /// The time there.
    pub now: i64,
}

/// What keeps a step from being done.
enum Stop {
    Left(String),
    Failed(String),
}

type Step<T> = Result<T, Stop>;

fn failed<T>(why: &str) -> Step<T> {
    Err(Stop::Failed(why.to_owned()))
}

fn left<T>(why: &str) -> Step<T> {
    Err(Stop::Left(why.to_owned()))
}

impl<'a> Fetch<'a> {
    pub fn new(
        box_name: String,
        disk: &'a mut Disk,
        others: BTreeMap<String, &'a mut Disk>,
        clock: Clock,
        actor: u32,
        commits: u64,
    ) -> Self {
        Self {
            box_name,
            disk,
            others,
            clock,
            actor,
            commits,
            shift: None,
            cut: None,
            facts: Vec::new(),
            done: Vec::new(),
            failures: Vec::new(),
            notices: Vec::new(),
            vacated: HashSet::new(),
            aside: HashMap::new(),
            needs: HashMap::new(),
        }
    }

    pub fn run(&mut self, actions: &[Action]) {
        for action in actions {
            if let (Some(source), Verb::Copy | Verb::Move) = (&action.source, action.action) {
                self.needs.entry(source.clone()).or_default().0 += 1;
            }
        }
        for action in actions.iter().filter(|a| a.action != Verb::Remove) {
            if let Some(need) = self.needs.get_mut(&action.path) {
                need.1 = true;
            }
        }
        let (removes, forward): (Vec<_>, Vec<_>) = actions.iter().partition(|a| a.action == Verb::Remove);
        let (mut deferred, mut folders) = (Vec::new(), Vec::new());
        for action in forward {
            let full = |d: &Disk| d.look(&action.path).is_some_and(|s| s.node == Node::Dir) && !d.is_empty(&action.path);
            let was_folder = action.have.as_ref().is_some_and(|h| h.ftype == Ftype::Dir);
            if action.action == Verb::Replace && action.ftype != Ftype::Dir && was_folder && full(self.disk) {
                deferred.push(action);
            } else {
                self.step(action, &mut folders);
            }
        }
        for action in removes.iter().rev() {
            self.step(action, &mut folders);
        }
        for action in deferred {
            self.step(action, &mut folders);
        }
        for action in folders.iter().rev() {
            self.tell_arrived(action);
        }
        self.give_back();
        if let Some((_, shift)) = self.shift.take() {
            self.change_other(&shift);
        }
    }

    fn change_other(&mut self, shift: &Shift) {
        if let Some(disk) = self.others.get_mut(&shift.box_name) {
            disk.change(&shift.change, shift.now);
        }
    }

    fn step(&mut self, action: &Action, folders: &mut Vec<Action>) {
        match &mut self.cut {
            Some(0) => return,
            Some(steps) => *steps -= 1,
            None => {}
        }
        match self.shift.take() {
            Some((0, shift)) => self.change_other(&shift),
            Some((steps, shift)) => self.shift = Some((steps - 1, shift)),
            None => {}
        }
        let result = match (action.action, action.ftype) {
            (Verb::Remove, _) => self.remove(action),
            (_, Ftype::Dir) => self.make_folder(action).map(|()| folders.push(action.clone())),
            _ => self.file(action),
        };
        match result {
            Ok(()) => self.done.push(shown(action)),
            Err(Stop::Left(why)) => self.notices.push(format!("{}: {why}", action.path)),
            Err(Stop::Failed(why)) => self.failures.push(format!("{}: {why}", action.path)),
        }
    }

    fn make_folder(&mut self, action: &Action) -> Step<()> {
        if !self.disk.has_folder_for(&action.path) {
            return failed("a file is in the way of a folder");
        }
        let Some(there) = self.disk.look(&action.path).cloned() else {
            if action.have.is_some() && !self.kept_before(action) && !self.vacated.contains(&action.path) {
                return left("deleted here and not committed");
            }
            self.disk.put(&action.path, Node::Dir);
            return Ok(());
        };
        if action.have.is_none() && !self.disk.lists(&action.path) {
            return failed("another name here differs only in case");
        }
        if there.node == Node::Dir {
            self.kept_before(action);
            return Ok(());
        }
        if action.have.is_none() {
            return failed("a file is in the way");
        }
        let out = self.disk.take(&action.path).unwrap();
        self.displaced(action, out);
        self.disk.put(&action.path, Node::Dir);
        Ok(())
    }

    fn file(&mut self, action: &Action) -> Step<()> {
        if !self.disk.has_folder_for(&action.path) {
            return failed("a folder above is not there, or a file");
        }
        let there = self.disk.look(&action.path).cloned();
        let own_mode = self.own_mode(action);
        if there.is_some() && action.have.is_none() && !self.disk.lists(&action.path) {
            return failed("another name here differs only in case");
        }
        match there {
            Some(there) if there.node == Node::Dir => {
                let was_folder = action.have.as_ref().is_some_and(|h| h.ftype == Ftype::Dir);
                if action.action != Verb::Replace || !was_folder || !self.disk.is_empty(&action.path) {
                    return failed("a folder is in the way");
                }
                let node = self.obtain(action)?;
                self.disk.take(&action.path);
                self.arrive(action, node, own_mode)
            }
            Some(there) if there.content() == (action.ftype, action.sha1) => {
                self.kept_before(action);
                self.arrive(action, there.node, own_mode)
            }
            Some(_) if action.action == Verb::Touch => left("modified since the last commit"),
            Some(_) => {
                let node = self.obtain(action)?;
                if let Some(out) = self.disk.take(&action.path) {
                    self.displaced(action, out);
                }
                self.arrive(action, node, own_mode)
            }
            None => {
                let deleted = action.have.is_some() && !self.vacated.contains(&action.path);
                if action.action == Verb::Touch {
                    return left("deleted here and not committed");
                }
                let loser_is_gone = action.action == Verb::Conflict && !self.kept_before(action);
                if deleted && (loser_is_gone || !self.needs.contains_key(&action.path)) {
                    return left("deleted here and not committed");
                }
                let node = self.obtain(action)?;
                self.arrive(action, node, own_mode)
            }
        }
    }

    /// The mode that somebody gave a file here since the last commit.
    fn own_mode(&self, action: &Action) -> Option<u32> {
        let (at, had) = match action.action {
            Verb::Replace | Verb::Touch => (Some(&action.path), action.have.clone()),
            Verb::Move => {
                let had = action.extra.get("source_have").map(|had| serde_json::from_value(had.clone()).unwrap());
                (action.source.as_ref(), had)
            }
            _ => (None, None),
        };
        let (there, had): (_, Was) = (self.disk.look(at?)?, had?);
        if action.action == Verb::Move && there.content() != (action.ftype, action.sha1) {
            return None;
        }
        match there.node {
            Node::File { mode, .. } if self.disk.fs.modes && had.ftype == Ftype::File && action.ftype == Ftype::File => {
                Some(mode).filter(|mode| *mode != had.mode.0)
            }
            _ => None,
        }
    }

    fn arrive(&mut self, action: &Action, node: Node, own_mode: Option<u32>) -> Step<()> {
        let node = match node {
            Node::File { content, .. } => Node::File { content, mtime: action.mtime, mode: own_mode.unwrap_or(action.mode.0) },
            other => other,
        };
        self.disk.put(&action.path, node);
        if let (Verb::Move, Some(source)) = (action.action, &action.source)
            && self.needs.get(source).is_none_or(|need| !need.1)
            && self.disk.look(source).is_none()
        {
            let version = action.extra.get("source_version").and_then(|v| serde_json::from_value(v.clone()).ok());
            let version = version.unwrap_or_else(|| action.version.clone());
            self.tell(source, action.attrs(), false, true, Some(action.path.clone()), None, version);
        }
        self.tell_arrived(action);
        if let Some(need) = action.source.as_ref().and_then(|s| self.needs.get_mut(s)) {
            need.0 = need.0.saturating_sub(1);
        }
        Ok(())
    }

    fn tell_arrived(&mut self, action: &Action) {
        let commit = self.commits + 1;
        let version = if action.edit { action.version.successor(self.actor, commit) } else { action.version.clone() };
        self.tell(&action.path, action.attrs(), true, false, None, action.edit.then_some(commit), version);
    }

    /// Where the content of a step comes from.
    fn obtain(&mut self, action: &Action) -> Step<Node> {
        let wanted = (action.ftype, action.sha1);
        if let (Verb::Move, Some(source)) = (action.action, &action.source)
            && self.disk.look(source).is_some_and(|s| s.content() == wanted)
        {
            let out = self.disk.take(source).unwrap();
            self.vacated.insert(source.clone());
            if self.needs.get(source).is_some_and(|need| need.0 > 1) {
                self.aside.insert(action.sha1.unwrap(), (source.clone(), out.clone()));
            }
            return Ok(out.node);
        }
        if action.ftype == Ftype::Symlink {
            return action.target.clone().map(Node::Link).ok_or_else(|| Stop::Failed("no target".to_owned()));
        }
        if let Some((_, spot)) = action.sha1.and_then(|sha1| self.aside.get(&sha1)) {
            return Ok(spot.node.clone());
        }
        let own = action.source.as_ref().and_then(|s| self.disk.look(s)).filter(|s| s.content() == wanted);
        if let Some(own) = own {
            return Ok(own.node.clone());
        }
        for source in &action.from {
            let there = self.others.get(&source.box_name).and_then(|disk| disk.look(&source.path));
            if let Some(there) = there.filter(|s| s.content() == wanted) {
                return Ok(there.node.clone());
            }
        }
        failed("could not be had")
    }

    /// What came out of a place: known content goes, unless a later step needs it or a conflict keeps it.
    fn displaced(&mut self, action: &Action, out: Spot) {
        let known = action.have.as_ref().is_some_and(|have| (have.ftype, have.sha1) == out.content());
        if let (Verb::Conflict, Some(keep), true) = (action.action, &action.keep, known) {
            return self.keep(keep.clone(), &action.path, out);
        }
        if known {
            if self.needs.get(&action.path).is_some_and(|need| need.0 > 0) {
                self.aside.insert(out.sha1.unwrap(), (action.path.clone(), out));
            }
            self.vacated.insert(action.path.clone());
            return;
        }
        let name = numbered_name(&action.path, out.mtime(), out.sha1.unwrap(), 0);
        self.notices.push(format!("{}: was not committed: kept as {name}", action.path));
        self.keep(name, &action.path, out);
    }

    fn keep(&mut self, name: SpacePath, path: &SpacePath, out: Spot) {
        let mut name = name;
        for number in 1.. {
            match self.disk.look(&name) {
                Some(there) if there.content() == out.content() => break,
                Some(_) => name = numbered_name(path, out.mtime(), out.sha1.unwrap(), number),
                None => {
                    self.disk.put(&name, out.node.clone());
                    break;
                }
            }
        }
        self.tell_kept(&name);
    }

    fn tell_kept(&mut self, name: &SpacePath) {
        let Some(spot) = self.disk.look(name).cloned() else { return };
        let commit = self.commits + 1;
        self.tell(name, attrs(&spot), true, false, None, Some(commit), Version::of(self.actor, commit));
    }

    /// The loser of a conflict that was kept before.
    fn kept_before(&mut self, action: &Action) -> bool {
        let Some(keep) = action.keep.as_ref().filter(|_| action.action == Verb::Conflict) else { return false };
        let had = action.have.as_ref().map(|have| (have.ftype, have.sha1));
        let kept = self.disk.look(keep).is_some_and(|s| Some(s.content()) == had);
        if kept {
            self.tell_kept(keep);
        }
        kept
    }

    fn remove(&mut self, action: &Action) -> Step<()> {
        let gone = |fetch: &mut Self| {
            fetch.tell(&action.path, action.attrs(), false, action.purged, None, None, action.version.clone());
            Ok(())
        };
        let Some(there) = self.disk.look(&action.path).cloned() else { return gone(self) };
        if !self.disk.lists(&action.path) {
            return gone(self);
        }
        if action.ftype == Ftype::Dir {
            if there.node != Node::Dir {
                return failed("is no folder any more");
            }
            if !self.disk.is_empty(&action.path) {
                return left("not empty");
            }
        } else {
            let expected = action.have.as_ref().map_or((action.ftype, action.sha1), |have| (have.ftype, have.sha1));
            if there.content() != expected {
                return left("modified since the last commit");
            }
            if !action.purged {
                self.ask_holders(action, expected)?;
            }
        }
        self.disk.take(&action.path);
        gone(self)
    }

    fn ask_holders(&self, action: &Action, content: (Ftype, Option<Sha1>)) -> Step<()> {
        let owed = action.mincopies.unwrap_or(1).max(1);
        let holds = |name: &str, path: &SpacePath| {
            self.others.get(name).and_then(|disk| disk.look(path)).is_some_and(|s| s.content() == content)
        };
        let seen: HashSet<&str> =
            action.from.iter().filter(|s| holds(&s.box_name, &s.path)).map(|s| s.box_name.as_str()).collect();
        if (seen.len() as u64) < owed {
            return failed("only so many copies could be verified");
        }
        Ok(())
    }

    /// A run that was cut short finds what it had set aside, and puts it back.
    fn give_back(&mut self) {
        for (_, (path, spot)) in std::mem::take(&mut self.aside) {
            let there = self.disk.spots.values().any(|s| s.content() == spot.content());
            if there || self.cut.is_none() {
                continue;
            }
            if self.disk.look(&path).is_none() && self.disk.has_folder_for(&path) {
                self.disk.put(&path, spot.node);
            } else {
                let name = numbered_name(&path, spot.mtime(), spot.sha1.unwrap(), 0);
                self.keep(name, &path, spot);
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of an entry")]
    fn tell(
        &mut self,
        path: &SpacePath,
        attrs: Attrs,
        present: bool,
        purged: bool,
        moved: Option<SpacePath>,
        commit: Option<u64>,
        version: Version,
    ) {
        let local =
            self.disk.spots.get(path).filter(|_| present).map(|s| Local { ino: s.ino, ctime: s.ctime, ..Local::default() });
        let stamp = self.clock.tick(chance::now());
        self.facts.push(Document::Entry(Entry {
            box_name: self.box_name.clone(),
            path: path.clone(),
            attrs,
            present,
            purged,
            moved,
            commit: commit.unwrap_or(self.commits),
            version,
            stamp,
            local,
            extra: Extra::new(),
        }));
    }
}

pub fn attrs(spot: &Spot) -> Attrs {
    let mode = if let Node::File { mode, .. } = spot.node { mode } else { 0o777 };
    Attrs {
        ftype: spot.ftype(),
        size: spot.size(),
        mtime: spot.mtime(),
        mtime_nsec: 0,
        mode: Mode(mode),
        sha1: spot.sha1,
        mime: None,
        target: if let Node::Link(target) = &spot.node { Some(target.clone()) } else { None },
    }
}

pub fn shown(action: &Action) -> String {
    let verb = serde_json::to_value(action.action).unwrap();
    match &action.source {
        Some(source) => format!("{} {source} {}", verb.as_str().unwrap(), action.path),
        None => format!("{} {}", verb.as_str().unwrap(), action.path),
    }
}
