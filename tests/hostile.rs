//! What comes from an index, a pipe or another box is hostile until checked: a symlink leads nowhere, a
//! damaged stream concludes nothing. The table of evil documents and records is in `tests/evil.rs`.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/evil.rs"]
mod evil;
#[path = "common/shell.rs"]
mod shell;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use evil::{action, entry, scan};
use serde_json::{Value, json};
use shell::Shell;

const END: &str = "{\"type\":\"end\",\"count\":1,\"errors\":0}\n";

fn world() -> Shell {
    let s = Shell::with_files();
    s.write("outside/file", "somebody's only copy");
    s
}

/// Every file, and every document of the index: its own file also remembers who last came to write.
fn everything(s: &Shell) -> BTreeMap<String, String> {
    let mut all = s.snapshot(".");
    all.insert("space".to_owned(), s.run(".", "ltr-index-get", ["space"], "").out);
    all
}

/// Nothing has changed, but that staging has come and gone in the box `a`.
#[track_caller]
fn untouched(s: &Shell, before: &BTreeMap<String, String>) {
    let mut after = everything(s);
    after.insert("a".to_owned(), before["a"].clone());
    assert_eq!(&after, before);
}

#[test]
fn a_folder_that_is_a_symlink_leads_nowhere() {
    let s = world();
    s.write("outside/one", "one").write("outside/deep/two", "two");
    fs::remove_dir_all(s.at("a/sub")).unwrap();
    symlink("../outside", s.at("a/sub")).unwrap();
    let outside = s.snapshot("outside");
    let from = format!(r#","from":[{{"box":"b","url":"{}","path":"/three"}}]"#, s.at("b").display());
    for (program, line) in [
        ("ltr-hash", scan("\"/sub/file\"")),
        ("ltr-fetch", action("fetch", "\"/sub/new\"", &from)),
        ("ltr-fetch", action("replace", "\"/sub/file\"", &from)),
        ("ltr-fetch", action("remove", "\"/sub/file\"", r#","purged":true"#)),
        ("ltr-fetch", action("move", "\"/new\"", r#","source":"/sub/file""#)),
        ("ltr-fetch", action("copy", "\"/new\"", r#","source":"/sub/file""#)),
        ("ltr-fetch", action("touch", "\"/sub/file\"", "")),
    ] {
        let ran = s.run("a", program, [""; 0], format!("{line}\n{END}"));
        assert!(matches!(ran.status, 1 | 3), "{program} {line}: {} {}{}", ran.status, ran.out, ran.err);
        assert_eq!(s.snapshot("outside"), outside);
        assert!(!s.exists("a/new"), "{line}");
    }
    // by the porcelain: the folder is gone, and what it held is not read through the symlink
    let status = s.ltr("a", [""; 0]);
    assert_eq!(status.out, "M  /sub\nD  /sub/deep\nD  /sub/deep/two\nD  /sub/one\n", "{}", status.err);
    s.write("b/sub/one", "edited, and longer");
    s.ltr("b", ["commit"]).ok();
    s.ltr("b", ["rm", "sub/deep/two"]).ok();
    s.ltr("a", ["pull"]);
    s.ltr("a", ["commit"]);
    s.ltr("a", ["pull"]);
    assert_eq!(s.snapshot("outside"), outside);
    assert_eq!(s.read("b/sub/one"), "edited, and longer");
    // and a box elsewhere whose folder is a symlink out of it gives nothing of that
    let s = world();
    s.write("outside/one", "one");
    fs::remove_dir_all(s.at("a/sub")).unwrap();
    symlink("../outside", s.at("a/sub")).unwrap();
    fs::create_dir(s.at("c")).unwrap();
    s.ltr(".", ["create", "space", "c", "c"]).ok();
    s.ltr("c", ["pull", "a"]).fails(1, "/sub/one");
    assert!(!s.exists("c/sub/one"));
}

#[test]
fn damaged_streams_are_refused_by_every_stage() {
    let s = world();
    let before = everything(&s);
    let good = r#"{"type":"future","path":"/x"}"#;
    let long = format!("{{\"type\":\"{}\"}}\n{END}", "a".repeat(10 << 20));
    for (input, naming) in [
        ("", "cut short"),
        ("\n", "line 1"),
        ("not json\n", "line 1"),
        ("[]\n", "line 1"),
        ("{}\n", "line 1"),
        ("{\"type\":7}\n", "line 1"),
        ("\u{feff}{\"type\":\"x\"}\n", "line 1"),
        (&format!("{good}\n"), "cut short"),
        (&format!("{good}\n\n{END}"), "line 2"),
        (&format!("{good}\n{{\"type\":\"sc"), "cut short in line 2"),
        (&format!("{good}\n{{\"type\":\"end\",\"count\":2,\"errors\":0}}\n"), "trailer counts 2"),
        (&format!("{good}\n{{\"type\":\"end\",\"count\":1,\"errors\":1}}\n"), "trailer counts 1"),
        (&format!("{good}\n{{\"type\":\"end\"}}\n"), "line 2"),
        (&format!("{good}\n{{\"type\":\"end\",\"count\":1e99,\"errors\":0}}\n"), "line 2"),
        (END.trim_end(), "cut short in line 1"),
        (&long, "longer than"),
        ("{\"type\":\"error\",\"path\":7,\"error\":\"x\"}\n", "line 1"),
        (&format!("{}\n", "[".repeat(100_000)), "line 1"),
    ] {
        for program in ["ltr-compare", "ltr-hash", "ltr-record", "ltr-index-put", "ltr-fetch", "ltr-fmt"] {
            let args: &[&str] = if program == "ltr-fmt" { &["{path}"] } else { &[] };
            let ran = s.run("a", program, args, input);
            ran.fails(3, naming);
            assert!(!ran.out.contains("\"end\""), "{program} ended the stream {input:.80}");
        }
        untouched(&s, &before);
    }
    // the wrong types, and numbers that no file has
    let fields: [(&str, Value); 12] = [
        ("ftype", json!("door")),
        ("ftype", json!(7)),
        ("size", json!(-1)),
        ("size", json!(1e300)),
        ("size", json!("20")),
        ("mtime", json!("yesterday")),
        ("mtime", json!(9.3e18)),
        ("mtime_nsec", json!(4_294_967_296_u64)),
        ("mode", json!("9999")),
        ("mode", json!(644)),
        ("sha1", json!("xyz")),
        ("path", json!({})),
    ];
    for (key, value) in fields {
        for (program, line) in [
            ("ltr-compare", scan("\"/new\"")),
            ("ltr-hash", scan("\"/new\"")),
            ("ltr-record", scan("\"/new\"")),
            ("ltr-index-put", entry("\"/new\"")),
            ("ltr-fetch", action("fetch", "\"/new\"", "")),
        ] {
            let mut record: Value = serde_json::from_str(&line).unwrap();
            record[key] = value.clone();
            let ran = s.run("a", program, [""; 0], format!("{record}\n{END}"));
            assert!(
                matches!(ran.status, 1 | 3) && ran.err.contains("line 1"),
                "{program} {key} {value}: {} {}{}",
                ran.status,
                ran.out,
                ran.err
            );
        }
        untouched(&s, &before);
    }
}

#[test]
fn what_is_not_known_passes_through() {
    let s = world();
    s.write("a/new", "somebody's only cop!");
    let future = r#"{"type":"future","path":"/../x","deep":{"a":[1,2.5,null]},"big":123456789012345678901234567890}"#;
    for program in ["ltr-compare", "ltr-hash", "ltr-index-put"] {
        let ran = s.run("a", program, [""; 0], format!("{future}\n{END}"));
        assert!(ran.ok().contains(future), "{program}: {}", ran.out);
    }
    let mut record: Value = serde_json::from_str(&scan("\"/new\"")).unwrap();
    record["later"] = json!({"x": [1]});
    let ran = s.run("a", "ltr-hash", [""; 0], format!("{record}\n{END}"));
    assert_eq!(ran.json()[0]["later"], json!({"x": [1]}), "{}", ran.out);
    // a field twice: one of the two, or refused, but never half of each
    let twice = scan("\"/new\"").replacen("\"size\":20", "\"size\":20,\"path\":\"/three\"", 1);
    let ran = s.run("a", "ltr-hash", [""; 0], format!("{twice}\n{END}"));
    ran.fails(3, "line 1");
    // what a newer ltr wrote stays when a document is written again
    s.sh("a", "ltr-index-get --id a:/three | sed 's/\"ftype\"/\"colour\":\"blue\",\"ftype\"/; s/01a2/01a3/' | ltr-index-put --from-elsewhere").ok();
    s.write("a/three", "edited");
    s.ltr("a", ["commit"]).ok();
    assert_eq!(s.ltr("a", ["show", "a:/three"]).json()[0]["colour"], "blue");
}

#[test]
fn a_pipe_cut_anywhere_concludes_nothing() {
    let s = world();
    let whole = s.run("a", "ltr-scan", [""; 0], "").raw;
    for cut in (0..whole.len()).step_by(37).chain([whole.len() - 1]) {
        let ran = s.run("a", "ltr-compare", [""; 0], &whole[..cut]);
        ran.fails(3, "cut short");
        assert!(!ran.out.contains("gone"), "{}", ran.out);
        let ran = s.sh("a", &format!("ltr-scan | head -c {cut} | ltr-compare | ltr-hash | ltr-record | ltr-index-put"));
        assert_eq!(ran.status, 3, "{cut}: {}{}", ran.out, ran.err);
    }
    assert_eq!(s.ltr("a", [""; 0]).ok(), "");
    let plan = s.ltr("b", ["-n", "pull", "--json"]);
    plan.ok();
    s.ltr("a", ["rm", "-r", "sub"]).ok();
    let plan = s.run("b", "ltr-plan", [""; 0], "").raw;
    for cut in (0..plan.len()).step_by(97).chain([plan.len() - 1]) {
        s.run("b", "ltr-fetch", [""; 0], &plan[..cut]).fails(3, "");
        assert!(s.exists("b/sub/one") && s.exists("b/sub/deep/two"));
    }
}

/// The lock of one box is no leave to write to another.
#[test]
fn the_lock_of_another_box_does_not_pass_for_that_of_this_one() {
    let s = world();
    s.write("a/new", "new");
    let busy = s.run(".", "ltr-lock", ["--root", "a", "--", "ltr-lock", "--root", "b", "--", "sh", "-c", "cd a; ltr commit"], "");
    busy.fails(3, "in use");
    let lock = |script: &str| s.run(".", "ltr-lock", ["--root", "b", "--", "sh", "-c", script], "");
    lock("ltr-lock --held --root a").fails(3, "");
    lock("cd b && ltr commit && ltr-lock --held").ok();
    lock("cd a && ltr commit").ok();
}
