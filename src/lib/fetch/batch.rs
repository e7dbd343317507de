//! A batch of files: staged one by one, synced to disk together, then put in their places.

use std::io::Write;

use anyhow::{Context, Result, bail};

use super::examine::{Seen, is_content};
use super::sources::Reached;
use super::staging::SourceFailed;
use super::{Fact, Output, Run};
use crate::hash::hash_path;
use crate::path::SpacePath;
use crate::record::{Action, Ftype, Verb};
use crate::report::Unit;

/// Files that are synced at once: a sync costs about as much as a thousand small files.
pub(super) const BATCH_FILES: usize = 1000;
/// Bytes that are synced at once, so that a crash costs at most these.
const BATCH_BYTES: u64 = 256 << 20;

/// How a step gets its content.
pub(super) enum Content {
    /// It is there.
    Adopt,
    /// In the staging folder.
    Staged(SpacePath),
    /// By a rename within the box.
    Move,
    /// From another machine, by the source of this number.
    Remote(usize),
    /// Not at all.
    Failed,
}

/// A step on its way.
pub(super) struct Slot {
    pub(super) action: Action,
    pub(super) seen: Seen,
    pub(super) content: Content,
    /// What is to be recorded besides: what an interrupted run displaced for this step.
    pub(super) before: Vec<Fact>,
}

/// The steps that go together.
#[derive(Default)]
pub(super) struct Batch {
    slots: Vec<Slot>,
    bytes: u64,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES
    }
}

