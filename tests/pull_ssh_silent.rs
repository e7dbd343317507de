//! Programs on another machine that hang while the line is alive: each is given up after as long as
//! `LTR_TIMEOUT` says, nothing is lost, and the same command later completes.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;

use far::{ALL, Far, Kit, each};

/// Long enough for a machine under load to log in, in seconds.
const LIMIT: &str = "5";
const GIVEN_UP: &str = "not a byte for 5 s: given up";

const FEW: Kit = Kit { tar: false, ..ALL };
const SFTP: Kit = Kit { rsync: false, ..ALL };
const BARE: Kit = Kit { rsync: false, sftp: false, tar: false, ..ALL };

fn patient(kit: Kit) -> Option<Far> {
    let server = |first: &std::path::Path| format!("Subsystem sftp {}/sftp-server\n", first.display());
    let mut far = if kit.sftp { Far::with(Kit { sftp: false, ..kit }, server)? } else { Far::new(kit)? };
    if kit.sftp {
        far.wrap("sftp-server", "it");
    }
    far.env.push(("LTR_TIMEOUT", LIMIT.to_owned()));
    Some(far)
}

/// A hundred small files, or three, there, and a large one.
fn filled(far: &Far, root: &str, many: bool) {
    let large: Vec<u8> = (0..600_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(far.at(root).join("large"), large).unwrap();
    for n in 0..if many { 100 } else { 3 } {
        fs::write(far.at(root).join(format!("{n:03}")), format!("text {n} ").repeat(200)).unwrap();
    }
    far.ltr(root, &["commit"]).well();
}

#[test]
fn a_program_that_brings_files_and_hangs_is_given_up() {
    let cases = [
        (ALL, "tar", "hang", true),
        (ALL, "tar", "it \"$@\" | { some 40000; hang; }", true),
        (FEW, "rsync", "hang", false),
        (FEW, "rsync", "it \"$@\" | { some 500; hang; }", false),
        (SFTP, "sftp-server", "hang", false),
        (SFTP, "sftp-server", "it \"$@\" | { some 300000; hang; }", false),
        (BARE, "tail", "hang", false),
        (BARE, "tail", "it \"$@\" | { some 700; hang; }", false),
    ];
    each(&cases, |(kit, program, script, many)| {
        let Some(far) = patient(*kit) else { return };
        filled(&far, "there", *many);
        far.wrap(program, script);
        let said = far.ltr("here", &["pull", "there"]);
        let given_up = said.err.contains(GIVEN_UP) || said.err.contains("timeout in data send/receive");
        assert!(said.code == Some(1) && given_up, "{program}: {:?} {}", said.code, said.err);
        assert!(said.err.contains("could not be had from there"), "{program}: {}", said.err);
        for (name, bytes) in far.tree("here") {
            let name = String::from_utf8(name).unwrap();
            assert!(fs::read(far.at("there").join(&name)).unwrap() == bytes, "{program}: {name} is whole");
        }
        far.wrap(program, "it \"$@\"");
        far.ltr("here", &["pull", "there"]).well();
        assert!(far.tree("here") == far.tree("there") && !far.at("here/.ltr-tmp").exists(), "{program}");
        assert_eq!(far.ltr("here", &["status"]).well().out, "");
    });
}

#[test]
fn a_program_that_reads_or_writes_an_index_and_hangs_is_given_up() {
    let cases = [
        ("ltr-locate", "hang", 3),
        ("ltr-index-get", "hang", 3),
        ("ltr-index-get", "it \"$@\" | { some 3000; hang; }", 3),
        ("ltr-index-put", "hang", 3),
        ("ltr-index-put", "it \"$@\" | { head -n 1; hang; }", 3),
    ];
    each(&cases, |(program, script, code)| {
        let Some(far) = patient(ALL) else { return };
        filled(&far, "there", false);
        filled(&far, "here", true);
        far.wrap(program, script);
        let said = far.ltr("here", &["sync", "there"]);
        assert!(said.err.contains(GIVEN_UP), "{program}: {:?} {}", said.code, said.err);
        assert!(matches!(said.code, Some(1)) || said.code == Some(*code), "{program}: {:?} {}", said.code, said.err);
        if *program == "ltr-locate" {
            let said = far.ltr("here", &["ping"]).well();
            assert!(said.out.contains(GIVEN_UP), "{}{}", said.out, said.err);
        }
        far.unwrap(program);
        far.ltr("here", &["sync", "there"]).well();
        let documents = |index: &str| far.shell(&format!("ltr-index-get {index} | grep -c '\"entry\"'")).well().out;
        assert_eq!(documents("./i-here/s"), "105\n");
        assert_eq!(documents("./i-here/s"), documents("./i-there/s"));
    });
}

#[test]
fn a_push_to_a_machine_that_hangs_is_given_up() {
    let cases = [
        ("ltr-lock", "hang"),
        ("tar", "hang"),
        ("tar", "some 20000; hang"),
        ("sftp-server", "hang"),
        ("sftp-server", "it \"$@\" | { some 50; hang; }"),
        ("ltr-fetch", "case $* in *--stage*) it \"$@\";; *) hang;; esac"),
        ("ltr-fetch", "case $* in *--stage*) it \"$@\";; *) cat >/dev/null; hang;; esac"),
        ("ltr-index-put", "case $# in 0) hang;; *) it \"$@\";; esac"),
    ];
    each(&cases, |(program, script)| {
        let Some(far) = patient(ALL) else { return };
        filled(&far, "here", true);
        far.wrap(program, script);
        let said = far.ltr("here", &["push", "there"]);
        assert!(said.code != Some(0) && said.err.contains("not a byte for "), "{program}: {:?} {}", said.code, said.err);
        if far.dir.path().join("first").join(program).exists() {
            far.wrap(program, "it \"$@\"");
        }
        // what hangs there keeps the box locked until somebody ends it
        far.let_go();
        far.ltr("here", &["push", "there"]).well();
        assert!(far.tree("here") == far.tree("there"), "{program}");
        assert_eq!(far.ltr("there", &["status"]).well().out, "");
    });
}

#[test]
fn a_push_of_what_changed_is_given_up_when_its_rsync_hangs() {
    each(&["hang", "it \"$@\" | { some 500; hang; }"], |script| {
        let Some(far) = patient(ALL) else { return };
        filled(&far, "here", false);
        far.ltr("here", &["push", "there"]).well();
        let mut large = fs::read(far.at("here/large")).unwrap();
        large.insert(7, 7);
        fs::write(far.at("here/large"), &large).unwrap();
        far.ltr("here", &["commit"]).well();
        far.wrap("rsync", script);
        let said = far.ltr("here", &["push", "there"]);
        assert!(said.code != Some(0) && said.err.contains("rsync: not a byte for 5 s"), "{script}: {:?} {}", said.code, said.err);
        far.wrap("rsync", "it \"$@\"");
        far.let_go();
        far.ltr("here", &["push", "there"]).well();
        assert!(far.tree("here") == far.tree("there") && !far.at("there/.ltr-tmp").exists(), "{script}");
    });
}

#[test]
fn a_holder_that_hangs_does_not_count_and_one_with_much_to_read_does() {
    let Some(far) = patient(ALL) else { return };
    filled(&far, "there", false);
    far.ltr("here", &["pull", "there"]).well();
    far.ltr("here", &["mark", "--skip", "000", "001"]).well();
    far.wrap("ltr-verify", "hang");
    let said = far.ltr("here", &["pull", "there"]).failed(1, "only 0 of 1 copies could be verified (there)");
    assert!(said.err.contains(GIVEN_UP) && far.at("here/000").exists(), "{}", said.err);
    far.let_go();
    far.unwrap("ltr-verify");
    far.ltr("here", &["pull", "there"]).well();
    assert!(!far.at("here/000").exists() && !far.at("here/001").exists());
}

#[test]
fn what_is_slow_is_waited_for() {
    // a byte now and then, for longer than the limit
    let slowly = "it \"$@\" | while true; do sleep 2; dd bs=400 count=1 status=none; \
                  n=$((n + 1)); test $n -lt 3 || exec cat; done";
    let cases = [(ALL, "tar", true), (BARE, "tail", false), (ALL, "ltr-index-get", false)];
    each(&cases, |(kit, program, many)| {
        let Some(far) = patient(*kit) else { return };
        filled(&far, "there", *many);
        far.wrap(program, slowly);
        far.ltr("here", &["pull", "there"]).well();
        assert!(far.tree("here") == far.tree("there"), "{program}");
    });
    // nor is a person who writes slowly into a pipe the other side's fault
    let Some(far) = patient(ALL) else { return };
    filled(&far, "there", false);
    let url = shlex::try_quote(&far.url().replace("/there", "/i-here/s")).unwrap().into_owned();
    let put =
        format!("{{ ltr-index-get ./i-there/s >x; head -n 2 x; sleep 7; tail -n +3 x; }} | ltr-index-put --from-elsewhere {url}");
    far.shell(&put).well();
    let bad = far.shell("cd here && LTR_TIMEOUT=soon ltr-fetch </dev/null");
    bad.failed(3, "LTR_TIMEOUT is no number of seconds: soon");
}
