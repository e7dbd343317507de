//! Options behind arguments, bundled, and with their values in every form; names that look like any of it.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/shell.rs"]
mod shell;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use shell::Shell;

#[test]
fn an_option_may_stand_anywhere() {
    let s = Shell::with_files();
    s.write("b/only b", "x");
    s.ltr("b", ["commit"]).ok();
    s.write("a/new", "n");
    for (known, forms) in [
        (&["ls", "-l", "-R", "sub"][..], &[&["ls", "sub", "-lR"][..], &["ls", "-Rl", "sub"], &["ls", "-R", "sub", "-l"]][..]),
        (&["ls", "-0", "-R", "sub", "three"], &[&["ls", "sub", "-R0", "three"], &["ls", "sub", "three", "-R", "-0"]]),
        (
            &["ls", "-l", "-b", "b", "sub"],
            &[
                &["ls", "sub", "-b", "b", "-l"],
                &["ls", "-lbb", "sub"],
                &["ls", "-lb", "b", "sub"],
                &["ls", "--box=b", "sub", "-l"],
                &["ls", "sub", "-l", "--box", "b", "--"],
            ],
        ),
        (&["ls", "--space", "--copies", "<2"], &[&["ls", "--copies=<2", "--space"]]),
        (&["status", "-a", "sub", "new"], &[&["status", "sub", "-a", "new"], &["status", "sub", "new", "--all", "--"]]),
        (&["status", "-a", "-0"], &[&["status", "-a0"], &["status", "-0a"]]),
        (&["stat", "--json", "three"], &[&["stat", "three", "--json"]]),
        (&["diff", "--json", "a", "b"], &[&["diff", "a", "b", "--json"], &["diff", "a", "--json", "b"]]),
        (&["box", "--csv", "b"], &[&["box", "b", "--csv"]]),
        (&["ping", "--json", "b"], &[&["ping", "b", "--json", "-v"]]),
        (&["-n", "commit", "--json", "new"], &[&["commit", "new", "--json", "-n"], &["-n", "commit", "new", "--json"]]),
        (&["-n", "pull", "--json", "b"], &[&["pull", "b", "--json", "-n", "-j4"], &["pull", "-vj4", "b", "-n", "--json"]]),
        (&["-n", "push", "--json", "b"], &[&["push", "b", "--bwlimit=9", "--json", "-vn"]]),
        (&["-n", "rm", "-r", "sub"], &[&["rm", "sub", "-rn"], &["rm", "-nr", "sub"], &["rm", "-r", "sub", "-n"]]),
        (
            &["-n", "mark", "-b", "b", "--skip", "sub"],
            &[&["mark", "sub", "-nbb", "--skip"], &["mark", "--box=b", "sub", "-n", "--skip"]],
        ),
        (
            &["-n", "create", "-p", "skeleton", "../space", "c", "../tmp"],
            &[&["create", "../space", "c", "../tmp", "-npskeleton"]],
        ),
        (&["-n", "clone", "-p", "skeleton", "../b", "../c", "c"], &[&["clone", "../b", "../c", "c", "--policy=skeleton", "-n"]]),
    ] {
        let known = s.ltr("a", known);
        assert!(!known.ok().is_empty(), "{}", known.shown);
        for form in forms {
            // -v shows the ssh commands, of which there are none; a round trip takes what it takes
            let ran = s.ltr("a", *form);
            if form[0] == "ping" {
                assert_eq!(ran.json().len(), known.json().len());
            } else {
                assert_eq!(ran.ok(), known.out, "{form:?}");
            }
        }
    }
    assert_eq!(s.ltr("a", ["commit", "new", "--json"]).json().len(), 2);
    assert_eq!(s.ltr("a", ["mark", "sub", "--skip", "-bb"]).ok(), "skip  /sub\n");
    assert_eq!(s.ltr("a", ["rm", "sub", "-r"]).ok().lines().count(), 4);
    assert_eq!(s.ltr("a", ["box", "--forget=b"]).ok(), "ltr: forgot box  b\n");
}

#[test]
fn behind_two_dashes_all_are_names() {
    let s = Shell::with_boxes();
    for name in ["-n", "-l", "--", "--json", "-", "x"] {
        s.write(format!("a/{name}"), name);
    }
    assert_eq!(s.ltr("a", ["status", "x", "-", "--", "-n", "--", "-l"]).ok(), "N  /-\nN  /--\nN  /-l\nN  /-n\nN  /x\n");
    assert_eq!(s.ltr("a", ["commit", "--", "-n"]).ok(), "N  /-n\n");
    assert_eq!(s.ltr("a", ["commit", "--json", "x", "--", "--json", "-l"]).json().len(), 4);
    assert_eq!(s.ltr("a", ["ls", "x", "-0", "--", "-n"]).raw, b"x\0-n\0");
    assert_eq!(s.ltr("a", ["mark", "-bb", "--", "-n"]).status, 2, "no --skip was given");
    assert_eq!(s.ltr("a", ["mark", "x", "--skip", "-bb", "--", "-n"]).ok().lines().count(), 2);
    assert_eq!(s.ltr("a", ["rm", "x", "--", "-n"]).ok().lines().count(), 2);
    assert_eq!(s.ltr("a", [""; 0]).ok(), "N  /-\nN  /--\np  /-n\np  /x\n");
}

