//! A batch of files: staged one by one, synced to disk together, then put in their places.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};

use super::copier::{Holding, discard, from_box};
use super::examine::{Seen, is_content};
use super::shelf::SourceFailed;
use super::sources::Known;
use super::window::is_plain;
use super::{Fact, Run};
use crate::boxfs::{BoxRoot, shown};
use crate::hash::hash_path;
use crate::path::SpacePath;
use crate::record::{Action, Ftype, Source, Verb};
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
    /// From one of these boxes.
    From(Holding),
    /// It is on its way to this place.
    Coming(SpacePath),
    /// Another step's content is the same, and on its way.
    Twin,
    /// Not at all.
    Failed,
}

/// A step on its way.
pub(super) struct Slot {
    pub(super) action: Arc<Action>,
    pub(super) seen: Seen,
    pub(super) content: Content,
    /// What is to be recorded besides: what an interrupted run displaced for this step.
    pub(super) before: Vec<Fact>,
}

/// The steps that go together.
#[derive(Default)]
pub(super) struct Batch {
    /// The ticket of the first; the others follow.
    pub(super) first: usize,
    pub(super) slots: Vec<Slot>,
    pub(super) bytes: u64,
    /// Those that are on their way.
    pub(super) waiting: usize,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES
    }
}

impl Run<'_> {
    /// Looks at the destination of a step, and stages its content where it is on this machine.
    pub(super) fn prepare(&mut self, action: &Action) -> Result<Option<(Seen, Content, Vec<Fact>)>> {
        self.check_place(action)?;
        if action.action == Verb::Move && action.ftype == Ftype::Dir {
            return Ok(Some((Seen::Nothing, Content::Move, Vec::new())));
        }
        let seen = self.glance(action)?;
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
                None if self.is_source(&action.path) && !loser_is_gone => self.obtain(action)?,
                None => {
                    self.report.notice(&format!("{}: deleted here and not committed: left alone", action.path));
                    return Ok(None);
                }
            };
            return Ok(Some((seen, content, Vec::new())));
        }
        let content = self.obtain(action)?;
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

    /// Stages the content of a step from where it is in this box, or tells who else may have it. A step that
    /// looks at more than its own path does not wait for boxes on this machine.
    pub(super) fn obtain(&mut self, action: &Action) -> Result<Content> {
        if action.ftype == Ftype::Symlink {
            let moves = action.action == Verb::Move && self.has_source(action)?;
            return if moves { Ok(Content::Move) } else { self.staging.symlink(action).map(Content::Staged) };
        }
        if action.action == Verb::Move && self.has_source(action)? {
            return Ok(Content::Move);
        }
        if let Some(path) = self.leftover(action)? {
            return Ok(Content::Staged(path));
        }
        if let Some(path) = self.own_copy(action)? {
            return Ok(Content::Staged(path));
        }
        if let Some(path) = self.staged_twin(action)? {
            return Ok(Content::Staged(path));
        }
        let mut holding = Holding::default();
        for (number, source) in action.from.iter().enumerate() {
            match self.sources.place(source, &mut |text| self.report.notice(&text)) {
                Known::Gone => {}
                Known::Remote(from) => holding.elsewhere.push((number, from)),
                Known::Local(root) if is_plain(action) => holding.here.push((number, root)),
                Known::Local(root) => {
                    if let Some(path) = self.copy_from_box(action, source, &root)? {
                        self.files_done += 1;
                        self.progress(action.size, &source.box_name);
                        self.came.insert(action.path.clone(), (number, None));
                        return Ok(Content::Staged(path));
                    }
                }
            }
        }
        let nobody = holding.here.is_empty() && holding.elsewhere.is_empty();
        if nobody { Err(not_had(action)) } else { Ok(Content::From(holding)) }
    }

    /// Copies content that waits in the staging folder for a step of the same batch, where this box has
    /// more than one use for it.
    fn staged_twin(&mut self, action: &Action) -> Result<Option<SpacePath>> {
        let Some(sha1) = action.sha1.filter(|sha1| self.needed.contains(sha1)) else { return Ok(None) };
        let twin = self.staging.at(&sha1.to_string())?;
        // it may be on its way yet
        match self.root.open_seen(&twin) {
            Ok((mut file, stat)) if stat.size == action.size => Ok(self.fill(action, &mut file, &shown(&twin))?.flatten()),
            _ => Ok(None),
        }
    }

    /// Whether the source of a move is, at a first look, there.
    ///
    /// # Errors
    /// It cannot be told: to bring the content otherwise would leave the source where it is, and say nothing.
    fn has_source(&self, action: &Action) -> Result<bool> {
        let Some(source) = &action.source else { return Ok(false) };
        match self.root.lstat(source) {
            Ok(stat) => Ok(stat.kind.ftype() == Some(action.ftype) && stat.size == action.size),
            Err(_) if self.root.is_gone(source)? => Ok(false),
            Err(e) => Err(e).with_context(|| source.spelled()),
        }
    }

    /// Copies content that this box has elsewhere.
    pub(super) fn own_copy(&mut self, action: &Action) -> Result<Option<SpacePath>> {
        let put = action.sha1.and_then(|sha1| self.have_at.get(&sha1)).cloned();
        for own in [action.source.clone(), put].into_iter().flatten() {
            let Ok((mut file, stat)) = self.root.open_seen(&own) else { continue };
            if stat.size != action.size {
                continue;
            }
            if let Some(path) = self.fill(action, &mut file, &own.spelled())?.flatten() {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Copies content from a box on this machine. `None`: it is not there any more.
    fn copy_from_box(&mut self, action: &Action, source: &Source, root: &BoxRoot) -> Result<Option<SpacePath>> {
        let place = self.staging.reserve(action.sha1.context("a file has a sha1")?)?;
        let report = &mut *self.report;
        let copied = from_box(&self.staging, action, &place, (source, root), &mut |text| report.notice(&text));
        if !matches!(copied, Ok(true)) {
            discard(&self.staging, action, &place);
            self.staging.release(&place);
        }
        Ok(copied?.then_some(place))
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

    /// Tells that so many bytes came from a box.
    pub(super) fn progress(&mut self, bytes: u64, from: &str) {
        self.bytes_done = self.bytes_done.saturating_add(bytes);
        self.report.progress(self.bytes_done, self.bytes_total, Unit::Bytes);
        self.report.aside(&format!("{}/{} files, from {from}", self.files_done, self.files_total));
    }

    /// A step as it is told when it was carried out: with `used`, the number of the source that its
    /// content came from, and `via`, the program that brought it from another machine.
    pub(super) fn with_origin(&mut self, mut action: Action) -> Action {
        action.extra.remove("used");
        action.extra.remove("via");
        if let Some((number, via)) = self.came.remove(&action.path) {
            action.extra.insert("used".to_owned(), number.into());
            action.extra.extend(via.map(|via| ("via".to_owned(), via.into())));
        }
        action
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

/// That a step cannot be carried out.
pub(super) fn not_had(action: &Action) -> anyhow::Error {
    let names: Vec<&str> = action.from.iter().map(|s| s.box_name.as_str()).collect();
    if names.is_empty() {
        return anyhow!("no box that holds it is known");
    }
    anyhow!("could not be had from {}", names.join(", "))
}
