//! Files on their way from other machines: a queue of what is wanted, and a thread for each box that
//! holds some of it, which takes from the queue what its box can give. So several boxes are used at once,
//! the slower gives less, and what one does not have the next one is asked for.
//!
//! While files come, the run puts in place those that came before them; the queue is filled only so far
//! ahead, so that no memory grows with the plan.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::bulk;
use super::shelf::Shelf;
use super::ssh::{Elsewhere, Program};
use super::transfer::Transfer;
use crate::hash::Hashed;
use crate::path::SpacePath;
use crate::record::{Action, Ftype};

/// From this size on a file is large: it is resumed, and sent as the difference to an older version.
pub(crate) const LARGE: u64 = 1 << 20;
/// Plans of fewer steps are not worth a tar of their own.
pub(super) const MANY: usize = 64;
/// Wants of which those who bring files are told at once.
const TOLD: usize = 64;
/// How often it is looked whether a program is over.
const LOOK: Duration = Duration::from_millis(20);
/// Files, and bytes, that one program is asked for at once.
const CHUNK: (usize, u64) = (1000, 64 << 20);
/// Bytes that it is asked for at least, where there are so many: less is not worth its start.
const LEAST: u64 = 8 << 20;

/// How a file is best brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Together with others.
    Small,
    /// By itself; a beginning of it may be there.
    Large,
    /// As what differs from the version that is here.
    Changed,
}

/// The content of a step, wanted from another machine.
pub(super) struct Want {
    pub(super) action: Arc<Action>,
    /// Where it goes in the staging folder.
    pub(super) place: SpacePath,
    pub(super) kind: Kind,
    /// The boxes that may have it: the number in the action, and which one it is here.
    candidates: Vec<Candidate>,
    owed: Owed,
}

/// An answer that the run waits for: whatever becomes of a want, it gets one.
pub(super) struct Owed {
    ticket: usize,
    events: Option<Sender<Event>>,
}

impl Owed {
    /// It is answered otherwise; returns its ticket.
    pub(super) fn answered(mut self) -> usize {
        self.events = None;
        self.ticket
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(events) = self.events.take() {
            // when nobody listens any more the run has ended
            let _ = events.send(Event::NotHad { ticket: self.ticket });
        }
    }
}

#[derive(Clone, Copy)]
struct Candidate {
    number: usize,
    source: usize,
    tried: bool,
}

impl Want {
    /// See [`Owed::answered`].
    pub(super) fn answered(self) -> usize {
        self.owed.answered()
    }

    /// How the box of number `source` calls the file, and the number of that in the action.
    pub(super) fn at(&self, source: usize) -> Option<(usize, &SpacePath)> {
        let candidate = self.candidates.iter().find(|c| c.source == source)?;
        Some((candidate.number, &self.action.from.get(candidate.number)?.path))
    }
}

/// What became of a want.
pub(super) enum Outcome {
    /// It is in its place; the name of the program that brought it.
    Arrived(&'static str),
    /// This box does not have it.
    NotHad,
    /// It was not its turn.
    Again,
    /// It could not be kept here.
    Failed(anyhow::Error),
}

/// What the run is told.
pub(super) enum Event {
    /// Many, with the number of the source of each.
    AllArrived {
        tickets: Vec<(usize, usize)>,
        via: &'static str,
    },
    Arrived {
        ticket: usize,
        number: usize,
        via: &'static str,
    },
    NotHad {
        ticket: usize,
    },
    /// It was copied from the box of this number, on this machine.
    Copied {
        ticket: usize,
        number: usize,
    },
    /// No box on this machine has it: these are to be asked.
    NotHere {
        ticket: usize,
        elsewhere: Vec<(usize, Arc<Elsewhere>)>,
    },
    Failed {
        ticket: usize,
        error: anyhow::Error,
    },
    /// What is at the destination of a step was read, where it can be.
    Read {
        ticket: usize,
        there: Option<Hashed>,
    },
    Say(String),
    /// Bytes came from a box.
    Bytes(u64, Arc<Elsewhere>),
}

/// The queue and those who serve it.
pub(super) struct Movers<'a> {
    pub(super) shelf: Shelf<'a>,
    /// How many boxes are used at once.
    jobs: usize,
    /// Whether the plan has many steps.
    pub(super) many: bool,
    /// KiB a second, of each program.
    pub(super) limit: Option<u64>,
    line: Mutex<Line>,
    news: Condvar,
    /// Wants that nobody was told of yet.
    untold: AtomicUsize,
    events: Sender<Event>,
}

#[derive(Default)]
struct Line {
    wants: VecDeque<Want>,
    closed: bool,
    /// The run wants nothing more until something arrives.
    resting: bool,
    /// Nothing more is wanted, as far as the run can tell.
    last: bool,
    busy: usize,
    sources: Vec<Arc<Elsewhere>>,
}

impl Line {
    /// The boxes that can still be asked for `want`, the first first.
    fn alive<'w>(&'w self, want: &'w Want) -> impl Iterator<Item = usize> + 'w {
        want.candidates.iter().filter(|c| !c.tried && !self.sources[c.source].is_lost()).map(|c| c.source)
    }

