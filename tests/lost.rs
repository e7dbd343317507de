//! Cookies and indexes that are lost, restored from a backup, or copied: no byte is lost, and no edit
//! is counted with the same number twice.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/shell.rs"]
mod shell;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use shell::Shell;

/// Which content every version of every path had, over all that the indexes ever said.
#[derive(Default)]
struct Ledger(BTreeMap<(String, String, u64), String>);

impl Ledger {
    /// An actor's number for a path never stands for two contents.
    #[track_caller]
    fn read(&mut self, s: &Shell, index: &str) {
        for entry in s.run(".", "ltr-index-get", [index], "").json().iter().filter(|d| d["type"] == "entry") {
            let own: Vec<_> = entry["version"].as_object().unwrap().iter().collect();
            let [(actor, number)] = own.as_slice() else { continue };
            let path = entry["path"].as_str().unwrap().to_owned();
            let content = format!("{} {} {}", entry["ftype"], entry["sha1"], entry["present"].as_bool() == Some(true));
            if entry["present"] != true {
                continue;
            }
            let key = (path, (*actor).clone(), number.as_u64().unwrap());
            let known = self.0.entry(key.clone()).or_insert_with(|| content.clone());
            assert_eq!(*known, content, "{key:?} stands for two contents");
        }
    }
}

/// Every content in any of these boxes.
fn contents(s: &Shell, boxes: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for name in boxes {
        let found = s.sh(name, "find . -type f ! -path './.ltr*' -exec awk 1 {} +");
        all.extend(found.out.lines().map(str::to_owned));
    }
    all.sort();
    all.dedup();
    all
}

/// Two boxes, each with an index of its own.
fn apart() -> Shell {
    let s = Shell::new();
    s.ltr(".", ["init", "ia"]).ok();
    s.write("a/f", "base").write("a/g", "other");
    s.ltr(".", ["create", "ia", "a", "a"]).ok();
    s.ltr("a", ["commit"]).ok();
    s.ltr(".", ["init", "ib"]).ok();
    s.ltr(".", ["sync", "-d", "ia", "-D", "ib"]).ok();
    fs::create_dir(s.at("b")).unwrap();
    s.ltr(".", ["create", "ib", "b", "b"]).ok();
    s.ltr("b", ["pull", "../a"]).ok();
    s
}

fn copy(s: &Shell, from: impl AsRef<Path>, to: impl AsRef<Path>) {
    s.sh(".", &format!("cp -a '{}' '{}'", s.at(from).display(), s.at(to).display())).ok();
}

/// Pulls both ways until nothing is left to do.
#[track_caller]
fn settle(s: &Shell, boxes: [&str; 2]) {
    for _ in 0..4 {
        for (me, other) in [(boxes[0], boxes[1]), (boxes[1], boxes[0])] {
            let ran = s.ltr(me, ["pull", &format!("../{other}")]);
            assert!(ran.status <= 1, "{}{}", ran.out, ran.err);
            s.ltr(me, ["commit"]);
        }
    }
}

#[test]
fn an_index_restored_from_a_backup() {
    for in_place in [false, true] {
        let s = apart();
        let mut ledger = Ledger::default();
        s.sh(".", "sqlite3 ia 'PRAGMA wal_checkpoint(TRUNCATE)'");
        copy(&s, "ia", "backup");
        s.write("a/f", "first edit");
        s.ltr("a", ["commit"]).ok();
        ledger.read(&s, "ia");
        s.ltr("b", ["pull", "../a"]).ok();
        s.write("b/g", "edit of b");
        s.ltr("b", ["commit"]).ok();
        // the disk died; the index of last night is back
        s.sh(".", "rm -f ia-wal ia-shm").ok();
        if in_place {
            s.sh(".", "cat backup >ia").ok();
        } else {
            s.sh(".", "rm ia; cp backup ia").ok();
        }
        s.write("a/f", "second edit").write("a/new", "new");
        s.ltr("a", ["commit"]);
        if !in_place {
            ledger.read(&s, "ia");
        }
        settle(&s, ["a", "b"]);
        // nothing tells a file that was overwritten in place from one that was left alone: there the
        // rule that equal versions of different contents conflict has to do
        if !in_place {
            ledger.read(&s, "ia");
            ledger.read(&s, "ib");
        }
        let all = contents(&s, &["a", "b"]);
        // the first edit was replaced by the second in one box, and lives on in the other
        for text in ["first edit", "second edit", "edit of b", "new"] {
            assert!(all.contains(&text.to_owned()), "in place: {in_place}: {text} is lost: {all:?}");
        }
        assert_eq!(s.files("a"), s.files("b"));
    }
}

