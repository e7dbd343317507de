//! Replicas and databases, through the library: whatever happens on the way, nothing is lost, and nothing
//! is written twice.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/couch.rs"]
mod couch;
#[path = "common/door.rs"]
mod door;
#[path = "common/host.rs"]
mod host;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use couch::{Couch, documents, get, replicate, request, send};
use door::{ALL, Door, Fault};
use host::{Host, box_document, entry, space, stamp};
use litter::couch::client::{Kind, kind_of};
use litter::couch::credentials;
use litter::couch::design::init;
use litter::couch::url::Database;
use litter::couch::visit::Visit;
use litter::report::Collected;
use serde_json::{Value, json};

/// The documents of ltr in a database, without revisions; none of them may have a conflict.
#[track_caller]
fn there(url: &str) -> BTreeMap<String, Value> {
    let mut all = documents(url);
    for (id, document) in &mut all {
        assert!(document.get("_conflicts").is_none(), "{id}: {document}");
        document.as_object_mut().unwrap().remove("_rev");
    }
    all
}

fn without_design(url: &str) {
    let rev = get(&format!("{url}/_design/ltr"))["_rev"].as_str().unwrap().to_owned();
    send("POST", &format!("{url}/_bulk_docs"), &json!({"docs": [{"_id": "_design/ltr", "_rev": rev, "_deleted": true}]}));
}

fn generation(url: &str, id: &str) -> u64 {
    let rev = documents(url)[id]["_rev"].as_str().unwrap().to_owned();
    rev.split_once('-').unwrap().0.parse().unwrap()
}

#[test]
fn two_replicas_tell_each_other_everything_and_write_it_once() {
    let couch = Couch::start();
    let url = couch.database();
    let mut a = Host::first(&url);
    let mut b = Host::new(&url);
    b.sync();
    assert_eq!(a.all(), b.all());
    let odd = ["/a b+%#&?=", "/\u{e9}\u{1f600}", "/\\xff\\\\", "/%2F%00", &format!("/{}", "long/".repeat(200))];
    let odd: Vec<Value> = odd.iter().map(|path| entry(path.trim_end_matches('/'), 5)).collect();
    a.put(&odd);
    b.put(&[entry("/b", 7), json!({"_id": "tag", "type": "tag", "stamp": stamp(3), "x": [1]})]);
    a.sync();
    b.sync();
    a.sync();
    assert_eq!((a.all().len(), a.all()), (9, b.all()));
    assert_eq!(there(&url), a.all());
    a.put(&[entry("/b", 9)]);
    a.sync();
    b.put(&[entry("/b", 8)]);
    b.sync();
    assert_eq!(there(&url)["a:/b"]["stamp"], json!(stamp(9)));
    assert_eq!(generation(&url, "a:/b"), 2, "the older one was not sent");
    assert_eq!(generation(&url, "a:/\\xff\\\\"), 1);
}

#[test]
fn whatever_happens_to_any_request_nothing_is_lost_or_written_twice() {
    let couch = Couch::start();
    let url = couch.database();
    let mut other = Host::first(&url);
    let door = Door::to(couch.address());
    let mut host = Host::new(&door.url(&url));
    host.sync();
    let mut ms = 10;
    let mut number = 0;
    let mut edit = |host: &Host, other: &mut Host| {
        ms += 10;
        // new and changed ones, and one that both have changed
        host.put(&[entry(&format!("/here{ms}"), ms), entry("/same", ms), entry("/both", ms + 1)]);
        other.put(&[entry(&format!("/there{ms}"), ms), entry("/both", ms + 2)]);
        other.sync();
    };
    edit(&host, &mut other);
    door.open();
    host.sync();
    let requests = door.count();
    assert!((6..20).contains(&requests), "{:?}", door.seen());
    for fault in ALL {
        for at in 0..requests {
            edit(&host, &mut other);
            door.spoil(at..at + 1 + usize::from(number % 3 == 0), fault);
            number += 1;
            let before = host.said.failures.len();
            let spoiled = host.insist();
            host.said.failures.truncate(before);
            door.open();
            host.insist().unwrap_or_else(|e| panic!("{fault:?} at {at}: {spoiled:?}, then {e:#}"));
            assert_eq!(host.said.failures, [], "{fault:?} at {at}");
        }
    }
    other.sync();
    assert_eq!(there(&url), host.all());
    assert_eq!(other.all(), host.all());
    for ms in (20..=ms).step_by(10) {
        assert_eq!(generation(&url, &format!("a:/here{ms}")), 1, "/here{ms} was written twice");
    }
}

