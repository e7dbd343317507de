use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{entry, file};
use crate::path::SpacePath;
use crate::record::{Attrs, Change, Document, Entry, Extra, FileRecord, Ftype, Local, Mode, Sha1, Was};
use crate::stamp::Stamp;
use crate::version::Version;

fn paths() -> impl Strategy<Value = SpacePath> {
    let name = prop_oneof!["[a-z.]{1,6}x", "[ -~&&[^/]]{1,6}x", "[\u{7f}-\u{9f}α-ω]{1,3}x"].prop_map(String::into_bytes);
    let name = prop_oneof![4 => name, 1 => proptest::collection::vec(prop_oneof![1u8..47, 48u8..=255], 3..6)];
    proptest::collection::vec(name, 1..4).prop_map(|names| SpacePath::from_relative(&names.join(&b'/')).unwrap())
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Za-z/-]{0,12}", "[\\x00-\\x7f]{0,4}", "\\PC{0,4}"]
}

fn ftypes() -> impl Strategy<Value = Ftype> {
    prop_oneof![Just(Ftype::File), Just(Ftype::Dir), Just(Ftype::Symlink)]
}

fn extras() -> impl Strategy<Value = Extra> {
    let values = prop_oneof![Just(Value::Null), Just(json!({"a":[1,"\n"]})), any::<i64>().prop_map(Value::from)];
    let some = proptest::collection::btree_map("y[a-z\"]{0,3}", values, 1..3);
    prop_oneof![3 => Just(Extra::new()), 1 => some.prop_map(|map| map.into_iter().collect())]
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..100, Just(1 << 62), any::<u64>().prop_map(|n| n >> 1)]
}

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![0i64..1 << 33, any::<i64>()]
}

prop_compose! {
    fn locals()(ino: u64, ctime in times(), ctime_nsec in 0u32..1_000_000_000, dev: u64, racy: bool, status in of(texts()), renamed in of(paths())) -> Local {
        Local { ino, ctime, ctime_nsec, dev, racy, status, renamed }
    }
}

prop_compose! {
    fn attrs()(ftype in ftypes(), size in sizes(), mtime in times(), mtime_nsec in 0u32..1_000_000_000, mode in 0u32..0o2000, sha1 in of(any::<[u8; 20]>()), mime in of(texts()), target in of("[a-z]{1,4}")) -> Attrs {
        let file = ftype != Ftype::Dir;
        let target = if ftype == Ftype::Symlink { target.or(Some("t".to_owned())) } else { None };
        let sha1 = sha1.filter(|_| file).map(Sha1);
        Attrs { ftype, size: if file { size } else { 0 }, mtime, mtime_nsec, mode: Mode(mode), sha1, mime, target }
    }
}

prop_compose! {
    fn records()(path in paths(), attrs in attrs(), local in of(locals()), no_mode in any::<bool>(), status in of(texts()), change in of(0usize..4), was in of(ftypes()), otherwise in of("[CU]"), whole in prop::bool::weighted(0.1), renamed in of(paths()), extra in extras()) -> FileRecord {
        let mut record = FileRecord::new(path, &attrs);
        let change = change.map(|n| [Change::New, Change::Modified, Change::Suspect, Change::Gone][n]);
        let was = was.filter(|_| whole).map(|ftype| Was { ftype, size: attrs.size, sha1: attrs.sha1, mode: attrs.mode });
        if no_mode {
            record.mode = None;
        }
        FileRecord { local, status, change, was, otherwise: otherwise.filter(|_| whole), whole, renamed: renamed.filter(|_| whole), extra, ..record }
    }
}

prop_compose! {
    fn entries()(path in paths(), attrs in attrs(), present: bool, purged in prop::bool::weighted(0.2), moved in of(paths()), commit in 0u64..1 << 53, counts in proptest::collection::vec((any::<u32>(), 1u64..1 << 53), 1..3), ms in 0u64..1 << 48, counter: u16, index: u32, local in of(locals()), extra in extras()) -> Entry {
        let mut version = Version::default();
        counts.into_iter().for_each(|(actor, count)| version.join(&Version::of(actor, count)));
        let attrs = Attrs { sha1: attrs.sha1.or((attrs.ftype != Ftype::Dir).then_some(Sha1([7; 20]))), ..attrs };
        let stamp = Stamp { ms, counter, index };
        Entry { box_name: "b@x".to_owned(), path, attrs, present, purged, moved: moved.filter(|_| purged), commit, version, stamp, local, extra }
    }
}

