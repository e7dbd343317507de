//! What can be had before the plan is whole, so that nobody waits for it afterwards: the boxes that it
//! names first are asked which they are, and those from which many files come start a tar. Nothing is asked
//! for, and nothing here is touched, before the plan has been read to its end.

use std::sync::Arc;
use std::thread::Scope;

use super::bulk::Tar;
use super::movers::{LARGE, MANY};
use super::sources::{Known, Sources};
use super::ssh::{Elsewhere, Program};
use crate::record::{Action, Ftype};

/// Steps that are looked at: a plan that has come from no other machine so far may be none of that kind.
const LOOKED_AT: usize = 1000;

/// The boxes that are made ready.
pub(super) struct Warm<'w, 's, 'e, 'a> {
    sources: &'w Sources<'a>,
    scope: &'s Scope<'s, 'e>,
    /// How many boxes are used at once.
    jobs: usize,
    /// Whether a tar would be used.
    tar: bool,
    looked_at: usize,
    /// With each, how many small files may come from it.
    boxes: Vec<(Arc<Elsewhere>, usize)>,
    /// What is to be said of boxes that are not to be had.
    pub(super) notices: Vec<String>,
}

impl<'w, 's, 'e, 'a> Warm<'w, 's, 'e, 'a> {
    pub(super) fn new(sources: &'w Sources<'a>, scope: &'s Scope<'s, 'e>, jobs: usize, tar: bool) -> Self {
        Self { sources, scope, jobs, tar, looked_at: 0, boxes: Vec::new(), notices: Vec::new() }
    }

    /// A step of the plan was read.
    pub(super) fn see(&mut self, action: &Action) {
        if self.looked_at >= LOOKED_AT || action.ftype != Ftype::File {
            return;
        }
        self.looked_at += 1;
        for source in action.from.iter().take(self.jobs) {
            let Known::Remote(from) = self.sources.place(source, &mut |text| self.notices.push(text)) else { continue };
            let at = self.boxes.iter().position(|known| Arc::ptr_eq(&known.0, &from));
            let Some(at) = at.or_else(|| self.first_of(&from)) else { continue };
            let files = &mut self.boxes[at].1;
            *files += usize::from(action.size < LARGE);
            if self.tar && *files == MANY {
                self.begin(from, |from| {
                    if from.is_proven() && from.has(Program::Tar) {
                        // where it cannot be started now, who needs it is told why
                        from.keep(Tar::start(from).ok());
                    }
                });
            }
        }
    }

    fn first_of(&mut self, from: &Arc<Elsewhere>) -> Option<usize> {
        if self.boxes.len() >= self.jobs {
            return None;
        }
        self.begin(Arc::clone(from), |from| {
            from.is_proven();
        });
        self.boxes.push((Arc::clone(from), 0));
        Some(self.boxes.len() - 1)
    }

    /// Where the system gives no thread, whoever needs it does it.
    fn begin(&self, from: Arc<Elsewhere>, work: fn(&Arc<Elsewhere>)) {
        let _ = std::thread::Builder::new().spawn_scoped(self.scope, move || work(&from));
    }
}