#[test]
fn a_server_that_says_nothing_more_is_not_waited_for_without_end() {
    let couch = Couch::start();
    let url = couch.database();
    let _first = Host::first(&url);
    let door = Door::to(couch.address());
    let mut host = Host::new(&door.url(&url));
    host.sync();
    for at in 0..5 {
        host.put(&[entry(&format!("/{at}"), 10 + at as u64)]);
        // what a machine under load may need, where it is to answer first
        host.places.wait = Duration::from_millis(if at == 0 { 50 } else { 100 });
        door.spoil(at..99, Fault::Hang);
        let visited = host.visit(&Visit::default()).unwrap();
        assert!(!visited.reached);
        let said = host.said.notices.join("\n");
        assert!(said.contains(&format!("127.0.0.1:{} does not answer; index as of 2", door.port)), "{said}");
        door.open();
        // within a minute it is not asked again
        assert!(!host.visit(&Visit::default()).unwrap().reached);
        assert_eq!(door.count(), 0);
        host.places.wait = Duration::from_secs(10);
        host.sync();
    }
    assert_eq!(there(&url), host.all());
}

#[test]
fn conflicts_are_merged_whoever_resolves_them_first() {
    let couch = Couch::start();
    let (left, right) = (couch.database(), couch.database());
    let mut a = Host::first(&left);
    a.put(&[entry("/x", 10), entry("/y", 10), entry("/z", 10)]);
    a.sync();
    let mut b = Host::new(&right);
    init(&b.places, &b.url).unwrap();
    if !couch.is_real() {
        // where a check is, the stand-in loses the leaves that are replicated to it
        without_design(&left);
        without_design(&right);
    }
    replicate(&left, &right);
    b.sync();
    assert_eq!(a.all(), b.all());
    for round in 1..=3 {
        // each edits on its own server; the box's fields apart
        let ms = round * 100;
        a.put(&[entry("/x", ms + 1), entry("/y", ms + 4), box_document("a", ms + 5, "/left")]);
        let mut other = box_document("a", ms + 4, "/right");
        other["policy"] = json!(if round % 2 == 0 { "complete" } else { "ondemand" });
        other["stamps"]["policy"] = json!(stamp(ms + 4));
        b.put(&[entry("/x", ms + 2), entry("/y", ms + 3), other]);
        a.sync();
        b.sync();
        replicate(&left, &right);
        replicate(&right, &left);
        let conflicts = |url: &str| documents(url).values().filter(|d| d.get("_conflicts").is_some()).count();
        assert!(conflicts(&left) > 0 && conflicts(&right) > 0, "no conflict was made");
        // both at the same time, and then again until it is quiet
        std::thread::scope(|scope| {
            scope.spawn(|| a.sync());
            scope.spawn(|| b.sync());
        });
        for _ in 0..3 {
            replicate(&left, &right);
            replicate(&right, &left);
            a.sync();
            b.sync();
        }
        assert_eq!(a.all(), b.all(), "round {round}");
        assert_eq!((there(&left), there(&right)), (a.all(), b.all()), "round {round}");
        assert_eq!(there(&left)["a:/x"]["stamp"], json!(stamp(ms + 2)));
        assert_eq!(there(&left)["a:/y"]["stamp"], json!(stamp(ms + 4)));
        let merged = &there(&left)["a"];
        let policy = if round % 2 == 0 { "complete" } else { "ondemand" };
        assert_eq!((&merged["urls"], &merged["policy"]), (&json!(["/left"]), &json!(policy)));
    }
}

