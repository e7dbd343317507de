//! What CouchDB itself does and the stand-in does not (the table of `tests/common/strict.rs`): logins, opaque
//! sequences, refused batches, answers that come late or end early.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/host.rs"]
mod host;
#[path = "common/strict.rs"]
mod strict;

use std::time::Duration;

use host::{Host, entry, stamp};
use litter::couch::client::{Kind, kind_of};
use litter::couch::design::{design, init};
use litter::couch::replicate::{replicate, replicate_continuously};
use litter::couch::url::Database;
use litter::couch::visit::{Visit, visit};
use litter::report::Collected;
use serde_json::{Value, json};
use strict::{ADMIN, Asked, MEMBER, Odd, Strict};

/// The first one of a new database `x`, with a space.
fn first(couch: &Strict) -> Host {
    let host = Host::first(&couch.url(ADMIN, "x"));
    couch.asked();
    host
}

fn count(asked: &[Asked], what: &str) -> usize {
    asked.iter().filter(|one| one.path.contains(what)).count()
}

/// Does this to the requests of a kind from the `first` on, and to so many.
fn spoil(couch: &Strict, what: &'static str, first: usize, many: usize, odd: Odd) {
    let mut seen = 0;
    couch.whim(move |asked| {
        seen += usize::from(asked.path.contains(what));
        (asked.path.contains(what) && seen > first && seen <= first + many).then(|| odd.clone())
    });
}

/// Several batches and several pages, the server gone between two of them and in the middle of one.
#[test]
fn many_documents_go_and_come_in_pieces_and_each_once() {
    let couch = Strict::start();
    let mut a = first(&couch);
    let many: Vec<Value> = (0..12_000).map(|n| entry(&format!("/{}/{n}", n % 7), 10 + n)).collect();
    a.put(&many);
    // the second batch is lost, and when it is sent again so
    spoil(&couch, "_bulk_docs", 1, 2, Odd::Closed);
    assert_eq!(kind_of(&a.insist().unwrap_err()), Some(Kind::Away));
    let there = couch.documents("x").len();
    assert!((2..12_002).contains(&there), "{there}");
    // what the third one said is lost: it is there all the same
    spoil(&couch, "_bulk_docs", 1, 2, Odd::Cut(300));
    assert_eq!(kind_of(&a.insist().unwrap_err()), Some(Kind::Away));
    couch.no_whim();
    a.sync();
    assert_eq!(couch.documents("x"), a.all());
    assert_eq!(a.all().len(), 12_002);
    for n in [0, 4_999, 5_000, 9_999, 10_000, 11_999] {
        assert_eq!(couch.generation("x", &format!("a:/{}/{n}", n % 7)), 1, "{n} was written twice");
    }
    let mut b = Host::new(&couch.url(ADMIN, "x"));
    couch.asked();
    // the second page ends in the middle: what came before is kept
    spoil(&couch, "_changes", 1, 1, Odd::Cut(100_000));
    assert_eq!(kind_of(&b.insist().unwrap_err()), Some(Kind::Away));
    let kept = b.all().len();
    assert!((9_999..12_002).contains(&kept), "{kept}");
    couch.no_whim();
    couch.asked();
    b.sync();
    assert_eq!(b.all(), a.all());
    let asked = couch.asked();
    assert!(asked.iter().any(|one| one.path.contains("since=10000-g1AAAACTeJz")), "the first page is not read again: {asked:?}");
    // nothing new: one request, whose answer is opaque
    let visited = visit(&b.places, &b.url, &Visit::default(), &mut b.said).unwrap();
    assert!(visited.reached && visited.done.is_empty());
    assert_eq!(couch.asked().len(), 1);
}