#[test]
fn what_is_no_option_is_named() {
    let s = Shell::with_files();
    for (args, named) in [
        (&["ls", "sub", "-q"][..], "no such option: -q"),
        (&["ls", "-lq"], "no such option: -q"),
        (&["ls", "-l'$(touch pwned)'"], "no such option: -l'"),
        (&["ls", "--json=yes"], "no such option: --json=yes"),
        (&["ls", "--$(touch pwned)=`touch pwned`"], "no such option: --$(touch"),
        (&["ls", "sub", "-b"], "no value: -b"),
        (&["ls", "-lb"], "no value: -b"),
        (&["pull", "b", "--bwlimit"], "no value: --bwlimit"),
        (&["commit", "sub", "-v"], "no such option: -v"),
        (&["set", "b.reserve", "-1"], "no such option: -1"),
        (&["show", "b", "-l"], "no such option: -l"),
        (&["help", "ls", "-x"], "no such option: -x"),
        (&["init", "-x", "s"], "no such option: -x"),
        (&["mark", "--want", "-x", "sub"], "-x"),
        (&["rm", "sub", "-rx"], "-x"),
        (&["create", "../space", "c", "-x"], "-x"),
    ] {
        s.ltr("a", args).fails(2, named);
    }
    assert!(!s.exists("a/pwned"));
    assert!(s.ltr("a", ["ls", "sub", "-lh"]).ok().starts_with("usage: ltr ls "));
}

#[test]
fn a_password_in_the_word_of_an_option_is_kept() {
    let s = Shell::new();
    s.write("fake/ltr-index-sync", "#!/bin/sh\nprintf '%s\\n' \"$@\"\n");
    s.sh(".", "chmod +x fake/ltr-index-sync").ok();
    let path = s.sh(".", "printf '%s' \"$PWD/fake:$PATH\"").out;
    for from in ["-dhttp://me:geheim@h:5984/x", "-d=http://me:geheim@h:5984/x"] {
        let mut ltr = s.command(".", "ltr");
        let output = ltr.args(["sync", from, "-D", "http://me:geheim@h:5984/y"]).env("PATH", &path).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains("me@h:5984/x") && !said.contains("geheim"), "{said}");
    }
    assert!(s.read("home/.config/ltr/credentials").contains("geheim"));
}

/// The scripts' own sh, and others that are here.
#[test]
fn any_name_in_any_shell() {
    let s = Shell::with_boxes();
    let names: [&[u8]; 8] = [b"two\nlines", b"it's", b"\xff\x81\x88", b"a\" $(touch pwned)", b"`touch pwned`", b" ", b"\\", b"*"];
    for name in names {
        std::fs::write(s.at("a").join(OsStr::from_bytes(name)), b"x").unwrap();
    }
    s.ltr("a", ["commit"]).ok();
    for shell in ["sh", "bash", "busybox", "mksh"] {
        let word = if shell == "busybox" { &["busybox", "sh"][..] } else { &[shell] };
        if s.sh("a", &format!("command -v {shell}")).status != 0 {
            continue;
        }
        let script = OsString::from(concat!(env!("CARGO_MANIFEST_DIR"), "/porcelain/ltr-ls"));
        for place in 0..=names.len() {
            let mut args: Vec<OsString> = word[1..].iter().map(OsString::from).chain([script.clone()]).collect();
            args.extend(names.iter().map(|name| OsStr::from_bytes(name).to_owned()));
            args.insert(word.len() + place, "-0R".into());
            let listed = s.run("a", word[0], args, "");
            listed.ok();
            let mut found: Vec<&[u8]> = listed.raw.split(|&b| b == 0).filter(|name| !name.is_empty()).collect();
            let mut expected: Vec<Vec<u8>> = names.iter().map(|name| [b"/", *name].concat()).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{shell}");
        }
    }
    assert!(!s.exists("a/pwned"));
}

#[test]
fn there_may_be_thousands_of_names() {
    let s = Shell::with_boxes();
    let names: Vec<String> = (0..3000).map(|n| format!("{n:04}")).collect();
    for name in &names {
        s.write(format!("a/{name}"), "");
    }
    let mut args: Vec<&str> = names.iter().map(String::as_str).collect();
    args.insert(0, "commit");
    args.insert(2000, "--gone-ok");
    args.push("--json");
    assert_eq!(s.ltr("a", &args).json().len(), 3001);
}
