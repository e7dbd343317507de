//! Wrong arguments, wrong cookies, wrong indexes: refused with the thing named, and nothing touched.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "common/shell.rs"]
mod shell;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use shell::Shell;

/// Every command that needs a box, as it is asked rightly.
const COMMANDS: [&[&str]; 14] = [
    &["status"],
    &["commit"],
    &["pull"],
    &["sync"],
    &["box"],
    &["ls"],
    &["stat", "three"],
    &["diff", "a", "b"],
    &["show"],
    &["set", "a.policy", "complete"],
    &["mark", "--want", "three"],
    &["rm", "three"],
    &["-n", "commit"],
    &["-n", "pull"],
];

fn all_fail(s: &Shell, cwd: &str, naming: &str) {
    for args in COMMANDS {
        s.ltr(cwd, args).fails(3, naming);
    }
}

#[test]
fn outside_of_a_box() {
    let s = Shell::with_files();
    all_fail(&s, ".", "not in a box");
}

#[test]
fn cookies_that_are_none() {
    let s = Shell::with_files();
    s.write("a text file", "not an index").write("other/x", "x");
    let space = s.at("space").display().to_string();
    let before = s.snapshot("a/sub");
    let missing = s.at("no index here");
    for (cookie, naming) in [
        (String::new(), ".ltr"),
        ("\n".to_owned(), ".ltr"),
        ("nonsense\n".to_owned(), ".ltr"),
        (format!("{space}/a\n{space}/b\n"), ".ltr"),
        (format!("{space}/a\n\n"), ".ltr"),
        (format!("{space}/a\0\n"), ".ltr"),
        (format!("{space}/a\u{1b}[31m\n"), ".ltr"),
        (format!("{space}/-a\n"), ".ltr"),
        (format!("{space}/space\n"), ".ltr"),
        (format!("{}/a\n", missing.display()), "no index here"),
        (format!("{}/a\n", s.at("other").display()), "other"),
        (format!("{}/a\n", s.at("a text file").display()), "a text file"),
        ("ftp://host/space/a\n".to_owned(), "ftp:"),
        ("-oProxyCommand=x:/space/a\n".to_owned(), "-oProxyCommand"),
    ] {
        fs::write(s.at("a/.ltr"), &cookie).unwrap();
        all_fail(&s, "a", naming);
        // another box may name it, and is told as much
        assert!(s.ltr("b", ["pull", "../a"]).status >= 1, "{cookie:?}");
        assert_eq!(s.snapshot("a/sub"), before);
    }
    assert!(!missing.exists() && s.read("a text file") == "not an index");
    fs::remove_file(s.at("a/.ltr")).unwrap();
    fs::create_dir(s.at("a/.ltr")).unwrap();
    all_fail(&s, "a", "no box at");
}

#[test]
fn cookies_of_another_space() {
    let s = Shell::with_files();
    // a box of the same name in another space
    s.ltr(".", ["init", "other"]).ok();
    fs::create_dir(s.at("c")).unwrap();
    s.ltr(".", ["create", "other", "a", "c"]).ok();
    s.write("c/alien", "x");
    s.ltr("c", ["commit"]).ok();
    for args in [vec!["pull", "../c"], vec!["sync", "../c"], vec!["-n", "pull", "../c"]] {
        s.ltr("b", &args).fails(3, "two spaces do not merge");
    }
    s.ltr(".", ["sync", "-d", "space", "-D", "other"]).fails(3, "two spaces do not merge");
    s.sh(".", "ltr-index-get space | ltr-index-put other").fails(3, "another space");
    assert!(!s.exists("b/alien"));
    // the index does not know the box that the cookie names
    fs::write(s.at("c/.ltr"), format!("{}/a\n", s.at("space").display())).unwrap();
    let before = s.snapshot("c");
    fs::write(s.at("c/.ltr"), format!("{}/nobody\n", s.at("space").display())).unwrap();
    for args in [vec!["commit"], vec!["pull"]] {
        s.ltr("c", &args).fails(3, "nobody");
    }
    assert_eq!(s.snapshot("c").len(), before.len());
}

#[test]
fn names_of_boxes() {
    let s = Shell::with_files();
    fs::create_dir(s.at("c")).unwrap();
    let long = "x".repeat(9000);
    for name in ["", "a", "space", "-x", ".x", "a/b", "a b", "a\nb", "a:b", "ä", "$(x)", "\u{1b}[31m", "..", &long] {
        let ran = s.ltr(".", ["create", "--", "space", name, "c"]);
        assert!(matches!(ran.status, 2 | 3) && !ran.err.is_empty(), "{name:?}: {} {}", ran.status, ran.err);
        assert!(!ran.err.contains('\u{1b}'));
        assert!(!s.exists("c/.ltr"), "{name:?}");
    }
    s.ltr(".", ["create", "space", "c", "nowhere"]).fails(3, "nowhere");
    s.ltr(".", ["create", "space", "c", "a/three"]).fails(3, "three");
    s.ltr(".", ["create", "space", "c", "a"]).fails(3, "already the box");
    s.ltr(".", ["create", "-p", "everything", "space", "c", "c"]).fails(2, "everything");
    s.ltr(".", ["create", "space"]).fails(2, "BOX");
    assert_eq!(s.ltr("a", ["box"]).ok(), "* a\n  b\n");
}

