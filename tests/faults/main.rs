//! Faults: a command is stopped at, or refused, its n-th system call, for every call and every n that
//! matter, and whatever state that leaves, nothing is lost and the same command again completes.
//!
//! Calls are counted and refused by strace(1), a program of the pipe at a time, so that what is tested
//! is what is installed. Scripts are such programs, and the threads of a program are met as well: their calls are
//! counted among those about the same file, since strace counts each thread apart. A file that may not grow
//! (`ltr-fetch write 4096 short`) has writes that return fewer bytes than they were given.
//!
//! The scenes (`scene.rs`): a commit, whole and of paths; a pull of everything that can become of files, into an empty
//! box, and from any of two boxes; a purge; a sync; an init; a create and a clone, with the index here and carried; a
//! mark; a setting of a box and of the space. What must hold, and the rule of the design that says so:
//!
//! | after the fault | |
//! | --- | --- |
//! | every content that the command does not itself give up is in a file of its box, or staged there | 10.1, 10.4 |
//! | no file holds bytes that nobody wrote: each is whole or not there | 10.2 |
//! | what the index newly claims is on the disk, and the index is sound | 10.2 |
//! | a command that was refused something and ends with 0 has done all the same | 7 |
//! | after the same command again | |
//! | it ends as if there had been no fault; files, marks and entries are the same | 10.4 |
//! | nothing is left in `.ltr-tmp`, every copy that the index claims is on the disk | 10.2, 10.4 |
//! | once more changes nothing; another box that pulls then has what it would have had | 4, 6 |
//! | a box that was half made is made: its cookie, its document, and a commit that works | 10.4 |
//!
//! `cargo test --test faults` tries a sample that has every kind of call; `make soak` tries thousands
//! (`LTR_SOAK=12`: of each kind of call of each program, each fault, twelve points; `LTR_SOAK=all`). A point that fails is
//! printed, and is tried alone by `LTR_FAULT='pull ltr-fetch renameat2 3 kill' cargo test --test faults`; one of a thread
//! ends with what the call is about: `LTR_FAULT='commit ltr-hash openat 2 EIO me'`. The numbers are those of the machine
//! and the build; `found.rs` and the unit tests have what was found, alone.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod check;
#[path = "../common/mod.rs"]
mod common;
mod far;
mod found;
mod point;
mod scene;
#[path = "../common/sshd.rs"]
mod sshd;
mod trial;

use trial::try_all;

#[test]
fn a_commit_at_every_step() {
    try_all("commit");
}

#[test]
fn a_commit_of_paths_at_every_step() {
    try_all("commit-paths");
}

#[test]
fn a_pull_at_every_step() {
    try_all("pull");
}

#[test]
fn a_first_pull_at_every_step() {
    try_all("pull-new");
}

#[test]
fn a_pull_from_any_box_at_every_step() {
    try_all("pull-any");
}

#[test]
fn a_purge_at_every_step() {
    try_all("rm");
}

#[test]
fn a_sync_at_every_step() {
    try_all("sync");
}

#[test]
fn an_init_at_every_step() {
    try_all("init");
}

#[test]
fn a_create_at_every_step() {
    try_all("create");
}

#[test]
fn a_create_of_a_box_that_carries_its_index_at_every_step() {
    try_all("create-carry");
}

#[test]
fn a_clone_at_every_step() {
    try_all("clone");
}

#[test]
fn a_clone_that_carries_its_index_at_every_step() {
    try_all("clone-carry");
}

#[test]
fn a_mark_at_every_step() {
    try_all("mark");
}

#[test]
fn a_setting_at_every_step() {
    try_all("set");
    try_all("set-space");
}
