//! The batches that are on their way: while the content of some comes from other machines, those before
//! them are synced, put in their places and told. They are completed in the order of the plan.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::Scope;

use anyhow::{Context, Result};

use super::batch::{Batch, Content, Slot, not_had};
use super::copier::{Copier, Copy, Holding};
use super::examine::Seen;
use super::look::Looker;
use super::movers::{Event, Movers};
use super::{Fact, Output, Run};
use crate::path::SpacePath;
use crate::record::{Action, Sha1, Verb};

/// Batches that are on their way at once, besides the one that is being filled.
const AHEAD: usize = 3;

/// The batches of a run, and those who bring what they need.
pub(super) struct Window<'s, 'e, 'a> {
    movers: &'s Movers<'a>,
    scope: &'s Scope<'s, 'e>,
    events: Receiver<Event>,
    batches: VecDeque<Batch>,
    open: Batch,
    /// Contents that are on their way.
    coming: HashSet<Sha1>,
    looker: Looker,
    copier: Copier,
}

impl<'s, 'e, 'a> Window<'s, 'e, 'a> {
    pub(super) fn new(movers: &'s Movers<'a>, scope: &'s Scope<'s, 'e>, events: Receiver<Event>) -> Self {
        let (batches, open, coming) = (VecDeque::new(), Batch::default(), HashSet::new());
        Self { movers, scope, events, batches, open, coming, looker: Looker::default(), copier: Copier::default() }
    }

    fn slot(&mut self, ticket: usize) -> Option<(&mut Slot, &mut usize)> {
        let all = self.batches.iter_mut().chain([&mut self.open]);
        let batch = all.filter(|batch| batch.first <= ticket).last()?;
        let slot = batch.slots.get_mut(ticket - batch.first)?;
        Some((slot, &mut batch.waiting))
    }
}