#[test]
fn spaces_that_are_something_else() {
    let s = Shell::with_boxes();
    s.write("text", "a text file").write("empty", "").write("folder/x", "x").write("c/x", "x");
    s.sh(".", "head -c 4096 /dev/zero >zeros; cp space half; truncate -s 10000 half; mkfifo fifo").ok();
    s.sh(".", "printf 'SQLite format 3\\0' >sqlite; head -c 9000 /dev/urandom >>sqlite").ok();
    for name in ["text", "folder", "zeros", "half", "sqlite", "fifo", "no/such/folder", "/proc/x", "", "http://"] {
        let before = s.snapshot(".");
        for args in [["init", name].as_slice(), &["create", name, "c", "c"]] {
            let ran = s.ltr(".", args);
            assert!(matches!(ran.status, 2 | 3) && !ran.err.is_empty(), "{args:?}: {} {}{}", ran.status, ran.out, ran.err);
        }
        assert_eq!(s.snapshot("."), before, "{name}");
    }
    s.ltr(".", ["create", "nowhere", "c", "c"]).fails(3, "nowhere");
    assert!(!s.exists("nowhere") && !s.exists("c/.ltr"));
    // a foreign database of somebody
    s.sh(".", "ltr-index-init fine >/dev/null");
    s.ltr(".", ["init", "-x"]).fails(2, "usage");
}

#[test]
fn of_a_whole_pipe_only_one_tells() {
    let s = Shell::with_files();
    for args in [
        ["status", "nosuch"].as_slice(),
        &["commit", "nosuch"],
        &["ls", "nosuch"],
        &["stat", "nosuch"],
        &["diff", "a", "nosuch"],
        &["box", "nosuch"],
        &["status", "--json", "nosuch"],
    ] {
        let ran = s.ltr("a", args);
        ran.fails(3, "nosuch");
        assert_eq!(ran.err.lines().count(), 1, "{args:?}: {}", ran.err);
    }
    // nor of an index that is not there, or is none
    for spoil in ["mv space away", "cp text space"] {
        s.write("text", "a text file").sh(".", spoil).ok();
        for args in [
            ["status"].as_slice(),
            &["status", "-a"],
            &["status", "--quick", "--json"],
            &["-n", "commit"],
            &["commit"],
            &["pull"],
        ] {
            let ran = s.ltr("a", args);
            ran.fails(3, "space: ");
            assert_eq!(ran.err.lines().count(), 1, "{spoil}: {args:?}: {}", ran.err);
        }
    }
    s.sh(".", "mv away space").ok();
    // and each stage ends as if it had failed by itself
    let ran = s.sh("a", "ltr-scan nosuch | { ltr-hash; echo $? >&2; } | { ltr-record --status; echo $? >&2; } | cat");
    assert_eq!((ran.out.as_str(), ran.err.lines().skip(1).collect::<Vec<_>>()), ("{\"type\":\"cut\"}\n", vec!["3", "3"]));
    // but a writer that was killed told nobody
    s.sh("a", ": | ltr-hash --root . | ltr-fmt --letters").fails(3, "ltr-hash: stream cut short");
}

#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    let s = Shell::with_files();
    s.sh("a", "ltr-scan nosuch 2>/dev/full").fails(3, "");
    // one of them is in the way, which is told of
    s.write("a/x", "x").write("a/y", "y").ltr("a", ["commit"]).ok();
    s.write("b/x", "mine").sh("b", "ltr pull 2>/dev/full").ok();
    assert_eq!((s.read("b/x"), s.read("b/y")), ("x".to_owned(), "y".to_owned()));
    s.sh("b", "ltr pull --bogus 2>/dev/full").fails(2, "");
}

#[test]
fn paths_outside_the_box() {
    let s = Shell::with_files();
    s.write("outside/file", "mine").write("boxer", "mine");
    symlink("../outside", s.at("a/out")).unwrap();
    let outside = s.snapshot("outside");
    for path in ["..", "../outside", "../outside/file", "../b/three", "sub/../../outside/file", "out/file", "../boxer", ""] {
        for args in [
            ["status"].as_slice(),
            &["commit"],
            &["ls"],
            &["ls", "-R"],
            &["stat"],
            &["mark", "--want"],
            &["mark", "--skip"],
            &["rm"],
            &["rm", "-r"],
            &["-n", "rm", "-r"],
            &["-n", "commit"],
        ] {
            let ran = s.ltr("a", [args, &[path]].concat());
            assert!(
                matches!(ran.status, 2 | 3) && !ran.err.is_empty(),
                "{args:?} {path:?}: {} {}{}",
                ran.status,
                ran.out,
                ran.err
            );
        }
        s.ltr("a", ["diff", path, "a", "b"]).fails(if path.is_empty() { 0 } else { 3 }, "");
    }
    assert_eq!(s.snapshot("outside"), outside);
    assert_eq!(s.ltr("a", [""; 0]).ok(), "N  /out\n");
}

