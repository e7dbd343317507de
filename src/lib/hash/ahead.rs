//! Records that are hashed ahead of whoever takes them, by threads of their own, and come in their order.
//!
//! Threads that all waited for the last of each 512 records left a quarter of two cores idle, and took turns at
//! opening each other's folders: now each has a root of its own, and takes what is next as soon as it is done.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, Scope};

use anyhow::{Context, Result};

use super::item::{Item, Records};
use super::stream::Work;
use crate::boxfs::BoxRoot;

/// Records that go to a thread at a time; fewer, where their files have this many bytes.
const BATCH: usize = 64;
const BATCH_BYTES: u64 = 1 << 20;
/// Batches that are read ahead at most: what takes the records may wait for a disk meanwhile.
const BATCHES: usize = 128;
/// Two readers keep a disk and a core busy; more make an archive disk seek.
const WORKERS: usize = 2;

/// Records to hash, and where they go then, with the number of those that were hashed.
type Job = (Vec<Work>, SyncSender<Done>);
type Done = (Vec<Item>, u64);

/// What the threads have in common.
struct Shared<'a> {
    root: &'a BoxRoot,
    jobs: Mutex<Receiver<Job>>,
    /// Nobody wants the rest.
    over: AtomicBool,
}

/// Gives the next record, and what there is to do about it.
pub type Source<'e> = &'e mut dyn FnMut() -> Result<Option<Work>>;

/// Records that are hashed as they are asked for.
pub struct Hashing<'s, 'e> {
    scope: &'s Scope<'s, 'e>,
    shared: &'e Shared<'e>,
    source: Source<'e>,
    jobs: Sender<Job>,
    workers: usize,
    /// The batches on their way, in their order.
    coming: VecDeque<Receiver<Done>>,
    is_read: bool,
    batch: std::vec::IntoIter<Item>,
    hashed: u64,
}

/// Hands `take` the records of `source`, with what only reading the files can tell.
///
/// # Errors
/// Those of `take`.
pub fn hashing<T>(root: &BoxRoot, source: Source<'_>, take: impl FnOnce(&mut Hashing<'_, '_>) -> Result<T>) -> Result<T> {
    let (jobs, queue) = channel();
    let shared = Shared { root, jobs: Mutex::new(queue), over: AtomicBool::new(false) };
    let (coming, batch) = (VecDeque::new(), Vec::new().into_iter());
    std::thread::scope(|scope| {
        let shared = &shared;
        let result = take(&mut Hashing { scope, shared, source, jobs, workers: 0, coming, is_read: false, batch, hashed: 0 });
        shared.over.store(true, Ordering::Relaxed);
        result
    })
}

impl Hashing<'_, '_> {
    /// How many files were hashed so far.
    pub fn hashed(&self) -> u64 {
        self.hashed
    }

    /// Lets the threads begin.
    pub(crate) fn read_ahead(&mut self) -> Result<()> {
        while !self.is_read && self.coming.len() < BATCHES {
            let (mut batch, mut bytes, mut files) = (Vec::new(), 0, 0);
            while batch.len() < BATCH && bytes < BATCH_BYTES {
                let Some(work) = (self.source)()? else {
                    self.is_read = true;
                    break;
                };
                if let Work::Hash(record) = &work {
                    bytes = record.size.saturating_add(bytes);
                    files += 1;
                }
                batch.push(work);
            }
            let (sender, receiver) = sync_channel(1);
            self.coming.push_back(receiver);
            // both ends of both channels are here
            if files == 0 {
                let _ = sender.send((batch.into_iter().map(|work| work.done(self.shared.root)).collect(), 0));
            } else {
                let _ = self.jobs.send((batch, sender));
                self.start_workers();
            }
        }
        Ok(())
    }

    /// A thread for each batch, up to their number; none for one batch alone. One that cannot be had is done without.
    fn start_workers(&mut self) {
        let shared = self.shared;
        while self.coming.len() > 1 && self.workers < WORKERS.min(self.coming.len()) {
            if Builder::new().spawn_scoped(self.scope, || shared.serve()).is_err() {
                break;
            }
            self.workers += 1;
        }
    }
}

impl Records for Hashing<'_, '_> {
    fn next(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(item) = self.batch.next() {
                return Ok(Some(item));
            }
            self.read_ahead()?;
            let Some(next) = self.coming.pop_front() else { return Ok(None) };
            if self.workers == 0 {
                self.shared.work();
            }
            let (batch, hashed) = next.recv().context("a thread that hashes has ended")?;
            self.batch = batch.into_iter();
            self.hashed += hashed;
        }
    }
}

impl Shared<'_> {
    fn serve(&self) {
        // whoever shares a root closes the other's folder for each file
        let own = self.root.another();
        let root = own.as_ref().unwrap_or(self.root);
        loop {
            let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match job {
                Ok(job) if !self.over.load(Ordering::Relaxed) => hash(root, job),
                _ => break,
            }
        }
    }

    /// Does the first job that no thread does.
    fn work(&self) {
        let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).try_recv();
        if let Ok(job) = job {
            hash(self.root, job);
        }
    }
}

fn hash(root: &BoxRoot, (batch, sender): Job) {
    let hashed = batch.iter().filter(|work| matches!(work, Work::Hash(_))).count();
    let done = batch.into_iter().map(|work| work.done(root)).collect();
    // where nobody takes it, nobody wants it
    let _ = sender.send((done, hashed as u64));
}
