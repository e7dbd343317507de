//! A connection that is lost midway: the same command completes what it began.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;
#[path = "common/wire.rs"]
mod wire;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use far::{ALL, Far, Kit};
use wire::{Then, Wire};

const SIZE: usize = 16_000_000;
/// With rsync, with sftp, with neither.
const KITS: [Kit; 3] = [ALL, Kit { rsync: false, ..ALL }, Kit { rsync: false, sftp: false, ..ALL }];

/// Bytes that no program can make fewer.
fn noise() -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..SIZE / 8).flat_map(|_| next()).collect()
}

/// A large file there, and a wire that carries three quarters of it.
fn large(kit: Kit, then: Then) -> Option<(Far, Wire)> {
    let mut far = Far::new(kit)?;
    fs::write(far.at("there/large"), noise()).unwrap();
    far.commit(&[(b"small", "alpha")]);
    let wire = Wire::to(far.sshd.port());
    far.ssh = format!("{} -p {}", far.ssh, wire.port);
    wire.limit(12_000_000, then);
    Some((far, wire))
}

/// Pulls again, and makes sure that the rest alone came.
fn completes(far: &Far, wire: &Wire) {
    wire.limit(u64::MAX, Then::Cut);
    let said = far.ltr("here", &["pull", "there"]).well();
    assert!(far.tree("here") == far.tree("there"), "{}{}", said.out, said.err);
    // what the connection had in its buffers when it was cut is lost and comes again, some two megabytes at most
    assert!(wire.came() < 8_000_000, "{} bytes came", wire.came());
    assert!(!far.at("here/.ltr-tmp").exists());
    assert_eq!(far.ltr("here", &["status"]).well().out, "");
}

#[test]
fn a_large_file_is_resumed_and_not_restarted() {
    for kit in KITS {
        let Some((far, wire)) = large(kit, Then::Cut) else { return };
        let said = far.ltr("here", &["pull", "there"]).failed(1, "/large: could not be had from there");
        assert!(wire.reached() && !far.at("here/large").exists() && !said.out.contains("/here/large"), "{}", said.out);
        completes(&far, &wire);
    }
}

#[test]
fn a_pull_that_is_killed_is_completed() {
    for kit in KITS {
        let Some((far, wire)) = large(kit, Then::Silence) else { return };
        let mut pull = far.porcelain("here", &["pull", "there"]);
        let mut child = pull.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while !wire.reached() && start.elapsed() < Duration::from_secs(15) {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(300));
        // the command and all that it started, at once
        let group = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        child.wait().unwrap();
        let root = litter::boxfs::BoxRoot::open(&far.at("here")).unwrap();
        // which die one by one, and the lock goes with the last
        let gone = || litter::lock::take(&root).is_ok();
        assert!(
            (0..500).any(|_| gone() || {
                std::thread::sleep(Duration::from_millis(10));
                false
            }),
            "the lock is held"
        );
        assert!(wire.reached() && !far.at("here/large").exists());
        completes(&far, &wire);
    }
}
