//! `-n`: nothing changes, and what is said is what would be done.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/shell.rs"]
mod shell;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::SystemTime;

use shell::Shell;

/// Boxes with one of everything: to fetch, replace, move, remove, and in conflict.
fn changed() -> Shell {
    let s = Shell::with_files();
    s.write("a/to move", "moved content").write("a/purged", "p").write("a/skipped", "s").write("a/copied", "copied content");
    s.write("a/fight", "base").write("a/kind", "a file");
    s.ltr("a", ["commit"]).ok();
    s.ltr("b", ["pull"]).ok();
    fs::rename(s.at("a/to move"), s.at("a/moved to")).unwrap();
    s.write("a/new/folder/file", "new").write("a/three", "three, edited").write("a/copied twice", "copied content");
    s.write("a/fight", "from a");
    fs::remove_file(s.at("a/kind")).unwrap();
    s.write("a/kind/is", "a folder");
    symlink("three", s.at("a/link")).unwrap();
    s.ltr("a", ["commit"]).ok();
    s.ltr("a", ["rm", "purged"]).ok();
    s.write("b/fight", "from b, later").write("b/mine", "not committed");
    s.ltr("b", ["mark", "--skip", "skipped"]).ok();
    s
}

#[test]
fn no_command_changes_anything() {
    let s = changed();
    fs::create_dir(s.at("c")).unwrap();
    s.ltr(".", ["init", "other"]).ok();
    let before = s.snapshot(".");
    for args in [
        vec!["status"],
        vec!["commit"],
        vec!["commit", "--gone-ok", "mine"],
        vec!["pull"],
        vec!["pull", "a"],
        vec!["pull", "--gone-ok", "../a"],
        vec!["push", "a"],
        vec!["push", "--gone-ok", "../a"],
        vec!["sync"],
        vec!["sync", "a"],
        vec!["sync", "-d", "../space", "-D", "../other"],
        vec!["box", "-l"],
        vec!["box", "--forget", "a"],
        vec!["ls", "-l", "-R"],
        vec!["ls", "--space", "--copies", "<2"],
        vec!["stat", "three"],
        vec!["diff", "a", "b"],
        vec!["show"],
        vec!["set", "b.policy", "ondemand"],
        vec!["set", "space.mincopies", "3"],
        vec!["mark", "--want", "three"],
        vec!["mark", "-b", "a", "--skip", "three", "sub"],
        vec!["mark", "--clear", "skipped"],
        vec!["rm", "three"],
        vec!["rm", "-r", "sub"],
        vec!["init", "../new space"],
        vec!["create", "../space", "c", "../c"],
        vec!["create", "--carry", "-p", "skeleton", "../space", "c", "../c"],
        vec!["clone", "../a", "../d", "d"],
        vec!["clone", "--carry", "../a", "../d", "d"],
    ] {
        for args in [
            [&["-n"][..], &args].concat(),
            [&args[..1], &["-n"], &args[1..]].concat(),
            [&args[..], &["-n"]].concat(),
            [&args[..], &["--dry-run", "--"]].concat(),
        ] {
            let ran = s.ltr("b", &args);
            assert!(ran.status == 0 && ran.err.is_empty(), "{args:?}: {}{}", ran.status, ran.err);
            let after = s.snapshot(".");
            for (name, look) in &after {
                assert_eq!(before.get(name), Some(look), "{args:?} changed {name}");
            }
            assert_eq!(before.len(), after.len(), "{args:?} removed something");
        }
    }
    for args in [
        &["rm", "-nr", "sub"][..],
        &["rm", "-rn", "sub"],
        &["rm", "sub", "-rn"],
        &["rm", "three", "--dry-run"],
        &["mark", "-nba", "--skip", "sub"],
        &["mark", "sub", "--skip", "-nb", "a"],
        &["pull", "-vn"],
        &["pull", "a", "-nj2"],
        &["push", "a", "-nv"],
        &["box", "-ln"],
        &["create", "-npskeleton", "../space", "c", "../c"],
        &["clone", "../a", "../d", "d", "-np", "skeleton"],
    ] {
        assert_eq!(s.ltr("b", args).status, 0, "{args:?}");
        assert_eq!(before, s.snapshot("."), "{args:?}");
    }
}

