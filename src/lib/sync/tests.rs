//! Indexes that gossip in any order, are cut short anywhere, and end up with the same documents.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::put::{self, put_stream};
use super::sink::Tally;
use super::*;
use crate::index::sqlite::Access;
use crate::index::{Index, Select};
use crate::report::Collected;

const UUID: &str = "11111111-0000-4000-8000-000000000001";

struct Place {
    dir: tempfile::TempDir,
    index: Sqlite,
}

fn fresh() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("space");
    Sqlite::create(&path).unwrap();
    let index = Sqlite::open(&path, Access::Write).unwrap();
    Place { dir, index }
}

impl Place {
    fn space(&self) -> Space {
        Space::File(self.index.path().to_path_buf())
    }

    fn put(&mut self, documents: &[Document]) {
        self.index.put(documents, Origin::Here).unwrap();
    }
}

fn document(value: Value) -> Document {
    Document::from_json(&value.to_string()).unwrap()
}

fn stamp(ms: u64) -> String {
    format!("{ms:012x}-0000-00000001")
}

fn space(uuid: &str) -> Document {
    document(json!({"_id": "space", "type": "space", "uuid": uuid, "stamp": stamp(1)}))
}

fn entry(box_name: &str, path: &str, ms: u64) -> Document {
    document(json!({"_id": format!("{box_name}:{path}"), "type": "entry", "box": box_name, "path": path, "ftype": "file",
        "present": true, "sha1": format!("{ms:040x}"), "version": {"00000007": ms}, "stamp": stamp(ms)}))
}

fn boxed(name: &str, key: &str, ms: u64) -> Document {
    document(json!({"_id": name, "type": "box", key: ms, "stamp": stamp(ms)}))
}

fn other(name: &str, ms: u64) -> Document {
    document(json!({"_id": format!("tag:{name}"), "type": "tag", "stamp": stamp(ms)}))
}

fn all(index: &Sqlite) -> Vec<String> {
    let mut found = Vec::new();
    let mut visit = |d: Document| {
        found.push(d.canonical());
        Ok(())
    };
    index.range(&Select::default(), &mut visit).unwrap();
    found
}

fn options() -> Options {
    Options::below(Path::new("/nowhere")).unwrap()
}

fn run(a: &Place, b: &Place, options: &Options) -> Result<Vec<Value>> {
    let mut output = Vec::new();
    sync(&a.space(), &b.space(), options, &mut output, &mut Collected::default())?;
    let lines = String::from_utf8(output).unwrap();
    let mut records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.pop().unwrap()["type"], "end");
    Ok(records)
}

fn counts(a: &Place, b: &Place) -> Vec<(u64, u64)> {
    let records = run(a, b, &options()).unwrap();
    let count = |record: &Value, key: &str| record[key].as_u64().unwrap();
    records.iter().map(|r| (count(r, "docs_read"), count(r, "docs_written"))).collect()
}

#[test]
fn what_came_from_the_other_side_is_not_sent_back() {
    let (mut a, mut b) = (fresh(), fresh());
    let many: Vec<Document> = (0..2500).map(|n| entry("x", &format!("/{n}"), 1 + n)).collect();
    a.put(&[space(UUID)]);
    a.put(&many);
    assert_eq!(counts(&a, &b), [(2501, 2501), (0, 0)]);
    assert_eq!(counts(&a, &b), [(0, 0), (0, 0)]);
    b.put(&[entry("y", "/1", 1), boxed("y", "policy2", 3), other("z", 4)]);
    a.put(&[entry("x", "/1", 9000)]);
    // both sides wrote: what b got lies behind what a has not read, so it is looked at once more
    assert_eq!(counts(&a, &b), [(1, 1), (4, 3)]);
    assert_eq!(counts(&a, &b), [(0, 0), (0, 0)]);
    assert_eq!(counts(&b, &a), [(0, 0), (0, 0)]);
    assert_eq!(all(&a.index), all(&b.index));
    a.put(&[entry("x", "/1", 9001)]);
    assert_eq!(counts(&b, &a), [(0, 0), (1, 1)]);
    assert_eq!(counts(&b, &a), [(0, 0), (0, 0)]);
}

