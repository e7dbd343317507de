//! Indexes on two machines, which are one: over a real sshd.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "these are tests")]

#[path = "common/sshd.rs"]
mod sshd;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use litter::index::sqlite::{Access, Sqlite};
use litter::index::{Index, Origin, Select};
use litter::record::Document;
use serde_json::{Value, json};
use sshd::{Sshd, path_of};

const GET: &str = env!("CARGO_BIN_EXE_ltr-index-get");
const PUT: &str = env!("CARGO_BIN_EXE_ltr-index-put");
const SYNC: &str = env!("CARGO_BIN_EXE_ltr-index-sync");
const UUID: &str = "11111111-0000-4000-8000-000000000001";

fn index(path: &Path, documents: &[Document]) -> PathBuf {
    Sqlite::create(path).unwrap();
    Sqlite::open(path, Access::Write).unwrap().put(documents, Origin::Here).unwrap();
    path.to_path_buf()
}

fn document(value: Value) -> Document {
    Document::from_json(&value.to_string()).unwrap()
}

fn space(uuid: &str) -> Document {
    document(json!({"_id": "space", "type": "space", "uuid": uuid, "stamp": "000000000001-0000-00000001"}))
}

fn entry(box_name: &str, path: &str, ms: u64) -> Document {
    document(json!({"_id": format!("{box_name}:{path}"), "type": "entry", "box": box_name, "path": path, "ftype": "file",
        "present": true, "sha1": format!("{ms:040x}"), "version": {"00000007": ms},
        "stamp": format!("{ms:012x}-0000-00000001")}))
}

fn all(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut visit = |d: Document| {
        found.push(d.canonical());
        Ok(())
    };
    Sqlite::open(path, Access::Read).unwrap().range(&Select::default(), &mut visit).unwrap();
    found
}

/// Runs a binary with `ssh` as its way to other machines.
fn run(binary: &str, args: &[&str], ssh: &str, input: &[u8]) -> Output {
    let mut command = Command::new(binary);
    command.args(args).env("LTR_SSH", ssh).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn counts(output: &Output) -> Vec<(u64, u64)> {
    assert!(output.status.success(), "{}", stderr(output));
    let records = lines(output);
    let counts = records.iter().filter(|r| r["type"] == "sync");
    counts.map(|r| (r["docs_read"].as_u64().unwrap(), r["docs_written"].as_u64().unwrap())).collect()
}

fn sshd() -> Option<Sshd> {
    let started = Sshd::start(&path_of(GET));
    if started.is_none() {
        eprintln!("no sshd is installed: not tested");
    }
    started
}

#[test]
fn two_machines_end_up_with_the_same_documents() {
    let Some(sshd) = sshd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let many: Vec<Document> = (0..3000).map(|n| entry("x", &format!("/d/{n}"), 2 + n)).collect();
    // a path that a shell would tear apart
    let there = dir.path().join("it's \"$(touch oops)\" `x`\nb; *");
    index(&there, &[&[space(UUID)], &many[..]].concat());
    let here = index(&dir.path().join("here"), &[]);
    let remote = format!("some.host:{}", there.display());
    let sync = |args: &[&str]| run(SYNC, args, &sshd.ssh(), b"");
    let both = [here.to_str().unwrap(), &remote];
    assert_eq!(counts(&sync(&[both[0], both[1], "-n"])), [(3001, 3001), (0, 0)]);
    assert_eq!(all(&here).len(), 0);
    assert_eq!(counts(&sync(&both)), [(3001, 3001), (0, 0)]);
    assert_eq!(counts(&sync(&both)), [(0, 0), (0, 0)]);
    Sqlite::open(&here, Access::Write).unwrap().put(&[entry("y", "/e", 5)], Origin::Here).unwrap();
    assert_eq!(counts(&sync(&["--one-way", &remote, both[0]])), [(0, 0)]);
    assert_eq!(counts(&sync(&["--one-way", "-n", both[0], &remote])), [(1, 1)]);
    assert_eq!(counts(&sync(&[&remote, both[0]])), [(0, 0), (1, 1)]);
    assert_eq!(counts(&sync(&[&remote, both[0]])), [(0, 0), (0, 0)]);
    assert_eq!(all(&here), all(&there));
    Sqlite::open(&here, Access::Write).unwrap().put(&[entry("y", "/f", 6)], Origin::Here).unwrap();
    assert_eq!(counts(&sync(&["--one-way", both[0], &remote])), [(1, 1)]);
    assert_eq!(all(&here), all(&there));
    assert!(!dir.path().join("oops").exists() && !Path::new("oops").exists());

    let got = run(GET, &[&remote, "--id", "y:/e"], &sshd.ssh(), b"");
    let ids: Vec<_> = lines(&got).iter().map(|l| l["_id"].clone()).collect();
    assert_eq!(ids, [json!("space"), json!("y:/e"), Value::Null]);
    let bad = br#"{"_id":"y:/g","type":"entry"}"#;
    let input =
        [entry("y", "/g", 7).canonical().as_bytes(), bad, br#"{"type":"end","count":2,"errors":0}"#, b""].join(&b"\n"[..]);
    let put = run(PUT, &[&remote], &sshd.ssh(), &input);
    assert_eq!(put.status.code(), Some(1));
    assert_eq!(lines(&put)[0], json!({"type": "put", "_id": "y:/g", "outcome": "written", "path": "/g"}));
    assert_eq!(lines(&put)[2]["type"], "end");
    assert!(stderr(&put).contains("ltr-index-put: line 2: "), "{}", stderr(&put));
}

#[test]
fn what_goes_wrong_is_told_and_changes_nothing() {
    let Some(sshd) = sshd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let foreign = UUID.replace('1', "2");
    let there = index(&dir.path().join("there"), &[space(UUID), entry("x", "/a", 2)]);
    let here = index(&dir.path().join("here"), &[space(&foreign), entry("y", "/b", 2)]);
    let (before, local) = ((all(&here), all(&there)), here.to_str().unwrap());
    let remote = format!("h:{}", there.display());
    let refused = |binary: &str, args: &[&str], ssh: &str, message: &str| {
        let output = run(binary, args, ssh, b"");
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{args:?}: {}", stderr(&output));
        assert!(!String::from_utf8_lossy(&output.stdout).contains("\"end\""));
    };
    for args in [&[local, &remote][..], &[&remote, local], &["--one-way", local, &remote], &["--one-way", &remote, local]] {
        refused(SYNC, args, &sshd.ssh(), UUID);
        refused(SYNC, args, &sshd.ssh(), &foreign);
    }
    refused(GET, &["h:/no/such/index"], &sshd.ssh(), "/no/such/index: no index here");
    refused(GET, &["h:/no/such/index"], &sshd.ssh(), "h: ltr-index-get failed there (exit status 3)");
    refused(GET, &["--", "-oProxyCommand=touch oops:/x"], &sshd.ssh(), "not a host name");
    refused(SYNC, &["--", "-oProxyCommand=id:/x", local], &sshd.ssh(), "not a host name");
    refused(SYNC, &[&remote, &remote], &sshd.ssh(), "both elsewhere");
    refused(GET, &[&remote], "ssh -F none -p 1 -oHostName=127.0.0.1", "h does not answer");
    assert_eq!((all(&here), all(&there)), before);
}

#[test]
fn a_machine_without_ltr_or_with_a_talkative_shell_is_named() {
    let Some(sshd) = Sshd::start("/usr/bin:/bin") else { return };
    let output = run(GET, &["h:/x"], &sshd.ssh(), b"");
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("h: no ltr there (ltr-index-get: command not found)"), "{}", stderr(&output));
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("ltr-index-get");
    std::fs::write(&bin, "#!/bin/sh\necho Welcome\necho '{\"type\":\"end\",\"count\":0,\"errors\":0}'\n").unwrap();
    std::fs::set_permissions(&bin, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let talkative = Sshd::start(&format!("{}:/usr/bin:/bin", dir.path().display())).unwrap();
    let output = run(GET, &["h:/x"], &talkative.ssh(), b"");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0));
    assert!(stderr(&output).contains("h: line 1 is not a record; does the login shell"), "{}", stderr(&output));
}

