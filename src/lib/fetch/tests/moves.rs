use super::*;

fn moved(w: &World, from: &str, to: &str, text: &str, have: Value) -> Value {
    let more = json!({"source":from,"have":have,"from":[],"source_version":{"1f2e3d4c":9}});
    w.action("move", to, text, more)
}

#[test]
fn a_rename_elsewhere_is_a_rename_here() {
    let w = World::new();
    w.write("here/old", "hello");
    let ino = std::os::unix::fs::MetadataExt::ino(&fs::metadata(w.at("here/old")).unwrap());
    let plan = [moved(&w, "/old", "/new", "hello", Value::Null)];
    let ran = w.run(&plan).well();
    assert_eq!(ran.told(), ["/old absent", "/new present", "move /new"]);
    let old = ran.entry("/old");
    assert_eq!((&old["purged"], &old["moved"], &old["version"]), (&json!(true), &json!("/new"), &json!({"1f2e3d4c":9})));
    assert_eq!(ran.entry("/new")["local"]["ino"], ino);
    assert_eq!(w.run(&plan).well().told(), ran.told(), "a second time it is adopted");
    assert_eq!(w.files(), ["new"]);
}

#[test]
fn an_edited_source_does_not_move() {
    let w = World::new();
    w.write("here/old", "edited");
    let ran = w.run(&[moved(&w, "/old", "/new", "hello!", Value::Null)]);
    assert!(ran.failure().starts_with("/new: "));
    assert_eq!(w.files(), ["old"]);
    w.write("there/new", "hello!");
    let mut action = moved(&w, "/old", "/new", "hello!", Value::Null);
    action["from"] = json!([{"box":"there","url":w.at("there").to_str().unwrap(),"path":"/new"}]);
    let ran = w.run(&[action]).well();
    assert_eq!((ran.told().len(), w.files()), (2, vec!["new".to_owned(), "old".to_owned()]));
}

/// Runs the plan on a box with `before`, and again from every state that a kill can leave behind at a
/// rename: each must come to `after`.
fn comes_to(before: &[(&str, &str)], steps: &[(&str, &str, &str, &str)], after: &[(&str, &str)]) {
    let w = World::new();
    for (path, text) in before {
        w.write(&format!("here{path}"), text);
    }
    let plan: Vec<_> = steps
        .iter()
        .map(|(from, to, text, have)| moved(&w, from, to, text, if have.is_empty() { Value::Null } else { World::have(have) }))
        .collect();
    for turn in 0..2 {
        w.run(&plan).well();
        let files = after.iter().map(|(path, _)| path[1..].to_owned()).collect::<Vec<_>>();
        assert_eq!(w.files(), files, "turn {turn}");
        for (path, text) in after {
            assert_eq!(w.read(&format!("here{path}")).as_deref(), Some(*text), "{path} in turn {turn}");
        }
    }
}

#[test]
fn swaps_cycles_and_chains_go_through_temporary_names() {
    comes_to(&[("/a", "A"), ("/b", "B")], &[("/b", "/a", "B", "A"), ("/a", "/b", "A", "B")], &[("/a", "B"), ("/b", "A")]);
    comes_to(
        &[("/a", "A"), ("/b", "B"), ("/c", "C")],
        &[("/c", "/a", "C", "A"), ("/a", "/b", "A", "B"), ("/b", "/c", "B", "C")],
        &[("/a", "C"), ("/b", "A"), ("/c", "B")],
    );
    comes_to(&[("/a", "A"), ("/b", "B")], &[("/a", "/b", "A", "B"), ("/b", "/c", "B", "")], &[("/b", "A"), ("/c", "B")]);
    comes_to(
        &[("/a", "A"), ("/b", "B"), ("/c", "C")],
        &[("/b", "/a", "B", "A"), ("/c", "/b", "C", "B")],
        &[("/a", "B"), ("/b", "C")],
    );
}

#[test]
fn a_copy_finds_what_was_moved_or_replaced_before_it() {
    let w = World::new();
    w.write("here/m", "hello");
    let copy = w.action("copy", "/z", "hello", json!({"source":"/m","from":[]}));
    w.run(&[moved(&w, "/m", "/n", "hello", Value::Null), copy.clone()]).well();
    assert_eq!(w.files(), ["n", "z"]);
    let w = World::new();
    w.write("here/m", "hello");
    w.write("there/m", "new");
    let copy = w.action("copy", "/z", "hello", json!({"source":"/m","from":[]}));
    let replace = w.action("replace", "/m", "new", json!({"have":World::have("hello")}));
    w.run(&[replace, copy]).well();
    assert_eq!((w.read("here/m").as_deref(), w.read("here/z").as_deref()), (Some("new"), Some("hello")));
    assert_eq!(w.files(), ["m", "z"]);
}

#[test]
fn folders_and_symlinks_move_too() {
    let w = World::new();
    w.write("here/d/f", "hello");
    std::os::unix::fs::symlink("f", w.at("here/l")).unwrap();
    let folder = json!({"type":"action","action":"move","box":"here","path":"/e","ftype":"dir","mode":"0755","mtime":OLD,
        "version":{"1f2e3d4c":4},"source":"/d"});
    let link = w.action("move", "/m", "f", json!({"ftype":"symlink","target":"f","source":"/l","from":[]}));
    let plan = [folder, link];
    for _ in 0..2 {
        let ran = w.run(&plan).well();
        assert_eq!(ran.told(), ["/d absent", "/e present", "move /e", "/l absent", "/m present", "move /m"]);
        assert_eq!(w.files(), ["e/f", "m"]);
    }
}

#[test]
fn what_a_failed_step_would_have_copied_waits_for_the_next_run() {
    let w = World::new();
    w.write("here/a/x", "a folder is in the way");
    w.write("here/b", "BB");
    w.write("there/b", "CCC");
    let a = w.action("replace", "/a", "BB", json!({"have":World::have("A"),"source":"/b","from":[]}));
    let b = w.action("replace", "/b", "CCC", json!({"have":World::have("BB")}));
    let ran = w.run(&[a.clone(), b]);
    assert!(ran.failure().starts_with("/a: "), "{:?}", ran.report);
    assert_eq!(w.read("here/b").as_deref(), Some("CCC"));
    fs::remove_dir_all(w.at("here/a")).unwrap();
    w.write("here/a", "A");
    w.run(&[a]).well();
    assert_eq!(w.read("here/a").as_deref(), Some("BB"), "no other box has it");
}