#[test]
fn a_login_is_wanted_and_members_are_no_admins() {
    let couch = Strict::start();
    let admin = first(&couch);
    assert_eq!(couch.security("x")["members"]["names"], json!(["admin"]), "for the user of the url alone");
    let why = |host: &mut Host| {
        let error = host.insist().unwrap_err();
        assert_eq!(kind_of(&error), Some(Kind::Denied));
        format!("{error:#}")
    };
    let mut nobody = Host::new(&couch.url("thomas", "x"));
    let said = why(&mut nobody);
    assert!(said.contains("wants a login") && said.contains("credentials") && said.contains(".netrc"), "{said}");
    let mut wrong = Host::new(&couch.url("thomas:wrong", "x"));
    let said = why(&mut wrong);
    assert!(said.contains("refuses the password of thomas") && said.contains("credentials"), "{said}");
    let mut member = Host::new(&couch.url(MEMBER, "x"));
    let said = why(&mut member);
    assert!(said.contains("thomas may not do this") && said.contains("not allowed to access this db"), "{said}");
    // let in
    let security = json!({"admins": {"names": ["admin"]}, "members": {"names": ["admin", "thomas"]}});
    let client = litter::couch::client::Client::new(&admin.places, &admin.url).unwrap();
    let text = security.to_string();
    let put = ureq::http::Method::PUT;
    client.ask(&put, "_security", Some(text.as_bytes()), litter::couch::client::Patience::Patient).unwrap();
    member.sync();
    member.put(&[entry("/his", 5)]);
    member.sync();
    assert_eq!(couch.documents("x"), member.all());
    // the design document is there, and stays; where it is another one, an admin must do it
    assert!(!init(&member.places, &member.url).unwrap().designed);
    assert_eq!(couch.security("x"), security, "what somebody said about it stays");
    let mut other = design();
    other["views"] = json!({});
    other.as_object_mut().unwrap().remove("_id");
    other["_rev"] = json!(format!("1-{:032x}", 1));
    client.ask(&put, "_design/ltr", Some(other.to_string().as_bytes()), litter::couch::client::Patience::Patient).unwrap();
    let error = format!("{:#}", init(&member.places, &member.url).unwrap_err());
    assert!(error.contains("thomas may not do this") && error.contains("not a db or server admin"), "{error}");
    for said in [error, said] {
        assert!(!said.contains("battery") && !said.contains("batt%65ry"), "{said}");
    }
}

#[test]
fn one_document_that_is_too_large_spoils_no_batch() {
    let couch = Strict::start();
    let mut a = first(&couch);
    let large = json!({"_id": "tag:large", "type": "tag", "stamp": stamp(3), "text": "x".repeat(8_100_000)});
    a.put(&[entry("/before", 5), large, entry("/after", 6)]);
    let visited = a.insist().unwrap();
    assert_eq!(visited.pending, 1);
    assert!(
        matches!(a.said.failures.as_slice(), [(_, why)] if why.contains("tag:large: not taken") && why.contains("too_large")),
        "{:?}",
        a.said
    );
    let there = couch.documents("x");
    assert!(there.contains_key("a:/before") && there.contains_key("a:/after") && !there.contains_key("tag:large"));
    // a whole batch that is refused for the sake of one document: 400, and a proxy's own 413
    for (status, answer) in [
        (400, json!({"error": "illegal_docid", "reason": "Only reserved document ids may start with underscore."})),
        (413, json!("<html>413 Request Entity Too Large</html>")),
    ] {
        a.said = Collected::default();
        let (bad, fine) = (format!("/bad{status}"), format!("/fine{status}"));
        a.put(&[entry(&fine, 20), entry(&bad, 21), entry(&format!("{fine}too"), 22)]);
        let answer = answer.clone();
        let needle = bad.clone();
        couch.whim(move |asked| {
            (asked.path.ends_with("_bulk_docs") && asked.body.contains(&needle)).then(|| Odd::Status(status, answer.clone()))
        });
        a.insist().unwrap();
        couch.no_whim();
        assert!(a.said.failures.iter().any(|(_, why)| why.contains(&bad)), "{:?}", a.said);
        let there = couch.documents("x");
        assert!(there.contains_key(&format!("a:{fine}")) && there.contains_key(&format!("a:{fine}too")), "{status}");
        assert!(!there.contains_key(&format!("a:{bad}")));
        a.said = Collected::default();
        a.insist().unwrap();
        assert!(couch.documents("x").contains_key(&format!("a:{bad}")), "it is tried again");
    }
}

