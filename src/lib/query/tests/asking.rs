//! What is read.

use proptest::prelude::*;

use super::*;
use crate::report::Collected;
use crate::testing::{index_of, records};

fn listed(scene: &Scene, wish: &List) -> Vec<Value> {
    let mut out = Vec::new();
    list(scene, wish, &mut out, &mut Collected::default()).unwrap();
    records(&out)
}

#[test]
fn a_box_is_listed_as_ls_does() {
    let (_dir, scene) = scene();
    let under = |at: &str| vec![path(at)];
    let b = Some("b.2".to_owned());
    let strange = "/d/z\u{1b}\\xff";
    for (what, wish, paths) in [
        ("the root", List::default(), vec!["/d", "/here", "/purged"]),
        ("a folder", List { paths: under("/d"), ..List::default() }, vec!["/d/both", "/d/empty-a", "/d/only-a", strange]),
        ("a file", List { paths: under("/here"), ..List::default() }, vec!["/here"]),
        ("not held", List { paths: under("/there"), ..List::default() }, vec![]),
        (
            "all below",
            List { recursive: true, ..List::default() },
            vec!["/d", "/d/both", "/d/empty-a", "/d/only-a", strange, "/here", "/purged"],
        ),
        ("another box", List { box_name: b.clone(), ..List::default() }, vec!["/d", "/there"]),
        (
            "below a folder",
            List { box_name: b, paths: under("/d"), recursive: true, ..List::default() },
            vec!["/d/both", "/d/empty-b", "/d/only-b", strange],
        ),
        ("two", List { paths: vec![path("/here"), path("/d/both")], ..List::default() }, vec!["/here", "/d/both"]),
    ] {
        assert_eq!(column(&listed(&scene, &wish), "path"), paths, "{what}");
    }
    let wish = List { box_name: Some("nobody".into()), ..List::default() };
    assert!(list(&scene, &wish, Vec::new(), &mut Collected::default()).is_err());
}

#[test]
fn the_whole_space_has_winners_and_no_purges() {
    let (_dir, scene) = scene();
    let all = listed(&scene, &List { whole: true, ..List::default() });
    let paths = ["/d", "/d/both", "/d/empty-a", "/d/empty-b", "/d/only-a", "/d/only-b", "/d/z\u{1b}\\xff", "/here", "/there"];
    assert_eq!(column(&all, "path"), paths);
    assert_eq!(column(&all, "copies"), ["2", "2", "1", "1", "1", "1", "1", "1", "1"]);
    assert_eq!(column(&all, "flags"), ["c", "c", "c", "", "c", "", "cX", "c", ""]);
    assert_eq!(all[6]["box"], "b.2");
    assert_eq!((&all[6]["name"], &all[6]["sha1"]), (&json!("z\u{1b}\\xff"), &json!(Sha1([6; 20]).to_string())));
    assert_eq!(all[1]["boxes"], json!(["a", "b.2"]));
    assert!(all.iter().all(|r| r["mime"].is_null() && r["type"] == "file"));
    let long = listed(&scene, &List { whole: true, long: true, paths: vec![path("/here")], ..List::default() });
    assert_eq!(column(&long, "mime"), ["text/plain"]);
}

#[test]
fn scarce_files_are_found_by_content() {
    let (_dir, scene) = scene();
    for (condition, paths) in [
        ("<2", vec!["/d/empty-a", "/d/empty-b", "/d/only-a", "/d/only-b", "/d/z\u{1b}\\xff"]),
        ("=1", vec!["/d/empty-a", "/d/empty-b", "/d/only-a", "/d/only-b", "/d/z\u{1b}\\xff"]),
        (">1", vec!["/d/both", "/here", "/there"]),
        (">=2", vec!["/d/both", "/here", "/there"]),
        ("<1", vec![]),
    ] {
        let copies = Some(condition.parse().unwrap());
        assert_eq!(column(&listed(&scene, &List { whole: true, copies, ..List::default() }), "path"), paths, "{condition}");
        let wish = List { recursive: true, copies, ..List::default() };
        let mine = column(&listed(&scene, &wish), "path");
        let expected: Vec<_> = paths.into_iter().filter(|p| !["/d/empty-b", "/d/only-b", "/there"].contains(p)).collect();
        // a purged copy is not one that counts, but it is here
        assert_eq!(mine.into_iter().filter(|p| p != "/purged").collect::<Vec<_>>(), expected, "{condition} in the box");
    }
}

