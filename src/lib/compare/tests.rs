use proptest::prelude::*;

use super::*;
use crate::record::{Document, Entry, Extra, Local, Mark, Sha1, Want};
use crate::testing::{box_doc, entry, folder, index_of, path, stamp};
use crate::version::Version;

const PATHS: [&str; 8] = ["/a", "/a/b", "/a/b/c", "/a.b", "/a/c", "/b", "/b/a", "/c/d/e"];

/// What one box has at a path: nothing often, else one of few contents and versions.
fn entries(box_name: &'static str) -> impl Strategy<Value = Vec<Document>> {
    let one = (prop::sample::select(PATHS.to_vec()), 0u8..8, 1u8..3, 1u64..3, 0u8..8, any::<bool>());
    let one = one.prop_map(move |(at, odd, tint, version, flags, dir)| {
        let made = if dir && at.len() < 4 { folder(box_name, at) } else { entry(box_name, at, 1, tint) };
        let (odd, tint) = (odd == 0, tint.into());
        let local = (flags != 1).then(|| Local { ino: tint, ctime: 3, racy: flags == 2, ..Local::default() });
        let mode = if flags == 3 { Mode(0o600) } else { made.attrs.mode };
        Document::Entry(Entry {
            version: Version::of(if odd { 8 } else { 7 }, version),
            present: flags != 4,
            purged: matches!(flags, 4 | 5) && odd,
            local: local.filter(|_| box_name == "x"),
            attrs: Attrs { mode, ..made.attrs },
            commit: version,
            ..made
        })
    });
    prop::collection::vec(one, 0..9)
}

fn marks() -> impl Strategy<Value = Vec<Document>> {
    let one = (prop::sample::select(PATHS.to_vec()), any::<bool>(), any::<bool>(), 0u64..3);
    let one = one.prop_map(|(at, want, alone, seen)| {
        let want = if want { Want::Want } else { Want::Skip };
        Document::Mark(Mark { box_name: "x".into(), path: path(at), want, seen, alone, stamp: stamp(1), extra: Extra::new() })
    });
    prop::collection::vec(one, 0..3)
}

/// What is on disk: where `x` has an entry, mostly just that.
fn items(index: &Sqlite, seen: &[u8]) -> Vec<Item> {
    let mut items: Vec<Item> = PATHS
        .iter()
        .zip(seen)
        .filter_map(|(at, seen)| {
            let own = index.entry("x", &path(at)).unwrap();
            let new = || if *seen == 9 { folder("x", at) } else { entry("x", at, 1, 1) };
            let attrs = own.unwrap_or_else(new).attrs;
            let item = Item {
                path: path(at),
                ftype: attrs.ftype,
                size: attrs.size + u64::from(*seen == 1),
                mtime: attrs.mtime + i64::from(*seen == 2),
                mtime_nsec: attrs.mtime_nsec,
                mode: if *seen == 3 { Mode(0o640) } else { attrs.mode },
                ino: attrs.size + u64::from(*seen == 4),
                dev: 1,
                ctime: 3,
                ctime_nsec: 0,
                target: None,
            };
            (*seen > 0).then_some(item)
        })
        .collect();
    items.sort_by(|a, b| a.path.cmp(&b.path));
    items
}

fn compared(index: &Sqlite, items: &[Item], all: bool) -> Vec<FileRecord> {
    let found = items.iter().cloned().map(Found::Item);
    comparison(index, found, all).0
}

/// What a scan finds, where the folders of `sealed` are.
fn with_folders(items: &[Item], sealed: &Clean) -> Vec<Found> {
    let mut found = Vec::new();
    for item in items {
        if item.path.parent().is_none_or(|folder| !sealed.contains_key(&folder)) {
            found.push(Found::Item(item.clone()));
        }
        if item.ftype == Ftype::Dir {
            let sealed = sealed.contains_key(&item.path);
            found.push(Found::Folder { path: item.path.clone(), seal: Sha1([1; 20]), sealed });
        }
    }
    found
}

fn comparison(index: &Sqlite, found: impl IntoIterator<Item = Found>, all: bool) -> (Vec<FileRecord>, Clean) {
    let fs = FsTraits { modes: true, stable_ids: true, granularity_ns: 1 };
    let mut records = Vec::new();
    let mut put = |difference| {
        if let Difference::Record(record) = difference {
            records.push(record);
        }
        Ok(())
    };
    let compare = Compare { box_name: "x".into(), under: Vec::new(), all, fs, remember: false };
    let mut comparer = Comparer::new(index, compare, None, &mut put).unwrap();
    for found in found {
        comparer.found(found).unwrap();
    }
    let clean = comparer.finish().unwrap();
    (records, clean)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What is asked for by `--all` is made out row by row, all else only where it may differ.
    #[test]
    fn what_passes_is_what_is_in_sync(
        x in entries("x"), y in entries("y"), z in entries("z"), marks in marks(),
        seen in prop::collection::vec(prop_oneof![1 => 0u8..5, 3 => Just(9u8)], PATHS.len()),
    ) {
        let boxes = ["x", "y", "z"].map(|name| box_doc(name, serde_json::json!({"policy": "complete"})));
        let (_dir, index) = index_of(&[boxes.to_vec(), x, y, z, marks].concat());
        let items = items(&index, &seen);
        let passed = |r: &FileRecord| match r.status.as_deref() {
            Some(letters::IN_SYNC) => r.change.is_none(),
            Some(letters::SKIPPED) => r.local.is_none(),
            _ => false,
        };
        let mut all = compared(&index, &items, true);
        let (open, clean) = comparison(&index, with_folders(&items, &Clean::new()), false);
        let (sealed, _) = comparison(&index, with_folders(&items, &clean), false);
        prop_assert_eq!(sealed, open);
        all.retain(|record| !passed(record));
        prop_assert_eq!(compared(&index, &items, false), all);
    }
}
