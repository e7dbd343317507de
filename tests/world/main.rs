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
//! | a source that changes while it is pulled from is left for the next pull, or taken as it is: never half of it | 10.8 | `History::pull_shifting`, `Ledger::check` |
//! | an exchange with a database that any request of spoils loses nothing and says so; later ones make up for it | 3 | `Model::visit` |
//! | databases, however they are replicated, end without conflicts and with what the indexes have | 3, 4 | at the end: `Model::check_databases` |
//!
//! There are two layers. **Models** (`LTR_WORLDS`): disks are maps, indexes are in memory, time is made up
//! and clocks are wrong by hours; comparing, committing, merging and planning are the library's own, and so
//! is the client of CouchDB, which in a quarter of the worlds all indexes are replicas of ([`couch`]).
//! **Folders** (`LTR_HISTORIES`): real folders, and the commands that people type.
//!
//! What people do, by [`history::Kind`]; what happens to machines:
//!
//! | | |
//! | --- | --- |
//! | files | created, edited, edited with the same size and mtime, touched, chmodded, renamed, two swapped, copied, deleted, replaced by a folder or a symlink; folders made, renamed, deleted |
//! | commands | commit of all or a path; mark want, skip, clear; rm; another policy; sync, one way too; pull from any box or one |
//! | cut short | a commit, a pull, a sync, at a step; in folders a program is killed at its n-th call of a kind, by strace(1) |
//! | disks | gone and back; restored from a backup (files, index, both, over what is there or in its place); a folder copied with its cookie, and gone on with |
//! | indexes | one box used from two hosts' replicas; a replica deleted and rebuilt; clocks set |
//! | databases (models) | replicated in any direction, all or in part; a server away; a request lost, refused, half answered; a database lost and made anew; a replica rebuilt from one |
//!
//! `LTR_SECONDS` ends a run early. What was done and met, and how often, is printed at the end: in a thousand
//! histories nothing of all this may be missing.
//!
//! What fails is shrunk and printed with its seed. `LTR_SEED=SEED LTR_AGAIN=1 cargo test --test world LAYER`
//! replays that one. A model is the same to the last byte; in folders the clock of the machine goes on, so
//! that stamps and some mtimes are other ones.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::print_stdout, missing_docs, reason = "tests")]

mod couch;
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
mod store;
mod system;
mod tally;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use history::{History, Op, drawn, kinds, shrunk};
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
    let one = || {
        let world = next.fetch_add(1, Relaxed);
        if world >= count
            || begun.elapsed().as_secs() >= number("LTR_SECONDS", u64::MAX)
            || found.lock().unwrap().len() as u64 >= number("LTR_FINDINGS", 3)
        {
            return false;
        }
        let seed = if again { first } else { first.wrapping_mul(1_000_003).wrapping_add(world) };
        // most are short, so that there are many, and some are long
        let mut rng = Rng(seed);
        let length = length * [1, 1, 2, 2, 5][rng.below(5)] / 2;
        let ops = drawn(&mut rng, length);
        let result = run(seed, &ops);
        done.fetch_add(1, Relaxed);
        if let Some(first) = result {
            let kind = first.lines().next().unwrap().split(':').next().unwrap().to_owned();
            let ops = shrunk(ops, |ops| run(seed, ops).is_some_and(|w| w.starts_with(&kind)));
            let shrunk = run(seed, &ops).unwrap_or(first);
            found.lock().unwrap().push(format!("--- {test} seed {seed}, {} ops\n{shrunk}", ops.len()));
        }
        true
    };
    let work = || {
        while one() {}
        tally::hand_in();
    };
    std::thread::scope(|scope| {
        for _ in 0..number("LTR_JOBS", 2) {
            scope.spawn(work);
        }
    });
    for finding in found.lock().unwrap().iter() {
        println!("{finding}");
    }
    print!("{}", tally::lines());
    println!("{test}: {} histories, {:?}", done.load(Relaxed), begun.elapsed());
    assert!(found.lock().unwrap().is_empty());
    // what a few histories may do without, many may not
    let never = tally::missing(kinds().filter(|kind| kind != "Serve" || test == "models"));
    assert!(done.load(Relaxed) < 1000 || never.is_empty(), "never done: {never:?}");
}

#[test]
fn models() {
    run("models", in_model, number("LTR_WORLDS", 2000), 20);
}

#[test]
fn folders() {
    run("folders", in_folders, number("LTR_HISTORIES", 50), 20);
}
