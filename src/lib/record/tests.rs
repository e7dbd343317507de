//! What is written of records and entries can be read again, whatever is in them.

use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Attrs, Change, Document, Entry, Extra, FileRecord, Ftype, Local, Mode, Sha1, Was};
use crate::path::SpacePath;
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

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(record in records()) {
        let line = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(serde_json::from_str::<FileRecord>(&line).unwrap(), record);
    }

    #[test]
    fn an_entry_is_read_as_it_was_written(entry in entries()) {
        let document = Document::Entry(entry);
        let line = serde_json::to_string(&document).unwrap();
        prop_assert_eq!(Document::from_json(&line).unwrap(), document);
    }
}