    /// Whether it is for the box `source` to bring `want`, when `jobs` boxes are used at once.
    fn is_for(&self, want: &Want, source: usize, jobs: usize) -> bool {
        self.alive(want).take(jobs).any(|id| id == source)
    }

    /// Takes what `source` is to bring, of one kind, up to the limits.
    fn take(&mut self, source: usize, kind: Option<Kind>, limit: (usize, u64), jobs: usize) -> Vec<Want> {
        let (mut taken, mut bytes, mut at): (Vec<Want>, u64, usize) = (Vec::new(), 0, 0);
        let mut kind = kind;
        while at < self.wants.len() && taken.len() < limit.0 && bytes < limit.1 {
            let want = &self.wants[at];
            if kind.is_some_and(|kind| kind != want.kind) || !self.is_for(want, source, jobs) {
                at += 1;
                continue;
            }
            kind = Some(want.kind);
            bytes = bytes.saturating_add(want.action.size);
            taken.extend(self.wants.remove(at));
        }
        taken
    }
}

impl<'a> Movers<'a> {
    /// `steps` is how many steps the plan has.
    pub(super) fn new(shelf: Shelf<'a>, jobs: usize, limit: Option<u64>, steps: usize, events: Sender<Event>) -> Self {
        let (line, news, untold) = (Mutex::default(), Condvar::new(), AtomicUsize::new(0));
        Self { shelf, jobs: jobs.max(1), many: steps >= MANY, limit, line, news, untold, events }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the content of a step, which `boxes` hold, by their numbers in the action.
    pub(super) fn want<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        ticket: usize,
        action: &Arc<Action>,
        place: SpacePath,
        boxes: &[(usize, Arc<Elsewhere>)],
    ) {
        let mut line = self.line();
        let mut candidates = Vec::new();
        for (number, from) in boxes {
            let known = line.sources.iter().position(|known| Arc::ptr_eq(known, from));
            let started = known.or_else(|| {
                let (id, served) = (line.sources.len(), Arc::clone(from));
                std::thread::Builder::new().spawn_scoped(scope, move || self.serve(id, &served)).ok()?;
                line.sources.push(Arc::clone(from));
                Some(id)
            });
            // of a source that the system gives no thread nothing can be had
            let Some(source) = started else { continue };
            candidates.push(Candidate { number: *number, source, tried: false });
        }
        let kind = kind_of(action, &candidates);
        let owed = self.owe(ticket);
        let want = Want { action: Arc::clone(action), place, kind, candidates, owed };
        if line.alive(&want).next().is_some() {
            line.wants.push_back(want);
            line.last = false;
        }
        let resting = line.resting;
        drop(line);
        // whoever brings files is not woken for each of many, unless the run does nothing more until it comes
        if self.untold.fetch_add(1, Ordering::Relaxed) + 1 >= TOLD || resting {
            self.untold.store(0, Ordering::Relaxed);
            self.news.notify_all();
        }
    }

    /// The run waits for arrivals, or does not any more.
    pub(super) fn rest(&self, resting: bool) {
        self.line().resting = resting;
        self.untold.store(0, Ordering::Relaxed);
        self.news.notify_all();
    }

    /// All that the plan needs is wanted, unless something is to be asked for again.
    pub(super) fn no_more(&self) {
        self.line().last = true;
        self.news.notify_all();
    }

    /// Nothing more will be wanted.
    pub(super) fn close(&self) {
        let mut line = self.line();
        line.closed = true;
        line.wants.clear();
        drop(line);
        self.news.notify_all();
    }

    /// Whether nothing more is wanted, not even what was.
    pub(super) fn is_closed(&self) -> bool {
        self.line().closed
    }

    /// The run waits for an answer to this ticket.
    pub(super) fn owe(&self, ticket: usize) -> Owed {
        Owed { ticket, events: Some(self.events.clone()) }
    }

    pub(super) fn tell(&self, event: Event) {
        // when nobody listens any more the run has ended
        let _ = self.events.send(event);
    }

    pub(super) fn say(&self, text: String) {
        self.tell(Event::Say(text));
    }

    /// Brings what the box `id` can give, until there is no more.
    fn serve(&self, id: usize, from: &Arc<Elsewhere>) {
        while let Some(wants) = self.next(id) {
            if from.prove(&mut |text| self.say(text)) {
                self.bring(id, from, wants);
            } else {
                wants.into_iter().for_each(|want| self.settle(id, want, Outcome::NotHad));
            }
            self.line().busy -= 1;
            self.news.notify_all();
            if from.is_lost() {
                return self.give_up();
            }
        }
    }

    fn bring(&self, id: usize, from: &Arc<Elsewhere>, wants: Vec<Want>) {
        let small = wants.first().is_some_and(|want| want.kind == Kind::Small);
        // a tar takes what it can get
        if small && self.many && self.limit.is_none() && from.has(Program::Tar) {
            return bulk::bring(self, id, from, wants);
        }
        for (want, outcome) in (Transfer { movers: self, id, from }).run(wants) {
            self.settle(id, want, outcome);
        }
    }

