//! What is written.

use std::ffi::OsString;
use std::io::BufReader;

use super::*;
use crate::index::Index;
use crate::record::{Extra, Fields, Local};
use crate::testing::{fields_of, records};
use crate::version::Relation;

fn marked(scene: &mut Scene, wish: &MarkPaths, input: Option<&[u8]>) -> anyhow::Result<Vec<Value>> {
    let mut out = Vec::new();
    mark::mark(scene, wish, input.map(BufReader::new), &mut out).map(|_| records(&out))
}

fn wish(want: Want, paths: &[&str]) -> MarkPaths {
    MarkPaths { box_name: None, want, paths: paths.iter().map(OsString::from).collect(), separator: b'\n', dry_run: false }
}

#[test]
fn marks_are_written_for_known_paths() {
    let (_dir, mut scene) = scene();
    let made = marked(&mut scene, &wish(Want::Want, &["d/both", "/there"]), None).unwrap();
    assert_eq!(column(&made, "_id"), ["mark:a:/d/both", "mark:a:/there"]);
    assert_eq!(column(&made, "seen"), ["2", "2"]);
    assert!(made[0]["stamp"].as_str() < made[1]["stamp"].as_str());
    let kept = existing(&scene, "a", "/there").unwrap();
    assert!(kept.want == Want::Want && !kept.alone);
    // one unknown path, and nothing is marked
    assert!(marked(&mut scene, &wish(Want::Skip, &["here", "nothing"]), None).is_err());
    assert!(existing(&scene, "a", "/here").is_none());
    let dry = MarkPaths { dry_run: true, ..wish(Want::Skip, &["here"]) };
    assert_eq!(marked(&mut scene, &dry, None).unwrap().len(), 1);
    assert!(existing(&scene, "a", "/here").is_none());
}

fn existing(scene: &Scene, name: &str, at: &str) -> Option<crate::record::Mark> {
    mark::existing(&scene.index, name, &path(at)).unwrap()
}

#[test]
fn a_mark_that_is_there_can_be_changed_and_keeps_what_it_has() {
    let (_dir, mut scene) = scene();
    let Document::Mark(mut left) = crate::testing::mark("b.2", "/no/more", Want::Skip) else { unreachable!() };
    left.extra = Extra::from_iter([("why".to_owned(), json!("x"))]);
    scene.index.put(&[Document::Mark(left)], crate::index::Origin::Here).unwrap();
    let clear = MarkPaths { box_name: Some("b.2".into()), ..wish(Want::Cleared, &["/no/more"]) };
    let made = marked(&mut scene, &clear, None).unwrap();
    assert_eq!((&made[0]["want"], &made[0]["why"], &made[0]["seen"]), (&json!("cleared"), &json!("x"), &json!(9)));
}

#[test]
fn marks_for_no_box_are_refused() {
    let (_dir, mut scene) = scene();
    for (name, message) in [("nobody", "no box"), ("gone", "forgotten")] {
        let wish = MarkPaths { box_name: Some(name.into()), ..wish(Want::Want, &["here"]) };
        assert!(format!("{:#}", marked(&mut scene, &wish, None).unwrap_err()).contains(message));
    }
}

#[test]
fn paths_come_on_stdin_with_any_bytes() {
    let (_dir, mut scene) = scene();
    let nul = MarkPaths { separator: 0, ..wish(Want::Want, &[]) };
    let made = marked(&mut scene, &nul, Some(b"here\0nothing\x1b\0d/z\x1b\xff")).unwrap();
    assert_eq!(column(&made, "type"), ["error", "mark", "mark"]);
    assert_eq!(column(&made, "path"), ["$'nothing\\x1B'", "/here", "/d/z\u{1b}\\xff"]);
    let lines = marked(&mut scene, &wish(Want::Want, &[]), Some(b"here\nd\n\n")).unwrap();
    assert_eq!(column(&lines, "type"), ["error", "mark", "mark"]);
    let many: String = (0..2500).map(|_| "here\n").collect();
    assert_eq!(marked(&mut scene, &wish(Want::Skip, &[]), Some(many.as_bytes())).unwrap().len(), 2500);
    assert!(marked(&mut scene, &wish(Want::Want, &[]), Some(&[b'a'; 70_000])).is_err());
}

fn assigned(scene: &mut Scene, what: &str, value: &str) -> anyhow::Result<Value> {
    let mut out = Vec::new();
    set(scene, &what.parse()?, value, false, &mut out)?;
    Ok(records(&out).remove(0))
}

#[test]
fn fields_are_set_when_their_values_make_sense() {
    let (_dir, mut scene) = scene();
    let space = Document::Space(fields_of(json!({"uuid": "s", "name": "n"})));
    scene.index.put(&[space], crate::index::Origin::Here).unwrap();
    for (what, value, key, expected) in [
        ("b.2.policy", "skeleton", "policy", json!("skeleton")),
        ("b.2.reserve", "10M", "reserve", json!(10 << 20)),
        ("b.2.reserve", "3k", "reserve", json!(3072)),
        ("b.2.reserve", "0", "reserve", json!(0)),
        ("a.urls", "+ssh://x@y:22/z", "urls", json!(["me@here:/a", "/b", "ssh://x@y:22/z"])),
        ("a.urls", "-/b", "urls", json!(["me@here:/a", "ssh://x@y:22/z"])),
        ("a.urls", "[\"/q\"]", "urls", json!(["/q"])),
        ("a.urls", "/r", "urls", json!(["/r"])),
        ("gone.forgotten", "false", "forgotten", json!(false)),
        ("space.mincopies", "2", "mincopies", json!(2)),
        ("space.name", "new name", "name", json!("new name")),
        ("a.colour", "dark red", "colour", json!("dark red")),
        ("a.limit", "{\"x\": [1]}", "limit", json!({"x": [1]})),
    ] {
        let document = assigned(&mut scene, what, value).unwrap_or_else(|e| panic!("{what} {value}: {e:#}"));
        assert_eq!(document[key], expected, "{what} {value}");
        assert_eq!(document["stamp"], document["stamps"][key]);
        let object = what.rsplit_once('.').unwrap().0;
        let kept: Value = serde_json::from_str(&scene.index.get(object).unwrap().unwrap().canonical()).unwrap();
        assert_eq!(kept, document);
    }
}

