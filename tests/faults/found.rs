//! What trying all points has found, each alone and small.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::{TestBox, World, records};
use crate::scene::place;
use crate::trial::{binaries, need_strace};

/// A box with a file that is gone, and a new one.
fn changed() -> (World, TestBox) {
    let world = World { dir: tempfile::tempdir_in(place()).unwrap() };
    let [me] = world.apart(["me"]);
    me.write("sub/gone", "gone").write("stays", "stays");
    me.commit();
    me.rm("sub/gone").write("sub/new", "new");
    (world, me)
}

/// Runs a program in a box while every one of these calls is refused.
fn refused(me: &TestBox, calls: &str, error: &str, args: &[&str], input: &[u8]) -> (Output, Vec<serde_json::Value>) {
    need_strace();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), input).unwrap();
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", &format!("inject={calls}:error={error}")]);
    command.arg(binaries().join(args[0])).args(&args[1..]).current_dir(&me.root).stdin(file.reopen().unwrap());
    let output = command.output().unwrap();
    let stream = if output.status.code() == Some(3) { Vec::new() } else { records(&output.stdout) };
    (output, stream)
}

#[test]
fn a_file_that_cannot_be_looked_for_is_an_error_and_not_unchanged() {
    let (_world, me) = changed();
    let (output, records) = refused(&me, "openat2", "EIO", &["ltr-scan", "--known"], b"");
    let error = records.iter().find(|r| r["path"] == "/sub/gone").expect("something is said of it");
    assert_eq!((error["type"].as_str(), output.status.code()), (Some("error"), Some(1)), "{error}");
}

#[test]
fn a_system_without_threads_to_spare_is_no_panic() {
    let (_world, me) = changed();
    let (output, _) = refused(&me, "clone,clone3", "EAGAIN", &["ltr-scan", "--known"], b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && said.contains("cannot start a thread"), "{said}");
    let scanned = me.changes(&[], false);
    let (output, records) = refused(&me, "clone,clone3", "EAGAIN", &["ltr-hash"], &scanned);
    let new = records.iter().find(|r| r["path"] == "/sub/new").unwrap();
    assert!(output.status.success() && new["sha1"].is_string(), "{new} {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_lock_that_cannot_be_had_is_not_tried_for_ever() {
    let (world, me) = changed();
    // no answer at all; and the lock taken, but not found by the script that it was taken for
    for fake in ["exit 9", "case $1 in --held) exit 3; esac; while test \"$1\" != --; do shift; done; shift; exec \"$@\""] {
        let folder = world.dir.path().join("fake");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("ltr-lock"), format!("#!/bin/sh\n{fake}\n")).unwrap();
        fs::set_permissions(folder.join("ltr-lock"), fs::Permissions::from_mode(0o755)).unwrap();
        let ltr = Path::new(env!("CARGO_MANIFEST_DIR")).join("porcelain/ltr");
        let path = format!("{}:{}:/usr/bin:/bin", folder.display(), binaries().display());
        let output = Command::new(ltr).arg("commit").current_dir(&me.root).env("PATH", path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(3) && said.contains("lock"), "{said}");
    }
}

#[test]
fn a_script_that_cannot_be_read_whole_does_nothing_and_says_so() {
    let dir = tempfile::tempdir_in(place()).unwrap();
    let at = |name: &str| dir.path().join(name);
    let porcelain = Path::new(env!("CARGO_MANIFEST_DIR")).join("porcelain");
    let scripts: Vec<String> =
        fs::read_dir(&porcelain).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    fs::create_dir_all(at("libexec/ltr")).unwrap();
    fs::create_dir_all(at("bin")).unwrap();
    let script = |name: &str, text: &str| {
        fs::write(at(name), text).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    for program in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin")).unwrap() {
        let name = program.unwrap().file_name().into_string().unwrap();
        script(&format!("bin/{}", name.trim_end_matches(".rs")), &format!("#!/bin/sh\n: >'{}'\n", at("ran").display()));
    }
    let whole = |name: &String| fs::read_to_string(porcelain.join(name)).unwrap();
    scripts.iter().for_each(|name| script(&format!("libexec/ltr/{name}"), &whole(name)));
    let mut tried = 0;
    for name in &scripts {
        let (text, setup) = (whole(name), name == "ltr-sh-setup");
        let lines: Vec<&str> = text.lines().collect();
        // before that line there is nothing that could tell; nor is there after the last
        let first = if setup { 0 } else { 1 + lines.iter().position(|line| line.starts_with(". ")).unwrap() };
        for end in first..lines.len() {
            script(&format!("libexec/ltr/{name}"), &lines[..end].join("\n"));
            let mut command = Command::new(at(&format!("libexec/ltr/{}", if setup { "ltr-status" } else { name })));
            let path = format!("{}:/usr/bin:/bin", at("bin").display());
            let output = command.args(["a", "b"]).current_dir(dir.path()).env("PATH", path).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let told = said.contains("cannot be read whole") || said.contains("all_read");
            assert!(!output.status.success() && told && !at("ran").exists(), "{name}, {end} lines: {:?} {said}", output.status);
            tried += 1;
        }
        script(&format!("libexec/ltr/{name}"), &text);
    }
    assert!(tried > 500, "{tried}");
}