#[test]
fn fields_of_one_document_that_were_set_on_both_sides_meet() {
    let (mut a, mut b) = (fresh(), fresh());
    a.put(&[space(UUID), boxed("x", "one", 2)]);
    counts(&a, &b);
    a.put(&[boxed("x", "two", 5)]);
    b.put(&[boxed("x", "three", 6)]);
    counts(&a, &b);
    assert_eq!(all(&a.index), all(&b.index));
    assert!(all(&a.index)[1].contains("three") && all(&a.index)[1].contains("two"));
    assert_eq!(counts(&a, &b), [(0, 0), (0, 0)]);
}

#[test]
fn a_chain_carries_everything_to_its_end() {
    let mut places = [fresh(), fresh(), fresh()];
    places[0].put(&[space(UUID), entry("x", "/a", 1)]);
    places[2].put(&[entry("z", "/a", 1)]);
    let error = format!("{:#}", run(&places[2], &places[0], &options()).unwrap_err());
    assert!(error.contains(UUID), "{error}");
    places[2].put(&[space(UUID)]);
    counts(&places[0], &places[1]);
    counts(&places[1], &places[2]);
    counts(&places[0], &places[1]);
    let expected = all(&places[0].index);
    assert_eq!(expected.len(), 3);
    assert!(places.iter().all(|p| all(&p.index) == expected));
}

#[test]
fn another_space_is_refused_before_anything_is_written() {
    let (mut a, mut b) = (fresh(), fresh());
    let foreign = UUID.replace('1', "2");
    a.put(&[space(UUID), entry("x", "/a", 1)]);
    b.put(&[space(&foreign), entry("y", "/b", 1)]);
    let before = (all(&a.index), all(&b.index));
    for (from, to) in [(&a, &b), (&b, &a)] {
        let error = run(from, to, &options()).unwrap_err().to_string();
        assert!(error.contains(UUID) && error.contains(&foreign), "{error}");
        assert!(error.contains(&a.space().to_string()) && error.contains(&b.space().to_string()), "{error}");
    }
    assert_eq!((all(&a.index), all(&b.index)), before);
    assert_eq!(a.index.pulled().unwrap(), [""; 0]);
}

#[test]
fn an_empty_index_adopts_the_space_from_either_side() {
    let (mut a, b, c) = (fresh(), fresh(), fresh());
    assert_eq!(counts(&b, &c), [(0, 0), (0, 0)]);
    a.put(&[space(UUID), entry("x", "/a", 1)]);
    counts(&b, &a);
    counts(&b, &c);
    assert_eq!(all(&b.index), all(&a.index));
    assert_eq!(all(&c.index), all(&a.index));
}

#[test]
fn a_dry_run_and_one_way_write_no_more_than_they_say() {
    let (mut a, mut b) = (fresh(), fresh());
    a.put(&[space(UUID), entry("x", "/a", 1)]);
    b.put(&[space(UUID), entry("y", "/b", 1)]);
    let before = all(&b.index);
    let scratch = tempfile::tempdir().unwrap();
    let dry = Options { scratch: Some(scratch.path().to_path_buf()), ..options() };
    let records = run(&a, &b, &dry).unwrap();
    assert_eq!([&records[0]["docs_written"], &records[1]["docs_written"]], [1, 1]);
    assert_eq!(records[0]["dryrun"], true);
    assert_eq!(all(&b.index), before);
    assert_eq!(a.index.pulled().unwrap(), [""; 0]);
    assert_eq!(run(&a, &b, &Options { one_way: true, ..options() }).unwrap().len(), 1);
    assert_eq!((all(&a.index).len(), all(&b.index).len()), (2, 3));
    let same = Place { index: Sqlite::open(a.index.path(), Access::Write).unwrap(), dir: tempfile::tempdir().unwrap() };
    assert_eq!(run(&a, &same, &options()).unwrap(), [Value::Null; 0]);
}