#[test]
fn what_may_not_be_read_or_written() {
    let mut s = Shell::with_files();
    s.open_to_all();
    s.write("a/new", "new").write("b/new b", "b").write("a/secret/x", "x").write("a/closed", "x");
    s.ltr("a", ["commit"]).ok();
    s.ltr("b", ["commit"]).ok();
    s.write("a/new", "edited");
    fs::set_permissions(s.at("a/secret"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(s.at("a/closed"), fs::Permissions::from_mode(0o600)).unwrap();
    if rustix::process::geteuid().as_raw() != 0 {
        eprintln!("not root: what another user may do is not tested");
        return;
    }
    let before = s.snapshot(".");
    // the nobody of this system: reads the index and the boxes, and may write neither
    s.uid = Some(65534);
    let ran = s.ltr("a", ["status"]);
    assert!(ran.out.contains("M  /new\n") && ran.out.contains("?  /secret\n"), "{}{}", ran.out, ran.err);
    assert!(!ran.out.contains("D  /secret/x") && !ran.out.contains("L  /secret/x"), "{}", ran.out);
    ran.fails(1, "secret");
    s.ltr("a", ["ls"]).ok();
    for args in
        [vec!["commit"], vec!["pull"], vec!["rm", "three"], vec!["mark", "--skip", "three"], vec!["set", "a.policy", "ondemand"]]
    {
        let ran = s.ltr("a", &args);
        assert!(ran.status == 3 && !ran.err.is_empty(), "{args:?}: {} {}{}", ran.status, ran.out, ran.err);
    }
    s.ltr(".", ["create", "space", "c", "b"]).fails(3, "b");
    s.ltr(".", ["init", "c"]).fails(3, "c");
    s.uid = None;
    assert_eq!(s.snapshot("."), before);
    // somebody else's box, which can only be read, is a source all the same
    let own = s.at("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
    s.uid = Some(65534);
    s.ltr(".", ["init", "own/space"]).ok();
    fs::create_dir(own.join("c")).unwrap_or_default();
    s.uid = None;
    std::os::unix::fs::chown(own.join("c"), Some(65534), Some(65534)).unwrap();
    s.uid = Some(65534);
    s.ltr("own", ["sync", "-d", "../space", "-D", "space"]).ok();
    s.ltr("own", ["create", "space", "c", "c"]).ok();
    let ran = s.ltr("own/c", ["pull", "../../b"]);
    assert!(s.exists("own/c/three"), "{} {}{}", ran.status, ran.out, ran.err);
    assert!(ran.status == 0 && ran.err.contains("space: only read: Permission denied"), "{} {}", ran.status, ran.err);
    s.uid = None;
    assert_eq!(s.snapshot("b"), before.iter().filter_map(|(k, v)| Some((k.strip_prefix("b/")?.to_owned(), v.clone()))).collect());
    // an index that must not be read, a cookie that must not be read
    for name in ["space", "a/.ltr"] {
        fs::set_permissions(s.at(name), fs::Permissions::from_mode(0o000)).unwrap();
        s.uid = Some(65534);
        for args in [vec!["status"], vec!["ls"], vec!["commit"]] {
            s.ltr("a", &args).fails(3, "denied");
        }
        s.uid = None;
        fs::set_permissions(s.at(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
}

#[test]
fn a_closed_pipe_is_quiet() {
    let s = Shell::with_boxes();
    for i in 0..3000 {
        s.write(format!("a/folder with a long name/{i:05}"), &i.to_string());
    }
    let ran = s.sh("a", "ltr | head -n 1");
    assert_eq!(ran.ok(), "N  /folder with a long name\n");
    // whoever looks at the first lines has committed everything all the same
    assert_eq!(s.sh("a", "ltr commit | head -n 1").ok().lines().count(), 1);
    assert_eq!(s.ltr("a", [""; 0]).ok(), "");
    for command in
        ["ltr ls -R", "ltr ls --csv -R", "ltr ls --json -R", "ltr -n -C ../b pull", "ltr-index-get", "ltr-scan", "ltr show"]
    {
        let ran = s.sh("a", &format!("{command} | head -n 1"));
        assert_eq!(ran.ok().lines().count(), 1, "{command}");
    }
    assert_eq!(s.sh("b", "ltr pull | head -n 1").ok().lines().count(), 1);
    assert_eq!(s.files("a"), s.files("b"));
    assert_eq!(s.ltr("b", [""; 0]).ok(), "");
}

#[test]
fn folders_that_are_read_ahead_do_not_use_up_the_open_files() {
    let s = Shell::new();
    let mut folder = s.at("deep");
    for _ in 0..130 {
        for n in 0..30 {
            fs::create_dir_all(folder.join(if n < 15 { format!("a{n}") } else { format!("z{n}") })).unwrap();
        }
        folder.push("m");
    }
    // what a process has by default (RLIMIT_NOFILE)
    let ran = s.sh("deep", "ulimit -n 1024; ltr-scan . | tail -n 1");
    assert_eq!(ran.ok(), "{\"type\":\"end\",\"count\":4029,\"errors\":0}\n");
}