impl Run<'_> {
    /// Takes a step up; what is on this machine is staged at once.
    pub(super) fn add(&mut self, window: &mut Window<'_, '_, '_>, action: Action, output: &mut Output<'_, '_, '_>) -> Result<()> {
        self.heed_all(window)?;
        if !is_plain(&action) {
            // it looks at what other steps have left
            self.complete(window, 0, output)?;
        }
        let action = Arc::new(action);
        match self.prepare(&action) {
            Ok(Some((seen, content, before))) => {
                if action.action != Verb::Move && matches!(content, Content::Staged(_)) {
                    self.needs_no_more(&action);
                }
                window.open.bytes = window.open.bytes.saturating_add(action.size);
                let ticket = window.open.first + window.open.slots.len();
                let content = match content {
                    Content::From(holding)
                        if !holding.here.is_empty() || action.sha1.is_some_and(|sha1| window.coming.insert(sha1)) =>
                    {
                        window.open.waiting += 1;
                        self.send_for(window, ticket, &action, holding)?
                    }
                    Content::From(_) => {
                        // its place is remembered then
                        self.needed.extend(action.sha1);
                        Content::Twin
                    }
                    content => content,
                };
                if matches!((&seen, &content), (Seen::Unread, Content::Coming(_))) {
                    let reads = window.looker.read(window.movers, window.scope, ticket, &action.path);
                    window.open.waiting += usize::from(reads);
                }
                window.open.slots.push(Slot { action, seen, content, before });
            }
            Ok(None) => {}
            Err(e) => self.fail(&action.path, &e),
        }
        if window.open.is_full() {
            self.close_batch(window);
            self.complete(window, AHEAD, output)?;
        }
        Ok(())
    }

    fn close_batch(&mut self, window: &mut Window<'_, '_, '_>) {
        let next = window.open.first + window.open.slots.len();
        let batch = std::mem::replace(&mut window.open, Batch { first: next, ..Batch::default() });
        window.batches.push_back(batch);
    }

    /// Sends for content.
    fn send_for(
        &mut self,
        window: &mut Window<'_, '_, '_>,
        ticket: usize,
        action: &Arc<Action>,
        holding: Holding,
    ) -> Result<Content> {
        let place = self.staging.reserve(action.sha1.context("a file has a sha1")?)?;
        if holding.here.is_empty() {
            window.movers.want(window.scope, ticket, action, place.clone(), &holding.elsewhere);
        } else {
            let owed = window.movers.owe(ticket);
            let copy = Copy { action: Arc::clone(action), place: place.clone(), holding, owed };
            window.copier.copy(window.movers, window.scope, copy);
        }
        Ok(Content::Coming(place))
    }

    /// Completes all that is on its way, and tells of it.
    pub(super) fn flush(&mut self, window: &mut Window<'_, '_, '_>, output: &mut Output<'_, '_, '_>) -> Result<()> {
        self.close_batch(window);
        window.movers.no_more();
        self.complete(window, 0, output)?;
        output.emit(self)
    }

    /// Completes batches, the first first, until no more than `left` are on their way.
    fn complete(&mut self, window: &mut Window<'_, '_, '_>, left: usize, output: &mut Output<'_, '_, '_>) -> Result<()> {
        while window.batches.len() > left {
            self.wait_for(window, |window| window.batches.front().is_none_or(|batch| batch.waiting == 0))?;
            self.copy_twins(window)?;
            let Some(batch) = window.batches.pop_front() else { return Ok(()) };
            self.put_in_place(batch, output)?;
        }
        Ok(())
    }

    fn put_in_place(&mut self, batch: Batch, output: &mut Output<'_, '_, '_>) -> Result<()> {
        if batch.slots.iter().any(|s| matches!(s.content, Content::Staged(_))) {
            // what the batch before has renamed is on the disk then as well
            self.root.sync()?;
            output.tell(self)?;
        }
        for slot in batch.slots {
            if matches!(slot.content, Content::Failed) {
                slot.before.into_iter().for_each(|fact| output.finished(fact));
                continue;
            }
            let action = Arc::clone(&slot.action);
            // what was kept is told even if the step then fails
            let kept: Vec<Fact> = slot.before.clone();
            match self.install(slot) {
                Ok(facts) => {
                    let action = self.with_origin(Arc::unwrap_or_clone(action));
                    output.done(facts, action);
                }
                Err(e) => {
                    kept.into_iter().for_each(|fact| output.finished(fact));
                    self.fail(&action.path, &e);
                }
            }
        }
        Ok(())
    }

    /// Heeds what the movers tell until `enough` says so.
    fn wait_for(&mut self, window: &mut Window<'_, '_, '_>, enough: impl Fn(&Window<'_, '_, '_>) -> bool) -> Result<()> {
        if enough(window) {
            return Ok(());
        }
        window.movers.rest(true);
        while !enough(window) {
            let event = window.events.recv().context("those who bring files have ended")?;
            self.heed(window, event);
        }
        window.movers.rest(false);
        Ok(())
    }

    fn heed_all(&mut self, window: &mut Window<'_, '_, '_>) -> Result<()> {
        loop {
            match window.events.try_recv() {
                Ok(event) => self.heed(window, event),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn heed(&mut self, window: &mut Window<'_, '_, '_>, event: Event) {
        let (ticket, result) = match event {
            Event::Say(text) => return self.report.notice(&text),
            Event::Bytes(bytes, from) => return self.progress(bytes, &from.box_name),
            Event::Arrived { ticket, number, via } => (ticket, Ok((number, Some(via)))),
            Event::Copied { ticket, number } => (ticket, Ok((number, None))),
            Event::NotHere { ticket, elsewhere } => {
                let Some((slot, _)) = window.slot(ticket) else { return };
                let Content::Coming(place) = &slot.content else { return };
                let (action, place) = (Arc::clone(&slot.action), place.clone());
                window.coming.extend(action.sha1);
                return window.movers.want(window.scope, ticket, &action, place, &elsewhere);
            }
            Event::AllArrived { tickets, via } => {
                for (ticket, number) in tickets {
                    self.heed(window, Event::Arrived { ticket, number, via });
                }
                return;
            }
            Event::Read { ticket, there } => {
                let Some((slot, waiting)) = window.slot(ticket) else { return };
                *waiting = waiting.saturating_sub(1);
                if let Some(there) = there {
                    slot.seen = Seen::of(there, &slot.action);
                }
                return;
            }
            Event::NotHad { ticket } => (ticket, Err(None)),
            Event::Failed { ticket, error } => (ticket, Err(Some(error))),
        };
        let Some((slot, waiting)) = window.slot(ticket) else { return };
        *waiting = waiting.saturating_sub(1);
        let action = Arc::clone(&slot.action);
        let Content::Coming(place) = std::mem::replace(&mut slot.content, Content::Failed) else { return };
        match result {
            Ok((number, via)) => {
                slot.content = Content::Staged(place);
                self.files_done += 1;
                match action.from.get(number) {
                    Some(source) if via.is_some() => {
                        let transfer = self.transfers.entry(source.box_name.clone()).or_default();
                        transfer.files += 1;
                        transfer.bytes = transfer.bytes.saturating_add(action.size);
                        transfer.ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                    }
                    Some(source) => self.progress(action.size, &source.box_name),
                    None => {}
                }
                self.came.insert(action.path.clone(), (number, via));
            }
            Err(error) => {
                self.staging.release(&place);
                self.fail(&action.path, &error.unwrap_or_else(|| not_had(&action)));
            }
        }
        if let Some(sha1) = action.sha1 {
            window.coming.remove(&sha1);
        }
    }

    /// Gives the steps of the first batch whose content came for another step a copy of it.
    fn copy_twins(&mut self, window: &mut Window<'_, '_, '_>) -> Result<()> {
        for at in 0..window.batches.front().map_or(0, |batch| batch.slots.len()) {
            let Some(batch) = window.batches.front_mut() else { return Ok(()) };
            if !matches!(batch.slots[at].content, Content::Twin) {
                continue;
            }
            let (action, ticket) = (Arc::clone(&batch.slots[at].action), batch.first + at);
            let twin = batch.slots.iter().find_map(|slot| match &slot.content {
                Content::Staged(path) if slot.action.sha1 == action.sha1 => Some(path.clone()),
                _ => None,
            });
            let content = self.copy_twin(&action, twin).unwrap_or_else(|e| {
                self.fail(&action.path, &e);
                Content::Failed
            });
            let Content::From(holding) = content else {
                batch.slots[at].content = content;
                continue;
            };
            // the other step did not get it either, or it is gone since
            batch.waiting += 1;
            let content = self.send_for(window, ticket, &action, holding)?;
            if let Some(batch) = window.batches.front_mut() {
                batch.slots[at].content = content;
            }
            self.wait_for(window, |window| window.batches.front().is_none_or(|batch| batch.waiting == 0))?;
        }
        Ok(())
    }

    fn copy_twin(&mut self, action: &Action, twin: Option<SpacePath>) -> Result<Content> {
        if let Some(mut file) = twin.and_then(|twin| self.root.open_file(&twin).ok())
            && let Some(path) = self.staging.fill(action, &mut file)?
        {
            return Ok(Content::Staged(path));
        }
        self.obtain(action)
    }
}

/// Whether a step looks at nothing but its own path.
pub(super) fn is_plain(action: &Action) -> bool {
    let verb = matches!(action.action, Verb::Fetch | Verb::Replace | Verb::Link | Verb::Touch);
    verb && action.source.is_none() && action.keep.is_none()
}
