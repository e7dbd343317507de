use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::report::Collected;

const ABC: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

fn seen(path: &str, ftype: &str, size: u64, more: Value) -> Value {
    let mut record = json!({"type":"scan","path":path,"ftype":ftype,"size":size,"mode":"0644",
        "local":{"ino":1,"ctime":1,"ctime_nsec":0,"dev":1}});
    let Value::Object(more) = more else { panic!("an object") };
    record.as_object_mut().unwrap().extend(more);
    record
}

fn suspect(path: &str, size: u64, was: u64, sha1: &str) -> Value {
    let was = json!({"ftype":"file","size":was,"sha1":sha1,"mode":"0644"});
    seen(path, "file", size, json!({"change":"suspect","status":"M","was":was}))
}

fn run(dir: &Path, records: &[Value], lazy: bool) -> (Vec<Value>, Exit, Collected) {
    let mut input = String::new();
    let errors = records.iter().filter(|r| r["type"] == "error").count();
    for record in records.iter().chain([&json!({"type":"end","count":records.len(),"errors":errors})]) {
        input.push_str(&format!("{record}\n"));
    }
    let (mut output, mut report) = (Vec::new(), Collected::default());
    let root = BoxRoot::open(dir).unwrap();
    let spool = Some(tempfile::tempfile().unwrap());
    let exit = hash_stream(&root, input.as_bytes(), &mut output, lazy, spool, &mut report).unwrap();
    let mut lines: Vec<Value> = output.split(|&b| b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    assert_eq!(lines.pop().unwrap()["type"], "end");
    (lines, exit, report)
}

fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(dir.join(name), mode).unwrap();
}

#[test]
fn what_was_seen_is_hashed_and_the_rest_passes() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.txt", "abc");
    write(dir.path(), "m", "abc");
    std::os::unix::fs::symlink("abc", dir.path().join("l")).unwrap();
    let records = [
        json!({"type":"future","x":[1,2]}),
        seen("/a.txt", "file", 99, json!({"colour":"red"})),
        json!({"type":"error","path":"/b","error":"Permission denied"}),
        seen("/d", "dir", 0, json!({})),
        seen("/l", "symlink", 3, json!({"target":"abc"})),
        seen("/m", "file", 3, json!({"change":"modified","status":"M"})),
        json!({"type":"scan","path":"/w","ftype":"file","size":3,"status":"w"}),
    ];
    let (lines, exit, report) = run(dir.path(), &records, false);
    assert_eq!((exit, report.failures.len(), lines.len()), (Exit::Part, 0, records.len()));
    for at in [0, 2, 3, 6] {
        assert_eq!(lines[at], records[at]);
    }
    let a = &lines[1];
    assert_eq!((&a["sha1"], &a["mime"], &a["size"], &a["colour"]), (&json!(ABC), &json!("text/plain"), &json!(3), &json!("red")));
    assert_eq!(a["local"]["racy"], true);
    assert_ne!(a["local"]["ino"], 1);
    assert_eq!((&lines[5]["sha1"], &lines[5]["mime"]), (&json!(ABC), &json!("text/plain")));
    assert_eq!((&lines[4]["sha1"], &lines[4]["mime"]), (&json!(ABC), &Value::Null));
}

#[test]
fn a_suspect_is_judged_by_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        write(dir.path(), name, "abc");
    }
    let mut mode = suspect("/c", 3, 3, ABC);
    mode["was"]["mode"] = json!("0600");
    let records = [suspect("/a", 3, 3, ABC), suspect("/b", 3, 3, &ABC.replace('a', "b")), mode];
    let (lines, exit, _) = run(dir.path(), &records, false);
    let judged: Vec<_> = lines.iter().map(|l| (l["status"].as_str().unwrap(), l["change"].as_str().unwrap())).collect();
    assert_eq!(judged, [("C", "suspect"), ("M", "modified"), ("M", "modified")]);
    assert_eq!(exit, Exit::Done);
}

#[test]
fn what_cannot_be_read_is_an_error_record() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let records = [seen("/d", "file", 3, json!({})), seen("/gone", "file", 3, json!({}))];
    let (lines, exit, report) = run(dir.path(), &records, false);
    assert_eq!(lines[0], json!({"type":"error","path":"/d","error":"not a regular file"}));
    assert_eq!((lines[1]["type"].as_str(), lines[1]["path"].as_str()), (Some("error"), Some("/gone")));
    assert_eq!((exit, report.failures.len()), (Exit::Part, 2));
}

#[test]
fn lazily_only_what_a_hash_decides_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["new", "other", "same", "size"] {
        write(dir.path(), name, "abc");
    }
    write(dir.path(), "other", "abcd");
    let records = [
        json!({"type":"scan","path":"/gone","ftype":"file","size":3,"change":"gone","was":{"ftype":"file","size":3,"sha1":ABC,"mode":"0644"}}),
        seen("/new", "file", 3, json!({"change":"new"})),
        seen("/other", "file", 4, json!({"change":"new"})),
        suspect("/same", 3, 3, ABC),
        suspect("/size", 3, 4, ABC),
    ];
    let (lines, ..) = run(dir.path(), &records, true);
    let hashed: Vec<bool> = lines.iter().map(|l| !l["sha1"].is_null()).collect();
    assert_eq!(hashed, [false, true, false, true, false]);
    assert_eq!((&lines[3]["status"], &lines[4]["change"]), (&json!("C"), &json!("modified")));
}

#[test]
fn order_is_kept_over_many_batches() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..300).map(|i| format!("{i:03}")).collect();
    for name in &names {
        write(dir.path(), name, name);
    }
    let records: Vec<Value> = names.iter().map(|n| seen(&format!("/{n}"), "file", 3, json!({}))).collect();
    let (lines, ..) = run(dir.path(), &records, false);
    for (line, name) in lines.iter().zip(&names) {
        assert_eq!(line["sha1"], json!(super::super::sha1_of(name.as_bytes())), "{name}");
    }
    assert_eq!(lines.len(), 300);
}
