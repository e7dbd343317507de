//! Reading a large file that is about to be replaced while its new content comes: both take as long as
//! the file, and of 10 MiB changed in 2 GiB the wait for the one was a third of all.

use std::sync::mpsc::{Sender, channel};
use std::thread::Scope;

use super::movers::{Event, Movers};
use crate::hash::hash_path;
use crate::path::SpacePath;

/// What is to be read: the ticket of its step, and where it is.
type Asked = (usize, SpacePath);

/// Reads files one after the other, from the first that is asked for on.
#[derive(Default)]
pub(super) struct Looker {
    asked: Option<Sender<Asked>>,
}

impl Looker {
    /// Has the file at `path` read, and an [`Event::Read`] told. False where the system gives no thread.
    pub(super) fn read<'s>(&mut self, movers: &'s Movers<'_>, scope: &'s Scope<'s, '_>, ticket: usize, path: &SpacePath) -> bool {
        if self.asked.is_none() {
            let (asked, asking) = channel::<Asked>();
            let started = std::thread::Builder::new().spawn_scoped(scope, move || {
                for (ticket, path) in asking {
                    // why it cannot be read is found out once more, by who needs it
                    let there = hash_path(movers.shelf.root(), &path).ok();
                    movers.tell(Event::Read { ticket, there });
                }
            });
            self.asked = started.is_ok().then_some(asked);
        }
        self.asked.as_ref().is_some_and(|asked| asked.send((ticket, path.clone())).is_ok())
    }
}
