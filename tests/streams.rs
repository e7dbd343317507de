//! The plumbing by hand: the two ways to compare agree on every tree, and the documented pipelines work
//! as they are printed.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/shell.rs"]
mod shell;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use shell::{Ran, Shell};

/// A small generator, so that a tree that fails can be made again from its number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.roll(from.len())]
    }
}

const NAMES: [&str; 10] = ["a", "b", "ab", "a b", "a.o", "A", "ä", "-", "keep.o", "zz"];

fn place(dice: &mut Dice, root: &Path) -> PathBuf {
    let mut place = root.to_path_buf();
    for _ in 0..dice.roll(4) {
        place.push(dice.pick(&NAMES));
    }
    place.join(dice.pick(&NAMES))
}

/// One change of any kind; those that cannot be done here are none.
fn change(dice: &mut Dice, root: &Path) {
    let at = place(dice, root);
    let _ = match dice.roll(12) {
        0..=3 => {
            let _ = fs::create_dir_all(at.parent().unwrap());
            fs::write(&at, "x".repeat(dice.roll(5)))
        }
        4 => fs::create_dir_all(&at),
        5 => {
            let _ = fs::remove_file(&at);
            symlink(dice.pick(&["a", "/etc", "nowhere"]), &at)
        }
        6 => fs::remove_file(&at),
        7 => fs::remove_dir_all(&at),
        8 => fs::rename(place(dice, root), &at),
        9 => fs::set_permissions(&at, fs::Permissions::from_mode(*dice.pick(&[0o600, 0o755, 0o700]))),
        10 => fs::write(at.parent().unwrap().join(".ltrignore"), dice.pick(&["*.o\n", "a\n!keep.o\n", "/b/\n", "\u{fffd}[\n"])),
        _ => {
            // a box of its own inside
            let _ = fs::create_dir_all(&at);
            fs::write(at.join(".ltr"), "/nowhere/nested\n")
        }
    };
}

#[test]
fn both_ways_to_compare_say_the_same() {
    for seed in 1..=12_u64 {
        let mut s = Shell::with_boxes();
        s.open_to_all();
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let root = s.at("a");
        for _ in 0..3 {
            for _ in 0..25 {
                change(&mut dice, &root);
            }
            let committed = s.ltr("a", ["commit", "--gone-ok"]);
            assert!(committed.status <= 1, "{}", committed.err);
            if dice.roll(2) == 0 {
                let folder = place(&mut dice, Path::new("/"));
                let mark = *dice.pick(&["--skip", "--want", "--clear"]);
                s.ltr("b", [std::ffi::OsStr::new("mark"), mark.as_ref(), "--".as_ref(), folder.as_os_str()]);
            }
            s.ltr("b", ["pull"]);
            // what they leave in the index must not tell on what comes next
            for name in ["a", "b"] {
                let ran = s.sh(name, "ltr-scan --known --remember >/dev/null");
                assert!(ran.status <= 1, "{}", ran.err);
            }
        }
        for _ in 0..25 {
            change(&mut dice, &root);
            change(&mut dice, &s.at("b"));
        }
        // a folder that cannot be read, by somebody who is not root
        let closed = root.join(NAMES[dice.roll(3)]);
        if closed.is_dir() && !closed.is_symlink() {
            fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        }
        for uid in [None, Some(65534)] {
            s.uid = uid;
            for (name, all) in [("a", ""), ("b", ""), ("a", "--all"), ("b", "--all"), ("a", ""), ("b", "")] {
                let known = s.sh(name, &format!("ltr-scan --known --remember {all}"));
                let piped = s.sh(name, &format!("ltr-scan | ltr-compare {all}"));
                assert!(known.status <= 1, "{}", known.err);
                assert_eq!((known.status, &known.out), (piped.status, &piped.out), "seed {seed}, box {name} {all} {}", known.err);
            }
        }
    }
}

