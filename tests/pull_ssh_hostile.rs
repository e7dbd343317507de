//! `ltr pull` from another machine whose names, boxes or answers are not what they should be.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use far::{ALL, Far, Kit};

const NAMES: [&[u8]; 22] = [
    b"a b",
    b"it's",
    b"q\"q",
    b"new\nline",
    b"a\n!touch oops",
    b"$(touch oops)",
    b"`touch oops`",
    b"*",
    b"?",
    b"[a]",
    b"a",
    b"b\\c",
    b"b\\*c",
    b"bxc",
    b"-x",
    b"-oProxyCommand=touch oops",
    b"# h",
    b"~",
    b"{a,b}",
    b"\xff\xfe",
    b"\t\x1b[31m\r",
    "ä".as_bytes(),
];

#[test]
fn names_stand_for_themselves_whatever_brings_them() {
    for (rsync, sftp) in [(true, true), (false, true), (false, false)] {
        let Some(far) = Far::new(Kit { rsync, sftp, ..ALL }) else { return };
        // a line of it in a batch would be too long, and its end another command
        let deep = [vec![b'*'; 250].as_slice(); 5].join(&b'/');
        let mut files: Vec<(&[u8], String)> = NAMES.iter().enumerate().map(|(n, name)| (*name, format!("text {n}"))).collect();
        files.push((&deep, "deep".to_owned()));
        let files: Vec<(&[u8], &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        far.commit(&files);
        let said = far.ltr("here", &["pull", "there"]).well();
        assert_eq!(far.tree("here"), far.tree("there"), "{}{}", said.out, said.err);
        let by_ssh = said.out.lines().filter(|line| line.starts_with("ssh ")).count();
        let newlines = if rsync {
            0
        } else if sftp {
            4
        } else {
            files.len()
        };
        assert_eq!(by_ssh, newlines, "{}", said.out);
        // by itself: no other name of a batch stands for it
        far.commit(&[(b"it\\*self", "alone")]);
        let said = far.ltr("here", &["pull", "there"]).well();
        assert_eq!(far.tree("here"), far.tree("there"), "{}{}", said.out, said.err);
        for folder in ["", "here", "there", "i-here"] {
            assert!(!far.at(folder).join("oops").exists());
        }
    }
}

#[test]
fn nothing_is_read_from_another_box() {
    let Some(far) = Far::new(ALL) else { return };
    far.commit(&[(b"a", "alpha")]);
    far.ltr("here", &["sync", "there"]).well();
    let cookie = fs::read_to_string(far.at("there/.ltr")).unwrap();
    fs::write(far.at("there/.ltr"), cookie.replace("/there\n", "/other\n")).unwrap();
    far.ltr("here", &["pull", "there"]).failed(3, "is the box other, not there");
    assert_eq!(far.tree("here"), []);
    // nor where there is no ltr that could say so, nor at a url that has become another machine's
    let Some(bare) = Far::new(Kit { ltr: false, ..ALL }) else { return };
    bare.commit(&[(b"a", "alpha")]);
    bare.shell("ltr-index-sync ./i-here/s ./i-there/s").well();
    fs::write(bare.at("there/.ltr"), "./s/other\n").unwrap();
    let said = bare.ltr("here", &["pull", "there"]).failed(1, "is the box other");
    assert!(said.err.contains("/a: could not be had from there"), "{}", said.err);
    assert_eq!(bare.tree("here"), []);
    fs::remove_file(bare.at("there/.ltr")).unwrap();
    bare.ltr("here", &["pull", "there"]).failed(1, "No such file or directory");
    assert_eq!(bare.tree("here"), []);
}

#[test]
fn a_host_is_no_option() {
    let Some(far) = Far::new(ALL) else { return };
    for host in ["-oProxyCommand=touch oops:/x", "ssh://-oProxyCommand=touch/x", "a@-oX:/x"] {
        far.ltr("here", &["pull", "--", host]).failed(3, "not a host name");
        far.ltr("here", &["clone", "--", host, "x", "third"]).failed(3, "not a host name");
    }
    far.ltr("here", &["pull", "-oProxyCommand=touch oops:/x"]).failed(2, "usage: ltr pull");
    assert!(!far.at("here/oops").exists());
}

#[test]
fn a_host_that_is_not_known_is_asked_nothing() {
    let Some(mut far) = Far::new(ALL) else { return };
    far.commit(&[(b"a", "alpha")]);
    far.ltr("here", &["sync", "there"]).well();
    far.ssh += " -oStrictHostKeyChecking=ask -oUserKnownHostsFile=/dev/null";
    let start = Instant::now();
    far.ltr("here", &["pull", &far.url()]).failed(3, "Host key verification failed");
    let said = far.ltr("here", &["pull"]);
    assert!(said.err.contains("Host key verification failed"), "{}", said.err);
    assert!(said.err.contains("/a: could not be had from there"), "{}", said.err);
    assert_eq!(said.code, Some(1));
    assert!(start.elapsed() < Duration::from_secs(30), "nothing waits for an answer");
    assert_eq!(far.tree("here"), []);
}

/// Same name, another space: the folder there has become somebody else's box.
#[test]
fn a_box_of_the_same_name_in_another_space_is_another_box() {
    let Some(far) = Far::new(ALL) else { return };
    far.commit(&[(b"a", "alpha")]);
    far.ltr("here", &["sync", "there"]).well();
    fs::remove_file(far.at("there/.ltr")).unwrap();
    far.shell("mkdir i-other && ltr-index-init ./i-other/s && ltr-box-create ./i-other/s there there").well();
    far.ltr("here", &["pull", "there"]).failed(3, "of another space");
    far.ltr("here", &["pull", &far.url()]).failed(3, "of another space");
    far.shell("cd here && ltr-cat -b there a").failed(3, "of another space");
    // nor by a plan that was made before
    let said = far.shell("cd here && ltr-plan there | ltr-fetch").failed(1, "of another space");
    assert!(said.err.contains("/a: could not be had"), "{}", said.err);
    assert_eq!(far.tree("here"), []);
}

/// Whoever reads a fifo waits for who writes to it.
#[test]
fn a_fifo_there_is_not_waited_for() {
    for kit in [ALL, Kit { rsync: false, ..ALL }, Kit { rsync: false, sftp: false, ltr: false, tar: false }] {
        let Some(far) = Far::new(kit) else { return };
        far.commit(&[(b"a", "alpha"), (b"b", "beta")]);
        far.shell("ltr-index-sync ./i-here/s ./i-there/s; rm there/a; mkfifo there/a").well();
        let ran = far.shell("cd here && timeout 60 ltr pull there").failed(1, "/a: could not be had from there");
        assert_eq!(far.tree("here"), [(b"b".to_vec(), b"beta".to_vec())], "{}", ran.err);
        far.shell("cd here && timeout 60 ltr-cat -b there a").failed(3, "/a: could not be had from there");
        far.shell("rm there/.ltr; mkfifo there/.ltr").well();
        let ran = far.shell("cd here && timeout 60 ltr pull there");
        assert!(matches!(ran.code, Some(1 | 3)) && ran.err.contains("not a regular file"), "{:?} {}", ran.code, ran.err);
    }
}

/// What ssh and the programs there say is anybody's.
#[test]
fn no_word_of_another_machine_drives_a_terminal() {
    let Some(mut far) = Far::new(ALL) else { return };
    far.commit(&[(b"a", "alpha")]);
    far.ltr("here", &["sync", "there"]).well();
    let harmless = |far: &Far, command: &str| {
        let said = far.shell(&format!("cd here && SHELL=/bin/sh TERM=xterm script -qec '{command}' /dev/null"));
        // with which a progress line is wiped out
        let out = said.out.replace("\u{1b}[2K", "");
        let bad = out.chars().find(|c| c.is_control() && !"\r\n\t".contains(*c));
        assert_eq!(bad, None, "{command}: {:?}", said.out);
        assert!(said.out.contains("owned"), "{command}: {:?}", said.out);
    };
    let commands = [
        "ltr pull there",
        "ltr pull",
        "ltr sync there",
        "ltr sync",
        "ltr clone far:/x y z",
        "ltr-index-get far:/s",
        "ltr-cat -b there a",
    ];
    let few = ["ltr pull there", "ltr sync", "ltr-index-get far:/s"];
    // ssh itself; a program there that fails; one whose answer is a lie
    let liar = far.dir.path().join("liar");
    for script in [
        "printf \"\\033]0;owned\\007\\033[31m\\302\\233m\\n\" >&2; exit 255",
        "printf \"\\033]0;owned\\007\\033[31m\" >&2; exit 1",
        "printf \"{\\\"type\\\":\\\"\\033]0;owned\\007\\n\"; echo owned >&2",
        "printf \"{\\\"type\\\":\\\"error\\\",\\\"path\\\":\\\"\\\\\\\\u001b]0;owned\\\",\\\"error\\\":\\\"\\302\\233m\\\"}\\n{\\\"type\\\":\\\"end\\\",\\\"count\\\":1,\\\"errors\\\":1}\\n\"; echo owned >&2",
    ] {
        fs::write(&liar, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&liar, fs::Permissions::from_mode(0o755)).unwrap();
        far.ssh = format!("'{}'", liar.display());
        for command in if script.ends_with("255") { &commands[..] } else { &few } {
            harmless(&far, command);
        }
    }
}