impl Run<'_> {
    /// Looks at the destination of a step and stages its content.
    pub(super) fn add(&mut self, batch: &mut Batch, action: Action) {
        match self.prepare(&action) {
            Ok(Some((seen, content, before))) => {
                batch.bytes = batch.bytes.saturating_add(action.size);
                batch.slots.push(Slot { action, seen, content, before });
            }
            Ok(None) => {}
            Err(e) => self.fail(&action.path, &e),
        }
    }

    fn prepare(&mut self, action: &Action) -> Result<Option<(Seen, Content, Vec<Fact>)>> {
        self.check_place(action)?;
        if action.action == Verb::Move && action.ftype == Ftype::Dir {
            return Ok(Some((Seen::Nothing, Content::Move, Vec::new())));
        }
        let seen = self.examine(action)?;
        if matches!(seen, Seen::Wanted(_)) {
            // now, for a later step may need what was displaced
            let before = self.settle_displaced(action)?;
            return Ok(Some((seen, Content::Adopt, before)));
        }
        if action.action == Verb::Touch {
            let deleted = matches!(seen, Seen::Deleted | Seen::Nothing);
            let what = if deleted { "deleted here and not committed" } else { "modified since the last commit" };
            self.report.notice(&format!("{}: {what}: left alone", action.path));
            return Ok(None);
        }
        if matches!(seen, Seen::Deleted) {
            // unless an interrupted run, or a step yet to come, has what belongs here
            let loser_is_gone = action.action == Verb::Conflict && self.kept_before(action)?.is_empty();
            let content = match self.leftover(action)?.filter(|_| !loser_is_gone) {
                Some(path) => {
                    return Ok(Some((seen, Content::Staged(path), Vec::new())));
                }
                None if self.is_source(&action.path) && !loser_is_gone => self.obtain(action, 0)?,
                None => {
                    self.report.notice(&format!("{}: deleted here and not committed: left alone", action.path));
                    return Ok(None);
                }
            };
            return Ok(Some((seen, content, Vec::new())));
        }
        let content = self.obtain(action, 0)?;
        Ok(Some((seen, content, Vec::new())))
    }

    /// Whether a step takes what is at `path`: an interrupted run may have done so.
    pub(super) fn is_source(&self, path: &SpacePath) -> bool {
        self.needs.contains_key(path)
    }

    fn leftover(&mut self, action: &Action) -> Result<Option<SpacePath>> {
        let Some(sha1) = action.sha1.filter(|_| action.ftype == Ftype::File) else { return Ok(None) };
        match self.staging.leftover(sha1, action.size)? {
            Some(path) => self.staging.ready(path, action).map(Some),
            None => Ok(None),
        }
    }

    /// Stages the content of a step, trying its sources from number `first` on.
    pub(super) fn obtain(&mut self, action: &Action, first: usize) -> Result<Content> {
        if action.ftype == Ftype::Symlink {
            let moves = action.action == Verb::Move && self.has_source(action);
            return if moves { Ok(Content::Move) } else { self.staging.symlink(action).map(Content::Staged) };
        }
        if first == 0 {
            if action.action == Verb::Move && self.has_source(action) {
                return Ok(Content::Move);
            }
            if let Some(path) = self.leftover(action)? {
                return Ok(Content::Staged(path));
            }
            if let Some(path) = self.own_copy(action)? {
                return Ok(Content::Staged(path));
            }
        }
        for (number, source) in action.from.iter().enumerate().skip(first) {
            match self.sources.reach(source, self.report) {
                Reached::Gone => {}
                Reached::Remote => return Ok(Content::Remote(number)),
                Reached::Local => {
                    if let Some(path) = self.copy_from_box(action, number)? {
                        self.progress(action.size);
                        self.came.insert(action.path.clone(), (number, None));
                        return Ok(Content::Staged(path));
                    }
                }
            }
        }
        let names: Vec<&str> = action.from.iter().map(|s| s.box_name.as_str()).collect();
        if names.is_empty() {
            bail!("no box that holds it is known")
        } else {
            bail!("could not be had from {}", names.join(", "))
        }
    }

    /// Whether the source of a move is, at a first look, there.
    fn has_source(&self, action: &Action) -> bool {
        let stat = action.source.as_ref().and_then(|s| self.root.lstat(s).ok());
        stat.is_some_and(|s| s.kind.ftype() == Some(action.ftype) && s.size == action.size)
    }

    /// Copies content that this box has elsewhere.
    fn own_copy(&mut self, action: &Action) -> Result<Option<SpacePath>> {
        let put = action.sha1.and_then(|sha1| self.have_at.get(&sha1)).cloned();
        for own in [action.source.clone(), put].into_iter().flatten() {
            let Ok(mut file) = self.root.open_file(&own) else { continue };
            if !crate::boxfs::stat_of(&file).is_ok_and(|stat| stat.size == action.size) {
                continue;
            }
            if let Some(path) = self.fill(action, &mut file, &own.spelled())?.flatten() {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Copies content from a box on this machine. `None`: it is not there any more.
    fn copy_from_box(&mut self, action: &Action, number: usize) -> Result<Option<SpacePath>> {
        let source = action.from.get(number).context("no such source")?;
        let Some(root) = self.sources.folder(source) else { return Ok(None) };
        let opened = root.open_file(&source.path).and_then(|file| Ok((crate::boxfs::stat_of(&file)?, file)));
        let (stat, mut file) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                self.report.notice(&format!("{}: in box {}: {e}", source.path, source.box_name));
                return Ok(None);
            }
        };
        let filled = if stat.size == action.size {
            match self.fill(action, &mut file, &format!("{}: in box {}", source.path, source.box_name))? {
                Some(filled) => filled,
                None => return Ok(None),
            }
        } else {
            None
        };
        if filled.is_none() {
            self.report.notice(&format!("{}: in box {}: source changed since its last commit", source.path, source.box_name));
        }
        Ok(filled)
    }

    /// As [`super::staging::Staging::fill`], but where the source fails that is told, and `None`: the
    /// next one is tried. What this box cannot write ends the step.
    fn fill(&mut self, action: &Action, file: &mut std::fs::File, source: &str) -> Result<Option<Option<SpacePath>>> {
        match self.staging.fill(action, file) {
            Err(e) if e.is::<SourceFailed>() => {
                self.report.notice(&format!("{source}: {e:#}"));
                Ok(None)
            }
            filled => filled.map(Some),
        }
    }

    pub(super) fn progress(&mut self, bytes: u64) {
        self.bytes_done = self.bytes_done.saturating_add(bytes);
        self.report.progress(self.bytes_done, self.bytes_total, Unit::Bytes);
    }

    /// A step as it is told when it was carried out: with `used`, the number of the source that its
    /// content came from, and `via`, the program that brought it from another machine.
    fn with_origin(&mut self, mut action: Action) -> Action {
        action.extra.remove("used");
        action.extra.remove("via");
        if let Some((number, via)) = self.came.remove(&action.path) {
            action.extra.insert("used".to_owned(), number.into());
            action.extra.extend(via.map(|via| ("via".to_owned(), via.into())));
        }
        action
    }

    /// Completes a batch: what is remote comes, all is synced, put in place, and told.
    pub(super) fn flush<W: Write>(&mut self, batch: &mut Batch, output: &mut Output<W>) -> Result<()> {
        let mut slots = std::mem::take(batch).slots;
        self.transfer(&mut slots);
        if slots.iter().any(|s| matches!(s.content, Content::Staged(_))) {
            self.root.sync()?;
        }
        for slot in slots {
            if matches!(slot.content, Content::Failed) {
                slot.before.into_iter().for_each(|fact| output.finished(fact));
                continue;
            }
            let action = slot.action.clone();
            // what was kept is told even if the step then fails
            let kept: Vec<Fact> = slot.before.clone();
            match self.install(slot) {
                Ok(facts) => {
                    let action = self.with_origin(action);
                    output.done(facts, action);
                }
                Err(e) => {
                    kept.into_iter().for_each(|fact| output.finished(fact));
                    self.fail(&action.path, &e);
                }
            }
        }
        output.emit(self)
    }

    /// Gets what comes from other machines, a box at a time; what one lacks is tried at the next.
    fn transfer(&mut self, slots: &mut [Slot]) {
        while let Some(first) = slots.iter().position(|s| matches!(s.content, Content::Remote(_))) {
            let Content::Remote(number) = slots[first].content else { return };
            let source = slots[first].action.from[number].clone();
            // the same file for two steps comes twice: the first takes it away
            let mut paths = std::collections::HashSet::new();
            let wanted: Vec<(usize, usize)> = slots
                .iter()
                .enumerate()
                .filter_map(|(at, slot)| match slot.content {
                    Content::Remote(n) => Some((at, n)),
                    _ => None,
                })
                .filter(|&(at, n)| {
                    let other = &slots[at].action.from[n];
                    (&other.box_name, &other.url) == (&source.box_name, &source.url) && paths.insert(&other.path)
                })
                .collect();
            let steps: Vec<(&Action, &SpacePath)> =
                wanted.iter().map(|&(at, n)| (&slots[at].action, &slots[at].action.from[n].path)).collect();
            let arrived = self.sources.transfer(&source, &steps, &mut self.staging, self.report);
            for ((at, n), arrived) in wanted.into_iter().zip(arrived) {
                let slot = &mut slots[at];
                slot.content = match arrived {
                    Some(arrived) => {
                        self.progress(slot.action.size);
                        self.came.insert(slot.action.path.clone(), (n, Some(arrived.via)));
                        Content::Staged(arrived.path)
                    }
                    None => self.obtain(&slot.action, n + 1).unwrap_or_else(|e| {
                        self.fail(&slot.action.path, &e);
                        Content::Failed
                    }),
                };
            }
        }
    }

    /// Verifies the source of a move.
    pub(super) fn is_source_right(&self, action: &Action, source: &SpacePath) -> Result<Option<crate::hash::Hashed>> {
        match self.root.look(source)? {
            Some(stat) if stat.kind.ftype() == Some(action.ftype) => {
                let hashed = hash_path(self.root, source)?;
                Ok(is_content(&hashed, action.ftype, action.sha1).then_some(hashed))
            }
            _ => Ok(None),
        }
    }
}
