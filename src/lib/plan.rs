//! The plan: what a pull would do to one box, as a pure function of the index.
//!
//! Every action names what the index says is there now, what will be there, and who holds it, so that
//! its executor can check each of them before a byte is touched.

mod follow;
mod walk;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write;
use std::rc::Rc;

use anyhow::{Context, Result};
use serde_json::Map;

use self::follow::Followed;
use crate::exit::Exit;
use crate::fetch::names::conflict_name;
use crate::index::groups::{Group, Row};
use crate::index::sqlite::{BoxId, BoxInfo, Boxes, Sqlite};
use crate::lines::{Lines, lines};
use crate::path::SpacePath;
use crate::reach::{Cost, Reach};
use crate::record::{Action, ActionTag, Attrs, Entry, Fields, Ftype, Sha1, Source, Verb, Was};
use crate::resolve::{Decision, Heads, RULES, decide, kind};
use crate::stream::Writer;
use crate::version::Version;
use crate::wants::{Intent, Wants};

/// What to plan.
pub struct Request<'a> {
    /// The box that is to change.
    pub box_name: String,
    /// Only at or below these paths; empty: everywhere.
    pub under: Vec<SpacePath>,
    /// Only from these boxes; empty: from any.
    pub from: Vec<String>,
    /// The way to a box.
    pub reach: &'a dyn Fn(&BoxInfo) -> Reach,
    /// Look at every path, also where the plan before had nothing to do and nothing was written since.
    pub whole: bool,
    /// Leave in the index where there is something to do, for the next plan.
    pub remember: bool,
}

/// Paths looked at in vain for which it is worth a write that the next plan passes them over.
const IN_VAIN: usize = 1000;

/// Writes the actions that a pull would carry out, and the trailer.
///
/// # Errors
/// The index cannot be read or has no such box, or the output cannot be written.
pub fn plan<W: Write + Send>(index: &Sqlite, request: &Request<'_>, output: W) -> Result<Exit> {
    // without it every content is looked for in every row; a read-only index has to do without
    let _ = index.index_contents();
    // read before all else: what is written from now on is looked at again
    let seq = index.seq()?;
    let boxes = index.boxes()?;
    let me = boxes.by_name(&request.box_name).with_context(|| format!("no box {} in this index", request.box_name))?.id;
    let ways = boxes.all.iter().map(|info| (info.id, (request.reach)(info))).collect();
    let mincopies = index.space()?.as_ref().and_then(|s| s.number("mincopies")).unwrap_or(1);
    let wants = index.wants(&boxes, &request.box_name)?;
    let rules = format!("{RULES} {}", boxes.rules_for(me));
    let known = if request.whole { None } else { index.unsettled(me, &rules)? };
    let mut unsettled = None;
    let writer = lines(
        Writer::new(output),
        |action: Action, writer| writer.put(&action),
        |lines| {
            let mut planner = Planner {
                index,
                boxes,
                me,
                request,
                ways,
                mincopies,
                wants,
                parents: Vec::new(),
                made: BTreeSet::new(),
                unsettled: Some(Vec::new()),
                held: RefCell::default(),
                lines,
            };
            planner.walk(known.as_deref())?;
            unsettled = planner.unsettled.take();
            Ok(())
        },
    )?;
    let exit = Exit::of_failures(writer.end(Map::new())?);
    let is_news = |paths: &Vec<SpacePath>| known.is_none_or(|known| known.len() > paths.len() + IN_VAIN);
    if let Some(unsettled) = unsettled.filter(|paths| request.remember && request.under.is_empty() && is_news(paths)) {
        // a read-only index, or one that somebody is writing, has to do without
        let _ = index.set_settled(me, &rules, seq, &unsettled);
    }
    Ok(exit)
}