#[test]
fn values_and_keys_that_make_no_sense_are_refused() {
    let (_dir, mut scene) = scene();
    let before = scene.index.box_fields("a").unwrap();
    for (what, value) in [
        ("a.policy", "all"),
        ("a.reserve", "-1"),
        ("a.reserve", "1X"),
        ("a.reserve", "9999999999G"),
        ("a.reserve", ""),
        ("a.forgotten", "maybe"),
        ("a.urls", "-oProxyCommand=x:/y"),
        ("a.urls", "+-oProxyCommand=x:/y"),
        ("a.urls", "relative"),
        ("a.urls", "/a\u{1b}b"),
        ("a.urls", "[1]"),
        ("a.urls", "-/not/there"),
        ("a.mincopies", "2"),
        ("a.uuid", "x"),
        ("a.type", "x"),
        ("a._id", "x"),
        ("a._rev", "x"),
        ("a.stamp", "x"),
        ("a.stamps", "{}"),
        ("a.format", "1"),
        // other documents' fields: one with a text for a size could never be read again
        ("a.size", "huge"),
        ("a.path", "/x"),
        ("a.local", "{}"),
        ("a.a b", "x"),
        ("nobody.policy", "complete"),
        ("space.mincopies", "1"),
    ] {
        assert!(assigned(&mut scene, what, value).is_err(), "{what} {value}");
    }
    for text in ["a", ".a", "a.", ""] {
        assert!(text.parse::<Assignment>().is_err(), "{text}");
    }
    assert_eq!(scene.index.box_fields("a").unwrap(), before);
    let mut out = Vec::new();
    set(&mut scene, &"a.policy".parse().unwrap(), "complete", true, &mut out).unwrap();
    assert_eq!(records(&out)[0]["policy"], "complete");
    assert_eq!(scene.index.box_fields("a").unwrap(), before);
    assert_eq!(before.as_ref().map(Fields::policy), Some(Policy::Ondemand));
}

fn purging(scene: &mut Scene, paths: &[&str], recursive: bool) -> anyhow::Result<Vec<Value>> {
    let wish = Purge { paths: paths.iter().map(OsString::from).collect(), recursive, dry_run: false };
    let mut out = Vec::new();
    purge(scene, &wish, &mut out).map(|_| records(&out))
}

#[test]
fn a_purge_is_newer_than_all_and_says_what_is_here() {
    let (_dir, mut scene) = scene();
    let mut mine = entry("a", "/here", 3, 4);
    mine.local = Some(Local { ino: 77, ..Local::default() });
    scene.index.put(&[Document::Entry(mine)], crate::index::Origin::Here).unwrap();
    let all = purging(&mut scene, &["here", "d", "d/both", "/purged", "/lost"], true).unwrap();
    let strange = "/d/z\u{1b}\\xff";
    assert_eq!(column(&all, "path"), ["/d", "/d/both", "/d/empty-a", "/d/empty-b", "/d/only-a", "/d/only-b", strange, "/here"]);
    assert_eq!(column(&all, "present"), ["true", "true", "true", "false", "true", "false", "true", "true"]);
    assert!(all.iter().all(|r| r["box"] == "a" && r["purged"] == true && r["local"]["status"] == "p"));
    // the file's own facts go along, and where there are none they vouch for nothing
    assert_eq!((&all[7]["local"]["ino"], &all[7]["local"]["racy"]), (&json!(77), &json!(false)));
    assert_eq!((&all[1]["local"]["racy"], &all[1]["commit"], &all[3]["commit"]), (&json!(true), &json!(2), &json!(0)));
    let documents: Vec<_> = all.iter().map(|r| Document::from_json(&r.to_string()).unwrap()).collect();
    for document in &documents {
        let Document::Entry(new) = document else { unreachable!() };
        for row in scene.index.group(&new.path).unwrap().rows {
            assert_eq!(row.version.relation(&new.version), Relation::Older, "{}", new.path);
        }
    }
    scene.index.put(&documents, crate::index::Origin::Here).unwrap();
    assert_eq!(scene.index.entry("a", &path("/here")).unwrap().unwrap().local.unwrap().ino, 77);
    assert!(purging(&mut scene, &["here", "d"], true).unwrap().is_empty());
}

#[test]
fn purges_are_as_careful_as_rm() {
    let (_dir, mut scene) = scene();
    for (paths, recursive, message) in [
        (&["d"][..], false, "d: is a folder"),
        (&["."], true, "not the whole space"),
        (&["here", "nothing"], true, "nothing: not in the space"),
    ] {
        assert!(format!("{:#}", purging(&mut scene, paths, recursive).unwrap_err()).contains(message));
    }
    assert_eq!(purging(&mut scene, &["there"], false).unwrap()[0]["present"], false);
}
