//! Boxes in temporary folders.

use serde_json::{Value, json};

use super::*;
use crate::index::sqlite::Access;
use crate::ltrbox::{Located, locate};
use crate::report::Collected;
use crate::testing::{entry, records};

/// A folder with the index `space` and the empty folder `box`.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().canonicalize().unwrap();
    init(&base, "space", &Options::below(&base).unwrap(), Vec::new()).unwrap();
    std::fs::create_dir(base.join("box")).unwrap();
    (dir, base)
}

fn wish(name: &str, dir: &str) -> Create {
    Create {
        space: "space".into(),
        box_name: name.into(),
        dir: dir.into(),
        mkdir: false,
        dry_run: false,
        policy: None,
        carry: false,
        reattach: false,
        resume: false,
        urls: vec![],
        host: Some("me@here".into()),
    }
}

fn made(base: &Path, wish: &Create) -> Result<Value> {
    let mut out = Vec::new();
    create(base, wish, &Options::below(base).unwrap(), &mut out, &mut Collected::default()).map(|_| records(&out).remove(0))
}

/// The box at `dir` as a command would find it, allowed to write.
fn usable(dir: &Path) -> Result<(Located, Sqlite)> {
    let located = locate(dir, &Places::below(dir))?;
    let mut index = located.open(Access::Write)?;
    located.own(&mut index)?;
    Ok((located, index))
}

#[test]
fn a_box_is_made_and_can_be_used() {
    let (_dir, base) = place();
    let record = made(&base, &Create { policy: Some(Policy::Ondemand), ..wish("me@here", "box") }).unwrap();
    let space = base.join("space").to_str().unwrap().to_owned();
    let root = base.join("box").to_str().unwrap().to_owned();
    let expected = json!({"type": "created", "box": "me@here", "space": space, "name": "space", "root": root,
        "cookie": format!("{space}/me@here"), "reattached": false});
    assert_eq!(record, expected);
    assert_eq!(std::fs::read_to_string(base.join("box/.ltr")).unwrap(), format!("{space}/me@here\n"));
    assert_eq!(std::fs::read_dir(base.join("box")).unwrap().count(), 1, "nothing is left behind");
    let (located, index) = usable(&base.join("box")).unwrap();
    assert!(!located.carried);
    let fields = index.box_fields("me@here").unwrap().unwrap();
    assert_eq!((fields.policy(), fields.urls()), (Policy::Ondemand, vec![format!("me@here:{root}").as_str()]));
    assert!(fields.text("uuid").is_some());
    let space = index.space().unwrap().unwrap();
    assert_eq!((space.text("name"), space.number("mincopies"), space.number("format")), (Some("space"), Some(1), Some(1)));
    drop(index);
    // a second box is of the same space
    made(&base, &Create { mkdir: true, urls: vec!["/elsewhere".into()], ..wish("b", "new/folder") }).unwrap();
    let (_, index) = usable(&base.join("new/folder")).unwrap();
    assert_eq!(index.space().unwrap().unwrap(), space);
    assert_eq!(index.box_fields("b").unwrap().unwrap().urls(), ["/elsewhere"]);
}