/// One thing that happens between two statuses, somewhere in the space of the boxes `a` and `b`.
fn event(dice: &mut Dice, s: &Shell) {
    let name = *dice.pick(&["a", "b"]);
    let other = *dice.pick(&["a", "b"]);
    match dice.roll(12) {
        0..=5 => change(dice, &s.at(name)),
        6 => drop(s.ltr(name, ["commit", "--gone-ok"])),
        7 => drop(s.ltr(name, ["pull", "--gone-ok"])),
        8 | 9 => {
            let at = place(dice, Path::new("/"));
            let mark = *dice.pick(&["--skip", "--want", "--clear"]);
            s.ltr(name, [std::ffi::OsStr::new("mark"), mark.as_ref(), "--".as_ref(), at.as_os_str()]);
        }
        10 => {
            let policy = *dice.pick(&["complete", "ondemand", "skeleton"]);
            s.ltr(name, ["set", &format!("{other}.policy"), policy]);
        }
        _ => {
            let forgotten = *dice.pick(&["true", "false"]);
            s.ltr(name, ["set", &format!("{other}.forgotten"), forgotten]);
        }
    }
}

#[test]
fn what_a_status_leaves_behind_tells_on_no_later_one() {
    for seed in 1..=6_u64 {
        let s = Shell::with_boxes();
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        (0..60).for_each(|_| change(&mut dice, &s.at("a")));
        for (name, args) in [("a", ["commit", "--gone-ok"]), ("b", ["pull", "--gone-ok"])] {
            s.ltr(name, args);
        }
        for round in 0..15 {
            for name in ["a", "b"] {
                let known = s.sh(name, "ltr-scan --known --remember");
                let piped = s.sh(name, "ltr-scan | ltr-compare");
                assert!(known.status <= 1, "{}", known.err);
                assert_eq!(
                    (known.status, &known.out),
                    (piped.status, &piped.out),
                    "seed {seed}, round {round}, box {name} {}",
                    known.err
                );
            }
            event(&mut dice, &s);
        }
    }
}

#[test]
fn what_decides_at_every_path_is_asked_of_what_a_status_left_behind() {
    let s = Shell::with_boxes();
    s.write("a/d/one", "one").write("a/d/two", "two");
    s.ltr("a", ["commit"]).ok();
    s.ltr("b", ["set", "b.policy", "ondemand"]).ok();
    s.ltr("b", ["mark", "--want", "/d/one"]).ok();
    s.ltr("b", ["pull"]).ok();
    let told = || {
        let first = s.sh("b", "ltr-scan --known --remember | ltr-fmt '{status} {path}'").ok().to_owned();
        let again = s.sh("b", "ltr-scan --known --remember | ltr-fmt '{status} {path}'").ok().to_owned();
        assert_eq!(first, again);
        first
    };
    assert_eq!(told(), "");
    s.ltr("b", ["set", "b.policy", "complete"]).ok();
    assert_eq!(told(), "w /d/two\n");
    s.ltr("b", ["set", "b.policy", "ondemand"]).ok();
    s.ltr("b", ["set", "a.forgotten", "true"]).ok();
    s.write("a/d/one", "edited");
    s.ltr("a", ["commit"]);
    assert_eq!(told(), "");
    s.ltr("b", ["set", "a.forgotten", "false"]).ok();
    assert_eq!(told(), "U /d/one\n");
}