/// Whether the box `name` should get a file with the content `sha1`, be it that nobody who has it is in
/// reach now.
///
/// # Errors
/// The index cannot be read.
pub fn is_awaited(index: &Sqlite, name: &str, sha1: Sha1) -> Result<bool> {
    let boxes = index.boxes()?;
    let Some(me) = boxes.by_name(name) else { return Ok(false) };
    let mut last = None;
    for (path, _) in index.holders(Ftype::File, sha1)? {
        if last.replace(path.clone()).is_some_and(|last| last == path) {
            continue;
        }
        let group = index.group(&path)?;
        let ftype = kind(&group.rows, me.id, |id| boxes.counts(id));
        let intent = index.wants(&boxes, name)?.at(&path, ftype)?;
        let decision = decide(&group.rows, me.id, &intent, |id| boxes.counts(id));
        if let Decision::Fetch { head } | Decision::Update { head } | Decision::Conflict { head } = decision
            && head.sha1 == Some(sha1)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

struct Planner<'a, 's, 'e> {
    index: &'a Sqlite,
    boxes: Boxes,
    me: BoxId,
    request: &'a Request<'a>,
    ways: Vec<(BoxId, Reach)>,
    mincopies: u64,
    wants: Wants<'a>,
    /// Folders above the current path that the box lacks and does not want for themselves, be it that
    /// they were purged: made when something in them is wanted.
    parents: Vec<(SpacePath, Row)>,
    /// Folders that the plan makes: a move may need one ahead of its place.
    made: BTreeSet<SpacePath>,
    /// Where there is something to do; none where that is too much to remember.
    unsettled: Option<Vec<SpacePath>>,
    /// The step that last asked who holds its content elsewhere, and the answer: it asks twice, which was a third of
    /// its time.
    held: RefCell<Option<(SpacePath, Holders)>>,
    lines: &'a mut Lines<'s, 'e, Action>,
}

/// Where a content is.
type Holders = Rc<Vec<(SpacePath, Row)>>;

impl Planner<'_, '_, '_> {
    fn counts(&self, id: BoxId) -> bool {
        self.boxes.counts(id)
    }

    /// Who holds the content that is wanted at `group` at other paths. Mostly nobody does, which the index on content
    /// alone tells.
    fn elsewhere(&self, group: &Group, head: &Row) -> Result<Holders> {
        let Some(sha1) = head.sha1.filter(|_| head.size > 0) else { return Ok(Holders::default()) };
        let mut held = self.held.borrow_mut();
        if let Some((path, holders)) = &*held
            && *path == group.path
        {
            return Ok(Rc::clone(holders));
        }
        let here = group.rows.iter().filter(|row| row.sha1 == Some(sha1)).count();
        let mut holders = Vec::new();
        if self.index.has_more_than(here, sha1)? {
            holders = self.index.holders(head.ftype, sha1)?;
            holders.retain(|(path, _)| *path != group.path);
        }
        let holders = Rc::new(holders);
        *held = Some((group.path.clone(), Rc::clone(&holders)));
        Ok(holders)
    }

    fn at(&mut self, group: &Group) -> Result<()> {
        let own = group.of(self.me).filter(|r| r.present);
        let ftype = kind(&group.rows, self.me, |id| self.counts(id));
        let intent = self.wants.at(&group.path, ftype)?;
        self.parents.retain(|(folder, _)| group.path.is_within(folder));
        let boxes = &self.boxes;
        let decision = decide(&group.rows, self.me, &intent, |id| boxes.counts(id));
        if !matches!(decision, Decision::Nothing | Decision::Skipped) {
            self.note_unsettled(&group.path);
        }
        match (decision, own) {
            (Decision::Fetch { head }, _) => self.fetch(group, head),
            (Decision::Update { head }, Some(own)) => self.update(group, head, own),
            (Decision::Touch { head }, Some(own)) => self.change(Verb::Touch, group, head, own),
            (Decision::Conflict { head }, Some(own)) => self.conflict(group, head, own),
            (Decision::Purge { head }, Some(own)) => self.purge(group, head, own),
            (Decision::Unwanted { head }, Some(own)) => self.unwanted(group, head, own),
            _ => self.remember_folder(group, own),
        }
    }

    fn fetch(&mut self, group: &Group, head: &Row) -> Result<()> {
        let verb = match head.ftype {
            Ftype::Dir => Verb::Mkdir,
            Ftype::Symlink => Verb::Link,
            Ftype::File => Verb::Fetch,
        };
        if head.ftype == Ftype::Dir && !self.made.insert(group.path.clone()) {
            return Ok(());
        }
        let mut action = self.action(verb, &group.path, head)?;
        if verb != Verb::Mkdir {
            match self.own_copy(group, head)? {
                OwnCopy::Moves => return Ok(()),
                OwnCopy::At(path) if verb == Verb::Fetch => {
                    action.action = Verb::Copy;
                    action.source = Some(path);
                }
                OwnCopy::At(_) | OwnCopy::None => {}
            }
            action.from = self.sources(group, head)?;
        }
        let named = !self.request.from.is_empty();
        if named && action.action == Verb::Fetch && action.from.is_empty() {
            return Ok(());
        }
        self.make_parents()?;
        self.lines.put(action)
    }

    fn update(&mut self, group: &Group, head: &Row, own: &Row) -> Result<()> {
        let becomes_file = own.ftype == Ftype::Dir && head.ftype != Ftype::Dir;
        if becomes_file && self.is_occupied(&group.path)? {
            return self.keep_folder(group, own);
        }
        self.change(Verb::Replace, group, head, own)
    }

    /// A folder in which something stays cannot give way to a file. So it is an edit, concurrent to the
    /// other: a folder wins, and the file is kept under a conflict name, wherever it is.
    fn keep_folder(&mut self, group: &Group, own: &Row) -> Result<()> {
        let action = self.removal(group, own)?;
        self.lines.put(Action { action: Verb::Touch, edit: true, ..action })
    }

    /// A purged folder in which something stays: that it is there at the purge's own version makes it win.
    fn keep_purged_folder(&mut self, group: &Group, head: &Row, own: &Row) -> Result<()> {
        let action = self.removal(group, own)?;
        self.lines.put(Action { action: Verb::Touch, version: head.version.clone(), ..action })
    }

    fn change(&mut self, verb: Verb, group: &Group, head: &Row, own: &Row) -> Result<()> {
        let mut action = self.action(verb, &group.path, head)?;
        action.have = Some(was(own));
        if verb == Verb::Replace && head.ftype == Ftype::File {
            action.from = self.sources(group, head)?;
            if let OwnCopy::At(path) = self.own_copy(group, head)? {
                action.source = Some(path);
            }
            if !self.request.from.is_empty() && action.from.is_empty() && action.source.is_none() {
                return Ok(());
            }
        }
        self.lines.put(action)
    }

    /// Only a box that holds a loser joins vectors: it has seen both edits.
    fn conflict(&mut self, group: &Group, head: &Row, own: &Row) -> Result<()> {
        let mut action = self.action(Verb::Conflict, &group.path, head)?;
        let sha1 = own.sha1.context("a folder never loses a conflict")?;
        action.keep = Some(conflict_name(&group.path, own.mtime.0, sha1));
        action.have = Some(was(own));
        action.from = self.sources(group, head)?;
        action.version.join(&own.version);
        if !self.request.from.is_empty() && head.ftype == Ftype::File && action.from.is_empty() {
            return Ok(());
        }
        self.lines.put(action)
    }

    fn purge(&mut self, group: &Group, head: &Row, own: &Row) -> Result<()> {
        let followed = if own.ftype == Ftype::Dir { Followed::Purged } else { self.follow(group, head, own)? };
        if let Followed::To(target, version) = followed {
            return self.move_to(&target, version, group, head, own);
        }
        if own.ftype == Ftype::Dir && self.is_occupied(&group.path)? {
            return self.keep_purged_folder(group, head, own);
        }
        let mut action = self.removal(group, own)?;
        action.version = head.version.clone();
        if matches!(followed, Followed::Unclear) {
            action.mincopies = Some(self.mincopies);
            action.from = self.keepers(group, own)?;
        } else {
            action.purged = true;
            if own.ftype != Ftype::Dir {
                // nobody is owed a copy; but whether this is the last one is to be told
                action.from = self.keepers(group, own)?;
            }
        }
        self.lines.put(action)
    }

    /// Whether something in a folder stays, or comes, when the plan is carried out.
    fn is_occupied(&self, folder: &SpacePath) -> Result<bool> {
        let mut groups = self.index.groups(folder).without_local();
        while let Some(group) = groups.next()? {
            if group.path == *folder {
                continue;
            }
            let own = group.of(self.me).filter(|r| r.present);
            let ftype = kind(&group.rows, self.me, |id| self.counts(id));
            let intent = self.intent_of(self.me, &group.path, ftype)?;
            let stays = match (decide(&group.rows, self.me, &intent, |id| self.counts(id)), own) {
                (Decision::Purge { .. } | Decision::Unwanted { .. }, Some(own)) if own.ftype == Ftype::Dir => false,
                (Decision::Unwanted { head }, Some(_)) => !self.is_kept(&group, head)?,
                (Decision::Purge { head }, Some(own)) => {
                    matches!(self.follow(&group, head, own)?, Followed::Unclear) && !self.is_kept(&group, own)?
                }
                (Decision::Skipped, _) => false,
                (Decision::Purge { .. } | Decision::Unwanted { .. } | Decision::Nothing, None) => false,
                _ => true,
            };
            if stays {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether enough other boxes keep a content for this one's copy to go.
    fn is_kept(&self, group: &Group, head: &Row) -> Result<bool> {
        let keepers = self.keepers(group, head)?;
        let boxes: BTreeSet<&str> = keepers.iter().map(|k| k.box_name.as_str()).collect();
        Ok(boxes.len() as u64 >= self.mincopies.max(1))
    }

    fn unwanted(&mut self, group: &Group, head: &Row, own: &Row) -> Result<()> {
        let mut action = self.removal(group, own)?;
        if own.ftype != Ftype::Dir {
            action.mincopies = Some(self.mincopies);
            action.from = self.keepers(group, head)?;
            (action.sha1, action.size) = (head.sha1, head.size);
        }
        self.lines.put(action)
    }

    /// Other boxes whose copies of this content stay where they are.
    fn keepers(&self, group: &Group, head: &Row) -> Result<Vec<Source>> {
        let mut keepers = Vec::new();
        let holders = match head.sha1 {
            Some(sha1) if head.size > 0 => self.index.holders(head.ftype, sha1)?,
            // everybody holds the empty content somewhere: of that, only this path counts
            _ => {
                let same = group.rows.iter().filter(|r| r.present && !r.purged && r.content() == head.content());
                same.map(|r| (group.path.clone(), r.clone())).collect()
            }
        };
        for (path, row) in holders {
            if row.box_id != self.me && self.counts(row.box_id) && self.stays(&path, &row)? {
                keepers.push((path, row.box_id));
            }
        }
        Ok(self.by_cost(keepers))
    }

    /// Whether the box that has `row` at `path` is not about to lose it.
    fn stays(&self, path: &SpacePath, row: &Row) -> Result<bool> {
        let group = self.index.group(path)?;
        let intent = self.intent_of(row.box_id, path, row.ftype)?;
        let decision = decide(&group.rows, row.box_id, &intent, |id| self.counts(id));
        Ok(matches!(decision, Decision::Nothing | Decision::Touch { .. }))
    }

    fn intent_of(&self, id: BoxId, path: &SpacePath, ftype: Ftype) -> Result<Intent> {
        let info = self.boxes.by_id(id).context("the index is damaged: a row of no box")?;
        let mut marks = Vec::new();
        let mut folder = Some(path.clone());
        while let Some(here) = folder {
            marks.extend(self.index.marks_at(&here)?.into_iter().filter(|m| m.box_name == info.name));
            folder = here.parent();
        }
        marks.reverse();
        let mut marks = marks.into_iter();
        let policy = info.fields.as_ref().map(Fields::policy).unwrap_or_default();
        Wants::new(policy, Box::new(move || Ok(marks.next()))).at(path, ftype)
    }

    /// Another path of this box with the content that is wanted at `group`.
    fn own_copy(&self, group: &Group, head: &Row) -> Result<OwnCopy> {
        if self.moves_here(&group.path)? {
            return Ok(OwnCopy::Moves);
        }
        let holders = self.elsewhere(group, head)?;
        let own = holders.iter().find(|(_, row)| row.box_id == self.me);
        Ok(own.map_or(OwnCopy::None, |(path, _)| OwnCopy::At(path.clone())))
    }

    /// Who holds the content, cheapest first; at the same path before others.
    fn sources(&self, group: &Group, head: &Row) -> Result<Vec<Source>> {
        let usable =
            |row: &Row| row.box_id != self.me && row.present && !row.purged && self.counts(row.box_id) && self.is_asked(row);
        let here = group.rows.iter().filter(|r| usable(r) && r.content() == head.content());
        let mut found: Vec<(SpacePath, BoxId)> = here.map(|r| (group.path.clone(), r.box_id)).collect();
        for (path, row) in self.elsewhere(group, head)?.iter() {
            if usable(row) && !found.iter().any(|f| f.1 == row.box_id) {
                found.push((path.clone(), row.box_id));
            }
        }
        Ok(self.by_cost(found))
    }

    fn is_asked(&self, row: &Row) -> bool {
        let from = &self.request.from;
        from.is_empty() || self.boxes.by_id(row.box_id).is_some_and(|b| from.contains(&b.name))
    }

    fn by_cost(&self, found: Vec<(SpacePath, BoxId)>) -> Vec<Source> {
        let mut sources: Vec<(Cost, Source)> = found
            .into_iter()
            .filter_map(|(path, id)| {
                let info = self.boxes.by_id(id)?;
                let way = self.ways.iter().find(|w| w.0 == id).map(|w| w.1.clone())?;
                Some((way.cost, Source { box_name: info.name.clone(), url: way.url, path }))
            })
            .collect();
        sources.sort_by_key(|s| s.0);
        sources.into_iter().map(|s| s.1).collect()
    }

    /// An action that makes `path` what `head` says.
    fn action(&self, verb: Verb, path: &SpacePath, head: &Row) -> Result<Action> {
        Ok(new_action(verb, &self.request.box_name, path, self.attrs(head, path)?, head.version.clone()))
    }

    /// An action that removes this box's copy: described by what is there.
    fn removal(&self, group: &Group, own: &Row) -> Result<Action> {
        let attrs = self.attrs(own, &group.path)?;
        let mut action = new_action(Verb::Remove, &self.request.box_name, &group.path, attrs, own.version.clone());
        action.have = Some(was(own));
        Ok(action)
    }

    fn full(&self, row: &Row, path: &SpacePath) -> Result<Entry> {
        let info = self.boxes.by_id(row.box_id).context("the index is damaged: a row of no box")?;
        self.index.entry(&info.name, path)?.with_context(|| overtaken(path))
    }

    fn attrs(&self, row: &Row, path: &SpacePath) -> Result<Attrs> {
        self.index.attrs(path, row)?.with_context(|| overtaken(path))
    }
}

fn overtaken(path: &SpacePath) -> String {
    format!("{path}: changed while the plan was made; run it again")
}

/// Whether this box has a wanted content somewhere else.
enum OwnCopy {
    /// No.
    None,
    /// It is about to be moved here.
    Moves,
    /// At this path.
    At(SpacePath),
}

fn was(row: &Row) -> Was {
    Was { ftype: row.ftype, size: row.size, sha1: row.sha1, mode: row.mode }
}

fn new_action(verb: Verb, box_name: &str, path: &SpacePath, attrs: Attrs, version: Version) -> Action {
    Action {
        kind: ActionTag::Action,
        action: verb,
        box_name: box_name.to_owned(),
        path: path.clone(),
        ftype: attrs.ftype,
        size: attrs.size,
        mtime: attrs.mtime,
        mtime_nsec: attrs.mtime_nsec,
        mode: attrs.mode,
        sha1: attrs.sha1,
        mime: attrs.mime,
        target: attrs.target,
        version,
        have: None,
        source: None,
        from: Vec::new(),
        keep: None,
        purged: false,
        mincopies: None,
        edit: false,
        extra: Map::new(),
    }
}
