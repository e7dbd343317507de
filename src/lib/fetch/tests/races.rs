//! What happens between the last look at a place and the act.

use super::*;
use crate::fetch::examine::Seen;

/// Stages "new" for `/a`, which was seen as "old", lets `meanwhile` happen, and puts it in place.
fn put_after(w: &World, meanwhile: impl FnOnce()) -> Option<Vec<String>> {
    w.write("there/a", "new");
    w.write("here/a", "old");
    let action: Action = serde_json::from_value(w.action("replace", "/a", "new", json!({"have":World::have("old")}))).unwrap();
    w.with_run(|run| {
        let seen = run.examine(&action).unwrap();
        assert!(matches!(seen, Seen::Other(_)));
        let mut file = fs::File::open(w.at("there/a")).unwrap();
        let from = run.staging.fill(&action, &mut file).unwrap().unwrap();
        meanwhile();
        let facts = run.put(&action, &seen, &from, &mut Some(from.clone())).unwrap();
        facts.map(|facts| facts.into_iter().map(|f| f.path.spelled()).collect())
    })
}

#[test]
fn an_edit_after_the_last_look_is_kept() {
    let w = World::new();
    let paths = put_after(&w, || w.write("here/a", "a late edit")).unwrap();
    assert_eq!((paths.len(), w.read("here/a").as_deref()), (2, Some("new")));
    assert_eq!(w.read(&format!("here{}", paths[0])).as_deref(), Some("a late edit"));
}

#[test]
fn an_edit_that_hides_behind_the_same_size_and_time_is_kept() {
    let w = World::new();
    let paths = put_after(&w, || {
        let time = fs::metadata(w.at("here/a")).unwrap().modified().unwrap();
        w.write("here/a", "OLD");
        fs::File::options().write(true).open(w.at("here/a")).unwrap().set_modified(time).unwrap();
    });
    let paths = paths.unwrap();
    assert_eq!(w.read(&format!("here{}", paths[0])).as_deref(), Some("OLD"));
}

#[test]
fn a_file_that_was_saved_anew_is_kept() {
    let w = World::new();
    let paths = put_after(&w, || {
        w.write("here/b", "by an editor");
        fs::rename(w.at("here/b"), w.at("here/a")).unwrap();
    });
    assert_eq!(w.read(&format!("here{}", paths.unwrap()[0])).as_deref(), Some("by an editor"));
}

#[test]
fn what_vanishes_or_becomes_a_folder_is_looked_at_again() {
    let w = World::new();
    assert_eq!(put_after(&w, || fs::remove_file(w.at("here/a")).unwrap()), None);
    assert_eq!(w.files(), [format!(".ltr-tmp/{}", hex("new")), ".ltr-tmp/paths".to_owned()]);
    let w = World::new();
    w.write("there/a", "new");
    w.write("here/a", "old");
    let action: Action = serde_json::from_value(w.action("replace", "/a", "new", json!({"have":World::have("old")}))).unwrap();
    w.with_run(|run| {
        let seen = run.examine(&action).unwrap();
        let mut file = fs::File::open(w.at("there/a")).unwrap();
        let from = run.staging.fill(&action, &mut file).unwrap().unwrap();
        fs::remove_file(w.at("here/a")).unwrap();
        w.write("here/a/inside", "theirs");
        let error = run.put(&action, &seen, &from, &mut Some(from.clone())).err().unwrap();
        assert_eq!(error.to_string(), "something else is in the way");
    });
    assert_eq!(w.read("here/a/inside").as_deref(), Some("theirs"));
}