/// Entries of three boxes at few paths with few contents, so that copies, conflicts and purges abound.
fn crowd() -> impl Strategy<Value = Vec<Document>> {
    let at = prop::sample::select(vec!["/d/a", "/d/b", "/d", "/e"]);
    let one =
        (prop::sample::select(vec!["a", "b.2", "gone"]), at, 0u8..3, 1u64..3, 0u8..8).prop_map(|(name, at, tint, edit, kind)| {
            let mut entry = if kind == 7 { folder(name, at) } else { entry(name, at, 1, tint) };
            entry.version = Version::of(u32::from(tint), edit);
            (entry.present, entry.purged) = (kind != 5, (5..7).contains(&kind));
            Document::Entry(entry)
        });
    prop::collection::vec(one, 0..16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_condition_on_copies_chooses_from_what_is_listed(documents in crowd(), than in 0usize..4) {
        let gone = box_doc("gone", json!({"forgotten": true}));
        let (_dir, index) = index_of(&[documents, vec![gone]].concat());
        let scene = Scene { index, located: None, cwd: "/".into() };
        // chooses nothing, but counts by content as the others do
        let all = listed(&scene, &List { whole: true, copies: Some(">=0".parse().unwrap()), ..List::default() });
        let few = listed(&scene, &List { whole: true, copies: Some(format!("<{than}").parse().unwrap()), ..List::default() });
        let many = listed(&scene, &List { whole: true, copies: Some(format!(">={than}").parse().unwrap()), ..List::default() });
        let those = |low: bool| all.iter().filter(|r| (r["copies"].as_u64().unwrap() < than as u64) == low).cloned().collect::<Vec<_>>();
        prop_assert_eq!(few, those(true));
        prop_assert_eq!(many, those(false));
        let files = listed(&scene, &List { whole: true, ..List::default() });
        let files: Vec<_> = files.iter().filter(|r| r["ftype"] != "dir").cloned().collect();
        prop_assert_eq!(column(&files, "path"), column(&all, "path"));
    }
}

#[test]
fn passing_over_what_is_held_often_changes_no_answer() {
    let (_dir, scene) = scene();
    let boxes = scene.index.boxes().unwrap();
    let counting = counting(&boxes);
    for enough in 0..4 {
        let mut groups = scene.index.groups(&SpacePath::root()).only_scarce(enough, &counting);
        let mut scarce = Vec::new();
        while let Some(group) = groups.next().unwrap() {
            scarce.push(group.path);
        }
        let mut groups = scene.index.groups(&SpacePath::root());
        while let Some(group) = groups.next().unwrap() {
            let heads = crate::resolve::Heads::of(&group.rows, |id| counting.contains(&id));
            let winner = heads.winner().filter(|w| !w.purged && w.ftype != Ftype::Dir);
            let few = winner.is_some_and(|w| copies::at_path(&group.rows, w, &counting).len() < enough);
            assert!(!few || scarce.contains(&group.path), "{} {enough}", group.path);
        }
    }
}

#[test]
fn stat_tells_all_of_a_path() {
    let (_dir, scene) = scene();
    let root = scene.located.clone().unwrap().root;
    std::fs::write(root.join("new"), "x").unwrap();
    let paths = ["/d", "/d/both", "/d/only-b", "/d/z\u{1b}\\xff", "/here", "/there", "/purged", "/lost", "/new"];
    let mut out = Vec::new();
    stat(&scene, &paths.map(path), &mut out).unwrap();
    let all = records(&out);
    assert_eq!(column(&all, "path"), paths);
    assert_eq!(column(&all, "flags"), ["cs", "cs", "s", "csX", "c", "", "cp", "", ""]);
    assert_eq!(column(&all, "status"), ["C", "C", "s", "X", "C", "", "p", "L", "N"]);
    let copies = |at: usize| column(all[at]["copies"].as_array().unwrap(), "box");
    let counts: Vec<usize> = (0..all.len()).map(|at| copies(at).len()).collect();
    assert_eq!(counts, [2, 2, 1, 1, 2, 2, 1, 0, 0]);
    assert_eq!((&all[2]["id"], &all[2]["box"], &all[2]["mime"]), (&json!("b.2:/d/only-b"), &json!("b.2"), &json!("text/plain")));
    assert_eq!(all[4]["copies"][0], json!({"box": "a", "path": "/here", "url": "me@here:/a", "present": true}));
    assert_eq!(all[4]["copies"][1], json!({"box": "b.2", "path": "/there", "url": "", "present": true}));
    assert_eq!(
        all[2]["marks"],
        json!([{"box": "a", "path": "/d", "want": "skip"}, {"box": "b.2", "path": "/d/only-b", "want": "want"}])
    );
    assert_eq!((&all[4]["version"], &all[4]["mode"], &all[4]["size"]), (&json!("00000007:3"), &json!("0644"), &json!(4)));
}

#[test]
fn stat_of_the_root_is_the_box() {
    let (_dir, mut scene) = scene();
    scene.index.set_verified("b.2", Sha1([4; 20]), 5000).unwrap();
    let mut out = Vec::new();
    stat(&scene, &[SpacePath::root(), path("/here")], &mut out).unwrap();
    let all = records(&out);
    assert_eq!((&all[0]["box"], &all[0]["flags"], &all[0]["ftype"]), (&json!("a"), &json!("cb"), &json!("dir")));
    assert_eq!(column(all[0]["copies"].as_array().unwrap(), "box"), ["a", "b.2"]);
    assert_eq!(all[1]["copies"][1]["verified"], 5);
}

#[test]
fn boxes_are_counted_in_one_pass() {
    let (_dir, scene) = scene();
    let asked = |names: &[&str], long| {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut out = Vec::new();
        list_boxes(&scene, &names, long, &mut out).map(|_| records(&out))
    };
    let all = asked(&[], true).unwrap();
    assert_eq!(column(&all, "name"), ["a", "b.2", "gone"]);
    assert_eq!(column(&all, "here"), ["true", "false", "false"]);
    assert_eq!(column(&all, "forgotten"), ["false", "false", "true"]);
    assert_eq!(column(&all, "policy"), ["ondemand", "complete", "complete"]);
    assert_eq!(column(&all, "files"), ["6", "5", "1"]);
    assert_eq!(column(&all, "bytes"), ["19", "14", "3"]);
    assert_eq!(column(&all, "last"), ["0", "0", "0"]);
    assert_eq!(column(&all, "commits"), ["2", "9", "2"]);
    assert_eq!(all[1]["reserve"], 5);
    assert_eq!(all[0]["urls"], json!(["me@here:/a", "/b"]));
    let one = asked(&["gone"], false).unwrap();
    assert!(one.len() == 1 && one[0]["files"].is_null());
    assert!(asked(&["nobody"], false).is_err());
}

#[test]
fn boxes_are_compared() {
    let (_dir, mut scene) = scene();
    let mut loose = entry("b.2", "/d/both", 3, 1);
    loose.attrs.mode = crate::record::Mode(0o600);
    crate::index::Index::put(&mut scene.index, &[Document::Entry(loose)], crate::index::Origin::Here).unwrap();
    let compared = |a: &str, b: &str, under: SpacePath| {
        let mut out = Vec::new();
        diff(&scene, [a, b], &under, &mut out).map(|_| records(&out))
    };
    let all = compared("a", "b.2", SpacePath::root()).unwrap();
    let found: Vec<_> = column(&all, "status").into_iter().zip(column(&all, "path")).map(|(s, p)| s + &p).collect();
    let strange = "!/d/z\u{1b}\\xff";
    assert_eq!(
        found,
        ["m/d/both", "</d/empty-a", ">/d/empty-b", "</d/only-a", ">/d/only-b", strange, "</here", "</purged", ">/there"]
    );
    assert_eq!((&all[0]["a"]["mode"], &all[0]["b"]["mode"]), (&json!("0644"), &json!("0600")));
    assert!(all[1]["b"].is_null() && all[1]["a"]["sha1"].is_string());
    assert_eq!(column(&compared("b.2", "a", path("/here")).unwrap(), "status"), [">"]);
    assert!(compared("a", "a", SpacePath::root()).unwrap().is_empty());
    assert!(compared("a", "nobody", SpacePath::root()).is_err());
}

#[test]
fn documents_are_shown_by_any_name() {
    let (_dir, scene) = scene();
    let shown = |object: Option<&str>| {
        let mut out = Vec::new();
        show(&scene, object.map(OsStr::new), &mut out).map(|_| column(&records(&out), "_id"))
    };
    assert_eq!(shown(Some("b.2")).unwrap(), ["b.2"]);
    assert_eq!(shown(Some("mark:a:/d")).unwrap(), ["mark:a:/d"]);
    assert_eq!(shown(Some("a:/here")).unwrap(), ["a:/here"]);
    assert_eq!(shown(Some("/d/only-b")).unwrap(), ["b.2:/d/only-b", "gone:/d/only-b", "mark:b.2:/d/only-b"]);
    assert_eq!(shown(Some("here")).unwrap(), ["a:/here"]);
    for object in [None, Some("space"), Some("nothing"), Some("/nothing"), Some("mark:a:/x")] {
        assert!(shown(object).is_err(), "{object:?}");
    }
}

#[test]
fn a_shell_can_evaluate_where_the_box_is() {
    let (_dir, scene) = scene();
    let mut located = scene.located.clone().unwrap();
    located.root = std::path::PathBuf::from(OsStr::from_bytes(b"/it's $(touch x)\n\xff;"));
    located.path = path("/d/\\xfe `x`");
    let mut out = Vec::new();
    put_shell(&located, &mut out).unwrap();
    out.extend_from_slice(b"printf '%s|' \"$root\" \"$box\" \"$space\" \"$index\" \"$prefix\"");
    let said = std::process::Command::new("sh").arg("-c").arg(OsStr::from_bytes(&out)).output().unwrap().stdout;
    let index = located.index.to_str().unwrap();
    let expected =
        [located.root.as_os_str().as_bytes(), b"|a|", index.as_bytes(), b"|", index.as_bytes(), b"|/d/\xfe `x`|"].concat();
    assert_eq!(said, expected);
    let mut out = Vec::new();
    put_located(&located, &mut out).unwrap();
    assert_eq!(records(&out)[0]["root"], "/it's $(touch x)\n\\xff;");
    assert_eq!(records(&out)[0]["path"], "/d/\\xfe `x`");
}

#[test]
fn scarce_files_come_in_pages() {
    let paths: Vec<String> = (0..2500).map(|i| format!("/d/{i:04}")).collect();
    let mut documents: Vec<_> = paths.iter().map(|p| Document::Entry(entry("a", p, 1, 0))).collect();
    documents.extend(paths.iter().step_by(3).map(|p| Document::Entry(entry("b", p, 1, 0))));
    let (_dir, index) = index_of(&documents);
    let scene = Scene { index, located: None, cwd: "/".into() };
    let found = |condition: &str| {
        let copies = Some(condition.parse().unwrap());
        column(&listed(&scene, &List { whole: true, copies, ..List::default() }), "path")
    };
    assert_eq!(found("<3"), paths);
    let (both, one): (Vec<_>, Vec<_>) = paths.iter().enumerate().partition(|(i, _)| i % 3 == 0);
    assert_eq!(found("<2"), one.into_iter().map(|(_, p)| p.clone()).collect::<Vec<_>>());
    assert_eq!(found("=2"), both.into_iter().map(|(_, p)| p.clone()).collect::<Vec<_>>());
}
