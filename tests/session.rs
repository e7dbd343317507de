//! The porcelain as a person runs it: the documented session, word for word, and every command once.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/shell.rs"]
mod shell;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, UNIX_EPOCH};

use shell::Shell;

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn the_documented_session() {
    let s = Shell::new();
    s.write("xyz/subdir1/a.tgz", "archive").write("xyz/subdir1/notes.html", "<p>");
    let seed = UNIX_EPOCH + Duration::new(1_295_303_519, 123_456_789);
    fs::File::options().write(true).open(s.at("xyz/subdir1/a.tgz")).unwrap().set_modified(seed).unwrap();
    fs::set_permissions(s.at("xyz/subdir1/notes.html"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("subdir1/a.tgz", s.at("xyz/link")).unwrap();
    fs::create_dir(s.at("uvw")).unwrap();

    assert_eq!(s.ltr(".", ["init", "testspace"]).ok(), "ltr: create database  testspace\nltr: push design docs  testspace\n");
    assert_eq!(s.ltr(".", ["init", "testspace"]).ok(), "ltr: database exists  testspace\n");
    let made = "ltr: new box to database  <ltrbox testspace/box@maytag >\nltr: wrote cookie for box@maytag\n";
    assert_eq!(s.ltr("xyz", ["create", "../testspace", "box@maytag"]).ok(), made);
    assert_eq!(s.read("xyz/.ltr"), format!("{}/box@maytag\n", s.at("testspace").display()));
    let new = ["N  /link", "N  /subdir1", "N  /subdir1/a.tgz", "N  /subdir1/notes.html"];
    assert_eq!(lines(s.ltr("xyz", ["status"]).ok()), new);
    assert_eq!(lines(s.ltr("xyz", ["commit"]).ok()), new);
    assert_eq!(s.ltr("xyz", ["status"]).ok(), "");
    assert_eq!(s.ltr("xyz", ["commit"]).ok(), "");
    let made = "ltr: new box to database  <ltrbox testspace/box@stick >\nltr: wrote cookie for box@stick\n";
    assert_eq!(s.ltr(".", ["create", "testspace", "box@stick", "uvw"]).ok(), made);
    assert_eq!(s.ltr("uvw", [""; 0]).ok(), "w  /link\nw  /subdir1\n");

    let from = s.at("xyz/subdir1").display().to_string();
    let to = s.at("uvw").display().to_string();
    let mut pulled = vec![
        "ltr: pull  box@maytag".to_owned(),
        format!("mkdir {to}/subdir1"),
        format!("ln -s subdir1/a.tgz {to}/link"),
        format!("cp {from}/a.tgz {to}/subdir1/a.tgz"),
        format!("cp {from}/notes.html {to}/subdir1/notes.html"),
    ];
    let ran = s.ltr("uvw", ["pull", "box@maytag"]);
    assert_eq!(lines(ran.ok())[0], pulled[0]);
    pulled.sort();
    assert_eq!(ran.sorted(), pulled);
    assert_eq!(s.ltr("uvw", [""; 0]).ok(), "");
    assert_eq!(s.ltr("uvw", ["pull"]).ok(), "ltr: pull  box@maytag\n");
    assert_eq!(s.files("xyz"), s.files("uvw"));
    assert!(s.files("uvw")["subdir1/a.tgz"].contains("1295303519.123456789"));
    assert!(!s.exists("uvw/.ltr-tmp"), "staging is gone");
    assert_eq!(lines(s.ltr("uvw", ["status", "-a"]).ok()), new.map(|l| l.replacen('N', "C", 1)));
}

#[test]
fn a_path_is_committed_alone() {
    let s = Shell::with_files();
    s.write("a/sub/one", "edited").write("a/sub/new", "n").write("a/three", "edited too");
    fs::remove_file(s.at("a/sub/deep/two")).unwrap();
    assert_eq!(s.ltr("a", ["commit", "sub/one"]).ok(), "M  /sub/one\n");
    assert_eq!(s.ltr("a/sub", ["commit", "deep"]).ok(), "D  /sub/deep/two\n");
    assert_eq!(s.ltr("a", ["status", "three"]).ok(), "M  /three\n");
    assert_eq!(s.ltr("a", [""; 0]).ok(), "N  /sub/new\nM  /three\n");
    assert_eq!(s.ltr("a", ["commit", "--", "sub/new", "three"]).ok(), "N  /sub/new\nM  /three\n");
    assert_eq!(s.ltr("a", [""; 0]).ok(), "");
    s.ltr("a", ["commit", "nothing-there"]).fails(3, "nothing-there");
}

#[test]
fn a_purge_goes_through_the_space_and_can_be_taken_back() {
    let s = Shell::with_files();
    s.ltr("a", ["rm", "sub"]).fails(3, "sub");
    s.ltr("a", ["rm", "nothing-there"]).fails(3, "nothing-there");
    s.ltr("a", ["rm"]).fails(2, "usage: ltr rm");
    assert_eq!(s.ltr("a", ["rm", "three"]).ok(), "p  /three\n");
    assert_eq!(s.ltr("a", [""; 0]).ok(), "p  /three\n");
    assert_eq!(s.ltr("b", [""; 0]).ok(), "p  /three\n");
    assert!(s.exists("a/three"));
    assert_eq!(s.ltr("b", ["pull"]).ok(), format!("ltr: pull  a\nrm {}\n", s.at("b/three").display()));
    assert!(!s.exists("b/three"));
    // a changed mind: the file is still in a
    assert_eq!(s.ltr("a", ["commit"]).ok(), "");
    assert_eq!(s.ltr("a", ["commit", "three"]).ok(), "N  /three\n");
    s.ltr("b", ["pull"]).ok();
    assert_eq!(s.read("b/three"), "three");
    assert_eq!(s.ltr("a", ["rm", "-r", "sub"]).ok().lines().count(), 4);
    s.ltr("a", ["pull"]).ok();
    s.ltr("b", ["pull"]).ok();
    assert!(!s.exists("a/sub") && !s.exists("b/sub"));
    assert!(s.ltr("a", [""; 0]).ok().is_empty() && s.ltr("b", [""; 0]).ok().is_empty());
}

#[test]
fn a_pull_shows_a_copy_where_it_could_not_move() {
    let s = Shell::with_files();
    fs::rename(s.at("a/sub/deep"), s.at("a/deep")).unwrap();
    s.ltr("a", ["commit"]).ok();
    s.write("b/sub/deep/two", "edited, not committed");
    let ran = s.ltr("b", ["pull"]);
    let (from, to) = (s.at("a/deep/two").display().to_string(), s.at("b/deep/two").display().to_string());
    assert!(ran.status == 0 && ran.lines().contains(&format!("cp {from} {to}").as_str()), "{}{}", ran.out, ran.err);
    assert!(!ran.out.contains("mv "), "{}", ran.out);
    assert_eq!((s.read("b/deep/two"), s.read("b/sub/deep/two")), ("two".into(), "edited, not committed".into()));
}

#[test]
fn marks_say_what_a_box_holds() {
    let s = Shell::with_boxes();
    fs::create_dir(s.at("c")).unwrap();
    s.ltr(".", ["create", "-p", "ondemand", "space", "c", "c"]).ok();
    s.write("a/films/old/x", "x").write("a/films/y", "y").write("a/book", "book");
    s.ltr("a", ["commit"]).ok();
    assert_eq!(s.ltr("c", [""; 0]).ok(), "");
    assert_eq!(s.ltr("a", ["mark", "-b", "c", "--want", "films"]).ok(), "want  /films\n");
    assert_eq!(s.ltr("c", [""; 0]).ok(), "W  /films\n");
    s.ltr("c", ["pull"]).ok();
    assert!(s.exists("c/films/old/x") && s.exists("c/films/y") && !s.exists("c/book"));
    assert_eq!(s.ltr("c", ["mark", "--skip", "films/y"]).ok(), "skip  /films/y\n");
    assert_eq!(s.ltr("c", [""; 0]).ok(), "s  /films/y\n");
    assert_eq!(s.ltr("c", ["pull"]).ok(), format!("ltr: pull  a b\nrm {}\n", s.at("c/films/y").display()));
    assert!(s.exists("a/films/y") && !s.exists("c/films/y"));
    s.ltr("c", ["mark", "--clear", "films/y"]).ok();
    assert_eq!(s.ltr("c", [""; 0]).ok(), "W  /films/y\n");
    s.ltr("c", ["pull"]).ok();
    assert!(s.exists("c/films/y"));
    s.ltr("c", ["mark", "films"]).fails(2, "--want");
    s.ltr("c", ["mark", "--want", "--skip", "films"]).fails(2, "--skip");
    s.ltr("c", ["mark", "-b", "nobody", "--want", "films"]).fails(3, "nobody");
    s.ltr("c", ["mark", "--want"]).fails(2, "");
}

#[test]
fn the_index_answers() {
    let s = Shell::with_files();
    s.write("b/only b", "x");
    s.ltr("b", ["commit"]).ok();
    assert_eq!(s.ltr("a", ["ls"]).ok(), "sub\nthree\n");
    assert_eq!(s.ltr("a/sub", ["ls"]).ok(), "deep\none\n");
    assert_eq!(s.ltr("a", ["ls", "-b", "b"]).ok(), "only b\nsub\nthree\n");
    assert_eq!(s.ltr("a", ["ls", "-0", "-R", "sub"]).ok(), "/sub/deep\0/sub/deep/two\0/sub/one\0");
    assert_eq!(s.ltr("a", ["ls", "--space", "--copies", "<2"]).ok(), "/only b\n");
    assert_eq!(s.ltr("a", ["ls", "--space"]).ok(), "/only b\n/sub\n/sub/deep\n/sub/deep/two\n/sub/one\n/three\n");
    let long = s.ltr("a", ["ls", "-l", "three"]);
    assert!(long.ok().starts_with("c 0644 2 5 ") && long.out.ends_with(" /three\n"), "{}", long.out);
    assert_eq!(s.ltr("a", ["diff", "a", "b"]).ok(), ">  /only b\n");
    assert_eq!(s.ltr("a", ["diff", "b", "a"]).ok(), "<  /only b\n");
    assert_eq!(s.ltr("a", ["diff", "sub", "b", "a"]).ok(), "");
    assert_eq!(s.ltr("a", ["box"]).ok(), "* a\n  b\n");
    assert_eq!(s.ltr("b", ["box"]).ok(), "  a\n* b\n");
    assert_eq!(s.ltr("a", ["box", "-l"]).ok().lines().count(), 3);
    s.ltr("a", ["set", "b.urls", "[\"h:/r\",\"/b\"]"]).ok();
    let long = s.ltr("a", ["box", "-l"]);
    assert!(long.ok().lines().any(|line| line.ends_with("  h:/r /b")), "{}", long.out);
    let stat = s.ltr("a", ["stat", "three"]);
    for line in ["    File: /three", "      id: a:/three", "    size: 5", " sha1sum: b802f384302cb24fbab0a44997e820bf2e8507bb"] {
        assert!(lines(stat.ok()).contains(&line), "{line}: {}", stat.out);
    }
    assert_eq!(stat.out.matches("copy: ").count(), 2);
    s.ltr("a", ["ls", "nothing-there"]).fails(3, "nothing-there");
    s.ltr("a", ["stat", "nothing-there"]).fails(3, "nothing-there");
    s.ltr("a", ["diff", "a", "nobody"]).fails(3, "nobody");
    s.ltr("a", ["box", "nobody"]).fails(3, "nobody");
    s.ltr("a", ["show", "nobody"]).fails(3, "nobody");
    s.ltr("a", ["ls", "-b", "nobody"]).fails(3, "nobody");
    s.ltr("a", ["ls", "--space", "--copies", "few"]).fails(2, "few");
    s.ltr("a", ["ls", "--copies", ""]).fails(2, "copies");
    assert_eq!(s.ltr("a", ["ls", "--copies", "2"]).ok(), s.ltr("a", ["ls", "-R", "--copies", "=2"]).ok());
}

#[test]
fn json_and_csv_can_be_parsed() {
    let s = Shell::with_files();
    s.write("a/odd, \"name\"\nof two lines", "x");
    s.ltr("a", ["commit"]).ok();
    for args in [["ls", "--json"], ["box", "--json"], ["status", "--json"], ["show", "a"], ["pull", "--json"]] {
        let json = s.ltr("a", args).json();
        assert_eq!(json.last().unwrap()["count"], json.len() - 1, "{args:?}");
    }
    assert_eq!(s.ltr("a", ["stat", "--json", "three"]).json()[0]["path"], "/three");
    let csv = s.ltr("a", ["ls", "--csv"]);
    let mut reader = csv::Reader::from_reader(csv.ok().as_bytes());
    assert_eq!(reader.headers().unwrap().iter().next(), Some("path"));
    let rows: Vec<_> = reader.records().map(|r| r.unwrap()).collect();
    assert_eq!(rows.iter().map(|r| &r[0]).collect::<Vec<_>>(), ["/odd, \"name\"\nof two lines", "/sub", "/three"]);
    let csv = s.ltr("a", ["box", "--csv"]);
    assert_eq!(csv::Reader::from_reader(csv.ok().as_bytes()).records().count(), 2);
}

#[test]
fn fields_are_set_and_shown() {
    let s = Shell::with_files();
    assert_eq!(s.ltr("a", ["set", "b.policy", "ondemand"]).ok(), "ltr: set  b.policy\n");
    assert_eq!(s.ltr("a", ["show", "b"]).json()[0]["policy"], "ondemand");
    s.ltr("a", ["set", "space.mincopies", "2"]).ok();
    assert_eq!(s.ltr("a", ["show", "space"]).json()[0]["mincopies"], 2);
    assert_eq!(s.ltr("b", ["show", "/three"]).json().len(), 3);
    for (key, value) in [
        ("b.policy", "everything"),
        ("b.uuid", "x"),
        ("space.mincopies", "0"),
        ("space.mincopies", "many"),
        ("b.reserve", "-1"),
        ("nobody.policy", "complete"),
        ("b", "x"),
        (".policy", "complete"),
        ("../b.policy", "complete"),
    ] {
        let ran = s.ltr("a", ["set", key, value]);
        assert!((2..=3).contains(&ran.status) && !ran.err.is_empty(), "{key} {value}: {} {}", ran.status, ran.err);
    }
    assert_eq!(s.ltr("a", ["box", "--forget", "b"]).ok(), "ltr: forgot box  b\n");
    assert_eq!(s.ltr("a", ["ls", "-l", "three"]).ok().split(' ').nth(2), Some("1"));
    s.ltr("a", ["box", "--forget", "nobody"]).fails(3, "nobody");
}

#[test]
fn a_clone_is_a_box_with_everything() {
    let s = Shell::with_files();
    let ran = s.ltr(".", ["clone", "a", "c", "box@c"]);
    assert!(
        ran.ok().starts_with("ltr: new box to database  <ltrbox space/box@c >\nltr: wrote cookie for box@c\n"),
        "{}",
        ran.out
    );
    assert_eq!(s.files("a"), s.files("c"));
    assert_eq!(s.ltr("c", [""; 0]).ok(), "");
    // a source that carries its own index is cloned to an index of this machine
    s.ltr(".", ["clone", "--carry", "a", "stick", "stick"]).ok();
    assert_eq!(s.read("stick/.ltr"), "./.ltr-index/space/stick\n");
    s.ltr(".", ["clone", "-p", "skeleton", "stick", "d", "d"]).ok();
    assert_eq!(s.files("d").len(), 2);
    assert!(s.read("d/.ltr").starts_with(s.home.to_str().unwrap()), "{}", s.read("d/.ltr"));
    assert_eq!(s.ltr("stick", [""; 0]).ok(), "");
    // the disk goes back into its drawer, and what is on it is known
    s.ltr(".", ["clone", "--carry", "a", "drawer/disk", "disk"]).ok();
    fs::rename(s.at("drawer"), s.at("out of reach")).unwrap();
    assert!(s.ltr("a", ["stat", "three"]).ok().contains("copy: disk:/three"));
    s.ltr(".", ["clone", "nowhere", "e", "e"]).fails(3, "nowhere");
    s.ltr(".", ["clone", "a", "c", "f"]).fails(3, "box@c");
    s.ltr(".", ["clone", "a", "f", "box@c"]).fails(3, "box@c");
    s.ltr(".", ["clone", "a", "f"]).fails(2, "usage: ltr clone");
    assert!(!s.exists("e"), "nothing is made when the source is not there");
}

#[test]
fn exit_statuses_tell_what_happened() {
    let s = Shell::with_files();
    for (args, status) in [
        (vec!["status"], 0),
        (vec!["--help"], 0),
        (vec!["--version"], 0),
        (vec!["commit", "--help"], 0),
        (vec!["nonsense"], 2),
        (vec!["../ltr-ls"], 2),
        (vec!["sh-setup"], 2),
        (vec!["--nonsense"], 2),
        (vec!["status", "--nonsense"], 2),
        (vec!["commit", "--nonsense"], 2),
        (vec!["pull", "--nonsense"], 2),
        (vec!["pull", "a", "b"], 2),
        (vec!["pull", "--trust-offline"], 2),
        (vec!["pull", "--trust-offline", "soon"], 2),
        (vec!["pull", "-j", "0"], 2),
        (vec!["pull", "-j", "65"], 2),
        (vec!["pull", "--bwlimit", "0"], 2),
        (vec!["set", "space.mincopy", "2"], 3),
        (vec!["sync", "-d", "x"], 2),
        (vec!["set", "a.policy"], 2),
        (vec!["init"], 2),
        (vec!["create"], 2),
        (vec!["-C"], 2),
        (vec!["-C", "nowhere", "status"], 3),
        (vec!["pull", "nobody"], 3),
        (vec!["sync", "nobody"], 3),
    ] {
        let ran = s.ltr("a", &args);
        if args.first() != Some(&"--help") {
            assert_eq!(ran.status, status, "{args:?}: {}", ran.err);
        }
        assert!(status == 0 || !ran.err.is_empty(), "{args:?} says why");
    }
    assert_eq!(s.ltr(".", ["-C", "a", "status"]).ok(), "");
    // in part: one of two files cannot be had
    s.write("b/x", "x").write("b/y", "y");
    s.ltr("b", ["commit"]).ok();
    s.write("b/x", "changed since");
    let ran = s.ltr("a", ["pull"]);
    assert!(s.exists("a/y") && !s.exists("a/x"));
    ran.fails(1, "/x");
}

#[test]
fn two_commits_at_once_exclude_each_other() {
    let s = Shell::with_files();
    s.write("a/new", "new");
    let held = s.at("held");
    let mut holder = s.command("a", "ltr-lock");
    holder.arg("--root").arg(s.at("a")).args(["--", "sh", "-c", "echo $$ >\"$0\"; exec sleep 60"]).arg(&held);
    let mut holder = holder.spawn().unwrap();
    while fs::read_to_string(&held).map_or(true, |text| text.is_empty()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = s.read("held").trim().to_owned();
    for args in [vec!["commit"], vec!["pull"], vec!["rm", "three"]] {
        s.ltr("a", &args).fails(3, &pid);
    }
    assert_eq!(s.ltr("a", ["status"]).ok(), "N  /new\n");
    assert_eq!(s.ltr("a", ["-n", "commit"]).ok(), "N  /new\n");
    s.write("b/new b", "b");
    assert_eq!(s.ltr("b", ["commit"]).ok(), "N  /new b\n", "the other box is not locked");
    holder.kill().unwrap();
    holder.wait().unwrap();
    s.sh(".", &format!("kill {pid}"));
    // a lock dies with its process
    while s.ltr("a", ["commit"]).status == 3 {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(s.ltr("a", [""; 0]).out, "w  /new b\n");
}

#[test]
fn a_clone_that_was_interrupted_is_run_again() {
    let s = Shell::with_files();
    s.ltr(".", ["clone", "a", "new", "new"]).ok();
    fs::remove_file(s.at("new/three")).unwrap();
    let from = s.ltr(".", ["clone", "a", "new", "new"]);
    assert!(!from.err.contains("already"), "{}", from.err);
    assert_ne!(from.status, 3);
    s.ltr(".", ["clone", "a", "new", "name"]).fails(3, "already the box");
}