#[test]
fn a_restored_backup_is_read_again_and_loses_nothing() {
    let (mut a, mut b) = (fresh(), fresh());
    a.put(&[space(UUID), entry("x", "/a", 1)]);
    let backup = a.dir.path().join("backup");
    a.index.copy_to(&backup).unwrap();
    a.put(&[entry("x", "/b", 2), entry("x", "/c", 3)]);
    counts(&a, &b);
    // in place, so that the inode and the id are the old ones
    let path = a.index.path().to_path_buf();
    let dir = a.dir;
    drop(a.index);
    std::fs::write(&path, std::fs::read(&backup).unwrap()).unwrap();
    let mut a = Place { index: Sqlite::open(&path, Access::Write).unwrap(), dir };
    a.put(&[entry("x", "/d", 4), entry("x", "/e", 5), entry("x", "/f", 6)]);
    b.put(&[entry("y", "/g", 6)]);
    counts(&a, &b);
    assert_eq!(all(&a.index), all(&b.index));
    assert_eq!(all(&a.index).len(), 8);
    assert_eq!(counts(&a, &b), [(0, 0), (0, 0)]);
}

#[test]
fn a_box_that_is_new_here_may_commit_after_a_sync() {
    let (mut a, mut b) = (fresh(), fresh());
    a.put(&[space(UUID), entry("x", "/a", 1)]);
    b.index.adopt_box("x", (1, 2), false).unwrap();
    assert!(b.index.own("x", (1, 2)).is_err());
    counts(&a, &b);
    assert!(b.index.own("x", (1, 2)).is_ok());
}

