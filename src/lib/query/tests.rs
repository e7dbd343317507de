//! Questions to small indexes made by hand.

mod asking;
mod telling;

use std::ffi::OsStr;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::record::{Document, Ftype, Sha1, Want};
use crate::testing::{box_doc, boxed, entry, folder, mark, path};
use crate::version::Version;

/// Three boxes, one of them forgotten, with a bit of everything. The box `a` is here.
fn documents() -> Vec<Document> {
    let mut docs = vec![
        box_doc("a", json!({"policy": "ondemand", "urls": ["me@here:/a", "/b"], "uuid": "u"})),
        box_doc("b.2", json!({"policy": "complete", "urls": [], "uuid": "v", "reserve": 5})),
        box_doc("gone", json!({"policy": "complete", "forgotten": true})),
        mark("a", "/d", Want::Skip),
        mark("b.2", "/d/only-b", Want::Want),
    ];
    let mut add = |entry| docs.push(Document::Entry(entry));
    for name in ["a", "b.2"] {
        add(folder(name, "/d"));
        add(entry(name, "/d/both", 2, 1));
        // empty files are alike, and no copies of each other
        let mut empty = entry(name, if name == "a" { "/d/empty-a" } else { "/d/empty-b" }, 2, 9);
        empty.attrs.size = 0;
        add(empty);
    }
    add(entry("a", "/d/only-a", 2, 2));
    add(entry("b.2", "/d/only-b", 2, 3));
    add(entry("gone", "/d/only-b", 2, 3));
    // the same content at two paths
    add(entry("a", "/here", 2, 4));
    add(entry("b.2", "/there", 2, 4));
    for (name, tint, actor) in [("a", 5, 1), ("b.2", 6, 2)] {
        let mut edit = entry(name, "/d/z\u{1b}\\xff", 2, tint);
        edit.version = Version::of(actor, 3);
        add(edit);
    }
    let mut purge = entry("b.2", "/purged", 9, 7);
    (purge.present, purge.purged, purge.version) = (false, true, Version::of(7, 20));
    add(purge);
    add(entry("a", "/purged", 2, 7));
    let mut lost = entry("b.2", "/lost", 2, 8);
    lost.present = false;
    add(lost);
    docs
}

/// The scene in the box `a`.
fn scene() -> (tempfile::TempDir, Scene) {
    let (dir, root) = boxed("a", &documents());
    let scene = Scene::open(&root, None, Access::Write, &nowhere()).unwrap();
    (dir, scene)
}

/// The field `key` of each record, as text.
fn column(records: &[Value], key: &str) -> Vec<String> {
    records.iter().map(|r| r[key].as_str().map_or_else(|| r[key].to_string(), str::to_owned)).collect()
}

/// No space of these tests is in CouchDB.
fn nowhere() -> Places {
    Places::below(Path::new("/nowhere"))
}

#[test]
fn paths_are_known_to_the_index_or_on_disk() {
    let (_dir, scene) = scene();
    let root = scene.located.clone().unwrap().root;
    std::fs::write(root.join("new"), "x").unwrap();
    for (arg, known) in [
        ("d/both", Some("/d/both")),
        ("/d", Some("/d")),
        ("new", Some("/new")),
        ("lost", Some("/lost")),
        (".", Some("/")),
        ("nothing", None),
        ("d/both/x", None),
        (".ltr", None),
        ("..", None),
    ] {
        assert_eq!(scene.known(OsStr::new(arg)).ok().map(|p| p.spelled()).as_deref(), known, "{arg}");
    }
    let message = format!("{:#}", scene.known(OsStr::new("no\u{1b}")).unwrap_err());
    assert_eq!(message, "$'no\\x1B': neither in the space nor on disk");
}

#[test]
fn a_space_is_asked_with_its_own_paths() {
    let (dir, _) = scene();
    let file = dir.path().join("space");
    let scene = Scene::open(Path::new("/"), Some(file.to_str().unwrap()), Access::Read, &nowhere()).unwrap();
    for (arg, known) in [
        ("/d/both", Some("/d/both")),
        ("/d/", Some("/d")),
        ("/", Some("/")),
        ("d", None),
        ("/x", None),
        ("//", Some("/")),
        ("/../d", None),
    ] {
        assert_eq!(scene.known(OsStr::new(arg)).ok().map(|p| p.spelled()).as_deref(), known, "{arg}");
    }
    assert!(scene.chosen(&scene.index.boxes().unwrap(), None).unwrap_err().to_string().contains("-b"));
    for (space, message) in [("host:/x", "no index here"), ("/nowhere/x", "no index here"), ("", "empty")] {
        let error = format!("{:#}", Scene::open(Path::new("/"), Some(space), Access::Read, &nowhere()).unwrap_err());
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn intentions_follow_the_marks_on_the_way() {
    let (_dir, scene) = scene();
    let boxes = scene.index.boxes().unwrap();
    for (name, at, wanted, by) in [
        ("a", "/here", false, None),
        ("a", "/d", false, Some("/d")),
        ("a", "/d/both", false, Some("/d")),
        ("b.2", "/d/only-b", true, Some("/d/only-b")),
        ("b.2", "/d", true, None),
    ] {
        let intent = scene.intent(boxes.by_name(name).unwrap(), &path(at), Ftype::File).unwrap();
        assert_eq!((intent.wanted, intent.mark.map(|m| m.path)), (wanted, by.map(path)), "{name} {at}");
    }
}