#[test]
fn a_database_that_was_made_again_gets_everything_back() {
    let couch = Couch::start();
    let url = couch.database();
    let mut a = Host::first(&url);
    a.put(&(0..50).map(|n| entry(&format!("/{n}"), 10 + n)).collect::<Vec<_>>());
    a.sync();
    let mut b = Host::new(&url);
    b.sync();
    let before = there(&url);
    assert!(request("DELETE", &url, None).0 < 300);
    let error = b.insist().unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Missing));
    b.put(&[entry("/new", 100)]);
    let gone = b.visit(&Visit::default()).unwrap();
    assert!(!gone.reached && gone.pending == 1 && b.said.notices.iter().any(|n| n.contains("ltr init")), "{:?}", b.said);
    init(&b.places, &b.url).unwrap();
    b.sync();
    a.sync();
    assert_eq!(there(&url).len(), before.len() + 1);
    assert_eq!((there(&url), a.all()), (b.all(), b.all()));
    // somebody deletes a document by hand: it is a fact all the same
    let rev = documents(&url)["a:/7"]["_rev"].as_str().unwrap().to_owned();
    send("POST", &format!("{url}/_bulk_docs"), &json!({"docs": [{"_id": "a:/7", "_rev": rev, "_deleted": true}]}));
    assert!(!there(&url).contains_key("a:/7"));
    b.sync();
    assert_eq!(there(&url), b.all());
    // a replica that was lost is made again
    std::fs::remove_dir_all(b.places.replicas()).unwrap();
    b.sync();
    assert_eq!(a.all(), b.all());
}

#[test]
fn what_strangers_write_is_left_alone() {
    let couch = Couch::start();
    let url = couch.database();
    let mut host = Host::first(&url);
    let strange = [
        json!({"_id": "invoice-1", "total": 5}),
        json!({"_id": "other", "type": "other", "stamp": 5}),
        json!({"_id": "a:/typed", "type": "note", "text": "not ltr's, but where its entry would be"}),
        json!({"_id": "big", "text": "x".repeat(if couch.is_real() { 7_000_000 } else { 20 << 20 })}),
        json!({"_id": "_design/evil", "validate_doc_update": "function (a, b) { if (b && a.type === 'entry') throw({forbidden: 'no'}); }"}),
    ];
    for document in &strange {
        let id = document["_id"].as_str().unwrap().replace("a:/", "a%3A%2F");
        send("PUT", &format!("{url}/{id}"), document);
    }
    // malformed ones of ltr's own types, which the check of the database would not take
    without_design(&url);
    let mut wrong: Vec<Value> = Vec::new();
    for (key, value) in [
        ("size", json!("1")),
        ("path", json!("/../x")),
        ("version", json!({"x": 1})),
        ("present", json!(1)),
        ("stamp", json!(stamp((1 << 48) - 1))),
    ] {
        let mut bad = entry(&format!("/bad-{key}"), 5);
        bad[key] = value;
        wrong.push(bad);
    }
    send("POST", &format!("{url}/_bulk_docs"), &json!({ "docs": wrong }));
    let before = documents(&url);
    let mine = host.all();
    host.sync();
    assert_eq!(host.all(), mine);
    let named = host.said.notices.iter().filter(|n| n.contains("left alone")).count();
    assert_eq!(named, wrong.len(), "{:?}", host.said);
    // where something else has the key of one of ours, that is said, and the rest goes on
    host.put(&[entry("/typed", 9), entry("/fine", 9)]);
    let visited = host.insist().unwrap();
    assert_eq!(visited.pending, 1);
    assert!(host.said.failures.iter().any(|(_, cause)| cause.contains("a:/typed")), "{:?}", host.said);
    let mut after = documents(&url);
    assert!(after.remove("a:/fine").is_some());
    assert_eq!(after, before, "a stranger's document was touched");
    // the design document is made again, and nothing else of that kind is looked at
    assert!(init(&host.places, &host.url).unwrap().designed);
    assert!(!init(&host.places, &host.url).unwrap().designed);
}

#[test]
fn a_document_that_the_database_does_not_take_holds_up_no_other() {
    let couch = Couch::start();
    let url = couch.database();
    let mut host = Host::first(&url);
    let strict = json!({"_id": "_design/strict", "validate_doc_update": "function (n) { if (n.path === '/no') throw({forbidden: 'not here'}); }"});
    send("PUT", &format!("{url}/_design/strict"), &strict);
    host.put(&[entry("/yes1", 5), entry("/no", 6), entry("/yes2", 7)]);
    let visited = host.insist().unwrap();
    assert_eq!(visited.pending, 1);
    assert_eq!(host.said.failures.len(), 1, "{:?}", host.said);
    assert!(host.said.failures[0].1.contains("a:/no: not taken: not here"), "{:?}", host.said);
    assert!(there(&url).contains_key("a:/yes1") && there(&url).contains_key("a:/yes2"));
    let rev = get(&format!("{url}/_design/strict"))["_rev"].as_str().unwrap().to_owned();
    assert!(request("DELETE", &format!("{url}/_design/strict?rev={rev}"), None).0 < 300);
    host.said = Collected::default();
    host.sync();
    assert_eq!(there(&url), host.all());
}

