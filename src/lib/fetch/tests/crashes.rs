//! What a kill can leave in the staging folder: the same plan completes it.

use super::*;

fn staged(w: &World, name: &str, text: &str) {
    w.write(&format!("here/.ltr-tmp/{name}"), text);
}

#[test]
fn a_beginning_is_continued_and_a_wrong_one_thrown_away() {
    for left in ["hel", "hello", "", "HEL", "HELLO", "something longer"] {
        let w = World::new();
        w.write("there/a", "hello");
        staged(&w, &hex("hello"), left);
        w.run(&[w.action("fetch", "/a", "hello", json!({}))]).well();
        assert_eq!((w.read("here/a").as_deref(), w.files()), (Some("hello"), vec!["a".to_owned()]), "{left:?}");
        assert!(!w.at("here/.ltr-tmp").exists());
    }
}

#[test]
fn a_beginning_that_has_another_name_is_not_written_to() {
    let w = World::new();
    w.write("there/a", "hello");
    staged(&w, &hex("hello"), "hel");
    fs::hard_link(w.at("here/.ltr-tmp").join(hex("hello")), w.at("here/mine")).unwrap();
    w.run(&[w.action("fetch", "/a", "hello", json!({}))]).well();
    assert_eq!((w.read("here/mine").as_deref(), w.read("here/a").as_deref()), (Some("hel"), Some("hello")));
}

#[test]
fn what_is_whole_needs_no_source() {
    let w = World::new();
    staged(&w, &hex("hello"), "hello");
    w.run(&[w.action("fetch", "/a", "hello", json!({"from":[]}))]).well();
    assert_eq!(w.files(), ["a"]);
    let w = World::new();
    staged(&w, &hex("new"), "new");
    let ran = w.run(&[w.action("replace", "/a", "new", json!({"have":World::have("old"),"from":[]}))]).well();
    assert_eq!((ran.told().len(), w.read("here/a").as_deref()), (2, Some("new")), "between the steps of a slow exchange");
}

#[test]
fn a_rename_by_links_in_the_middle() {
    let w = World::new();
    staged(&w, &hex("hello"), "hello");
    fs::hard_link(w.at("here/.ltr-tmp").join(hex("hello")), w.at("here/a")).unwrap();
    w.write("here/old", "moved");
    fs::hard_link(w.at("here/old"), w.at("here/new")).unwrap();
    let moved = w.action("move", "/new", "moved", json!({"source":"/old","from":[]}));
    let ran = w.run(&[w.action("fetch", "/a", "hello", json!({})), moved]).well();
    assert_eq!(ran.told(), ["/a present", "fetch /a", "/old absent", "/new present", "move /new"]);
    assert_eq!(w.files(), ["a", "new"]);
}

#[test]
fn a_slow_exchange_in_the_middle() {
    let w = World::new();
    // /a is out, and what comes in for it is not yet there; /c needs what came out
    staged(&w, &format!("x-{}-1", hex("BB")), "BB");
    staged(&w, &format!("x-{}-1-out", hex("BB")), "A");
    let replace = w.action("replace", "/a", "BB", json!({"have":World::have("A"),"from":[]}));
    let moved = w.action("move", "/c", "A", json!({"source":"/a","from":[]}));
    w.run(&[replace, moved]).well();
    assert_eq!((w.read("here/a").as_deref(), w.read("here/c").as_deref()), (Some("BB"), Some("A")));
    assert_eq!(w.files(), ["a", "c"]);
}

#[test]
fn an_exchange_that_was_not_made() {
    let w = World::new();
    w.write("here/a", "old");
    staged(&w, &format!("x-{}-1", hex("new")), "new");
    w.run(&[w.action("replace", "/a", "new", json!({"have":World::have("old"),"from":[]}))]).well();
    assert_eq!((w.read("here/a").as_deref(), w.files()), (Some("new"), vec!["a".to_owned()]));
}

