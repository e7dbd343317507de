//! The index against a plain map, and against what a disk may hold in its place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::sqlite::{Access, Sqlite};
use super::{Index, Origin, Outcome, Select};
use crate::path::SpacePath;
use crate::record::{Document, Entry, Extra, Local, Mark, Want};
use crate::stamp::Stamp;
use crate::testing::{entry, fresh};

fn all(index: &Sqlite) -> Vec<String> {
    let mut found = Vec::new();
    index
        .range(&Select::default(), &mut |d| {
            found.push(d.canonical());
            Ok(())
        })
        .unwrap();
    found
}

/// Entries of a few boxes at nested paths, with stamps that often tie.
fn documents() -> impl Strategy<Value = Vec<Document>> {
    let path = prop::sample::select(vec!["/a", "/a/b", "/a/b/c", "/a.b", "/a/c", "/b", "/b/a", "/c/d/e/f", "/a\\xffz"]);
    let one =
        (prop::sample::select(vec!["x", "y", "z"]), path, 0u64..4, 0u8..3, any::<bool>()).prop_map(|(b, p, ms, tint, mark)| {
            let e = entry(b, p, ms, tint);
            if mark {
                let want = if tint == 0 { Want::Want } else { Want::Skip };
                let (box_name, path, stamp) = (e.box_name, e.path, e.stamp);
                Document::Mark(Mark { box_name, path, want, seen: ms, alone: false, stamp, extra: Extra::new() })
            } else {
                Document::Entry(e)
            }
        });
    prop::collection::vec(one, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merging_in_any_order_gives_the_same_index(docs in documents(), cut in 0usize..24) {
        let (_a, mut forward) = fresh();
        let (_b, mut backward) = fresh();
        forward.put(&docs, Origin::Elsewhere).unwrap();
        let cut = cut.min(docs.len());
        let reversed: Vec<_> = docs.iter().rev().cloned().collect();
        backward.put(&reversed[..cut], Origin::Elsewhere).unwrap();
        backward.put(&reversed, Origin::Elsewhere).unwrap();
        let mut expected: BTreeMap<String, Document> = BTreeMap::new();
        for doc in &docs {
            let old = expected.get(&doc.id());
            if old.is_none_or(|o| (doc.stamp(), doc.canonical()) > (o.stamp(), o.canonical())) {
                expected.insert(doc.id(), doc.clone());
            }
        }
        prop_assert_eq!(all(&forward), all(&backward));
        let mut found = all(&forward);
        found.sort();
        let mut wanted: Vec<_> = expected.values().map(Document::canonical).collect();
        wanted.sort();
        prop_assert_eq!(found, wanted);
        let again = forward.put(&docs, Origin::Elsewhere).unwrap();
        prop_assert!(!again.contains(&Outcome::Written));
    }

    #[test]
    fn groups_come_in_path_order(docs in documents(), under in prop::sample::select(vec!["", "/a", "/a/b", "/c", "/nowhere"])) {
        let (_dir, mut index) = fresh();
        index.put(&docs, Origin::Elsewhere).unwrap();
        let under = if under.is_empty() { SpacePath::root() } else { SpacePath::from_spelled(under).unwrap() };
        let mut expected: Vec<SpacePath> = docs.iter().filter_map(|d| match d {
            Document::Entry(e) if e.path.is_within(&under) => Some(e.path.clone()),
            _ => None,
        }).collect();
        expected.sort();
        expected.dedup();
        let mut found = Vec::new();
        let mut groups = index.groups(&under);
        while let Some(group) = groups.next().unwrap() {
            prop_assert_eq!(&index.group(&group.path).unwrap(), &group);
            found.push(group.path);
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn many_files_and_folders_come_in_pages() {
    let (_dir, mut index) = fresh();
    let paths: Vec<String> = (0..1500).flat_map(|i| [format!("/d{i:04}/f"), format!("/big/{i:04}")]).collect();
    let docs: Vec<_> = paths.iter().flat_map(|p| ["x", "y"].map(|b| Document::Entry(entry(b, p, 1, 1)))).collect();
    index.put(&docs, Origin::Here).unwrap();
    let mut groups = index.groups(&SpacePath::root());
    let mut found = Vec::new();
    while let Some(group) = groups.next().unwrap() {
        assert_eq!(group.rows.len(), 2);
        found.push(group.path);
    }
    let mut expected: Vec<_> = paths.iter().map(|p| SpacePath::from_spelled(p).unwrap()).collect();
    expected.sort();
    assert_eq!(found, expected);
    let mut of_one = Vec::new();
    let only = Select { boxes: vec!["y".to_owned()], ..Select::default() };
    index
        .range(&only, &mut |document| {
            of_one.push(document.id());
            Ok(())
        })
        .unwrap();
    let ids = |name: &str| expected.iter().map(|path| format!("{name}:{path}")).collect::<Vec<_>>();
    assert_eq!(of_one, ids("y"));
    let both: Vec<_> = ids("x").into_iter().zip(ids("y")).flat_map(|(x, y)| [x, y]).collect();
    let found: Vec<_> = all(&index).iter().map(|json| Document::from_json(json).unwrap().id()).collect();
    assert_eq!(found, both);
}

#[test]
fn a_checkpoint_is_forgotten_with_its_document() {
    let (dir, mut index) = fresh();
    let read = |index: &Sqlite, since: Option<&str>| {
        let mut ids = Vec::new();
        let next = index
            .changes(since, &mut |d| {
                ids.push(d.id());
                Ok(())
            })
            .unwrap();
        (ids, next)
    };
    index.put(&[Document::Entry(entry("x", "/a", 1, 1))], Origin::Here).unwrap();
    let backup = dir.path().join("backup");
    index.copy_to(&backup).unwrap();
    index.put(&[Document::Entry(entry("x", "/b", 1, 1))], Origin::Here).unwrap();
    let (ids, checkpoint) = read(&index, None);
    assert_eq!(ids, ["x:/a", "x:/b"]);
    assert_eq!(read(&index, Some(&checkpoint)), (vec![], checkpoint.clone()));
    index.put(&[Document::Entry(entry("x", "/a", 9, 1))], Origin::Here).unwrap();
    assert_eq!(read(&index, Some(&checkpoint)).0, ["x:/a"]);
    let id = index.id();
    drop(index);
    // the backup takes the place of the index: another inode, so another id, and all is read again
    for name in ["space-wal", "space-shm"] {
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    std::fs::rename(&backup, dir.path().join("space")).unwrap();
    let index = Sqlite::open(&dir.path().join("space"), Access::Write).unwrap();
    assert_ne!(index.id(), id);
    assert_eq!(read(&index, Some(&checkpoint)).0, ["x:/a"]);
}

#[test]
fn a_backup_over_the_index_honours_no_checkpoint_though_it_gets_the_same_document_in_the_same_place() {
    let (_dir, mut index) = fresh();
    let put = |index: &mut Sqlite, path: &str, ms: u64| {
        index.put(&[Document::Entry(entry("x", path, ms, 1))], Origin::Elsewhere).unwrap();
    };
    put(&mut index, "/a", 1);
    let mut backup = index.copy_in_memory(true).unwrap();
    let early = index.changes(None, &mut |_| Ok(())).unwrap();
    put(&mut index, "/a", 2);
    put(&mut index, "/b", 3);
    let checkpoint = index.changes(None, &mut |_| Ok(())).unwrap();
    assert!(index.honours(&checkpoint).unwrap() && index.honours(&early).unwrap());
    put(&mut index, "/c", 3);
    assert!(index.honours(&checkpoint).unwrap(), "what follows changes nothing");
    assert!(!backup.honours(&checkpoint).unwrap() && backup.honours(&early).unwrap());
    // edited again, and told of /b by somebody else
    put(&mut backup, "/a", 4);
    put(&mut backup, "/b", 3);
    assert_eq!((backup.id(), backup.seq().unwrap()), (index.id(), 3));
    assert!(!backup.honours(&checkpoint).unwrap() && backup.honours(&early).unwrap());
}

#[test]
fn a_checkpoint_from_before_there_were_eras_is_one() {
    let (_dir, index) = fresh();
    for text in ["0000002a.7.01a1efc0fe08-0000-8f6c7d03.x:/a.b", "0000002a-00000007.7.01a1efc0fe08-0000-8f6c7d03.x:/a.b"] {
        assert!(!index.honours(text).unwrap(), "of another index");
    }
    for text in ["", "0000002a", "2a.7.01a1efc0fe08-0000-8f6c7d03.x", "0000002a-7.7.01a1efc0fe08-0000-8f6c7d03.x"] {
        assert!(index.honours(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_written_during_a_visit_lies_after_its_checkpoint() {
    let (_dir, mut index) = fresh();
    let mut writer = Sqlite::open(index.path(), Access::Write).unwrap();
    let e = entry("x", "/a", 1, 1);
    let mark = |path: &str| {
        let path = SpacePath::from_spelled(path).unwrap();
        let (want, alone, extra) = (Want::Skip, false, Extra::new());
        Document::Mark(Mark { box_name: "x".into(), path, want, seen: 0, alone, stamp: e.stamp, extra })
    };
    index.put(&[Document::Entry(e.clone()), mark("/m")], Origin::Here).unwrap();
    let mut read = Vec::new();
    let checkpoint = index
        .changes(None, &mut |d| {
            if matches!(d, Document::Mark(_)) {
                // entries have been read to their end by now, marks have not
                writer.put(&[Document::Entry(entry("x", "/b", 1, 1)), mark("/n")], Origin::Here)?;
            }
            read.push(d.id());
            Ok(())
        })
        .unwrap();
    assert_eq!(read, ["x:/a", "mark:x:/m"]);
    read.clear();
    let mut visit = |d: Document| {
        read.push(d.id());
        Ok(())
    };
    index.changes(Some(&checkpoint), &mut visit).unwrap();
    assert_eq!(read, ["x:/b", "mark:x:/n"]);
    assert_eq!(index.checkpoint_at(2).unwrap(), Some(checkpoint));
}

#[test]
fn local_facts_stay_here_and_go_when_somebody_else_writes() {
    let (_dir, mut index) = fresh();
    let facts = Local { ino: 1, ctime: 2, ctime_nsec: 3, dev: 4, ..Local::default() };
    let mine = Entry { local: Some(facts.clone()), ..entry("x", "/a", 1, 1) };
    index.put(&[Document::Entry(mine.clone())], Origin::Here).unwrap();
    assert_eq!(index.entry("x", &mine.path).unwrap().unwrap().local, Some(facts.clone()));
    assert!(!all(&index)[0].contains("local"));
    let again = Entry { local: Some(Local { ino: 9, ..facts }), ..mine.clone() };
    assert_eq!(index.put(&[Document::Entry(again.clone())], Origin::Here).unwrap(), [Outcome::Unchanged]);
    assert_eq!(index.entry("x", &mine.path).unwrap().unwrap().local.unwrap().ino, 9);
    let theirs = Entry { stamp: Stamp { ms: 5, ..mine.stamp }, ..again };
    index.put(&[Document::Entry(theirs)], Origin::Elsewhere).unwrap();
    assert_eq!(index.entry("x", &mine.path).unwrap().unwrap().local, None);
}

#[test]
fn an_actor_is_drawn_anew_when_another_hand_may_count() {
    let (_dir, mut index) = fresh();
    index.adopt_box("x", (1, 2), true).unwrap();
    let first = index.own("x", (1, 2)).unwrap();
    assert_eq!(index.own("x", (1, 2)).unwrap(), first);
    let elsewhere = index.own("x", (1, 3)).unwrap();
    assert!(elsewhere.moved && elsewhere.actor != first.actor);
    index.put(&[Document::Entry(entry("x", "/a", 5, 1))], Origin::Here).unwrap();
    assert_eq!(index.own("x", (1, 3)).unwrap().actor, elsewhere.actor);
    index.put(&[Document::Entry(entry("x", "/a", 6, 1))], Origin::Elsewhere).unwrap();
    let after = index.own("x", (1, 3)).unwrap();
    assert!(after.actor != elsewhere.actor && after.commits == 6);
    index.adopt_box("y", (1, 2), false).unwrap();
    assert!(index.own("y", (1, 2)).is_err());
    index.set_peer(9, Some("c"), None).unwrap();
    assert!(index.own("y", (1, 2)).is_ok());
    assert!(index.own("z", (1, 2)).is_err());
}

#[test]
fn what_is_no_index_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let foreign = dir.path().join("foreign");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let newer = dir.path().join("newer");
    Sqlite::create(&newer).unwrap();
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    for (path, message) in [
        (file("text", b"not a database, but long enough to look at"), "not an index of ltr"),
        (foreign, "not an index of ltr"),
        (newer, "schema version 99"),
        (dir.path().to_path_buf(), "not a file"),
    ] {
        let before = std::fs::read(&path).unwrap_or_default();
        for error in [Sqlite::create(&path).err(), Sqlite::open(&path, Access::Write).err()] {
            let error = format!("{:#}", error.unwrap());
            assert!(error.contains(message), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap_or_default(), before);
    }
    assert!(Sqlite::open(&dir.path().join("none"), Access::Read).is_err());
    let index = dir.path().join("index");
    assert!(Sqlite::create(&index).unwrap());
    assert!(!Sqlite::create(&index).unwrap());
    // a creation that was killed before its transaction
    let begun = dir.path().join("begun");
    rusqlite::Connection::open(&begun).unwrap().pragma_update(None, "journal_mode", "WAL").unwrap();
    assert!(std::fs::metadata(&begun).unwrap().len() > 0 && Sqlite::is_blank(&begun) && !Sqlite::is_blank(&index));
    assert!(Sqlite::create(&begun).unwrap() && Sqlite::open(&begun, Access::Write).is_ok());
}

#[test]
fn several_write_and_read_at_once() {
    let (_dir, index) = fresh();
    let writers: Vec<_> = (0..3u8)
        .map(|w| {
            let path = index.path().to_path_buf();
            std::thread::spawn(move || {
                let mut index = Sqlite::open(&path, Access::Write).unwrap();
                for i in 0..50 {
                    index.put(&[Document::Entry(entry("x", &format!("/{w}/{i:02}"), 1, w))], Origin::Here).unwrap();
                }
            })
        })
        .collect();
    let reader = Sqlite::open(index.path(), Access::Read).unwrap();
    while writers.iter().any(|w| !w.is_finished()) {
        let (mut groups, mut last) = (reader.groups(&SpacePath::root()), SpacePath::root());
        while let Some(group) = groups.next().unwrap() {
            assert!(group.path > last);
            last = group.path;
        }
    }
    writers.into_iter().for_each(|w| w.join().unwrap());
    assert_eq!(all(&index).len(), 150);
    let mut seqs = 0;
    index
        .changes(None, &mut |_| {
            seqs += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(seqs, 150);
}

#[test]
fn nothing_that_a_stick_brings_runs_or_is_waited_for() {
    let (dir, mut index) = fresh();
    index.put(&[Document::Entry(entry("x", "/a", 1, 1))], Origin::Here).unwrap();
    let file = index.path().to_path_buf();
    drop(index);
    let raw = rusqlite::Connection::open(&file).unwrap();
    raw.execute_batch(
        "CREATE TRIGGER gone AFTER INSERT ON entries BEGIN DELETE FROM entries; END;
         CREATE TRIGGER gone_too AFTER UPDATE ON meta BEGIN DELETE FROM boxes; END;",
    )
    .unwrap();
    drop(raw);
    let mut index = Sqlite::open(&file, Access::Write).unwrap();
    index.put(&[Document::Entry(entry("x", "/b", 2, 1))], Origin::Here).unwrap();
    assert_eq!(index.count_files("x").unwrap(), 2);
    drop(index);
    // a view in the place of a table is endless work
    let raw = rusqlite::Connection::open(&file).unwrap();
    raw.execute_batch(
        "ALTER TABLE boxes RENAME TO real; CREATE VIEW boxes AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)
         SELECT id, 'b' || id AS name, 0 AS commits FROM n;",
    )
    .unwrap();
    drop(raw);
    Sqlite::open(&file, Access::Read).unwrap().boxes().unwrap_err();
    // SQLite would wait for who writes to the fifo
    for suffix in ["journal", "wal", "shm"] {
        let beside = dir.path().join(format!("{}-{suffix}", file.file_name().unwrap().to_str().unwrap()));
        let _ = std::fs::remove_file(&beside);
        rustix::fs::mknodat(rustix::fs::CWD, &beside, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for access in [Access::Read, Access::Write] {
            let error = format!("{:#}", Sqlite::open(&file, access).unwrap_err());
            assert!(error.contains("not a file"), "{error}");
        }
        std::fs::remove_file(&beside).unwrap();
    }
}

#[test]
fn an_index_that_was_emptied_is_like_a_new_one() {
    let mut index = Sqlite::in_memory().unwrap();
    let old = index.id();
    index.adopt_box("x", (1, 2), true).unwrap();
    index.put(&[Document::Entry(entry("x", "/a/b", 7, 1))], Origin::Here).unwrap();
    index.set_peer(3, Some("checkpoint"), None).unwrap();
    index.empty().unwrap();
    assert_ne!(index.id(), old);
    assert!(all(&index).is_empty() && index.boxes().unwrap().all.is_empty());
    assert_eq!((index.seq().unwrap(), index.last_put()), (0, (0, 0)));
    assert_eq!(index.peer(3).unwrap(), (None, None));
    let tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table'";
    let tables: i64 = index.connection.query_row(tables, [], |row| row.get(0)).unwrap();
    assert_eq!(usize::try_from(tables), Ok(super::schema::TABLES.len() + super::changes::TABLES.len()));
    assert!(!index.is_own("x").unwrap() && index.clock().unwrap().last() == Stamp::default());
}

/// SQLite's locks belong to the process: whoever closes the file lets go of all of them (fcntl(2)).
#[test]
fn to_open_an_index_twice_keeps_its_locks() {
    use std::os::unix::fs::MetadataExt;
    let (_dir, index) = fresh();
    let inode = std::fs::metadata(index.path()).unwrap().ino();
    let (process, file) = (format!(" {} ", std::process::id()), format!(":{inode} "));
    let read = || {
        let all = std::fs::read_to_string("/proc/locks").unwrap();
        all.lines().filter(|lock| lock.contains(&process) && lock.contains(&file)).count()
    };
    let locks = || (0..crate::lock::READS).map(|_| read()).max().unwrap();
    let before = locks();
    assert!(before > 0);
    let again = Sqlite::open(index.path(), Access::Read).unwrap();
    assert!(locks() >= before && again.id() == index.id());
}
