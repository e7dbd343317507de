use super::*;
use crate::lock;

fn remove(w: &World, path: &str, text: &str, more: Value) -> Value {
    let mut action = w.action("remove", path, text, json!({"have":World::have(text),"mincopies":1}));
    let Value::Object(more) = more else { panic!("an object") };
    action.as_object_mut().unwrap().extend(more);
    action
}

#[test]
fn a_copy_goes_when_another_is_verified() {
    let w = World::new();
    w.write("here/a", "hello");
    w.write("there/a", "hello");
    for round in 0..2 {
        let ran = w.run(&[remove(&w, "/a", "hello", json!({}))]).well();
        assert_eq!(ran.told(), ["/a absent", "remove /a"]);
        let seen = ran.lines.iter().find(|l| l["type"] == "verified");
        assert!(seen.is_none_or(|l| l["box"] == "there" && l["sha1"] == hex("hello") && l["ms"].as_u64() > Some(0)));
        assert_eq!(seen.is_some(), round == 0, "a copy that is gone already needs no holder");
        assert_eq!((w.files(), &ran.entry("/a")["purged"]), (vec![], &Value::Null));
    }
    assert_eq!(w.read("there/a").as_deref(), Some("hello"));
}

#[test]
fn the_last_copy_stays() {
    let mut w = World::new();
    w.write("here/a", "hello");
    w.write("there/a", "HELLO");
    w.write("nobox/a", "hello");
    let away = w.at("nobox").to_str().unwrap().to_owned();
    let from = json!([
        {"box":"there","url":w.at("there").to_str().unwrap(),"path":"/a"},
        {"box":"stick","url":away,"path":"/a"},
        {"box":"here","url":w.at("here").to_str().unwrap(),"path":"/a"},
    ]);
    let action = remove(&w, "/a", "hello", json!({"from":from}));
    let ran = w.run(std::slice::from_ref(&action));
    assert_eq!(ran.failure(), "/a: only 0 of 1 copies could be verified (there, stick, here)");
    assert_eq!(w.files(), ["a"]);
    let none = remove(&w, "/a", "hello", json!({"from":[]}));
    assert_eq!(w.run(&[none]).failure(), "/a: only 0 of 1 copies could be verified (no other box)");
    w.trusted = true;
    w.run(&[action]).well();
    assert_eq!(w.files(), [""; 0]);
}

#[test]
fn mincopies_counts_boxes_and_not_urls() {
    let w = World::new();
    for at in ["here/a", "there/a", "third/b"] {
        w.write(at, "hello");
    }
    let there = json!({"box":"there","url":w.at("there").to_str().unwrap(),"path":"/a"});
    let mut again = there.clone();
    again["url"] = format!("file://{}", w.at("there").to_str().unwrap()).into();
    let third = json!({"box":"third","url":w.at("third").to_str().unwrap(),"path":"/b"});
    let ran = w.run(&[remove(&w, "/a", "hello", json!({"mincopies":2,"from":[there,again]}))]);
    assert_eq!(ran.failure(), "/a: only 1 of 2 copies could be verified (there, there)");
    w.run(&[remove(&w, "/a", "hello", json!({"mincopies":2,"from":[there,third]}))]).well();
}

#[test]
fn a_holder_that_is_in_use_does_not_count() {
    let w = World::new();
    w.write("here/a", "hello");
    w.write("there/a", "hello");
    let lock = lock::take(&BoxRoot::open(&w.at("there")).unwrap()).unwrap();
    let ran = w.run(&[remove(&w, "/a", "hello", json!({}))]);
    assert_eq!(ran.failure(), "/a: only 0 of 1 copies could be verified (there)");
    drop(lock);
    w.run(&[remove(&w, "/a", "hello", json!({}))]).well();
}

#[test]
fn an_edit_is_left_whatever_the_plan_says() {
    let w = World::new();
    w.write("here/a", "edited");
    let ran = w.run(&[remove(&w, "/a", "hello!", json!({"purged":true,"from":[]}))]).well();
    assert_eq!(ran.report.notices, ["/a: modified since the last commit: left"]);
    assert_eq!((ran.told().len(), w.files()), (0, vec!["a".to_owned()]));
}

#[test]
fn a_purge_takes_folders_the_deepest_first_and_leaves_what_is_not_empty() {
    let w = World::new();
    w.write("here/d/e/a", "hello");
    w.write("here/k/x", "mine");
    let folder = |path: &str| json!({"type":"action","action":"remove","box":"here","path":path,"ftype":"dir","version":{"1f2e3d4c":4},"purged":true});
    let file = remove(&w, "/d/e/a", "hello", json!({"purged":true,"from":[]}));
    let ran = w.run(&[folder("/d"), folder("/d/e"), file, folder("/k")]).well();
    assert_eq!(ran.report.notices, ["/k: not empty: left"]);
    assert_eq!(ran.told()[..2], ["/d/e/a absent", "remove /d/e/a"]);
    assert_eq!(ran.entry("/d")["purged"], true);
    assert!(!w.at("here/d").exists());
    assert_eq!(w.files(), ["k/x"]);
}

#[test]
fn most_of_a_box_goes_only_when_told_to() {
    let mut w = World::new();
    let paths: Vec<String> = (10..31).map(|i| format!("/{i}")).collect();
    for path in &paths {
        w.write(&format!("here{path}"), path);
    }
    let plan: Vec<_> = paths.iter().map(|p| remove(&w, p, p, json!({"purged":true,"from":[]}))).collect();
    w.total_files = 41;
    let error = w.run(&plan).exit.unwrap_err();
    assert_eq!(error, "would remove 21 of 41 files, 21 of them last copies: nothing done; `--gone-ok` does it");
    let mut with_holders = plan.clone();
    with_holders[0]["from"] = w.action("fetch", "/10", "/10", json!({}))["from"].clone();
    assert!(w.run(&with_holders).exit.unwrap_err().contains("20 of them last copies"), "a purge may leave others");
    assert_eq!(w.check(&plan), Err(error));
    assert_eq!(w.files().len(), 21);
    w.gone_ok = true;
    assert_eq!(w.check(&plan), Ok(Exit::Done));
    assert_eq!(w.files().len(), 21);
    w.run(&plan).well();
    assert_eq!(w.files(), [""; 0]);
}

#[test]
fn questions_are_answered() {
    let w = World::new();
    w.write("there/a", "hello");
    let root = BoxRoot::open(&w.at("there")).unwrap();
    let ask = |path: &str, text: &str| json!({"type":"verify","path":path,"size":text.len(),"sha1":hex(text)});
    let input = format!("{}\n{}\n{}\n", ask("/a", "hello"), ask("/a", "HELLO"), ask("/b", "hello"));
    let mut output = Vec::new();
    verify_stream(&root, input.as_bytes(), &mut output).unwrap();
    let answers: Vec<Value> = output.split(|&b| b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    assert_eq!(answers.iter().map(|a| a["ok"].as_bool()).collect::<Vec<_>>(), [Some(true), Some(false), Some(false), None]);
}