#[test]
fn keys_that_are_too_long_for_a_url_go_in_bodies() {
    let couch = Strict::start();
    let mut a = first(&couch);
    let mut b = Host::new(&couch.url(ADMIN, "x"));
    b.sync();
    // each byte is four characters of the key
    let odd: String = std::iter::repeat_n(format!("/{}", "\\xff".repeat(250)), 10).collect();
    let long = [entry(&odd, 5), entry("/a b+c%2F#d?e&f=", 6), entry("/\u{e9}\u{1f600}\u{202e}", 7), entry("/\\xff%ff", 8)];
    assert!(odd.len() > 8150);
    a.put(&long);
    a.sync();
    // both have changed them: 409, and then they are looked up by their keys
    let newer: Vec<Value> = long.iter().map(|old| entry(old["path"].as_str().unwrap(), 20)).collect();
    b.put(&newer);
    b.sync();
    a.sync();
    assert_eq!((couch.documents("x"), a.all()), (b.all(), b.all()));
    assert_eq!(a.all().len(), 6);
    assert!(couch.asked().iter().all(|one| one.path.len() < 300));
}

/// The limit is that of a command that can go on without the database, and much shorter here.
#[test]
fn an_answer_that_comes_late_is_not_waited_for() {
    let couch = Strict::start();
    let mut host = first(&couch);
    host.put(&[entry("/x", 5)]);
    couch.whim(|_| Some(Odd::Late(3000)));
    host.places.wait = Duration::from_millis(50);
    let visited = visit(&host.places, &host.url, &Visit::default(), &mut host.said).unwrap();
    assert!(!visited.reached && visited.pending == 1);
    assert!(host.said.notices.iter().any(|said| said.contains("does not answer; index as of 2")), "{:?}", host.said);
    assert_eq!(couch.asked().len(), 1);
    let visited = visit(&host.places, &host.url, &Visit::default(), &mut host.said).unwrap();
    assert!(!visited.reached && couch.asked().is_empty(), "it is not asked again for a while");
    // but who asks for it waits
    spoil(&couch, "/x", 0, 1, Odd::Late(1500));
    host.sync();
    assert_eq!(couch.documents("x"), host.all());
}

/// What strangers may put into documents: JSON that CouchDB takes, and ltr does not read.
#[test]
fn documents_that_cannot_be_read_spoil_no_others() {
    let couch = Strict::start();
    let mut a = first(&couch);
    let (open, close) = ("[".repeat(5000), "]".repeat(5000));
    let deep = format!("{{\"_id\":\"deep\",\"x\":{open}{close}}}");
    let long = format!("{{\"_id\":\"long\",\"text\":\"{}\"}}", "x".repeat(20 << 20));
    let twice = entry("/twice", 5).to_string().replacen("\"size\":1", "\"size\":1,\"size\":7", 1);
    for (id, text) in [
        ("deep", deep.as_str()),
        ("long", &long),
        ("number", "{\"_id\":\"number\",\"x\":1e999999}"),
        ("large", "{\"_id\":\"large\",\"x\":123456789012345678901234567890}"),
        ("half", "{\"_id\":\"half\",\"x\":\"\\ud800\"}"),
        ("half\\ud800", "{\"_id\":\"half\\ud800\"}"),
        ("a:/deep", &deep.replace("\"_id\":\"deep\"", "\"_id\":\"a:/deep\",\"type\":\"entry\"")),
        ("a:/twice", &twice),
        ("_design/evil", "{\"_id\":\"_design/evil\",\"type\":\"entry\",\"validate_doc_update\":\"x\"}"),
    ] {
        couch.plant("x", id, text);
    }
    let mut b = Host::new(&couch.url(ADMIN, "x"));
    a.put(&[entry("/mine", 9), entry("/deep", 9)]);
    let visited = a.insist().unwrap();
    // what is at the key of an entry of ours is told, and left alone
    assert_eq!(visited.pending, 1);
    assert!(matches!(a.said.failures.as_slice(), [(_, why)] if why.contains("a:/deep")), "{:?}", a.said);
    b.insist().unwrap();
    assert_eq!(b.all()["a:/twice"]["size"], 7, "the last one counts, as for CouchDB itself");
    assert_eq!(b.all().keys().map(String::as_str).collect::<Vec<_>>(), ["a", "a:/mine", "a:/twice", "space"]);
    for id in ["deep", "long", "number", "large", "half", "a:/deep", "_design/evil"] {
        assert_eq!(couch.generation("x", id), 1, "{id} was touched");
    }
}