    /// What the box `id` is to bring next, as soon as there is something.
    fn next(&self, id: usize) -> Option<Vec<Want>> {
        let mut line = self.line();
        loop {
            if line.closed {
                return None;
            }
            if line.busy < self.jobs {
                // whoever else has it should find something left
                let sharers = line.sources.iter().filter(|s| !s.is_lost()).count().min(self.jobs);
                let files = line.wants.len().div_ceil(sharers.max(1)).clamp(16, CHUNK.0);
                let bytes: u64 = line.wants.iter().map(|want| want.action.size).sum();
                let share = if sharers > 1 { bytes / (2 * sharers as u64) } else { CHUNK.1 };
                let limit = (files, share.clamp(LEAST, CHUNK.1));
                let taken = line.take(id, None, limit, self.jobs);
                if !taken.is_empty() {
                    line.busy += 1;
                    return Some(taken);
                }
            }
            line = self.news.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// More small files for the box `id`, which is busy, when some come up before the run has waited for
    /// `patience`. As long as it does other things it may want more.
    pub(super) fn more(&self, id: usize, files: usize, patience: Duration) -> Vec<Want> {
        let mut end = None;
        let mut line = self.line();
        loop {
            let taken = line.take(id, Some(Kind::Small), (files, CHUNK.1), self.jobs);
            if !taken.is_empty() || line.closed || line.last {
                return taken;
            }
            let now = Instant::now();
            end = if line.resting { end.or(Some(now + patience)) } else { None };
            let left = end.map_or(patience, |end| end.saturating_duration_since(now));
            if left.is_zero() {
                return taken;
            }
            line = self.news.wait_timeout(line, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Small files for a second program that brings them from the box `id`, as soon as so many as `least` wait;
    /// none where it does not come to that before the first one is `over`.
    pub(super) fn plenty(&self, id: usize, least: usize, files: usize, over: &AtomicBool) -> Vec<Want> {
        let mut line = self.line();
        loop {
            if over.load(Ordering::Relaxed) || line.closed {
                return Vec::new();
            }
            if line.wants.len() >= least {
                let taken = line.take(id, Some(Kind::Small), (files, CHUNK.1), self.jobs);
                if !taken.is_empty() {
                    return taken;
                }
            }
            if line.last {
                return Vec::new();
            }
            line = self.news.wait_timeout(line, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What became of a want at the box `id`: told, or given to another one.
    pub(super) fn settle(&self, id: usize, mut want: Want, outcome: Outcome) {
        let number = want.at(id).map_or(0, |(number, _)| number);
        match outcome {
            Outcome::Arrived(via) => return self.tell(Event::Arrived { ticket: want.answered(), number, via }),
            Outcome::Failed(error) => return self.tell(Event::Failed { ticket: want.answered(), error }),
            Outcome::NotHad => want.candidates.iter_mut().filter(|c| c.source == id).for_each(|c| c.tried = true),
            Outcome::Again => {}
        }
        let mut line = self.line();
        if line.alive(&want).next().is_some() && !line.closed {
            line.wants.push_front(want);
            drop(line);
            self.news.notify_all();
        }
    }

    /// Tells of what nobody can bring any more.
    fn give_up(&self) {
        let mut line = self.line();
        let wants = std::mem::take(&mut line.wants);
        let (kept, lost): (VecDeque<_>, VecDeque<_>) = wants.into_iter().partition(|want| line.alive(want).next().is_some());
        line.wants = kept;
        drop(line);
        drop(lost);
        self.news.notify_all();
    }
}

fn kind_of(action: &Action, candidates: &[Candidate]) -> Kind {
    if action.size < LARGE {
        return Kind::Small;
    }
    let was_large = action.have.as_ref().is_some_and(|have| have.ftype == Ftype::File && have.size >= LARGE);
    // rsync looks for the older version under the name that the file has over there
    let same_name = candidates.iter().all(|c| action.from.get(c.number).is_some_and(|from| from.path == action.path));
    if was_large && same_name { Kind::Changed } else { Kind::Large }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_want_is_answered_once_whatever_becomes_of_it() {
        let (events, told) = std::sync::mpsc::channel();
        let json = r#"{"type":"action","action":"fetch","box":"b","path":"/a","ftype":"file","size":1,"mtime":1,"mode":"0644",
            "sha1":"a9993e364706816aba3e25717850c26c9cd0d89d","version":{"00000001":1},"from":[]}"#;
        let action: Arc<Action> = Arc::new(serde_json::from_str(json).unwrap());
        let want = |ticket| {
            let owed = Owed { ticket, events: Some(events.clone()) };
            let place = SpacePath::from_spelled("/x").unwrap();
            Want { action: Arc::clone(&action), place, kind: Kind::Small, candidates: Vec::new(), owed }
        };
        drop(want(7));
        assert_eq!(want(8).answered(), 8);
        let left: Vec<usize> =
            told.try_iter().map(|event| if let Event::NotHad { ticket } = event { ticket } else { 0 }).collect();
        assert_eq!(left, [7]);
    }
}