/// A line with one byte replaced, removed or doubled.
fn damage(line: &[u8], at: prop::sample::Index, how: u8) -> Vec<u8> {
    let (mut damaged, at) = (line.to_vec(), at.index(line.len()));
    match how {
        0 => drop(damaged.remove(at)),
        1 => damaged.insert(at, line[at]),
        2 => damaged.insert(at, b' '),
        other => damaged[at] = other,
    }
    damaged
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_record_is_written_and_read_as_by_serde(record in records(), at: prop::sample::Index, how in prop_oneof![0u8..3, 32u8..127]) {
        let mut line = Vec::new();
        record.write(&mut line).unwrap();
        prop_assert_eq!(String::from_utf8_lossy(&line), serde_json::to_string(&record).unwrap());
        let parsed = serde_json::from_slice::<FileRecord>(&line).unwrap();
        prop_assert_eq!(FileRecord::from_json(&line).unwrap(), parsed);
        let line = damage(&line, at, how);
        if let Some(read) = file(&line) {
            prop_assert_eq!(Some(read), serde_json::from_slice(&line).ok());
        }
    }

    #[test]
    fn an_entry_is_written_and_read_as_by_serde(entry_ in entries(), at: prop::sample::Index, how in prop_oneof![0u8..3, 32u8..127]) {
        let mut line = Vec::new();
        let document = Document::Entry(entry_.clone());
        document.write(&mut line).unwrap();
        prop_assert_eq!(String::from_utf8_lossy(&line), serde_json::to_string(&document).unwrap());
        for line in [line.clone(), damage(&line, at, how)] {
            // what a parser makes of the fields in another order
            let by_parser = serde_json::from_slice::<Value>(&line).ok().map(|mut value| {
                value["zz"] = Value::Null;
                value.to_string()
            });
            let by_parser = by_parser.and_then(|text| Document::from_json(text.as_bytes()).ok()).map(|document| match document {
                Document::Entry(mut entry) => {
                    entry.extra.remove("zz");
                    Document::Entry(entry)
                }
                other => other,
            });
            if entry(&line).is_some() {
                prop_assert_eq!(Document::of_kind("entry", &line).ok(), by_parser);
            }
        }
    }
}

#[test]
fn what_commands_write_needs_no_parser() {
    let scan = r#"{"type":"scan","path":"/d/f.txt","ftype":"file","size":23,"mtime":1795388347,"mtime_nsec":4206,"mode":"0644","local":{"ino":109,"ctime":1795388347,"ctime_nsec":42,"dev":65024,"racy":false},"sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709","mime":"text/plain","status":"N","change":"new"}"#;
    assert!(file(scan.as_bytes()).is_some());
    let text = r#"{"_id":"b:/d/f.txt","type":"entry","box":"b","path":"/d/f.txt","ftype":"file","present":true,"commit":1,"size":23,"mtime":1795388347,"mtime_nsec":42,"mode":"0644","sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709","mime":"text/plain","version":{"644adf23":1},"stamp":"01a20581ef95-0004-6fce07bd","local":{"ino":109,"ctime":1795388347,"ctime_nsec":42,"dev":65024,"racy":false,"status":"N"}}"#;
    assert!(entry(text.as_bytes()).is_some());
    for (from, to) in [
        (":23", ":023"),
        (":23", ":2.3"),
        (":23", ":23e1"),
        ("/d/f", "/d/../f"),
        (":23", ":99999999999999999999"),
        ("\"0644\"", "\"8644\""),
    ] {
        assert!(file(scan.replace(from, to).as_bytes()).is_none(), "{to}");
        assert!(entry(text.replace(from, to).as_bytes()).is_none(), "{to}");
    }
}
