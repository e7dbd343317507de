//! A simulated world: boxes, indexes and clocks, what people do with them, and what must hold whatever
//! they do, in whatever order indexes meet and commands are cut short.
//!
//! | property | rule of the design | where it is checked |
//! | --- | --- | --- |
//! | every content ever written, committed or not, exists in some box until a person overwrote, deleted or purged it by name | 10.1, 6.1 | after every step: `Ledger::check` |
//! | a discard of a last copy is announced: `L`, never `D`, where the index could know it | 5 | every commit: `Ledger::check_letters` |
//! | no file holds bytes that nobody wrote | 10.2, 10.8 | after every step: `Ledger::check` |
//! | the index claims no copy that is not on its disk, but for what changed on disk since the last commit | 10.2, 4 | every commit and pull: `Ledger::check_claims` |
//! | after enough syncs and pulls without new edits all indexes are equal, and one more round does nothing | 4, 6 | at the end: `History::settle` |
//! | all wants are fulfilled, and conflicting edits all survive on every box that wants them | 6.1, 6.3 | at the end: `Ledger::check_wants`, `ltr status` |
//! | merging in any order and any batching gives the same index, that of a plain map | 4 | at the end: `Model::check_end` |
//! | `-n` changes nothing: names, modes, times, inodes and contents of all files, and the documents of all indexes, before and after | 9 | folders, a third of the pulls: `Real::dry` |
//! | what `-n` printed, or the plan said, is what the pull then did | 6 | `Real::pull`, `Model::pull` |
//! | policy alone never removes: only what a person marked, deleted, purged or renamed goes | 10.3 | every pull: `Ledger::check_removed` |
//! | a command that was killed leaves nothing behind that the next one does not sort out | 10.4 | folders, at the end: `Real::check_end` |
//!
//! There are two layers. **Models** (`LTR_WORLDS`): disks are maps, indexes are in memory, time is made up
//! and clocks are wrong by hours; comparing, committing, merging and planning are the library's own.
//! **Folders** (`LTR_HISTORIES`): real folders, and the commands that people type.
//!
//! `LTR_SECONDS` ends a run early, and the last line says how many histories there were.
//!
//! What fails is shrunk and printed with its seed. `LTR_SEED=SEED LTR_AGAIN=1 cargo test --test world LAYER`
//! replays that one. A model is the same to the last byte; in folders, commands that are killed are killed
//! after so many milliseconds, and end where they got to.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::print_stdout, missing_docs, reason = "tests")]

mod disk;
mod fetch;
mod history;
mod ledger;
mod model;
mod peer;
mod real;
mod rng;
#[path = "../common/shell.rs"]
mod shell;
mod system;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use history::{History, Op, drawn, shrunk};
use model::Model;
use real::Real;
use rng::{Rng, number};
use system::System;

thread_local! {
    /// What the last panic of this thread said.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn in_model(seed: u64, ops: &[Op]) -> Option<String> {
    in_world(|| Box::new(Model::new(seed)), ops)
}

fn in_folders(seed: u64, ops: &[Op]) -> Option<String> {
    in_world(|| Box::new(Real::new(seed)), ops)
}

/// Lets it happen, and says what did not hold, with all that came before.
fn in_world(make: impl FnOnce() -> Box<dyn System>, ops: &[Op]) -> Option<String> {
    let mut log = Vec::new();
    let run = || {
        let mut system = make();
        History::new(system.as_mut(), &mut log).run(ops)
    };
    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(format!("panic: {}", PANIC.take())));
    result.err().map(|why| format!("{why}\n{}", log.join("\n")))
}

type Run = fn(u64, &[Op]) -> Option<String>;

/// Runs histories on both cores, and shows those in which something did not hold.
fn run(test: &str, run: Run, count: u64, length: usize) {
    let (first, again) = (number("LTR_SEED", 2026), number("LTR_AGAIN", 0) > 0);
    let count = if again { 1 } else { count };
    let begun = std::time::Instant::now();
    std::panic::set_hook(Box::new(|panic| PANIC.set(panic.to_string())));
    let (next, done, found) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || loop {
        let world = next.fetch_add(1, Relaxed);
        if world >= count
            || begun.elapsed().as_secs() >= number("LTR_SECONDS", u64::MAX)
            || found.lock().unwrap().len() as u64 >= number("LTR_FINDINGS", 3)
        {
            return;
        }
        let seed = if again { first } else { first.wrapping_mul(1_000_003).wrapping_add(world) };
        let ops = drawn(&mut Rng(seed), length);
        let result = run(seed, &ops);
        done.fetch_add(1, Relaxed);
        if let Some(first) = result {
            let kind = first.lines().next().unwrap().split(':').next().unwrap().to_owned();
            let ops = shrunk(ops, |ops| run(seed, ops).is_some_and(|w| w.starts_with(&kind)));
            let shrunk = run(seed, &ops).unwrap_or(first);
            found.lock().unwrap().push(format!("--- {test} seed {seed}, {} ops\n{shrunk}", ops.len()));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..number("LTR_JOBS", 2) {
            scope.spawn(work);
        }
    });
    for finding in found.lock().unwrap().iter() {
        println!("{finding}");
    }
    println!("{test}: {} histories, {:?}", done.load(Relaxed), begun.elapsed());
    assert!(found.lock().unwrap().is_empty());
}

#[test]
fn models() {
    run("models", in_model, number("LTR_WORLDS", 2000), 35);
}

#[test]
fn folders() {
    run("folders", in_folders, number("LTR_HISTORIES", 50), 20);
}