#[test]
fn the_documented_pipelines_work_as_pasted() {
    let s = Shell::with_boxes();
    s.write("a/sub/one", "one").write("a/two", "two");
    let ran = s.sh("a", "ltr-scan | ltr-compare | ltr-hash | ltr-record | ltr-index-put");
    assert_eq!(ran.json().last().unwrap()["written"], 3, "{}", ran.err);
    assert_eq!(s.ltr("a", [""; 0]).ok(), "");
    let ran = s.sh("b/", "ltr-plan | ltr-fetch | ltr-index-put");
    assert_eq!(ran.json().last().unwrap()["errors"], 0, "{}", ran.err);
    assert_eq!(s.files("a"), s.files("b"));
    assert_eq!(s.ltr("b", [""; 0]).ok(), "");
    // gossip
    s.ltr(".", ["init", "other"]).ok();
    s.sh(".", "ltr-index-get space | ltr-index-put other").fails(0, "");
    s.sh(".", "ltr-index-get other | ltr-index-put space").fails(0, "");
    let documents = |index: &str| s.sh(".", &format!("ltr-index-get {index} | sed '$d'")).ok().to_owned();
    assert_eq!(documents("other"), documents("space"));
    // again, changes nothing
    let again = s.sh("a", "ltr-scan | ltr-compare | ltr-hash | ltr-record | ltr-index-put");
    // files as young as their hashes are looked at once more, and vouched for
    assert_eq!(again.json().last().unwrap()["written"], 0, "{}", again.out);
    assert_eq!(s.sh(".", "ltr-index-get space | ltr-index-put other").json().last().unwrap()["written"], 0);
    // from below, and with names of boxes
    s.write("a/sub/three", "3");
    let ran = s.sh("a/sub", "ltr-scan --known | ltr-hash | ltr-record --box a | ltr-index-put");
    assert_eq!(ran.json().last().unwrap()["written"], 1, "{}", ran.err);
    s.sh("b", "ltr-plan --box b a | ltr-fetch --root . | ltr-index-put | ltr-fmt --steps --root .").fails(0, "");
    assert_eq!(s.files("a"), s.files("b"));
}

/// What a commit says: types and paths of its records, what it reports without the program's name, and its exit status.
fn told(ran: &Ran) -> (i32, Vec<(String, String)>, Vec<String>) {
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut records: Vec<_> = ran.json().iter().map(|r| (text(r, "type"), text(r, "path"))).collect();
    let mut said: Vec<_> = ran.err.lines().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect();
    // of several programs, whoever comes first; and what may be renamed comes last where nothing told that it is not
    said.sort();
    records.sort();
    (ran.status, records, said)
}

#[test]
fn a_commit_in_one_process_says_what_its_stages_say() {
    let ways = ["ltr-scan --known | ltr-hash | ltr-record | ltr-index-put", "ltr-record --commit"];
    let [stages, at_once] = ways.map(|way| {
        let mut s = Shell::with_boxes();
        s.write("a/sub/one", "one").write("a/two", "two").write("a/closed/x", "x").write("a/secret", "s");
        s.write("a/inner/x", "x").write("a/inner/.ltr", "");
        s.open_to_all();
        s.sh(".", "mkfifo a/pipe; chmod -R a+rwX .; chmod 0 a/closed a/secret").ok();
        s.uid = Some(65534);
        let first = s.sh("a", way);
        // sub/one is renamed
        s.sh("a", "rm two; echo more >three; mv sub/one sub/four").ok();
        [told(&first), told(&s.sh("a", way))]
    });
    assert_eq!(stages, at_once);
    for (status, records, said) in at_once {
        let has = |kind: &str, path: &str| records.contains(&(kind.to_owned(), path.to_owned()));
        assert!(has("skipped", "/pipe") && has("skipped", "/inner"), "{records:?}");
        assert!(said.iter().any(|line| line == "/pipe: is a fifo, skipped"), "{said:?}");
        // root can read everything
        assert!(status == 1 && has("error", "/closed") && has("error", "/secret"), "{status} {records:?}");
    }
}

#[test]
fn a_part_of_a_box_says_nothing_of_the_rest() {
    let s = Shell::with_files();
    fs::remove_file(s.at("a/three")).unwrap();
    fs::remove_file(s.at("a/sub/one")).unwrap();
    let ran = s.sh("a", "ltr-scan sub | ltr-compare --under sub");
    assert!(ran.ok().contains("/sub/one") && !ran.out.contains("/three"), "{}", ran.out);
    // a scan of a part, compared with the whole: lstat has the last word
    s.write("a/kept", "k");
    s.ltr("a", ["commit", "kept"]).ok();
    let ran = s.sh("a", "ltr-scan sub | ltr-compare");
    assert!(ran.ok().contains("/three") && !ran.out.contains("/kept"), "{}", ran.out);
}
