//! The binaries around a box's files: that they are wired, exit as they should, and survive a kill.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use litter::create::{Create, create};
use litter::hash::sha1_of;
use litter::index::sqlite::Sqlite;
use litter::report::Collected;
use litter::sync::Options;
use serde_json::{Value, json};

const HASH: &str = env!("CARGO_BIN_EXE_ltr-hash");
const LOCK: &str = env!("CARGO_BIN_EXE_ltr-lock");
const FETCH: &str = env!("CARGO_BIN_EXE_ltr-fetch");
const VERIFY: &str = env!("CARGO_BIN_EXE_ltr-verify");

/// The boxes `here` and `there`.
fn boxes() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    Sqlite::create(&dir.path().join("space")).unwrap();
    for name in ["here", "there"] {
        let (space, box_name) = ("space".to_owned(), name.to_owned());
        let wish = Create {
            space,
            box_name,
            dir: dir.path().join(name),
            mkdir: true,
            dry_run: false,
            policy: None,
            carry: false,
            reattach: false,
            resume: false,
            urls: Vec::new(),
            host: None,
        };
        create(dir.path(), &wish, &Options::below(dir.path()).unwrap(), Vec::new(), &mut Collected::default()).unwrap();
    }
    dir
}

fn stream(records: &[Value]) -> String {
    let end = json!({"type":"end","count":records.len(),"errors":0});
    records.iter().chain([&end]).map(|r| format!("{r}\n")).collect()
}

fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // a command that stops early does not read to the end
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn action(dir: &Path, verb: &str, path: &str, text: &str, have: Option<&str>) -> Value {
    let mut action = json!({"type":"action","action":verb,"box":"here","path":path,"ftype":"file","size":text.len(),
        "mtime":1_295_303_519,"mode":"0644","sha1":sha1_of(text.as_bytes()),"version":{"1f2e3d4c":3},
        "from":[{"box":"there","url":dir.join("there"),"path":path}]});
    if let Some(have) = have {
        let sha1 = sha1_of(have.as_bytes());
        action["have"] = json!({"ftype":"file","size":have.len(),"sha1":sha1,"mode":"0644"});
    }
    action
}

#[test]
fn a_box_is_found_from_below_and_its_files_are_hashed() {
    let dir = boxes();
    fs::create_dir(dir.path().join("here/d")).unwrap();
    fs::write(dir.path().join("here/d/a.txt"), "abc").unwrap();
    let local = json!({"ino":1,"ctime":1,"ctime_nsec":0});
    let scan = |path: &str| json!({"type":"scan","path":path,"ftype":"file","size":3,"local":local});
    let input = stream(&[scan("/d/a.txt"), scan("/gone")]);
    let output = run(Command::new(HASH).current_dir(dir.path().join("here/d")), &input);
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("a9993e364706816aba3e25717850c26c9cd0d89d") && stdout.ends_with("\"count\":2,\"errors\":1}\n"));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("ltr-hash: /gone: "));
    let output = run(Command::new(HASH).args(["--root", "/"]).current_dir("/"), "cut short");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn one_writes_at_a_time_and_a_child_writes_for_its_parent() {
    let dir = boxes();
    let here = dir.path().join("here");
    let plan = stream(&[]);
    let nested = format!("'{FETCH}' && '{LOCK}' '{FETCH}' </dev/null; '{VERIFY}' --box here </dev/null");
    let output = run(Command::new(LOCK).args(["sh", "-c", &nested]).current_dir(&here), &plan);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.contains("is in use")), (Some(0), false), "{stderr}");
    let stranger = format!("env -u LTR_LOCK_FD '{FETCH}' --root '{}'", here.display());
    let output = run(Command::new(LOCK).args(["sh", "-c", &stranger]).current_dir(&here), &plan);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr.contains("is in use by "), "{stderr}");
    let output = run(Command::new(VERIFY).args(["--box", "other"]).current_dir(&here), "");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_kill_at_any_instant_leaves_what_the_same_plan_completes() {
    let dir = boxes();
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    let mut plan = Vec::new();
    for number in 0..60 {
        let (path, new, old) = (format!("/{number:02}"), format!("new {number}").repeat(5000), format!("old {number}"));
        fs::write(there.join(&path[1..]), &new).unwrap();
        if number % 2 == 0 {
            fs::write(here.join(&path[1..]), &old).unwrap();
        }
        let (verb, have) = if number % 2 == 0 { ("replace", Some(old.as_str())) } else { ("fetch", None) };
        plan.push(action(dir.path(), verb, &path, &new, have));
    }
    let plan = stream(&plan);
    let fetch = || {
        let mut command = Command::new(FETCH);
        command.arg("--root").arg(&here);
        command
    };
    for ms in (0..60).step_by(4) {
        let mut child = fetch().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(plan.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().unwrap();
        child.wait().unwrap();
        for number in (0..60).step_by(2) {
            let text = fs::read_to_string(here.join(format!("{number:02}"))).unwrap();
            let whole = text == format!("old {number}") || text == format!("new {number}").repeat(5000);
            assert!(whole, "{number} is neither old nor new after {ms} ms");
        }
    }
    let output = run(&mut fetch(), &plan);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches(r#""type":"done""#).count(), 60);
    let mut names: Vec<_> = fs::read_dir(&here).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 61, "{names:?}");
    for number in 0..60 {
        assert_eq!(fs::read_to_string(here.join(format!("{number:02}"))).unwrap(), format!("new {number}").repeat(5000));
    }
}

#[test]
fn who_moves_files_says_when_nobody_hears_of_it() {
    let dir = boxes();
    fs::write(dir.path().join("there/a"), "hello").unwrap();
    let plan = stream(&[action(dir.path(), "fetch", "/a", "hello", None)]);
    let mut command = Command::new(FETCH);
    command.arg("--root").arg(dir.path().join("here"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(plan.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("nobody reads it any more"), "{stderr}");
    // the same plan tells it to the next reader
    let again = run(Command::new(FETCH).arg("--root").arg(dir.path().join("here")), &plan);
    assert!(String::from_utf8(again.stdout).unwrap().contains("\"done\""));
}