#[test]
fn what_a_dry_pull_says_is_what_a_pull_does() {
    let s = changed();
    let dry = s.ltr("b", ["-n", "pull"]);
    dry.ok();
    assert!(dry.lines().len() > 9, "{}", dry.out);
    let wet = s.ltr("b", ["pull"]);
    assert_eq!(dry.sorted(), wet.sorted(), "{}", wet.err);
    assert!(wet.status == 0 && wet.err.starts_with("ltr-fetch: /fight: was not committed: kept as "), "{}", wet.err);
    assert_eq!(s.ltr("b", ["-n", "pull"]).ok(), "ltr: pull  a\n");
    // the same from an index of its own, which the dry run has to sync first
    let s = changed();
    s.ltr(".", ["clone", "--carry", "-p", "skeleton", "a", "c", "c"]).ok();
    s.ltr("c", ["set", "c.policy", "complete"]).ok();
    s.write("a/later", "later");
    s.ltr("a", ["commit"]).ok();
    let dry = s.ltr("c", ["-n", "pull", "a"]);
    assert!(dry.ok().contains("later"), "{}", dry.out);
    assert_eq!(dry.sorted(), s.ltr("c", ["pull", "a"]).sorted());
}

#[test]
fn a_dry_pull_says_why_a_pull_would_not_begin() {
    let s = Shell::with_files();
    // an index of its own, which only the dry run's copy knows of these
    s.ltr(".", ["clone", "--carry", "a", "c", "c"]).ok();
    s.write("a/large", &"large".repeat(1000));
    for number in 0..30 {
        s.write(format!("a/many/{number}"), "many");
    }
    s.ltr("a", ["commit"]).ok();
    for set in ["b.reserve", "c.reserve"] {
        s.ltr("c", ["set", set, "900000G"]).ok();
    }
    s.ltr("c", ["sync", "a"]).ok();
    let refused = |of: &str, said: &str| {
        // SQLite's own files come and go beside an index
        let look = || s.snapshot(".").into_iter().filter(|(name, _)| name != "c/.ltr-index").collect::<Vec<_>>();
        let before = look();
        let dry = s.ltr(of, ["-n", "pull"]);
        assert!(before == look(), "{of}");
        assert!(dry.status == 3 && dry.err.contains(said), "{of}: {} {}", dry.status, dry.err);
        let wet = s.ltr(of, ["pull"]);
        assert!(wet.status == 3 && wet.err.contains(said), "{of}: {} {}", wet.status, wet.err);
        dry.out
    };
    assert!(refused("b", "bytes, ").contains("large"), "the steps are shown all the same");
    s.ltr("a", ["rm", "-r", "many"]).ok();
    refused("c", "bytes, ");
    for set in ["b.reserve", "c.reserve"] {
        s.ltr("c", ["set", set, "0"]).ok();
    }
    s.ltr("c", ["sync", "a"]).ok();
    s.ltr("b", ["pull"]).ok();
    for number in 0..30 {
        s.write(format!("a/few/{number}"), "few");
    }
    s.ltr("a", ["commit"]).ok();
    s.ltr("c", ["pull"]).ok();
    s.ltr("a", ["rm", "-r", "few"]).ok();
    assert!(refused("c", "--gone-ok").contains("few/7"));
    assert_eq!(s.ltr("c", ["-n", "pull", "--gone-ok"]).status, 0);
    assert!(s.exists("c/few/7"));
}

#[test]
fn what_a_dry_commit_says_is_what_a_commit_does() {
    let s = changed();
    fs::rename(s.at("b/sub/one"), s.at("b/sub/uno")).unwrap();
    fs::remove_file(s.at("b/three")).unwrap();
    // with another time and the same content there is nothing to record of what is newer elsewhere, or to be skipped
    for name in ["b/kind", "b/skipped"] {
        fs::File::options().write(true).open(s.at(name)).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    for args in [vec!["commit", "mine"], vec!["commit"], vec!["rm", "sub/uno"]] {
        let dry = s.ltr("b", [&["-n"][..], &args].concat());
        assert!(!dry.ok().is_empty());
        assert_eq!(dry.ok(), s.ltr("b", &args).ok());
    }
}

#[test]
fn a_dry_clone_says_what_a_clone_does() {
    let s = Shell::with_files();
    let dry = s.ltr(".", ["-n", "clone", "a", "c", "c"]);
    assert!(!s.exists("c"));
    let wet = s.ltr(".", ["clone", "a", "c", "c"]);
    let steps = |text: &str| -> Vec<String> {
        let mut steps: Vec<_> = text.lines().filter(|l| !l.starts_with("ltr: ")).map(str::to_owned).collect();
        steps.sort();
        steps
    };
    assert_eq!(steps(dry.ok()), steps(wet.ok()));
    assert_eq!(s.ltr(".", ["-n", "init", "new"]).ok(), "ltr: create database  new\n");
    std::fs::create_dir(s.at("d")).unwrap();
    let dry = s.ltr(".", ["-n", "create", "space", "d", "d"]);
    assert!(dry.out.ends_with("ltr: would write cookie for d\n"), "{}", dry.out);
}