#[test]
fn a_connection_that_is_cut_leaves_what_the_next_sync_completes() {
    let Some(sshd) = sshd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut documents = vec![space(UUID)];
    documents.extend((0..8000).map(|n| entry("x", &format!("/d/{n}"), 2 + n)));
    let there = index(&dir.path().join("there"), &documents);
    let (here, empty) = (index(&dir.path().join("here"), &[]), index(&dir.path().join("empty"), &[]));
    // an ssh whose line is cut after some bytes
    let cut = dir.path().join("cut-ssh");
    std::fs::write(&cut, format!("#!/bin/sh\n{} \"$@\" | head -c 700000\nexit 255\n", sshd.ssh())).unwrap();
    std::fs::set_permissions(&cut, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let remote = format!("h:{}", there.display());
    let output = run(SYNC, &[here.to_str().unwrap(), &remote], cut.to_str().unwrap(), b"");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("h: the connection was lost"), "{}", stderr(&output));
    let records = lines(&output);
    assert_eq!(records[0]["ok"], false);
    let some = all(&here).len();
    assert!(0 < some && some < documents.len(), "{some}");
    assert_eq!(records[0]["docs_written"], some);
    assert_eq!(Sqlite::open(&here, Access::Read).unwrap().pulled().unwrap(), [""; 0]);
    assert_eq!(counts(&run(SYNC, &[here.to_str().unwrap(), &remote], &sshd.ssh(), b""))[0], (8000, 8001 - some as u64));
    assert_eq!(all(&here), all(&there));

    // the same on the way there
    std::fs::write(&cut, format!("#!/bin/sh\nhead -c 700000 | {} \"$@\"\nexit 255\n", sshd.ssh())).unwrap();
    let args = ["--one-way", here.to_str().unwrap(), &format!("h:{}", empty.display())];
    let output = run(SYNC, &args, cut.to_str().unwrap(), b"");
    assert!(!output.status.success());
    assert!(stderr(&output).contains("stream cut short"), "{}", stderr(&output));
    let some = all(&empty).len() as u64;
    assert!(0 < some && some < 8001, "{some}");
    assert_eq!(Sqlite::open(&empty, Access::Read).unwrap().pulled().unwrap(), [""; 0]);
    assert_eq!(counts(&run(SYNC, &args, &sshd.ssh(), b"")), [(8001, 8001 - some)]);
    assert_eq!(counts(&run(SYNC, &args, &sshd.ssh(), b"")), [(0, 0)]);
    assert_eq!(all(&empty), all(&there));
}