#[test]
fn the_check_of_the_database_knows_malformed_and_older_documents() {
    let couch = Couch::start();
    let url = couch.database();
    let host = Host::first(&url);
    drop(host);
    let bulk = |docs: Vec<Value>| send("POST", &format!("{url}/_bulk_docs"), &json!({ "docs": docs }));
    let wrote = |answer: &Value| answer.as_array().unwrap().iter().filter(|row| row.get("error").is_none()).count();
    assert_eq!(wrote(&bulk(vec![entry("/x", 10), json!({"_id": "invoice", "type": "invoice"})])), 2);
    let spoiled = |key: &str, value: Value| {
        let mut document = entry("/y", 10);
        document[key] = value;
        document
    };
    let cases = [
        ("stamp", json!("x")),
        ("path", json!("y")),
        ("box", json!("b")),
        ("ftype", json!("fifo")),
        ("sha1", json!("X")),
        ("present", json!("yes")),
        ("version", Value::Null),
    ];
    for (key, value) in cases {
        assert_eq!(wrote(&bulk(vec![spoiled(key, value)])), 0, "{key}");
    }
    let over = |ms| {
        let mut document = entry("/x", ms);
        document["_rev"] = documents(&url)["a:/x"]["_rev"].clone();
        document
    };
    assert_eq!(wrote(&bulk(vec![over(9)])), 0, "older");
    assert_eq!(wrote(&bulk(vec![over(10)])), 1, "as old");
    assert_eq!(wrote(&bulk(vec![over(11)])), 1, "newer");
    let rev = documents(&url)["a:/x"]["_rev"].clone();
    assert_eq!(wrote(&bulk(vec![json!({"_id": "a:/x", "_rev": rev, "_deleted": true})])), 1, "a deletion");
}

#[test]
fn two_urls_of_one_database_are_one_replica() {
    let couch = Couch::start();
    let url = couch.database();
    let mut host = Host::first(&url);
    let door = Door::to(couch.address());
    let first = host.places.replica(&host.url).canonicalize().unwrap();
    let other = Database::parse(&door.url(&url)).unwrap();
    credentials::keep(&host.places, &other).unwrap();
    host.url = other.without_password();
    host.sync();
    assert_eq!(host.places.replica(&host.url).canonicalize().unwrap(), first);
    assert_eq!(std::fs::read_dir(host.places.replicas()).unwrap().filter(|e| is_index(&e.as_ref().unwrap().path())).count(), 1);
    // nothing is new, and one small request tells
    door.open();
    let visited = host.visit(&Visit::default()).unwrap();
    assert!(visited.reached && visited.done.is_empty());
    assert_eq!(door.count(), 1, "{:?}", door.seen());
    // one change: few and small requests
    host.put(&[entry("/x", 50)]);
    door.open();
    host.visit(&Visit { push_first: true, ..Visit::default() }).unwrap();
    let seen = door.seen();
    assert!(seen.len() < 10, "{seen:?}");
    let (sent, came) = seen.iter().fold((0, 0), |(sent, came), s| (sent + s.1, came + s.2));
    assert!(sent < 64 << 10 && came < 64 << 10, "{seen:?}");
}

fn is_index(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "index")
}

#[test]
fn another_space_is_refused() {
    let couch = Couch::start();
    let (one, two) = (couch.database(), couch.database());
    let mut a = Host::first(&one);
    let b = Host::new(&two);
    init(&b.places, &b.url).unwrap();
    let mut other = space();
    other["uuid"] = json!("another");
    send("POST", &format!("{two}/_bulk_docs"), &json!({ "docs": [other] }));
    // the database at this url has become another space's
    let door = Door::to(couch.address());
    let link = a.places.replica(&a.url);
    let moved = Database::parse(&door.url(&two)).unwrap();
    credentials::keep(&a.places, &moved).unwrap();
    std::fs::copy(&link, a.places.replica(&moved)).unwrap();
    a.url = moved.without_password();
    let error = format!("{:#}", a.insist().unwrap_err());
    assert!(error.contains("two spaces do not merge") && error.contains("another"), "{error}");
    assert_eq!(there(&two).len(), 1);
}
