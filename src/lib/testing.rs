//! What the tests of several modules need: small indexes made by hand.

use crate::index::sqlite::{Access, Sqlite};
use crate::index::{Index, Origin};
use crate::path::SpacePath;
use crate::record::{Attrs, Document, Entry, Extra, Fields, Ftype, Mark, Mode, Sha1, Want};
use crate::stamp::Stamp;
use crate::version::Version;

/// A path as records spell it.
pub(crate) fn path(text: &str) -> SpacePath {
    SpacePath::from_spelled(text).unwrap()
}

/// A present file of which `tint` is both the size and every byte of the hash.
pub(crate) fn entry(box_name: &str, at: &str, ms: u64, tint: u8) -> Entry {
    Entry {
        box_name: box_name.into(),
        path: path(at),
        attrs: Attrs {
            ftype: Ftype::File,
            size: u64::from(tint),
            mtime: 5,
            mtime_nsec: 6,
            mode: Mode(0o644),
            sha1: Some(Sha1([tint; 20])),
            mime: Some("text/plain".into()),
            target: None,
        },
        present: true,
        purged: false,
        moved: None,
        commit: ms,
        version: Version::of(7, ms + 1),
        stamp: stamp(ms),
        local: None,
        extra: Extra::new(),
    }
}

/// A folder.
pub(crate) fn folder(box_name: &str, at: &str) -> Entry {
    let mut entry = entry(box_name, at, 1, 0);
    (entry.attrs.ftype, entry.attrs.sha1, entry.attrs.mime) = (Ftype::Dir, None, None);
    entry.attrs.mode = Mode(0o755);
    entry
}

/// A mark that holds for all below.
pub(crate) fn mark(box_name: &str, at: &str, want: Want) -> Document {
    let (box_name, path) = (box_name.into(), path(at));
    Document::Mark(Mark { box_name, path, want, seen: 0, alone: false, stamp: stamp(1), extra: Extra::new() })
}

/// A box document with these fields.
pub(crate) fn box_doc(name: &str, fields: serde_json::Value) -> Document {
    Document::Box(name.into(), fields_of(fields))
}

/// Fields that were all written in the first millisecond of 1970.
pub(crate) fn fields_of(value: serde_json::Value) -> Fields {
    let mut fields = Fields::default();
    for (key, value) in value.as_object().unwrap() {
        fields.set(key, value.clone(), stamp(1));
    }
    fields
}

/// A stamp of the millisecond `ms`.
pub(crate) fn stamp(ms: u64) -> Stamp {
    Stamp { ms, counter: 0, index: 1 }
}

/// An empty index in a temporary folder.
pub(crate) fn fresh() -> (tempfile::TempDir, Sqlite) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("space");
    assert!(Sqlite::create(&path).unwrap());
    let index = Sqlite::open(&path, Access::Write).unwrap();
    (dir, index)
}

/// An index with these documents.
pub(crate) fn index_of(documents: &[Document]) -> (tempfile::TempDir, Sqlite) {
    let (dir, mut index) = fresh();
    index.put(documents, Origin::Here).unwrap();
    (dir, index)
}

/// The records of a whole stream.
pub(crate) fn records(stream: &[u8]) -> Vec<serde_json::Value> {
    let mut reader = crate::stream::Reader::new(stream);
    let mut records = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        match line {
            crate::stream::Line::Record { json, .. } => records.push(serde_json::from_str(json).unwrap()),
            crate::stream::Line::Error(e) => records.push(serde_json::json!({"type": "error", "path": e.path})),
        }
    }
    records
}

/// A box named `name` in a temporary folder, with `documents` in its index beside it. `box` and `space`
/// are the names in the folder.
pub(crate) fn boxed(name: &str, documents: &[Document]) -> (tempfile::TempDir, std::path::PathBuf) {
    let (dir, mut index) = index_of(documents);
    let root = dir.path().canonicalize().unwrap().join("box");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join(".ltr"), format!("{}/{name}\n", index.path().display())).unwrap();
    index.adopt_box(name, crate::ltrbox::cookie_id(&root).unwrap(), true).unwrap();
    (dir, root)
}