#[test]
fn an_exchange_after_which_nobody_looked() {
    for (left, kept) in [("old", false), ("my edit", true)] {
        let w = World::new();
        w.write("here/a", "new");
        staged(&w, &format!("x-{}-1", hex("new")), left);
        let ran = w.run(&[w.action("replace", "/a", "new", json!({"have":World::have("old"),"from":[]}))]).well();
        assert_eq!(w.files().len(), 1 + usize::from(kept), "{:?}", w.files());
        if kept {
            let entry = ran.lines.iter().find(|l| l["sha1"] == hex("my edit")).unwrap();
            assert_eq!(w.read(&format!("here{}", entry["path"].as_str().unwrap())).as_deref(), Some("my edit"));
        }
    }
}

#[test]
fn a_conflict_whose_loser_waits_for_its_name() {
    let w = World::new();
    w.write("here/a", "theirs");
    staged(&w, &format!("x-{}-1", hex("theirs")), "mine");
    let ran = w.run(&[w.action("conflict", "/a", "theirs", json!({"have":World::have("mine"),"keep":"/a.mine","from":[]}))]);
    assert_eq!(ran.well().told(), ["/a.mine present", "/a present", "conflict /a"]);
    assert_eq!(w.read("here/a.mine").as_deref(), Some("mine"));
}

#[test]
fn a_swap_in_the_middle() {
    let step = |w: &World, from: &str, to: &str, text: &str, have: &str| {
        w.action("move", to, text, json!({"source":from,"have":World::have(have),"from":[]}))
    };
    // after /b was set aside; after the exchange; after /a was set aside; after /a has its new content
    let states: [&[(&str, &str)]; 4] = [
        &[("a", "A"), (".ltr-tmp/d-", "BB")],
        &[("a", "BB"), (".ltr-tmp/x-", "A")],
        &[("a", "BB"), (".ltr-tmp/d-", "A")],
        &[("a", "BB"), ("b", "A")],
    ];
    for (number, state) in states.into_iter().enumerate() {
        let w = World::new();
        for (name, text) in state {
            let name = match *name {
                ".ltr-tmp/d-" => format!(".ltr-tmp/d-{}", hex(text)),
                ".ltr-tmp/x-" => format!(".ltr-tmp/x-{}-1", hex("BB")),
                name => name.to_owned(),
            };
            w.write(&format!("here/{name}"), text);
        }
        w.run(&[step(&w, "/b", "/a", "BB", "A"), step(&w, "/a", "/b", "A", "BB")]).well();
        assert_eq!((w.read("here/a").as_deref(), w.read("here/b").as_deref()), (Some("BB"), Some("A")), "state {number}");
        assert_eq!(w.files(), ["a", "b"], "state {number}");
    }
}

#[test]
fn a_removal_in_the_middle() {
    let w = World::new();
    staged(&w, &format!("r-{}-1", hex("hello")), "hello");
    staged(&w, &format!("r-{}-2", hex("hello")), "an edit");
    let action = w.action("remove", "/a", "hello", json!({"have":World::have("hello"),"purged":true}));
    let ran = w.run(&[action]).well();
    assert_eq!(ran.told(), ["/a absent", "remove /a"]);
    assert_eq!(w.files(), [format!(".ltr-tmp/r-{}-2", hex("hello"))], "what nobody verified stays");
    assert_eq!(ran.report.notices.len(), 1);
}

#[test]
fn what_failed_half_way_stays_for_the_next_time() {
    let w = World::new();
    staged(&w, &hex("hello"), "hel");
    let action = w.action("fetch", "/a", "hello", json!({}));
    w.run(std::slice::from_ref(&action)).failure();
    assert_eq!(w.files(), [format!(".ltr-tmp/{}", hex("hello"))]);
    w.write("there/a", "hello");
    w.run(&[action]).well();
    assert_eq!(w.files(), ["a"]);
}
