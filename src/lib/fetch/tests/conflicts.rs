use super::*;

/// The conflict name of `text`, as World::write leaves it, at `/a`.
fn kept(w: &World, text: &str) -> String {
    let path = SpacePath::from_spelled("/a").unwrap();
    let mtime = fs::metadata(w.at("here/a")).unwrap().modified().unwrap();
    let mtime = mtime.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    names::conflict_name(&path, i64::try_from(mtime).unwrap(), sha1_of(text.as_bytes())).spelled()
}

#[test]
fn an_older_version_is_replaced() {
    let w = World::new();
    w.write("there/a", "new");
    w.write("here/a", "old");
    let ran = w.run(&[w.action("replace", "/a", "new", json!({"have":World::have("old")}))]).well();
    assert_eq!((w.read("here/a").as_deref(), w.files()), (Some("new"), vec!["a".to_owned()]));
    assert_eq!(ran.told(), ["/a present", "replace /a"]);
}

#[test]
fn what_the_index_does_not_know_is_kept() {
    for have in [Value::Null, World::have("old")] {
        let w = World::new();
        w.write("there/a", "new");
        w.write("here/a", "my edit");
        let name = kept(&w, "my edit");
        let verb = if have.is_null() { "fetch" } else { "replace" };
        let ran = w.run(&[w.action(verb, "/a", "new", json!({"have":have}))]).well();
        assert_eq!(w.read("here/a").as_deref(), Some("new"));
        assert_eq!(w.read(&format!("here{name}")).as_deref(), Some("my edit"));
        assert_eq!(ran.told(), [format!("{name} present"), "/a present".to_owned(), format!("{verb} /a")]);
        let entry = ran.entry(&name);
        assert_eq!((&entry["version"], &entry["sha1"]), (&json!({"aaaaaaaa":17}), &json!(hex("my edit"))));
        assert!(ran.report.notices[0].contains("kept as"));
        assert_eq!(w.files().len(), 2);
    }
}

#[test]
fn a_conflict_keeps_both() {
    let w = World::new();
    w.write("there/a", "theirs");
    w.write("here/a", "mine");
    let plan = mine_and_theirs(&w);
    for _ in 0..2 {
        let ran = w.run(&plan).well();
        assert_eq!((w.read("here/a").as_deref(), w.read("here/a.mine").as_deref()), (Some("theirs"), Some("mine")));
        assert_eq!(ran.told(), ["/a.mine present", "/a present", "conflict /a"]);
        assert_eq!(w.files(), ["a", "a.mine"]);
    }
}

#[test]
fn a_name_to_keep_under_may_be_taken() {
    let w = World::new();
    w.write("there/a", "theirs");
    w.write("here/a", "mine");
    w.write("here/a.mine", "something else");
    let plan = mine_and_theirs(&w);
    w.run(&plan).well();
    assert_eq!(w.read("here/a.mine").as_deref(), Some("something else"));
    assert_eq!(w.files().len(), 3);
    let w = World::new();
    w.write("there/a", "theirs");
    w.write("here/a", "mine");
    w.write("here/a.mine", "mine");
    let ran = w.run(&mine_and_theirs(&w)).well();
    assert_eq!((w.files(), ran.told().len()), (vec!["a".to_owned(), "a.mine".to_owned()], 3));
}

fn mine_and_theirs(w: &World) -> [Value; 1] {
    [w.action("conflict", "/a", "theirs", json!({"have":World::have("mine"),"keep":"/a.mine"}))]
}

#[test]
fn what_the_user_deleted_is_left_alone() {
    let w = World::new();
    w.write("there/a", "new");
    let ran = w.run(&[w.action("replace", "/a", "new", json!({"have":World::have("old")}))]).well();
    assert_eq!(ran.report.notices, ["/a: deleted here and not committed: left alone"]);
    assert_eq!((ran.told().len(), w.files()), (0, vec![]));
}

#[test]
fn kinds_may_change() {
    let w = World::new();
    w.write("there/a", "file");
    fs::create_dir(w.at("here/a")).unwrap();
    let have = json!({"ftype":"dir","size":0,"mode":"0755"});
    let to_file = w.action("replace", "/a", "file", json!({"have":have}));
    w.run(std::slice::from_ref(&to_file)).well();
    assert_eq!(w.read("here/a").as_deref(), Some("file"));
    let to_dir = json!({"type":"action","action":"replace","box":"here","path":"/a","ftype":"dir","mode":"0755","mtime":OLD,
        "version":{"1f2e3d4c":4},"have":World::have("file")});
    let ran = w.run(std::slice::from_ref(&to_dir)).well();
    assert_eq!(ran.told(), ["replace /a", "/a present"]);
    assert!(w.at("here/a").is_dir());
    fs::remove_dir(w.at("here/a")).unwrap();
    w.write("here/a", "an edit");
    let name = kept(&w, "an edit");
    assert_eq!(
        w.run(std::slice::from_ref(&to_dir)).well().told(),
        ["replace /a".to_owned(), format!("{name} present"), "/a present".to_owned()]
    );
    assert_eq!(w.read(&format!("here{name}")).as_deref(), Some("an edit"));
    // what the user deleted and did not commit is left alone
    fs::remove_dir(w.at("here/a")).unwrap();
    let ran = w.run(&[to_dir]).well();
    assert_eq!((ran.told().len(), w.at("here/a").exists()), (0, false));
    assert_eq!(ran.report.notices, ["/a: deleted here and not committed: left alone"]);
}

#[test]
fn a_folder_that_the_removes_empty_gives_way() {
    let w = World::new();
    w.write("there/a", "file");
    w.write("here/a/b", "old");
    let have = json!({"ftype":"dir","size":0,"mode":"0755"});
    let plan = [
        w.action("replace", "/a", "file", json!({"have":have})),
        w.action("remove", "/a/b", "old", json!({"have":World::have("old"),"purged":true})),
    ];
    w.run(&plan).well();
    assert_eq!(w.read("here/a").as_deref(), Some("file"));
    let w = World::new();
    w.write("there/a", "file");
    w.write("here/a/b", "edited");
    let ran = w.run(&plan);
    assert_eq!(ran.failure(), "/a: a folder is in the way");
    assert_eq!(w.read("here/a/b").as_deref(), Some("edited"));
}