#[test]
fn a_box_restored_from_a_backup() {
    let s = apart();
    let mut ledger = Ledger::default();
    copy(&s, "a", "backup");
    s.write("a/f", "edited").write("a/later", "later");
    s.ltr("a", ["commit"]).ok();
    s.ltr("b", ["pull", "../a"]).ok();
    ledger.read(&s, "ia");
    fs::remove_dir_all(s.at("a")).unwrap();
    copy(&s, "backup", "a");
    let ran = s.ltr("a", [""; 0]);
    assert!(ran.out.contains("M  /f\n") && ran.out.contains("D  /later\n"), "{}{}", ran.out, ran.err);
    s.write("a/mine", "made since");
    s.ltr("a", ["commit"]);
    settle(&s, ["a", "b"]);
    ledger.read(&s, "ia");
    ledger.read(&s, "ib");
    let all = contents(&s, &["a", "b"]);
    for text in ["base", "edited", "later", "other", "made since"] {
        assert!(all.contains(&text.to_owned()), "{text} is lost: {all:?}");
    }
    assert!(s.read("b/f") == "edited", "what is newer wins");
}

#[test]
fn a_box_copied_with_its_cookie() {
    let s = apart();
    let mut ledger = Ledger::default();
    copy(&s, "a", "twin");
    s.write("a/f", "edit in a").write("twin/f", "edit in the twin").write("twin/only twin", "only twin");
    for (name, other) in [("a", "twin"), ("twin", "a"), ("a", "twin")] {
        let ran = s.ltr(name, ["commit"]);
        assert!(ran.status == 0 || ran.status == 3 || ran.status == 1, "{}", ran.err);
        ledger.read(&s, "ia");
        s.ltr(name, ["pull"]);
        ledger.read(&s, "ia");
        let _ = other;
    }
    s.ltr("b", ["pull", "../a"]);
    s.ltr("b", ["pull", "../twin"]);
    ledger.read(&s, "ib");
    let all = contents(&s, &["a", "b", "twin"]);
    for text in ["edit in a", "edit in the twin", "only twin", "other"] {
        assert!(all.contains(&text.to_owned()), "{text} is lost: {all:?}");
    }
}

#[test]
fn a_copied_box_becomes_one_of_its_own_as_its_commit_advises() {
    let s = Shell::with_files();
    s.ltr(".", ["clone", "--carry", "a", "stick", "stick"]).ok();
    s.sh(".", "cp -a stick copy; cp -a a twin").ok();
    s.write("copy/three", "edit on the copy").write("twin/three", "edit in the twin");
    for (name, space) in [("copy", &["--carry", "copy/.ltr-index/space"][..]), ("twin", &["space"])] {
        let told = s.ltr(name, ["commit"]);
        assert!(
            told.err.contains("copied here; of two that are used, remove the .ltr of one and `ltr create` it"),
            "{}",
            told.err
        );
        s.sh(name, "rm .ltr").ok();
        s.ltr(".", [&["create"], space, &[name, name]].concat()).ok();
        assert_eq!(s.ltr(name, ["commit"]).ok().lines().count(), 5);
        s.ltr("b", ["sync", &format!("../{name}")]).ok();
    }
    assert_eq!(s.ltr("b", ["box"]).ok(), "  a\n* b\n  copy\n  stick\n  twin\n");
    for name in ["stick", "copy", "a", "twin"] {
        assert!(s.exists(format!("{name}/three")));
        s.ltr("b", ["pull", &format!("../{name}")]);
    }
    let all = contents(&s, &["b", "copy", "twin"]);
    for text in ["edit on the copy", "edit in the twin"] {
        assert!(all.contains(&text.to_owned()), "{text} is lost: {all:?}");
    }
}

