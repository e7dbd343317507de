//! The other side in trouble: its sshd dies, its programs talk nonsense or end too early, the disk here is
//! full, something else is in the staging folder, an index is in use. Nothing is lost, no file is anything
//! but whole, and the same command later completes.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use far::{ALL, Far, Kit, each};

const FEW: Kit = Kit { tar: false, ..ALL };
const SFTP: Kit = Kit { rsync: false, tar: false, ..ALL };
const BARE: Kit = Kit { rsync: false, sftp: false, tar: false, ..ALL };

fn far(kit: Kit) -> Option<Far> {
    let server = |first: &Path| format!("Subsystem sftp {}/sftp-server\n", first.display());
    let mut far = if kit.sftp { Far::with(Kit { sftp: false, ..kit }, server)? } else { Far::new(kit)? };
    if kit.sftp {
        far.wrap("sftp-server", "it \"$@\"");
    }
    far.env.push(("LTR_TIMEOUT", "8".to_owned()));
    Some(far)
}

/// A large file, which differs from round to round.
fn large(round: usize) -> Vec<u8> {
    (0..300_000_u32).flat_map(|n| (n + round as u32).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn small(round: usize, n: usize) -> Vec<u8> {
    format!("text {n} {round} ").repeat(200).into_bytes()
}

/// Small files, enough for a tar, and a large one.
fn filled(far: &Far, root: &str, round: usize) {
    let folder = far.at(root).join(format!("{round}"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("large"), large(round)).unwrap();
    for n in 0..70 {
        fs::write(folder.join(format!("{n:03}")), small(round, n)).unwrap();
    }
    far.ltr(root, &["commit"]).well();
}

/// What brings small files, and what brings large ones, for which a wrapper stands in.
const BRINGERS: [(Kit, &str); 4] = [(ALL, "tar"), (FEW, "rsync"), (SFTP, "sftp-server"), (BARE, "tail")];

/// Runs `ltr COMMAND there`, and kills the sshd once `program` has begun over there. Returns the exit status,
/// and what was said.
fn cut_off(far: &Far, command: &str, begun: &Path, program: &str) -> (Option<i32>, String) {
    let mut ltr = far.porcelain("here", &[command, "there"]);
    let child = ltr.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while !begun.exists() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(begun.exists(), "{program} did not begin");
    far.sshd.kill_all();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_sshd_that_is_killed_in_mid_transfer_costs_nothing() {
    each(&BRINGERS, |(kit, program)| {
        let Some(far) = far(*kit) else { return };
        filled(&far, "there", 0);
        let begun = far.dir.path().join("begun");
        far.wrap(program, &format!("it \"$@\" | {{ some 30000; touch '{}'; hang; }}", begun.display()));
        let (code, said) = cut_off(&far, "pull", &begun, program);
        assert_eq!(code, Some(1), "{program}: {said}");
        assert!(said.contains("could not be had from there") && !said.contains("panicked"), "{program}: {said}");
        far.is_whole(program);
        far.wrap(program, "it \"$@\"");
        far.sshd.start_again();
        far.completes(program);
    });
}

#[test]
fn an_sshd_that_is_killed_while_a_push_comes_costs_nothing() {
    each(&["tar", "sftp-server", "ltr-fetch"], |program| {
        let Some(far) = far(ALL) else { return };
        filled(&far, "here", 0);
        let begun = far.dir.path().join("begun");
        let script = match *program {
            "tar" => format!("{{ some 30000; touch '{}'; hang; }} | it \"$@\"", begun.display()),
            "sftp-server" => format!("{{ some 300000; touch '{}'; hang; }} | it \"$@\"", begun.display()),
            _ => format!("case $* in *--stage*) it \"$@\";; *) touch '{}'; hang;; esac", begun.display()),
        };
        far.wrap(program, &script);
        let (code, said) = cut_off(&far, "push", &begun, program);
        assert!(matches!(code, Some(1 | 3)) && !said.contains("panicked"), "{program}: {said}");
        far.let_go();
        far.wrap(program, "it \"$@\"");
        far.sshd.start_again();
        far.ltr("here", &["push", "there"]).well();
        assert!(far.tree("here") == far.tree("there") && !far.at("there/.ltr-tmp").exists(), "{program}");
        assert_eq!(far.ltr("there", &["status"]).well().out, "");
    });
}

/// What a program may do in the place of its work.
const NONSENSE: [&str; 9] = [
    "exit 0",
    "exit 7",
    "head -c 200000 /dev/urandom",
    "yes '{\"type\":\"end\",\"count\":0,\"errors\":0}'",
    "it \"$@\" | some 20000",
    "it \"$@\" | some 20000; exit 1",
    "it \"$@\" | LC_ALL=C sed 's/text/TEXT/g'",
    "it \"$@\"; echo and more",
    "kill -9 $$",
];

/// All of it by the hour; with every `make test` a few, of each program others.
fn some_of(scripts: impl IntoIterator<Item = &'static str>, program: &str) -> Vec<&'static str> {
    let all: Vec<_> = scripts.into_iter().collect();
    let each = if std::env::var_os("LTR_SOAK").is_some() { 1 } else { 4 };
    all.into_iter().skip(program.len() % each).step_by(each).collect()
}

#[test]
fn a_program_that_brings_nonsense_or_too_little_spoils_nothing() {
    each(&BRINGERS, |(kit, program)| {
        let Some(far) = far(*kit) else { return };
        for (round, script) in some_of(NONSENSE, program).into_iter().enumerate() {
            let what = format!("{program}: {script}");
            filled(&far, "there", round);
            far.wrap(program, script);
            let said = far.ltr("here", &["pull", "there"]);
            let code = said.code;
            assert!(matches!(code, Some(0 | 1)) && !said.err.contains("panicked"), "{what}: {code:?} {}", said.err);
            far.is_whole(&what);
            assert!(code == Some(1) || far.tree("here") == far.tree("there"), "{what}: {}", said.err);
            far.wrap(program, "it \"$@\"");
            far.completes(&what);
        }
    });
}

#[test]
fn a_program_that_reads_or_writes_an_index_and_talks_nonsense_spoils_nothing() {
    each(&["ltr-locate", "ltr-index-get", "ltr-index-put"], |program| {
        let Some(far) = far(ALL) else { return };
        // what an index says is so: that lies are told is not to be seen
        let scripts = NONSENSE.into_iter().filter(|script| !script.contains("TEXT")).chain([
            "it \"$@\" | tail -n +2",
            "it \"$@\" | sed '$d'",
            "it \"$@\" | head -n 3",
        ]);
        for (round, script) in some_of(scripts, program).into_iter().enumerate() {
            let what = format!("{program}: {script}");
            for root in ["here", "there"] {
                for n in 0..40 {
                    fs::write(far.at(root).join(format!("text {round} {root} {n}")), format!("{round} {root} {n}")).unwrap();
                }
                far.ltr(root, &["commit"]).well();
            }
            far.wrap(program, script);
            let said = far.ltr("here", &["sync", "there"]);
            let code = said.code;
            assert!(matches!(code, Some(0 | 1 | 3)) && !said.err.contains("panicked"), "{what}: {code:?} {}", said.err);
            far.unwrap(program);
            far.ltr("here", &["sync", "there"]).well();
            let index = |name: &str| far.shell(&format!("ltr-index-get {name} | grep -v '\"end\"'")).well().out;
            let (here, there) = (index("./i-here/s"), index("./i-there/s"));
            assert!(here == there && here.matches("\"entry\"").count() == 80 * (round + 1), "{what}: {here}\n{there}");
        }
    });
}

#[test]
fn a_push_to_programs_that_talk_nonsense_spoils_nothing() {
    each(&["tar", "sftp-server", "ltr-lock", "ltr-fetch", "ltr-index-put"], |program| {
        let Some(far) = far(ALL) else { return };
        let scripts =
            ["exit 0", "exit 7", "head -c 200000 /dev/urandom", "some 9000 | it \"$@\"", "it \"$@\" | some 100", "kill -9 $$"];
        for (round, script) in some_of(scripts, program).into_iter().enumerate() {
            let what = format!("{program}: {script}");
            filled(&far, "here", round);
            far.wrap(program, script);
            let said = far.ltr("here", &["push", "there"]);
            let code = said.code;
            assert!(matches!(code, Some(0 | 1 | 3)) && !said.err.contains("panicked"), "{what}: {code:?} {}", said.err);
            let here = far.tree("here");
            let there = far.tree("there");
            assert!(there.iter().all(|file| here.contains(file)), "{what}: something is not whole");
            assert!(code != Some(0) || there == here, "{what}: {}{}", said.out, said.err);
            far.wrap(program, "it \"$@\"");
            far.let_go();
            far.ltr("here", &["push", "there"]).well();
            assert!(far.tree("there") == here && !far.at("there/.ltr-tmp").exists(), "{what}");
            assert_eq!(far.ltr("there", &["status"]).well().out, "", "{what}");
        }
    });
}

/// Takes a file system away at the end.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn at(folder: &Path, size: &str) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(folder).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder.to_path_buf()));
        }
        eprintln!("mount is not permitted: a full disk is not tested");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_in_the_middle_keeps_what_is_whole_and_goes_on_later() {
    each(&BRINGERS, |(kit, program)| {
        let Some(far) = far(*kit) else { return };
        filled(&far, "there", 0);
        fs::create_dir(far.at("small")).unwrap();
        let Some(mounted) = Mounted::at(&far.at("small"), "size=8m") else { return };
        far.shell("ltr-box-create ./i-here/s small small --mkdir").well();
        far.ltr("small", &["set", "small.reserve", "0"]).well();
        // somebody else fills it while the first bytes come
        let filler = shlex::try_quote(far.at("small/filler").to_str().unwrap()).unwrap().into_owned();
        far.wrap(program, &format!("it \"$@\" | {{ some 60000; cat /dev/zero >{filler}; exec cat; }} 2>/dev/null"));
        let said = far.ltr("small", &["pull", "there"]);
        assert_eq!(said.code, Some(1), "{program}: {}", said.err);
        assert!(said.err.contains("No space left on device") && !said.err.contains("panicked"), "{program}: {}", said.err);
        let there = far.tree("there");
        let whole = far.tree("small").into_iter().filter(|(name, _)| name != b"filler");
        assert!(whole.into_iter().all(|file| there.contains(&file)), "{program}");
        // while it is full nothing more comes, and nothing is lost
        let said = far.ltr("small", &["pull", "there"]);
        assert!(said.code == Some(3) || said.code == Some(1), "{program}: {}", said.err);
        fs::remove_file(far.at("small/filler")).unwrap();
        far.wrap(program, "it \"$@\"");
        far.ltr("small", &["pull", "there"]).well();
        assert!(far.tree("small") == there && !far.at("small/.ltr-tmp").exists(), "{program}");
        drop(mounted);
    });
}

/// What may lie in a staging folder: what a crash left, and what somebody else put there.
fn litter(far: &Far, root: &str) {
    let tmp = far.at(root).join(".ltr-tmp");
    let sha1 = |text: &[u8]| litter::hash::sha1_of(text).to_string();
    let content = |n: usize| small(0, n);
    fs::create_dir(&tmp).unwrap();
    fs::write(tmp.join("notes.txt"), "somebody's").unwrap();
    fs::create_dir_all(tmp.join("a folder/with")).unwrap();
    fs::write(tmp.join("a folder/with/a file"), "somebody's").unwrap();
    fs::write(far.at("victim"), "not of the box").unwrap();
    symlink(far.at("victim"), tmp.join("a link")).unwrap();
    symlink(far.at("victim"), tmp.join(sha1(&content(1)))).unwrap();
    fs::hard_link(far.at("victim"), tmp.join(sha1(&content(2)))).unwrap();
    fs::create_dir(tmp.join(sha1(&content(3)))).unwrap();
    fs::write(tmp.join(sha1(&content(4))), "wrong, and short").unwrap();
    fs::write(tmp.join(sha1(&content(5))), "wrong, and long".repeat(1000)).unwrap();
    fs::write(tmp.join(sha1(&content(6))), &content(6)[..500]).unwrap();
    fs::write(tmp.join(sha1(&content(7))), content(7)).unwrap();
    fs::set_permissions(tmp.join(sha1(&content(7))), fs::Permissions::from_mode(0o000)).unwrap();
    let fifo = rustix::fs::Mode::from_raw_mode(0o600);
    let name = tmp.join(sha1(&content(8)));
    rustix::fs::mknodat(rustix::fs::CWD, name, rustix::fs::FileType::Fifo, fifo, 0).unwrap();
    fs::create_dir(tmp.join(format!("{}+1", sha1(&content(9))))).unwrap();
    fs::write(tmp.join(format!("{}+1/x", sha1(&content(9)))), "somebody's").unwrap();
    fs::write(tmp.join(sha1(&large(0))), &large(0)[..1_100_000]).unwrap();
    for name in ["rsync-there-0", "rsync-there-0.list", "paths"] {
        fs::create_dir(tmp.join(name)).unwrap();
        fs::write(tmp.join(name).join("large"), "somebody's").unwrap();
    }
    fs::create_dir(tmp.join("rsync-there-1")).unwrap();
    symlink(far.at("victim"), tmp.join("rsync-there-1/large")).unwrap();
}

#[test]
fn what_lies_in_the_staging_folder_is_no_trouble() {
    each(&BRINGERS, |(kit, program)| {
        let Some(far) = far(*kit) else { return };
        filled(&far, "there", 0);
        litter(&far, "here");
        let said = far.ltr("here", &["pull", "there"]);
        assert!(!said.err.contains("panicked"), "{program}: {}", said.err);
        assert!(far.tree("here") == far.tree("there"), "{program}: {:?} {}", said.code, said.err);
        assert_eq!(fs::read(far.at("victim")).unwrap(), b"not of the box");
        assert_eq!(far.ltr("here", &["status"]).well().out, "");
        let again = far.ltr("here", &["pull", "there"]);
        assert_eq!(again.out, "ltr: pull  there\n", "{program}: {}", again.err);
    });
}

#[test]
fn what_lies_in_the_staging_folder_there_is_no_trouble_for_a_push() {
    let Some(far) = far(ALL) else { return };
    filled(&far, "here", 0);
    litter(&far, "there");
    let first = far.ltr("here", &["push", "there"]);
    // tar puts nothing through a link or into a folder, and what did not come that way comes by the next
    let said = far.ltr("here", &["push", "there"]);
    assert!(far.tree("here") == far.tree("there"), "{:?} {}\n{:?} {}", first.code, first.err, said.code, said.err);
    assert_eq!(fs::read(far.at("victim")).unwrap(), b"not of the box");
    assert_eq!(far.ltr("there", &["status"]).well().out, "");
}

#[test]
fn an_index_that_another_program_writes_to_is_waited_for_and_then_named() {
    let held = |far: &Far, index: &str| {
        let connection = rusqlite::Connection::open(far.at(index)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
    };
    each(&["i-here/s", "i-there/s"], |index| {
        let Some(mut far) = far(ALL) else { return };
        // an index is waited for for 30 seconds, and for the word that it is locked a little longer
        far.env.clear();
        filled(&far, "there", 0);
        let lock = held(&far, index);
        let said = far.ltr("here", &["pull", "there"]);
        assert!(matches!(said.code, Some(1 | 3)) && said.err.contains("locked"), "{index}: {:?} {}", said.code, said.err);
        far.is_whole(index);
        drop(lock);
        far.completes(index);
        // one that is let go of in time is no failure
        let lock = held(&far, index);
        fs::write(far.at("there/one"), "more").unwrap();
        let letting = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(3));
            drop(lock);
        });
        far.ltr("there", &["commit"]).well();
        far.completes(index);
        letting.join().unwrap();
    });
}