#[test]
fn what_cannot_be_a_box_is_refused_and_left_alone() {
    let (_dir, base) = place();
    made(&base, &wish("a", "box")).unwrap();
    std::fs::create_dir_all(base.join("around/in")).unwrap();
    std::fs::create_dir(base.join("damaged")).unwrap();
    std::fs::write(base.join("damaged/.ltr"), "nonsense\n").unwrap();
    std::fs::write(base.join("file"), "x").unwrap();
    init(&base, "around/in/index", &Options::below(&base).unwrap(), Vec::new()).unwrap();
    let to = |space: &str, wish: Create| Create { space: space.into(), ..wish };
    for (wish, message) in [
        (wish("b", "box"), "already the box"),
        (Create { reattach: true, ..wish("b", "box") }, "already the box"),
        (wish("a", "box"), "--reattach"),
        (wish("a", "around"), "the box a exists already"),
        (Create { reattach: true, ..wish("b", "around") }, "no box b"),
        (wish("-b", "around"), "invalid box name"),
        (wish("space", "around"), "reserved"),
        (wish("b", "nowhere"), "No such file"),
        (wish("b", "file"), "not a folder"),
        (wish("b", "damaged"), "in the way"),
        (to("missing", wish("b", "around")), "ltr init"),
        (to("around/in/index", wish("b", "around")), "--carry"),
        (to("http://127.0.0.1:1/y", wish("b", "around")), "http://127.0.0.1:1/y: does not answer"),
        (to("a\nb", wish("b", "around")), "cookie"),
        (to("", wish("b", "around")), "empty space"),
        (Create { urls: vec!["-x:/y".into()], ..wish("b", "around") }, "host"),
    ] {
        let error = format!("{:#}", made(&base, &wish).unwrap_err());
        assert!(error.contains(message), "{wish:?}: {error}");
        assert!(!base.join("around/.ltr").exists() && !base.join("nowhere").exists());
    }
    let (_, index) = usable(&base.join("box")).unwrap();
    assert!(index.box_fields("b").unwrap().is_none());
}

#[test]
fn a_dry_run_refuses_the_same_and_writes_nothing() {
    let (_dir, base) = place();
    made(&base, &wish("a", "box")).unwrap();
    let dry = |wish: Create| made(&base, &Create { dry_run: true, mkdir: true, ..wish });
    assert_eq!(dry(wish("b", "new/folder")).unwrap()["root"], base.join("new/folder").to_str().unwrap());
    assert_eq!(dry(Create { carry: true, ..wish("b", "new") }).unwrap()["cookie"], "./.ltr-index/space/b");
    for wish in
        [wish("a", "new"), wish("b", "box"), wish("b", "new/../x"), Create { space: "missing".into(), ..wish("b", "new") }]
    {
        assert!(dry(wish.clone()).is_err(), "{wish:?}");
        assert!(made(&base, &Create { mkdir: true, ..wish }).is_err());
    }
    assert!(!base.join("new").exists(), "not even a folder is made for what is refused");
    let index = Sqlite::open(&base.join("space"), Access::Read).unwrap();
    assert!(index.boxes().unwrap().by_name("b").is_none());
}

#[test]
fn a_box_within_a_box_is_a_box() {
    let (_dir, base) = place();
    std::fs::create_dir(base.join("box/inner")).unwrap();
    made(&base, &wish("a", "box")).unwrap();
    made(&base, &wish("b", "box/inner")).unwrap();
    assert_eq!(locate(&base.join("box/inner"), &Places::below(&base)).unwrap().box_name, "b");
}

#[test]
fn a_box_carries_its_index_with_all_that_was_known() {
    let (_dir, base) = place();
    made(&base, &wish("a", "box")).unwrap();
    let (_, mut index) = usable(&base.join("box")).unwrap();
    let known: Vec<_> = (0..5000).map(|i| Document::Entry(entry("a", &format!("/f{i}"), 1, 1))).collect();
    index.put(&known, Origin::Here).unwrap();
    let uuid = index.space().unwrap().unwrap().text("uuid").unwrap().to_owned();
    drop(index);
    let carry = Create { carry: true, mkdir: true, ..wish("stick", "stick") };
    assert_eq!(made(&base, &carry).unwrap()["space"], "./.ltr-index/space");
    assert_eq!(std::fs::read_to_string(base.join("stick/.ltr")).unwrap(), "./.ltr-index/space/stick\n");
    // it is found wherever the stick is put in
    std::fs::rename(base.join("stick"), base.join("elsewhere")).unwrap();
    let (located, index) = usable(&base.join("elsewhere")).unwrap();
    assert!(located.carried && located.index == base.join("elsewhere/.ltr-index/space"));
    assert_eq!(index.space().unwrap().unwrap().text("uuid"), Some(uuid.as_str()));
    assert!(index.knows(&crate::testing::path("/f4999")).unwrap() && !index.is_own("a").unwrap());
    // and a stick may begin a space of its own
    let lonely = Create { space: "lonely".into(), ..Create { carry: true, mkdir: true, ..wish("s", "lonely-stick") } };
    made(&base, &lonely).unwrap();
    usable(&base.join("lonely-stick")).unwrap();
    assert!(!base.join("lonely").exists());
}

