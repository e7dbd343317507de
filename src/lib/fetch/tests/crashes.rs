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
fn what_no_pull_will_ask_for_goes() {
    let left = |w: &World| {
        let mut files = w.files();
        files.retain(|name| name.starts_with(".ltr-tmp/"));
        files
    };
    let mut w = World::new();
    let begun = hex("of another time");
    w.awaited = true;
    staged(&w, &begun, "of anoth");
    staged(&w, "rsync-b-0/dir/a", "be");
    staged(&w, &format!("{begun}+3"), "of a");
    staged(&w, "sftp-b-0.list", "-get -a x y");
    w.run(&[]).well();
    assert_eq!(left(&w), [format!(".ltr-tmp/{begun}"), ".ltr-tmp/rsync-b-0/dir/a".to_owned()]);
    w.awaited = false;
    w.write("there/a", "hello");
    w.run(&[w.action("fetch", "/a", "hello", json!({}))]).well();
    assert!(!w.at("here/.ltr-tmp").exists(), "{:?}", left(&w));

    // content that came by another way than what was begun of it; and one that did not come yet
    staged(&w, &hex("twin"), "tw");
    w.write("here/old", "twin");
    let moved = w.action("move", "/new", "twin", json!({"source":"/old"}));
    staged(&w, &hex("later"), "la");
    let ran = w.run(&[moved.clone(), w.action("fetch", "/later", "later", json!({}))]);
    assert_eq!(ran.report.failures.len(), 1);
    w.run(&[moved]).well();
    assert!(!w.at("here/.ltr-tmp").exists(), "{:?}", left(&w));
}

#[test]
fn what_was_set_aside_and_came_otherwise_is_no_conflict() {
    // of two files that change names: one is there, and what was set aside for the other is here twice
    let w = World::new();
    w.write("here/one", "two");
    staged(&w, &format!("d-{}", hex("one")), "one");
    noted(&w, &[(&format!("d-{}", hex("one")), "/one")]);
    staged(&w, &hex("one"), "one");
    let ran = w.run(&[w.action("fetch", "/two", "one", json!({"from":[]}))]).well();
    assert_eq!((w.files(), ran.report.notices.as_slice()), (vec!["one".to_owned(), "two".to_owned()], &[][..]));
}

#[test]
fn a_copy_that_failed_is_not_left() {
    let w = World::new();
    w.write("there/a", "hello");
    staged(&w, &hex("hello"), "hello");
    FAULTS.set(1);
    let steps = ["/a", "/b"].map(|path| w.action("fetch", path, "hello", from_a(&w)));
    let ran = w.run(&steps).well();
    FAULTS.set(0);
    assert_eq!((w.files(), w.at("here/.ltr-tmp").exists()), (vec!["a".to_owned(), "b".to_owned()], false));
    let staged = format!(".ltr-tmp/{}: Input/output error", hex("hello"));
    assert!(ran.report.notices.is_empty() || ran.report.notices == [staged], "{:?}", ran.report.notices);
}