#[test]
fn a_forgotten_box_that_is_used_says_that_it_does_not_count() {
    let s = Shell::with_files();
    s.ltr("a", ["box", "--forget", "b"]).ok();
    s.write("b/new", "new");
    assert_eq!(s.ltr("b", ["status"]).ok(), "N  /new\n");
    for (args, program) in [(["commit"], "ltr-record"), (["commit"], "ltr-record"), (["pull"], "ltr-fetch")] {
        let told = "the box b is forgotten: its copies do not count (`ltr set b.forgotten false` takes that back)";
        let ran = s.ltr("b", args);
        assert_eq!((ran.status, ran.err), (0, format!("{program}: {told}\n")), "{args:?}");
    }
    assert_eq!(s.ltr("a", ["pull"]).err, "ltr: no other box is in reach\n");
    s.ltr("b", ["set", "b.forgotten", "false"]).ok();
    assert_eq!(s.ltr("b", ["commit"]).ok(), "");
    s.ltr("a", ["pull"]).ok();
    assert_eq!(s.read("a/new"), "new");
}

#[test]
fn a_carried_index_copied_with_its_box() {
    let s = Shell::with_files();
    s.ltr(".", ["clone", "--carry", "a", "stick", "stick"]).ok();
    let mut ledger = Ledger::default();
    s.sh(".", "cp -a stick copy").ok();
    s.write("stick/three", "edit on the stick").write("copy/three", "edit on the copy");
    for name in ["stick", "copy"] {
        let ran = s.ltr(name, ["commit"]);
        ledger.read(&s, &format!("{name}/.ltr-index/space"));
        assert!(ran.status <= 3, "{}", ran.err);
        s.ltr("a", ["pull", &format!("../{name}")]);
        s.ltr("a", ["commit"]);
        ledger.read(&s, "space");
    }
    s.ltr("a", ["pull", "../stick"]);
    ledger.read(&s, "space");
    let all = contents(&s, &["a", "stick", "copy"]);
    for text in ["edit on the stick", "edit on the copy"] {
        assert!(all.contains(&text.to_owned()), "{text} is lost: {all:?}");
    }
}

#[test]
fn a_lost_cookie_and_a_lost_index() {
    let s = apart();
    let mut ledger = Ledger::default();
    ledger.read(&s, "ia");
    s.write("a/f", "edited");
    fs::remove_file(s.at("a/.ltr")).unwrap();
    s.ltr("a", ["commit"]).fails(3, "not in a box");
    s.ltr(".", ["create", "ia", "a", "a"]).fails(3, "--reattach");
    s.ltr(".", ["create", "--reattach", "ia", "nobody", "a"]).fails(3, "nobody");
    s.ltr(".", ["create", "--reattach", "ia", "a", "a"]).ok();
    assert_eq!(s.ltr("a", ["commit"]).ok(), "M  /f\n");
    s.ltr("b", ["pull", "../a"]).ok();
    assert_eq!(s.read("b/f"), "edited");
    ledger.read(&s, "ia");
    ledger.read(&s, "ib");
    // now the index: a new one knows nothing, and may not write before it has learnt from another
    s.sh(".", "rm -f ia ia-wal ia-shm").ok();
    s.write("a/f", "edited again").write("a/new", "new");
    s.ltr("a", ["commit"]).fails(3, "ia");
    s.ltr(".", ["init", "ia"]).ok();
    let ran = s.ltr("a", ["commit"]);
    assert_eq!(ran.status, 3, "{}{}", ran.out, ran.err);
    let ran = s.ltr("a", ["sync", "../b"]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let ran = s.ltr(".", ["create", "--reattach", "ia", "a", "a"]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    s.ltr("a", ["commit"]).fails(3, "ltr sync");
    s.ltr("a", ["sync", "../b"]).ok();
    let ran = s.ltr("a", ["commit"]);
    assert_eq!(ran.ok(), "M  /f\nN  /new\n");
    ledger.read(&s, "ia");
    settle(&s, ["a", "b"]);
    ledger.read(&s, "ia");
    ledger.read(&s, "ib");
    assert_eq!(s.files("a"), s.files("b"));
    assert_eq!((s.read("b/f").as_str(), s.read("b/new").as_str()), ("edited again", "new"));
}