fn put_lines(index: &mut Sqlite, text: &str, options: &put::Options) -> (Result<Exit>, Vec<Value>) {
    let (mut output, mut report) = (Vec::new(), Collected::default());
    let exit = put_stream(index, text.as_bytes(), &mut output, options, &mut report);
    let lines = String::from_utf8(output).unwrap();
    (exit, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn stream(lines: &[String], errors: usize) -> String {
    let end = json!({"type": "end", "count": lines.len(), "errors": errors}).to_string();
    lines.iter().chain([&end]).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_line_is_answered_in_order() {
    let mut a = fresh();
    let mut mine: Value = serde_json::from_str(&entry("x", "/a", 5).canonical()).unwrap();
    mine["local"] = json!({"ino": 1, "ctime": 2, "ctime_nsec": 3, "status": "R", "renamed": "/old"});
    let lines = [
        mine.to_string(),
        json!({"type": "done", "action": "fetch", "path": "/a"}).to_string(),
        json!({"_id": "x:/b", "type": "entry"}).to_string(),
        json!({"type": "error", "path": "/q", "error": "Permission denied"}).to_string(),
        other("t", 9).canonical(),
        entry("x", "/a", 4).canonical(),
        json!({"type": "verified", "box": "x", "sha1": "ab".repeat(20), "ms": 77}).to_string(),
    ];
    let (exit, answers) = put_lines(&mut a.index, &stream(&lines, 1), &put::Options::default());
    assert_eq!(exit.unwrap(), Exit::Part);
    assert_eq!(
        answers[0],
        json!({"type": "put", "_id": "x:/a", "outcome": "written", "path": "/a", "status": "R", "renamed": "/old"})
    );
    let kinds: Vec<&str> = answers.iter().map(|a| a["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["put", "done", "error", "error", "put", "put", "end"]);
    assert_eq!(answers[2]["path"], "line 3");
    assert_eq!(answers[5]["outcome"], "older");
    let end = &answers[6];
    assert_eq!([&end["count"], &end["errors"], &end["written"], &end["older"], &end["first"], &end["last"]], [6, 2, 2, 1, 1, 2]);
    assert_eq!(a.index.verified("x", "ab".repeat(20).parse().unwrap()).unwrap(), Some(77));
    let quiet = put::Options { quiet: true, ..put::Options::default() };
    let (exit, answers) = put_lines(&mut a.index, &stream(&lines[..2], 0), &quiet);
    assert_eq!((exit.unwrap(), answers.len(), &answers[0]["unchanged"]), (Exit::Done, 1, &json!(1)));
}

#[test]
fn a_stream_that_is_cut_short_keeps_what_came_whole() {
    let lines = [space(UUID).canonical(), entry("x", "/a", 1).canonical()];
    let text = stream(&lines, 0);
    let options = put::Options { sync: true, ..put::Options::default() };
    for cut in 0..text.len() {
        let mut a = fresh();
        let (exit, answers) = put_lines(&mut a.index, &text[..cut], &options);
        let whole = text[..cut].matches('\n').count();
        assert_eq!(exit.ok(), (whole > 0).then_some(Exit::Part), "cut after {cut}");
        assert_eq!((all(&a.index).len(), answers.len()), (whole, whole + 1));
        assert_ne!(answers[whole]["type"], "end");
    }
}

#[test]
fn only_a_whole_visit_moves_a_checkpoint() {
    let (mut a, mut b) = (fresh(), fresh());
    a.put(&[space(UUID), entry("x", "/a", 1)]);
    let read = |index: &Sqlite, since: Vec<String>| {
        let mut output = Vec::new();
        get::get(index, &get::Query { since: Some(since), ..get::Query::default() }, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    };
    let options = put::Options { sync: true, quiet: true, ..put::Options::default() };
    let first = read(&a.index, vec![]);
    let (_, answers) = put_lines(&mut b.index, &first, &options);
    assert_eq!((answers.len(), &answers[0]["type"], &answers[0]["uuid"]), (2, &json!("ready"), &Value::Null));
    let pulled = b.index.pulled().unwrap();
    assert_eq!(pulled.len(), 1);
    a.put(&[entry("x", "/b", 2)]);
    let second = read(&a.index, pulled.clone());
    assert_eq!(second.lines().count(), 3);
    a.put(&[entry("x", "/c", 3)]);
    let third = read(
        &a.index,
        vec![
            second.lines().last().map(|l| serde_json::from_str::<Value>(l).unwrap()).unwrap()["checkpoint"]
                .as_str()
                .unwrap()
                .to_owned(),
        ],
    );
    // the third begins where the second ends, which b has not seen: its documents are good, its checkpoint is not
    put_lines(&mut b.index, &third, &options).0.unwrap();
    assert_eq!(b.index.pulled().unwrap(), pulled);
    put_lines(&mut b.index, &second, &options).0.unwrap();
    assert_ne!(b.index.pulled().unwrap(), pulled);
    assert_eq!(all(&a.index), all(&b.index));
    let foreign = stream(&[entry("x", "/z", 9).canonical()], 0);
    let error = put_lines(&mut b.index, &foreign, &options).0.unwrap_err().to_string();
    assert!(error.contains(UUID), "{error}");
}

#[test]
fn an_echo_is_only_what_follows_directly() {
    let tally = |written, issued| Tally { written, issued, ..Tally::default() };
    assert_eq!(tally(3, Some((5, 7))).right_after(4), Some(7));
    assert_eq!(tally(3, Some((5, 8))).right_after(4), None);
    assert_eq!(tally(3, Some((6, 8))).right_after(4), None);
    assert_eq!(tally(1, Some((0, 0))).right_after(0), None);
    assert_eq!(tally(0, None).right_after(0), None);
}

/// What happens between three indexes.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8, u64),
    Sync(usize, usize, bool),
    Cut(usize, usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = 0usize..3;
    let one = prop_oneof![
        (place.clone(), 0u8..8, 2u64..40).prop_map(|(p, what, ms)| Step::Put(p, what, ms)),
        (place.clone(), place.clone(), any::<bool>()).prop_map(|(a, b, one_way)| Step::Sync(a, b, one_way)),
        (place.clone(), place, 0usize..4).prop_map(|(a, b, after)| Step::Cut(a, b, after)),
    ];
    prop::collection::vec(one, 0..16)
}

fn written(what: u8, ms: u64) -> Document {
    match what {
        0..4 => entry("x", &format!("/{what}"), ms),
        4 => boxed("x", "one", ms),
        5 => boxed("x", "two", ms),
        6 => other("t", ms),
        _ => document(json!({"_id": "mark:y:/a", "type": "mark", "box": "y", "path": "/a", "want": "skip", "stamp": stamp(ms)})),
    }
}

/// A visit that ends after some documents, as when the connection is lost.
fn cut(from: &Sqlite, to: &mut Sqlite, after: usize) {
    let known = to.peer(from.id()).unwrap().0;
    let mut some = Vec::new();
    let _ = from.changes(known.as_deref(), &mut |document| {
        anyhow::ensure!(some.len() < after);
        some.push(document);
        Ok(())
    });
    to.put(&some, Origin::Elsewhere).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn indexes_converge_in_whatever_order_they_meet(steps in steps()) {
        let mut places = [fresh(), fresh(), fresh()];
        for place in &mut places {
            place.put(&[space(UUID)]);
        }
        let mut expected = fresh();
        expected.put(&[space(UUID)]);
        for step in steps {
            match step {
                Step::Put(place, what, ms) => {
                    places[place].put(&[written(what, ms)]);
                    expected.put(&[written(what, ms)]);
                }
                Step::Sync(a, b, one_way) if a != b => {
                    run(&places[a], &places[b], &Options { one_way, ..options() }).unwrap();
                    if !one_way {
                        prop_assert_eq!(all(&places[a].index), all(&places[b].index));
                    }
                }
                Step::Cut(a, b, after) if a != b => {
                    let from = Sqlite::open(places[a].index.path(), Access::Read).unwrap();
                    cut(&from, &mut places[b].index, after);
                }
                _ => {}
            }
        }
        // the last one reads an echo once more where two wrote the same box document with the same stamp
        for (a, b) in [(0, 1), (1, 2), (0, 1), (0, 1)] {
            run(&places[a], &places[b], &options()).unwrap();
        }
        for place in &places {
            prop_assert_eq!(all(&place.index), all(&expected.index));
        }
        prop_assert_eq!(counts(&places[0], &places[1]), [(0, 0), (0, 0)]);
    }
}

#[test]
fn a_query_selects_and_begins_with_the_space() {
    let mut a = fresh();
    a.put(&[space(UUID), boxed("x", "one", 1), entry("x", "/d/a", 1), entry("y", "/d/a", 2), entry("y", "/e", 1), other("t", 1)]);
    let ids = |query: get::Query| {
        let mut output = Vec::new();
        get::get(&a.index, &query, &mut output).unwrap();
        let lines = String::from_utf8(output).unwrap();
        let ids = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["_id"].as_str().map(str::to_owned));
        ids.map(|id| id.unwrap_or_default()).collect::<Vec<_>>().join(" ")
    };
    let base = get::Query::default;
    assert_eq!(ids(base()), "space x x:/d/a y:/d/a y:/e tag:t ");
    assert_eq!(ids(get::Query { ids: vec!["y:/e".into(), "none".into(), "space".into()], ..base() }), "space y:/e ");
    let sha1 = Some(format!("{:040x}", 1).parse().unwrap());
    assert_eq!(ids(get::Query { sha1, ..base() }), "space y:/e x:/d/a ");
    assert_eq!(ids(get::Query { sha1, boxes: vec!["y".into()], ..base() }), "space y:/e ");
    assert_eq!(ids(get::Query { since: Some(vec![]), ..base() }), "space x x:/d/a y:/d/a y:/e tag:t ");
}

#[test]
fn what_a_damaged_or_hostile_index_says_stays_out() {
    let (mut stick, here) = (fresh(), fresh());
    stick.put(&[space(UUID), boxed("good", "policy2", 2)]);
    stick.put(&[entry("good", "/a", 3), entry("evil", "/b", 4), entry("good", "/c", 5), entry("good", "/d", 6)]);
    stick.put(&[entry("good", "/e", 7), entry("good", "/z", 8)]);
    let raw = rusqlite::Connection::open(stick.index.path()).unwrap();
    for sql in [
        "UPDATE boxes SET name = '-oEvil' || char(10) || 'x' WHERE name = 'evil'",
        "UPDATE entries SET sha1 = NULL WHERE name = CAST('c' AS BLOB)",
        "UPDATE entries SET stamp = x'ffffffffffffffffffffffff' WHERE name = CAST('d' AS BLOB)",
        "UPDATE entries SET version = x'00' WHERE name = CAST('e' AS BLOB)",
    ] {
        assert_eq!(raw.execute(sql, []).unwrap(), 1, "{sql}");
    }
    drop(raw);
    let one_way = Options { one_way: true, ..options() };
    let came = |here: &Place| {
        let boxes: Vec<String> = here.index.boxes().unwrap().all.iter().map(|b| b.name.clone()).collect();
        assert_eq!((boxes.as_slice(), all(&here.index).len()), (["good".to_owned()].as_slice(), 4));
    };
    let records = run(&stick, &here, &one_way).unwrap();
    assert_eq!((&records[0]["doc_write_failures"], &records[0]["ok"]), (&json!(4), &json!(false)));
    came(&here);
    // it is told once, and not read again
    let records = run(&stick, &here, &one_way).unwrap();
    assert_eq!([&records[0]["doc_write_failures"], &records[0]["docs_read"]], [&json!(0), &json!(0)]);
    assert_eq!(records[0]["ok"], json!(true));
    came(&here);
    // nor by a stream, in which one that cannot be read is an error record
    let there = fresh();
    let mut index = there.index;
    let options = put::Options { sync: true, quiet: true, ..put::Options::default() };
    for (exit, lines) in [(Exit::Part, 9), (Exit::Done, 2)] {
        let (mut stream, since) = (Vec::new(), index.pulled().unwrap());
        get::get(&stick.index, &get::Query { since: Some(since), ..get::Query::default() }, &mut stream).unwrap();
        assert_eq!(stream.iter().filter(|b| **b == b'\n').count(), lines, "{}", String::from_utf8_lossy(&stream));
        assert_eq!(put_lines(&mut index, str::from_utf8(&stream).unwrap(), &options).0.unwrap(), exit);
        assert_eq!(all(&index).len(), 4);
    }
}

#[test]
fn what_was_refused_is_asked_for_again_when_it_could_be_taken() {
    let (mut a, mut b) = (fresh(), fresh());
    let far = SystemTime::now() + Duration::from_hours(2 * 366 * 24);
    let ms = u64::try_from(far.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    a.put(&[space(UUID), entry("x", "/a", ms), entry("x", "/b", 1)]);
    let one_way = Options { one_way: true, ..options() };
    assert_eq!(run(&a, &b, &one_way).unwrap()[0]["doc_write_failures"], json!(1));
    b.index.ask_again(SystemTime::now()).unwrap();
    assert_eq!((b.index.pulled().unwrap().len(), all(&b.index).len()), (1, 2));
    // the clock has come so far
    b.index.ask_again(far).unwrap();
    assert_eq!(b.index.pulled().unwrap(), [""; 0]);
    assert_eq!(run(&a, &b, &one_way).unwrap()[0]["doc_write_failures"], json!(1));
    // another version may take what this one does not
    let raw = rusqlite::Connection::open(b.index.path()).unwrap();
    assert_eq!(
        raw.execute("UPDATE meta SET value = replace(value, '\"by\":\"', '\"by\":\"9') WHERE key = 'refused'", []).unwrap(),
        1
    );
    b.index.ask_again(SystemTime::now()).unwrap();
    assert_eq!(b.index.pulled().unwrap(), [""; 0]);
}