fn from_a(w: &World) -> Value {
    json!({"from":[{"box":"there","url":w.at("there").to_str().unwrap(),"path":"/a"}]})
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

/// Says where what is staged came from, as a run does before it takes it out.
fn noted(w: &World, names: &[(&str, &str)]) {
    let lines: String = names.iter().map(|(name, path)| format!("\n{}\n", json!([name, path]))).collect();
    staged(w, "paths", &format!("{lines}\n[\"x-cut short"));
}

/// What is told of the content `text`: where it is now.
fn entry_of(ran: &Ran, text: &str) -> String {
    let entry = ran.lines.iter().find(|l| l["type"] == "entry" && l["present"] == true && l["sha1"] == hex(text));
    entry.unwrap()["path"].as_str().unwrap().to_owned()
}

#[test]
fn a_removal_in_the_middle() {
    let w = World::new();
    staged(&w, &format!("r-{}-1", hex("hello")), "hello");
    staged(&w, &format!("r-{}-2", hex("hello")), "an edit");
    let action = w.action("remove", "/a", "hello", json!({"have":World::have("hello"),"purged":true}));
    let ran = w.run(&[action]);
    assert_eq!(ran.told(), ["/a absent", "remove /a"]);
    let left = format!(".ltr-tmp/r-{}-2", hex("hello"));
    assert_eq!(w.files(), [".ltr-tmp/paths".to_owned(), left.clone()], "what nobody can explain stays");
    assert!(ran.failure().starts_with(&format!("{left}: left by an interrupted run")), "{}", ran.failure());
    assert!(w.run(&[]).failure().contains("of unknown origin"), "and is told until somebody has looked");
}

#[test]
fn a_removal_in_the_middle_asks_the_holders_again() {
    for is_noted in [true, false] {
        let w = World::new();
        let slot = format!("r-{}-1", hex("hello"));
        staged(&w, &slot, "hello");
        if is_noted {
            noted(&w, &[(&slot, "/a")]);
        }
        let action = w.action("remove", "/a", "hello", json!({"have":World::have("hello"),"mincopies":1}));
        // meanwhile the other box has dropped its copy
        let ran = w.run(std::slice::from_ref(&action));
        assert_eq!(ran.failure(), "/a: only 0 of 1 copies could be verified (there)");
        assert_eq!((w.read("here/a").as_deref(), w.files()), (Some("hello"), vec!["a".to_owned()]));
        w.write("there/a", "hello");
        w.run(&[action]).well();
        assert_eq!(w.files(), [""; 0]);
    }
}

#[test]
fn a_removal_in_the_middle_that_nobody_asks_for_any_more() {
    let w = World::new();
    let slot = format!("r-{}-7", hex("hello"));
    staged(&w, &slot, "hello");
    noted(&w, &[(&slot, "/other"), (&slot, "/a")]);
    let ran = w.run(&[]).well();
    assert_eq!((w.read("here/a").as_deref(), w.files()), (Some("hello"), vec!["a".to_owned()]));
    assert_eq!(ran.report.notices, ["/a: put back after an interrupted run"]);
    // its place is taken: by other content, and by the same
    for there in ["new", "hello"] {
        let w = World::new();
        staged(&w, &slot, "hello");
        noted(&w, &[(&slot, "/a")]);
        w.write("here/a", there);
        let ran = w.run(&[]).well();
        assert_eq!(w.read("here/a").as_deref(), Some(there));
        if there == "new" {
            assert_eq!(w.read(&format!("here{}", entry_of(&ran, "hello"))).as_deref(), Some("hello"));
        }
        assert_eq!(w.files().len(), 1 + usize::from(there == "new"), "{:?}", w.files());
    }
    // its folder is gone
    let w = World::new();
    staged(&w, &slot, "hello");
    noted(&w, &[(&slot, "/d/a")]);
    assert!(w.run(&[]).failure().contains("was /d/a"));
    fs::create_dir(w.at("here/d")).unwrap();
    w.run(&[]).well();
    assert_eq!(w.files(), ["d/a"]);
}

#[test]
fn a_path_that_leads_out_of_the_box_is_not_followed() {
    let w = World::new();
    let slot = format!("r-{}-1", hex("hello"));
    staged(&w, &slot, "hello");
    noted(&w, &[(&slot, "/../a"), (&slot, "/.ltr-tmp/x"), (&slot, "/")]);
    assert!(w.run(&[]).failure().contains("of unknown origin"));
    assert_eq!((w.read("here/.ltr-tmp/x"), w.at("a").exists()), (None, false));
}

#[test]
fn a_file_that_was_to_become_a_folder() {
    let to_dir = |w: &World, more: Value| {
        let mut action = json!({"type":"action","action":"replace","box":"here","path":"/a","ftype":"dir","mode":"0755","mtime":OLD,
            "version":{"1f2e3d4c":4},"have":World::have("old")});
        action.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        w.run(&[action])
    };
    // killed before the folder was made, and after
    for made in [false, true] {
        for (text, more, kept) in [
            ("an edit", json!({}), true),
            ("old", json!({"action":"conflict","keep":"/a.mine"}), true),
            ("old", json!({}), false),
        ] {
            let w = World::new();
            let slot = format!("k-{}-1", hex(text));
            staged(&w, &slot, text);
            noted(&w, &[(&slot, "/a")]);
            if made {
                fs::create_dir(w.at("here/a")).unwrap();
            }
            let ran = to_dir(&w, more).well();
            assert!(w.at("here/a").is_dir());
            assert_eq!(w.files().len(), usize::from(kept), "{made} {text}: {:?}", w.files());
            if kept {
                let path = entry_of(&ran, text);
                assert_eq!(w.read(&format!("here{path}")).as_deref(), Some(text), "{made}");
                assert!(text != "old" || path == "/a.mine");
            }
        }
    }
}

#[test]
fn what_was_displaced_is_told_by_its_own_content() {
    for is_noted in [true, false] {
        let w = World::new();
        // D gave way to W, and then the other box changed W to W2
        w.write("here/a", "W");
        w.write("there/a", "W2");
        let slot = format!("x-{}-1", hex("W"));
        staged(&w, &slot, "D");
        if is_noted {
            noted(&w, &[(&slot, "/a")]);
        }
        let ran = w.run(&[w.action("conflict", "/a", "W2", json!({"have":World::have("D"),"keep":"/a.mine"}))]).well();
        assert_eq!((w.read("here/a").as_deref(), w.read("here/a.mine").as_deref()), (Some("W2"), Some("D")));
        assert_eq!(entry_of(&ran, "D"), "/a.mine");
        assert_eq!(w.read(&format!("here{}", entry_of(&ran, "W"))).as_deref(), Some("W"));
        assert!(!w.at("here/.ltr-tmp").exists());
    }
}

#[test]
fn what_was_displaced_and_no_step_asks_for_is_kept() {
    let slot = format!("x-{}-1", hex("W"));
    let w = World::new();
    w.write("here/a", "W");
    staged(&w, &slot, "D");
    noted(&w, &[(&slot, "/a")]);
    let ran = w.run(&[]).well();
    let path = entry_of(&ran, "D");
    assert_eq!((w.read(&format!("here{path}")).as_deref(), w.read("here/a").as_deref()), (Some("D"), Some("W")));
    assert!(path.starts_with("/a.conflict-") && ran.report.notices[0].contains(&path), "{:?}", ran.report);
    // an unreadable one as well
    let w = World::new();
    staged(&w, &slot, "D");
    noted(&w, &[(&slot, "/a")]);
    w.write("here/a", "W");
    fs::set_permissions(w.at("here/.ltr-tmp").join(&slot), fs::Permissions::from_mode(0o0)).unwrap();
    entry_of(&w.run(&[]).well(), "D");
    // the step at its path fails: it waits
    let w = World::new();
    w.write("here/a", "W");
    staged(&w, &slot, "D");
    noted(&w, &[(&slot, "/a")]);
    let action = w.action("conflict", "/a", "W2", json!({"have":World::have("D"),"keep":"/a.mine"}));
    w.run(std::slice::from_ref(&action)).failure();
    assert_eq!(w.files(), [".ltr-tmp/paths".to_owned(), format!(".ltr-tmp/{slot}"), "a".to_owned()]);
    w.write("there/a", "W2");
    w.run(&[action]).well();
    assert_eq!(w.read("here/a.mine").as_deref(), Some("D"));
}

#[test]
fn what_was_set_aside_goes_back_or_is_kept() {
    let slot = format!("d-{}", hex("A"));
    for there in [None, Some("BB")] {
        let w = World::new();
        staged(&w, &slot, "A");
        noted(&w, &[(&slot, "/a")]);
        there.into_iter().for_each(|text| w.write("here/a", text));
        let ran = w.run(&[]).well();
        assert_eq!(w.files().len(), 1 + usize::from(there.is_some()));
        let path = if there.is_some() { entry_of(&ran, "A") } else { "/a".to_owned() };
        assert_eq!(w.read(&format!("here{path}")).as_deref(), Some("A"));
    }
    let w = World::new();
    staged(&w, &slot, "A");
    w.run(&[]).failure();
    assert_eq!(w.files(), [format!(".ltr-tmp/{slot}")]);
}

/// A run says where something came from before it takes it out.
#[test]
fn each_slot_has_its_path_before_it_is_filled() {
    let w = World::new();
    w.with_run(|run| {
        let path = SpacePath::from_spelled("/d/a\\xff\n").unwrap_or_else(|_| SpacePath::from_relative(b"d/a\xff\n").unwrap());
        let slot = run.staging.slot("x-", sha1_of(b"W"), &path).unwrap();
        let noted = run.staging.noted().unwrap();
        assert_eq!(noted.get(&String::from_utf8_lossy(slot.name()).into_owned()), Some(&path));
        assert_ne!(run.staging.slot("x-", sha1_of(b"W"), &path).unwrap(), slot, "no name twice");
    });
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