#[test]
fn what_is_no_couchdb_is_told_from_one() {
    let couch = Strict::start();
    let mut host = first(&couch);
    host.put(&[entry("/x", 5)]);
    for (status, value, kind, words) in [
        (200, json!({"hello": ["world"]}), Kind::Foreign, "not a database of a CouchDB"),
        (200, json!([1]), Kind::Foreign, "not a database of a CouchDB"),
        (404, json!("no such page"), Kind::Foreign, "not a CouchDB: it answers 404"),
        (404, json!({"error": "not_found", "reason": "Database does not exist."}), Kind::Missing, "ltr init makes a database"),
        (500, json!({"error": "unknown_error", "reason": "view is building"}), Kind::Refused, "the server fails: 500"),
        (503, json!("maintenance"), Kind::Refused, "the server fails: 503"),
        (302, json!("moved"), Kind::Foreign, "it redirects"),
    ] {
        couch.whim(move |_| Some(Odd::Status(status, value.clone())));
        let error = host.insist().unwrap_err();
        assert_eq!(kind_of(&error), Some(kind), "{error:#}");
        assert!(format!("{error:#}").contains(words), "{error:#}");
        // and a command that can do without goes on
        let visited = visit(&host.places, &host.url, &Visit::default(), &mut host.said).unwrap();
        assert!(!visited.reached && visited.pending == 1);
        assert!(host.said.notices.iter().any(|said| said.contains(words)), "{:?}", host.said);
    }
    couch.no_whim();
    host.sync();
    assert_eq!(couch.documents("x"), host.all());
}

#[test]
fn one_server_replicates_to_another_and_goes_on_until_it_is_told_to_stop() {
    let couch = Strict::start();
    let a = first(&couch);
    let url = |name: &str| Database::parse(&couch.url(ADMIN, name)).unwrap();
    let error = format!("{:#}", replicate(&a.places, &url("x"), &url("y")).unwrap_err());
    assert!(error.contains("Database does not exist") && error.contains("/y"), "{error}");
    let b = Host::new(&couch.url(ADMIN, "y"));
    init(&b.places, &b.url).unwrap();
    couch.asked();
    let record = replicate(&a.places, &url("x"), &url("y")).unwrap();
    assert!(record.ok);
    assert_eq!((record.docs_read, record.docs_written, record.doc_write_failures), (4, 4, 0));
    assert_eq!(
        (record.start_time.as_str(), record.end_time.as_str()),
        ("Sun, 22 Nov 2026 09:00:00 GMT", "Sun, 22 Nov 2026 09:00:01 GMT")
    );
    assert!(record.source_last_seq.starts_with("5-g1AAAA"));
    let asked = couch.asked();
    let request = asked.iter().find(|one| one.path == "/_replicate").unwrap();
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!((&body["source"], &body["target"]), (&json!(couch.url(ADMIN, "x")), &json!(couch.url(ADMIN, "y"))));
    // the server repeats what it was told
    let said = json!({"error": "db_not_found", "reason": format!("could not open {}", couch.url(ADMIN, "y"))});
    couch.whim(move |asked| (asked.path == "/_replicate").then(|| Odd::Status(500, said.clone())));
    let error = format!("{:#}", replicate(&a.places, &url("x"), &url("y")).unwrap_err());
    assert!(error.contains("db_not_found") && !error.contains("correct-horse"), "{error}");
    couch.no_whim();

    replicate_continuously(&a.places, &url("x"), &url("y"), false).unwrap_err();
    couch.asked();
    let made = replicate_continuously(&a.places, &url("x"), &url("y"), true).unwrap();
    let asked = couch.asked();
    let request = asked.iter().find(|one| one.method == "PUT" && one.path.starts_with("/_replicator/ltr-")).unwrap();
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let end = |name: &str| json!({"url": format!("http://127.0.0.1:{}/{name}", couch.port), "auth": {"basic": {"username": "admin", "password": "correct-horse"}}});
    assert_eq!((&body["source"], &body["target"], &body["continuous"]), (&end("x"), &end("y"), &json!(true)));
    assert_eq!((made.rev.as_str(), made.url.contains("correct-horse")), ("1-a1", false));
    // once more is the same
    assert_eq!(replicate_continuously(&a.places, &url("x"), &url("y"), true).unwrap().url, made.url);
    assert_eq!(count(&couch.asked(), "/_replicator/"), 2);
}
