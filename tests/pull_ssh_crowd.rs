//! One folder with very many files, committed there and pulled over ssh: a few thousand of them, or with `LTR_SOAK` a
//! million (`LTR_SOAK=300000`: so many), where no process may need more than 64 MB. `TMPDIR=/dev/shm` keeps their 8 GB
//! off the disk.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use far::{ALL, Far};

/// Bytes that no process may need, in KiB.
const MOST: u64 = 64 << 10;

/// Says, when it is dropped, that something is over, however it ended.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The peak of each program, in KiB, that runs below this process while `work` is done: `VmHWM` of proc_pid_status(5).
fn peaks<T>(work: impl FnOnce() -> T) -> (T, BTreeMap<String, u64>) {
    let (over, peaks) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                for (name, peak) in below(std::process::id()) {
                    let mut peaks = peaks.lock().unwrap();
                    let most: &mut u64 = peaks.entry(name).or_default();
                    *most = peak.max(*most);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let _end = End(&over);
        work()
    });
    (done, peaks.into_inner().unwrap())
}

/// The processes below `parent`, by name, and the peak of each.
fn below(parent: u32) -> Vec<(String, u64)> {
    let mut all: Vec<(u32, u32, String, u64)> = Vec::new();
    for pid in fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next())
                .map(str::to_owned)
        };
        let number = |name: &str| field(name).and_then(|text| text.parse::<u64>().ok());
        if let (Some(name), Some(parent), Some(peak)) = (field("Name:"), number("PPid:"), number("VmHWM:")) {
            all.push((pid, u32::try_from(parent).unwrap(), name, peak));
        }
    }
    // what has not yet become the program that it is to be is this one
    let own = all.iter().find(|(pid, ..)| *pid == parent).map(|(_, _, name, _)| name.clone());
    let mut family = vec![parent];
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        for (pid, _, name, peak) in all.iter().filter(|(_, its_parent, ..)| *its_parent == parent) {
            family.push(*pid);
            if Some(name) != own.as_ref() {
                found.push((name.clone(), *peak));
            }
        }
        at += 1;
    }
    found
}

#[test]
fn a_folder_of_very_many_files_is_committed_and_pulled() {
    let soak = std::env::var("LTR_SOAK").ok().map(|text| text.parse().unwrap_or(0));
    let files = soak.map_or(3000, |files: usize| if files > 1000 { files } else { 1_000_000 });
    let Some(far) = Far::new(ALL) else { return };
    let inodes = rustix::fs::statvfs(far.dir.path()).unwrap();
    let room = inodes.f_files == 0 || inodes.f_favail > files as u64 * 5 / 2;
    assert!(room, "{} has inodes for {} files only", far.dir.path().display(), inodes.f_favail);
    let folder = far.at("there/all in one");
    fs::create_dir(&folder).unwrap();
    for n in 0..files {
        fs::write(folder.join(format!("{n:07}")), n.to_string()).unwrap();
    }
    let list = far.at("list");
    let run = |root: &str, args: &[&str]| {
        let output = fs::File::create(&list).unwrap();
        let ran = far.porcelain(root, args).stdout(Stdio::from(output)).output().unwrap();
        assert!(ran.status.success() && ran.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        fs::read_to_string(&list).unwrap()
    };
    let (committed, commit) = peaks(|| run("there", &["commit"]).lines().count());
    let (pulled, pull) = peaks(|| run("here", &["pull", "there"]));
    let (again, nothing) = peaks(|| run("here", &["pull", "there"]).lines().count());
    assert_eq!((committed, pulled.lines().count(), again), (files + 1, files + 3, 1));
    assert!(pulled.lines().last().unwrap().starts_with(&format!("ltr: {files} files, ")), "{:?}", pulled.lines().last());
    for n in 0..files {
        assert_eq!(fs::read_to_string(far.at("here/all in one").join(format!("{n:07}"))).unwrap(), n.to_string());
    }
    assert_eq!(fs::read_dir(far.at("here/all in one")).unwrap().count(), files);
    assert_eq!(run("here", &["status"]), "");
    for (what, peaks, writer) in
        [("commit", commit, "ltr-record"), ("pull", pull, "ltr-index-put"), ("pull again", nothing, "ltr-fetch")]
    {
        assert!(peaks.contains_key(writer) || what == "pull again", "{peaks:?}");
        eprintln!("{what}, peaks in KiB: {peaks:?}");
        assert!(peaks.values().all(|peak| *peak < MOST), "{what}: {peaks:?}");
    }
}