#[test]
fn boxes_that_carry_copies_of_an_index_are_of_one_space_which_knows_them() {
    let (_dir, base) = place();
    for name in ["a", "b"] {
        made(&base, &Create { carry: true, mkdir: true, ..wish(name, name) }).unwrap();
    }
    let space = Sqlite::open(&base.join("space"), Access::Read).unwrap();
    let uuid = |index: &Sqlite| index.space().unwrap().unwrap().text("uuid").unwrap().to_owned();
    for name in ["a", "b"] {
        let (_, carried) = usable(&base.join(name)).unwrap();
        assert_eq!(uuid(&carried), uuid(&space));
        // only who carries it writes for it
        let known = space.boxes().unwrap().by_name(name).cloned().unwrap();
        assert!(
            known.fields.is_some_and(|fields| fields.urls().iter().any(|url| url.ends_with(base.join(name).to_str().unwrap())))
        );
        assert!(carried.is_own(name).unwrap() && !space.is_own(name).unwrap());
    }
    // the second knows the first
    assert!(usable(&base.join("b")).unwrap().1.boxes().unwrap().by_name("a").is_some());
}

#[test]
fn a_carried_index_is_not_led_out_of_the_box() {
    let (_dir, base) = place();
    std::fs::create_dir(base.join("victim")).unwrap();
    std::os::unix::fs::symlink("../victim", base.join("box/.ltr-index")).unwrap();
    let error = made(&base, &Create { carry: true, ..wish("a", "box") }).unwrap_err();
    assert!(format!("{error:#}").contains("not a folder"), "{error:#}");
    assert_eq!(std::fs::read_dir(base.join("victim")).unwrap().count(), 0);
}

#[test]
fn a_lost_cookie_is_written_again() {
    let (_dir, base) = place();
    made(&base, &wish("a", "box")).unwrap();
    let (located, mut index) = usable(&base.join("box")).unwrap();
    let before = located.own(&mut index).unwrap();
    index.put(&[Document::Entry(entry("a", "/f", 3, 1))], Origin::Here).unwrap();
    std::fs::remove_file(base.join("box/.ltr")).unwrap();
    drop(index);
    std::fs::rename(base.join("box"), base.join("moved")).unwrap();
    let again = Create { reattach: true, ..wish("a", "moved") };
    assert_eq!(made(&base, &again).unwrap()["reattached"], true);
    // this index knew all that the box had committed, so it need not wait for a sync
    let (located, mut index) = usable(&base.join("moved")).unwrap();
    let after = located.own(&mut index).unwrap();
    assert!(after.actor != before.actor && after.commits == 3);
    let urls = ["moved", "box"].map(|name| format!("me@here:{}", base.join(name).display()));
    assert_eq!(index.box_fields("a").unwrap().unwrap().urls(), urls);
    // again changes nothing
    let fields = index.box_fields("a").unwrap();
    drop(index);
    made(&base, &again).unwrap();
    assert_eq!(usable(&base.join("moved")).unwrap().1.box_fields("a").unwrap(), fields);
}

#[test]
fn a_new_index_waits_for_a_sync() {
    let (_dir, base) = place();
    made(&base, &wish("a", "box")).unwrap();
    let (_, index) = usable(&base.join("box")).unwrap();
    let documents = [index.get("space").unwrap().unwrap(), index.get("a").unwrap().unwrap()];
    drop(index);
    std::fs::remove_file(base.join("space")).unwrap();
    init(&base, "space", &Options::below(&base).unwrap(), Vec::new()).unwrap();
    let mut index = Sqlite::open(&base.join("space"), Access::Write).unwrap();
    index.put(&documents, Origin::Elsewhere).unwrap();
    drop(index);
    made(&base, &Create { reattach: true, ..wish("a", "box") }).unwrap();
    assert!(format!("{:#}", usable(&base.join("box")).unwrap_err()).contains("sync"));
}

