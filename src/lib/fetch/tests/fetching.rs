use std::os::unix::fs::MetadataExt;

use super::super::movers::MANY;
use super::*;

#[test]
fn content_arrives_with_its_attributes_and_is_told() {
    let w = World::new();
    w.write("there/d/a", "hello");
    let mkdir = json!({"type":"action","action":"mkdir","box":"here","path":"/d","ftype":"dir","mode":"0550","mtime":OLD,
        "version":{"1f2e3d4c":1}});
    let ran = w.run(&[mkdir, w.action("fetch", "/d/a", "hello", json!({"extra":1,"commit":99}))]).well();
    assert_eq!(ran.told(), ["mkdir /d", "/d/a present", "fetch /d/a", "/d present"]);
    assert_eq!(ran.lines[2]["type"], "done");
    assert_eq!(ran.lines[2]["extra"], 1);
    assert_eq!((&ran.lines[2]["used"], &ran.lines[2]["via"]), (&json!(0), &Value::Null));
    let entry = ran.entry("/d/a");
    assert_eq!((&entry["commit"], &entry["version"], &entry["mtime"]), (&json!(16), &json!({"1f2e3d4c":3}), &json!(OLD)));
    assert_eq!(entry["local"]["racy"], false);
    let meta = fs::metadata(w.at("here/d/a")).unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec(), meta.ino()),
        (0o640, OLD, 5, entry["local"]["ino"].as_u64().unwrap())
    );
    let folder = fs::metadata(w.at("here/d")).unwrap();
    assert_eq!((folder.mode() & 0o7777, folder.mtime()), (0o550, OLD));
    assert_eq!(w.files(), ["d/a"]);
    assert!(!w.at("here/.ltr-tmp").exists());
    fs::set_permissions(w.at("here/d"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn nothing_is_touched_unless_the_plan_is_whole_and_ours() {
    let w = World::new();
    w.write("there/a", "hello");
    let good = w.action("fetch", "/a", "hello", json!({}));
    let mut foreign = good.clone();
    foreign["box"] = json!("there");
    assert!(w.run(&[good.clone(), foreign]).exit.unwrap_err().contains("an action for the box there"));
    assert!(w.run_text(&format!("{good}\n")).exit.unwrap_err().contains("cut short"));
    assert_eq!(w.files(), [""; 0]);
    let mut done = good.clone();
    done["type"] = json!("done");
    w.run(&[good, done]).well();
}

#[test]
fn a_bad_action_fails_alone() {
    for (field, bad) in [
        ("path", json!("/.ltr")),
        ("path", json!("/d/.LTR/x")),
        ("path", json!("/../a")),
        ("path", json!("/")),
        ("path", Value::Null),
        ("source", json!("/.ltr")),
        ("sha1", Value::Null),
        ("ftype", json!("dir")),
        ("action", json!("explode")),
    ] {
        let w = World::new();
        w.write("there/a", "hello");
        let mut action = w.action("fetch", "/b", "hello", json!({}));
        action[field] = bad.clone();
        let ran = w.run(&[action, w.action("fetch", "/a", "hello", json!({}))]);
        let path = if field == "path" { bad.as_str().unwrap_or("(no path)") } else { "/b" };
        assert!(ran.failure().starts_with(&format!("{path}: not carried out: ")), "{}", ran.failure());
        let told = ran.lines.iter().find(|l| l["type"] == "error").unwrap();
        assert_eq!(told["path"], path);
        assert_eq!(w.files(), ["a"], "{field} {bad}");
    }
}

#[test]
fn a_mode_that_is_refused_is_not_recorded() {
    let w = World::new();
    w.write("there/a", "hello");
    fs::create_dir(w.at("here/d")).unwrap();
    fs::set_permissions(w.at("here/d"), fs::Permissions::from_mode(0o700)).unwrap();
    let mkdir = json!({"type":"action","action":"mkdir","box":"here","path":"/d","ftype":"dir","mode":"0550","mtime":OLD,
        "version":{"1f2e3d4c":1}});
    NO_CHMOD.set(true);
    let ran = w.run(&[w.action("fetch", "/a", "hello", json!({})), mkdir]);
    NO_CHMOD.set(false);
    assert_eq!(ran.exit, Ok(Exit::Part));
    let failures: Vec<String> = ran.report.failures.iter().map(|f| format!("{}: {}", f.0, f.1)).collect();
    assert_eq!(failures, ["/a: may not be given the mode 0640: it has 0600", "/d: may not be given the mode 0550: it has 0700",]);
    assert_eq!((&ran.entry("/a")["mode"], &ran.entry("/d")["mode"]), (&json!("0600"), &json!("0700")));
}

#[test]
fn the_next_source_is_tried_and_a_wrong_box_gets_no_read() {
    let w = World::new();
    w.write("there/a", "HELLO");
    w.write("third/x", "hello");
    w.write("nobox/a", "hello");
    let from = json!([
        {"box":"there","url":w.at("nobox").to_str().unwrap(),"path":"/a"},
        {"box":"there","url":w.at("third").to_str().unwrap(),"path":"/x"},
        {"box":"stick","url":"","path":"/a"},
        {"box":"bad","url":"-oProxyCommand=x:/a","path":"/a"},
        {"box":"there","url":w.at("there").to_str().unwrap(),"path":"/a"},
        {"box":"third","url":w.at("third").to_str().unwrap(),"path":"/x"},
    ]);
    let ran = w.run(&[w.action("fetch", "/a", "hello", json!({"from":from}))]).well();
    assert_eq!(w.read("here/a").as_deref(), Some("hello"));
    let notices = ran.report.notices.join("\n");
    for part in ["no box at", "is the box third", "has no url", "not a host name", "source changed since its last commit"] {
        assert!(notices.contains(part), "{part}: {notices}");
    }
    let failed = w.run(&[w.action("fetch", "/b", "hello", json!({"from":[{"box":"stick","url":"","path":"/a"}]}))]);
    assert_eq!(failed.failure(), "/b: could not be had from stick");
}

#[test]
fn a_source_that_fails_while_it_is_read_is_not_the_last() {
    let w = World::new();
    w.write("there/a", "hello");
    w.write("third/x", "hello");
    let from = json!([
        {"box":"there","url":w.at("there").to_str().unwrap(),"path":"/a"},
        {"box":"third","url":w.at("third").to_str().unwrap(),"path":"/x"},
    ]);
    FAULTS.set(1);
    let ran = w.run(&[w.action("fetch", "/a", "hello", json!({"from":from}))]).well();
    assert_eq!(ran.report.notices, ["/a: in box there: Input/output error"]);
    // its own copy may fail as well
    FAULTS.set(1);
    let ran = w.run(&[w.action("copy", "/b", "hello", json!({"from":from,"source":"/a"}))]).well();
    assert_eq!(ran.report.notices, ["/a: Input/output error"]);
    FAULTS.set(2);
    let ran = w.run(&[w.action("fetch", "/c", "hello", json!({"from":from}))]);
    assert_eq!(ran.failure(), "/c: could not be had from there, third");
}

#[test]
fn only_a_failing_source_is_passed_over() {
    let w = World::new();
    w.write("there/a", "hel");
    let action: Action = serde_json::from_value(w.action("fetch", "/a", "hello", json!({}))).unwrap();
    w.with_run(|run| {
        let mut file = fs::File::open(w.at("there/a")).unwrap();
        let short = run.staging.fill(&action, &mut file).unwrap_err();
        assert!(short.is::<super::super::shelf::SourceFailed>() && short.to_string().contains("ended after 3 of 5"));
        // a small file is read before anything is written
        w.write("there/a", "hello");
        let mut file = fs::File::open(w.at("there/a")).unwrap();
        fs::remove_dir_all(w.at("here/.ltr-tmp")).unwrap();
        let own = run.staging.fill(&action, &mut file).unwrap_err();
        assert!(!own.is::<super::super::shelf::SourceFailed>());
    });
}

#[test]
fn what_is_there_already_is_adopted() {
    let w = World::new();
    w.write("here/a", "hello");
    let ran = w.run(&[w.action("fetch", "/a", "hello", json!({"from":[]}))]).well();
    assert_eq!(ran.told(), ["/a present", "fetch /a"]);
    assert_eq!(fs::metadata(w.at("here/a")).unwrap().mtime(), OLD);
}

#[test]
fn links_are_made_and_checked() {
    let w = World::new();
    let link =
        |target: &str, of: &str| w.action("link", "/l", of, json!({"ftype":"symlink","target":target,"size":of.len(),"from":[]}));
    assert_eq!(w.run(&[link("other", "a/b")]).failure(), "/l: the target is not what its sha1 says");
    w.run(&[link("a/b", "a/b")]).well();
    assert_eq!(fs::read_link(w.at("here/l")).unwrap(), Path::new("a/b"));
    assert_eq!(fs::symlink_metadata(w.at("here/l")).unwrap().mtime(), OLD);
    let again = w.run(&[link("a/b", "a/b")]).well();
    assert_eq!(again.told(), ["/l present", "link /l"]);
    assert_eq!(w.files(), ["l"]);
}

#[test]
fn the_same_content_may_go_to_many_places() {
    let w = World::new();
    w.write("there/a", "hello");
    let from = json!([{"box":"there","url":w.at("there").to_str().unwrap(),"path":"/a"}]);
    let plan: Vec<_> = ["/a", "/b", "/c"].iter().map(|p| w.action("fetch", p, "hello", json!({"from":from}))).collect();
    w.run(&plan).well();
    assert_eq!(w.files(), ["a", "b", "c"]);
}

#[test]
fn what_is_in_the_way_of_a_folder_or_below_a_symlink_is_left() {
    let w = World::new();
    w.write("there/d/a", "hello");
    w.write("outside/a", "theirs");
    w.write("here/d", "a file");
    let fetch = w.action("fetch", "/d/a", "hello", json!({}));
    assert_eq!(w.run(std::slice::from_ref(&fetch)).failure(), "/d/a: a file is in the way of a folder");
    fs::remove_file(w.at("here/d")).unwrap();
    std::os::unix::fs::symlink("../outside", w.at("here/d")).unwrap();
    assert_eq!(w.run(&[fetch]).failure(), "/d/a: a symlink is in the way");
    assert_eq!(w.read("outside/a").as_deref(), Some("theirs"));
    fs::create_dir(w.at("here/e")).unwrap();
    assert_eq!(w.run(&[w.action("fetch", "/e", "hello", json!({}))]).failure(), "/e: a folder is in the way");
}

#[test]
fn a_nested_box_is_its_own_business() {
    let w = World::new();
    w.write("there/d/e/a", "hello");
    w.write("here/d/.ltr", "x/nested");
    w.write("here/d/e/a", "theirs");
    let fetch = w.action("fetch", "/d/e/a", "hello", json!({}));
    assert_eq!(w.run(&[fetch]).failure(), "/d/e/a: /d is another box");
    let purge = w.action("remove", "/d/e/a", "theirs", json!({"have":World::have("theirs"),"purged":true}));
    assert_eq!(w.run(&[purge]).failure(), "/d/e/a: /d is another box");
    assert_eq!(w.read("here/d/e/a").as_deref(), Some("theirs"));
    assert_eq!(w.run(&[w.action("fetch", "/no/a", "hello", json!({}))]).failure(), "/no/a: its folder is not there");
}

#[test]
fn room_is_checked_first() {
    let mut w = World::new();
    w.write("there/a", "hello");
    w.reserve = u64::MAX;
    let error = w.run(&[w.action("fetch", "/a", "hello", json!({}))]).exit.unwrap_err();
    let told = format!("{}: needs 5 bytes, ", w.at("here").display());
    assert!(error.starts_with(&told) && error.contains("(reserve "), "{error}");
    assert_eq!(w.files(), [""; 0]);
}

#[test]
fn touch_sets_mode_and_time_of_what_is_right() {
    let w = World::new();
    w.write("here/a", "hello");
    let touch = w.action("touch", "/a", "hello", json!({"have":World::have("hello")}));
    w.run(std::slice::from_ref(&touch)).well();
    assert_eq!(fs::metadata(w.at("here/a")).unwrap().mode() & 0o7777, 0o640);
    w.write("here/a", "edited");
    let ran = w.run(&[touch]).well();
    assert_eq!(ran.report.notices, ["/a: modified since the last commit: left alone"]);
    assert_eq!(ran.told(), [""; 0]);
}

#[test]
fn of_many_small_files_what_the_first_source_lacks_is_had_from_the_next() {
    let w = World::new();
    let from = |path: &str| {
        json!([
            {"box":"there","url":w.at("there").to_str().unwrap(),"path":path},
            {"box":"third","url":w.at("third").to_str().unwrap(),"path":path},
        ])
    };
    let mut actions = Vec::new();
    for n in 0..MANY + 6 {
        let path = format!("/f{n:02}");
        // two have the same content, and one has none
        let text = match n {
            20 | 21 => "twin".to_owned(),
            22 => String::new(),
            _ => format!("text {n:02}"),
        };
        match n {
            7 => w.write(&format!("third{path}"), &text),
            8 => {
                w.write(&format!("there{path}"), "TEXT 08");
                w.write(&format!("third{path}"), &text);
            }
            9 => w.write(&format!("there{path}"), "TEXT 09"),
            _ => w.write(&format!("there{path}"), &text),
        }
        actions.push(w.action("fetch", &path, &text, json!({"from":from(&path)})));
    }
    let ran = w.run(&actions);
    assert_eq!(ran.failure(), "/f09: could not be had from there, third");
    let notices = ran.report.notices.join("\n");
    for path in ["/f08", "/f09"] {
        assert_eq!(
            notices.matches(&format!("{path}: in box there: source changed since its last commit")).count(),
            1,
            "{notices}"
        );
    }
    assert!(notices.contains("/f07: in box there: No such file"), "{notices}");
    assert_eq!((w.read("here/f20").as_deref(), w.read("here/f21").as_deref()), (Some("twin"), Some("twin")));
    assert_eq!((w.read("here/f22").as_deref(), w.read("here/f08").as_deref()), (Some(""), Some("text 08")));
    assert_eq!(w.files().len(), MANY + 5, "{:?}", w.files());
    let used = |path: &str| ran.lines.iter().find(|l| l["type"] == "done" && l["path"] == path).unwrap()["used"].clone();
    assert_eq!((used("/f06"), used("/f07"), used("/f08")), (json!(0), json!(1), json!(1)));
}
