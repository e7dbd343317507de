//! What is told of a run: the entries as they are now, and the steps that were carried out.
//!
//! The lines are written by a thread of their own, while the next files are put into their places: to look once more at
//! each file and to write its two lines was a quarter of what the thread did that all others wait for.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Result;
use serde::Serialize;

use super::{Fact, Run, batch};
use crate::boxfs::{BoxRoot, Moment};
use crate::hash::is_racy;
use crate::lines::Lines;
use crate::record::{Action, ActionTag, Document, Entry, Extra, Sha1};
use crate::stamp::Clock;
use crate::stream::{ErrorRecord, Tagged, Writer};

/// Steps that were carried out and are not on the disk yet, at most.
pub(super) const UNTOLD: usize = batch::BATCH_FILES;

/// Another box was seen to hold a content: later that may have to do, when it is out of reach. A record
/// of the type `verified`.
#[derive(Debug, Serialize)]
pub(super) struct Verified {
    #[serde(rename = "box")]
    pub(super) box_name: String,
    pub(super) sha1: Sha1,
    /// When, in milliseconds since 1970.
    pub(super) ms: u64,
}

/// What is to be told of a step.
pub(super) struct Told {
    /// When its files were last touched, at the latest.
    touched: Moment,
    facts: Vec<Fact>,
    action: Option<Action>,
}

/// What is told.
#[allow(clippy::large_enum_variant, reason = "nearly all are steps")]
pub(super) enum Line {
    Done(Told),
    Verified(Verified),
    Failed(ErrorRecord),
}

/// What was done and not told yet.
pub(super) struct Output<'o, 's, 'e> {
    lines: &'o mut Lines<'s, 'e, Line>,
    queue: Vec<Told>,
}

impl<'o, 's, 'e> Output<'o, 's, 'e> {
    pub(super) fn new(lines: &'o mut Lines<'s, 'e, Line>) -> Self {
        Self { lines, queue: Vec::new() }
    }

    /// A step was carried out.
    pub(super) fn done(&mut self, facts: Vec<Fact>, action: Action) {
        self.queue.push(Told { touched: Moment::now(), facts, action: Some(action) });
    }

    /// A step was carried out whose fact follows.
    pub(super) fn begun(&mut self, action: Action) -> Result<()> {
        self.lines.put(Line::Done(Told { touched: Moment::now(), facts: Vec::new(), action: Some(action) }))
    }

    /// Something of a step that is told at another time is now so.
    pub(super) fn finished(&mut self, fact: Fact) {
        self.queue.push(Told { touched: Moment::now(), facts: vec![fact], action: None });
    }

    /// Whether so much was done that it is to be told.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= UNTOLD
    }

    /// Tells what was done since the last time, when it is on the disk, and waits until it is told.
    pub(super) fn emit(&mut self, run: &mut Run<'_>) -> Result<()> {
        if !self.queue.is_empty() {
            // or the index would outlive the rename that it tells of, when the power fails
            run.root.sync()?;
        }
        self.tell(run)?;
        self.lines.finish()
    }

    /// Has told what was done, which is on the disk.
    pub(super) fn tell(&mut self, run: &mut Run<'_>) -> Result<()> {
        let failed = std::mem::take(&mut run.failed).into_iter().map(Line::Failed);
        let verified = std::mem::take(&mut run.verified).into_iter().map(Line::Verified);
        let done = self.queue.drain(..).map(Line::Done);
        failed.chain(verified).chain(done).try_for_each(|line| self.lines.put(line))?;
        self.lines.hand_over()
    }
}

/// Writes what is told.
pub(super) struct Teller<'a> {
    pub(super) root: &'a BoxRoot,
    pub(super) box_name: &'a str,
    /// The box's commit counter.
    pub(super) commit: u64,
    pub(super) clock: Mutex<&'a mut Clock>,
}

impl Teller<'_> {
    /// Writes one. First the clock has to move on by a tick: a file that still looks the same then cannot be edited
    /// later without looking different.
    pub(super) fn write<W: Write>(&self, line: Line, writer: &mut Writer<W>) -> Result<()> {
        let Told { touched, facts, action } = match line {
            Line::Failed(failure) => return writer.put_error(&failure),
            Line::Verified(record) => return writer.put(&Tagged { kind: "verified", record: &record }),
            Line::Done(told) => told,
        };
        if !facts.is_empty() {
            self.root.wait_past(touched);
        }
        for fact in facts {
            writer.put(&Document::Entry(self.entry(fact)))?;
        }
        match action {
            Some(action) => writer.put(&Action { kind: ActionTag::Done, ..action }),
            None => Ok(()),
        }
    }

    fn entry(&self, fact: Fact) -> Entry {
        let (now, next_time) = (SystemTime::now(), self.root.next_time());
        let local = fact.stat.map(|stat| {
            let same = self.root.lstat(&fact.path).is_ok_and(|s| s.unchanged(&stat));
            stat.local(!same || is_racy(&stat, next_time, self.root))
        });
        Entry {
            box_name: self.box_name.to_owned(),
            path: fact.path,
            attrs: fact.attrs,
            present: fact.present,
            purged: fact.purged,
            moved: fact.moved,
            commit: fact.commit.unwrap_or(self.commit),
            version: fact.version,
            stamp: self.clock.lock().unwrap_or_else(PoisonError::into_inner).tick(now),
            local,
            extra: Extra::new(),
        }
    }
}