#[test]
fn a_forgotten_box_stays_forgotten() {
    let (_dir, base) = place();
    made(&base, &wish("a", "box")).unwrap();
    let (_, mut index) = usable(&base.join("box")).unwrap();
    let mut fields = index.box_fields("a").unwrap().unwrap();
    fields.set("forgotten", true.into(), index.clock().unwrap().tick(SystemTime::now()));
    index.put(&[Document::Box("a".into(), fields)], Origin::Here).unwrap();
    std::fs::remove_file(base.join("box/.ltr")).unwrap();
    let error = made(&base, &Create { reattach: true, ..wish("a", "box") }).unwrap_err();
    assert!(format!("{error:#}").contains("forgotten"));
    assert!(!base.join("box/.ltr").exists());
}

/// The steps of `create` after which it may be killed, by what they leave.
#[test]
fn a_kill_at_any_step_is_made_good() {
    for (step, reattach) in [("index", false), ("documents", false), ("cookie", false), ("documents", true), ("cookie", true)] {
        let (_dir, base) = place();
        let wish = wish("a", "box");
        let mut index = Sqlite::open(&base.join("space"), Access::Write).unwrap();
        if step != "index" {
            write_documents(&mut index, &wish, &base.join("box"), "space").unwrap();
        }
        if step == "cookie" {
            let cookie = format!("{}/a", base.join("space").display());
            write_cookie(&BoxRoot::open(&base.join("box")).unwrap(), &cookie).unwrap();
        }
        drop(index);
        std::fs::create_dir_all(base.join("box/.ltr-tmp")).unwrap();
        std::fs::write(base.join("box/.ltr-tmp/cookie-1"), "half of").unwrap();
        made(&base, &Create { reattach, ..wish.clone() }).unwrap();
        usable(&base.join("box")).unwrap_or_else(|e| panic!("{step}: {e:#}"));
        assert!(step == "cookie" || !base.join("box/.ltr-tmp").exists(), "{step}");
        let error = format!("{:#}", made(&base, &wish).unwrap_err());
        assert!(error.contains("--reattach"), "a box that is finished is refused: {error}");
    }
}

#[test]
fn an_index_is_made_once() {
    let (_dir, base) = place();
    let inited = |space: &str| {
        let mut out = Vec::new();
        init(&base, space, &Options::below(&base).unwrap(), &mut out).map(|_| records(&out).remove(0))
    };
    let path = base.join("other").to_str().unwrap().to_owned();
    assert_eq!(
        inited("./other").unwrap(),
        json!({"type": "index", "space": path, "name": "other", "created": true, "designed": true})
    );
    assert_eq!(inited("other").unwrap()["created"], false);
    std::fs::write(base.join("text"), "something else, and more of it").unwrap();
    for space in ["box", "text", "nowhere/x", "host:/x", ""] {
        assert!(inited(space).is_err(), "{space}");
    }
}

#[test]
fn what_was_cut_short_is_resumed_and_no_other_box_taken() {
    let (_dir, base) = place();
    std::fs::create_dir(base.join("other")).unwrap();
    let again = |name: &str, dir: &str| Create { resume: true, ..wish(name, dir) };
    assert_eq!(made(&base, &again("a", "box")).unwrap()["reattached"], false);
    assert_eq!(made(&base, &again("a", "box")).unwrap()["reattached"], true);
    made(&base, &again("b", "box")).unwrap_err();
    made(&base, &again("a", "other")).unwrap_err();
    // the cookie had not been written yet
    std::fs::remove_file(base.join("box/.ltr")).unwrap();
    made(&base, &again("a", "other")).unwrap_err();
    made(&base, &again("a", "box")).unwrap();
    let (_, mut index) = usable(&base.join("box")).unwrap();
    // a box with files, whose cookie is gone, is nothing that was cut short
    index.put(&[Document::Entry(entry("a", "/f", 5, 1))], Origin::Here).unwrap();
    made(&base, &again("a", "box")).unwrap();
    std::fs::remove_file(base.join("box/.ltr")).unwrap();
    made(&base, &again("a", "box")).unwrap_err();
}
