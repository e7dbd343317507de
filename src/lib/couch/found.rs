//! What a row of a database says to ltr. Documents are read where the rows are, in a thread of their own; what
//! there is to tell of them is told where they are used.

use std::time::SystemTime;

use anyhow::{Error, Result, ensure};
use serde_json::{Map, Value};

use super::rows::Row;
use crate::record::Document;

/// A row that has been looked at.
pub(super) struct Found {
    pub(super) id: String,
    pub(super) rev: Option<String>,
    /// Whether the document is there.
    pub(super) there: bool,
    /// Its leaves that did not win.
    pub(super) others: Vec<String>,
    pub(super) word: Word,
    /// The bytes of the document.
    pub(super) bytes: usize,
}

/// What a document is to ltr.
#[allow(clippy::large_enum_variant, reason = "nearly all are the large one")]
pub(super) enum Word {
    /// One of its own.
    Ours(Document),
    /// Something else, which is left alone.
    Theirs,
    /// It passes for one of the type `kind`, and is none for this reason.
    Bad { kind: String, why: Error },
}

impl Found {
    /// `None`: views and other code that came from elsewhere are nothing to ltr.
    pub(super) fn of(row: &Row<'_>, now: SystemTime) -> Option<Self> {
        // what was asked for and is not there has only that
        let id = row.id.as_ref().or(row.key.as_ref()).filter(|id| !id.starts_with('_'))?;
        let (there, rev) = (row.is_there(), row.rev().map(str::to_owned));
        let text = row.doc.filter(|_| there).map(|doc| doc.get()).unwrap_or_default();
        let (word, others) = if text.is_empty() { (Word::Theirs, Vec::new()) } else { read(id, text, now) };
        Some(Self { id: id.clone().into_owned(), rev, there, others, word, bytes: text.len() })
    }
}

/// Reads a document as the word of a stranger, and its leaves that did not win.
///
/// Nearly all are entries, as ltr wrote them, and are read at once. The rest goes through a map: of keys that a
/// document has twice the last counts, as for CouchDB itself.
fn read(id: &str, text: &str, now: SystemTime) -> (Word, Vec<String>) {
    if let Ok((document, mut own)) = Document::of_database(text.as_bytes())
        && let Ok(document) = checked(id, document, now)
    {
        return (Word::Ours(document), conflicts(&mut own));
    }
    let mut map: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let others = conflicts(&mut map);
    (of_map(id, map, now), others)
}

fn conflicts(map: &mut Map<String, Value>) -> Vec<String> {
    let Some(Value::Array(listed)) = map.remove("_conflicts") else { return Vec::new() };
    listed.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn checked(id: &str, document: Document, now: SystemTime) -> Result<Document> {
    document.check_foreign(now)?;
    ensure!(document.id() == id, "its key is another");
    Ok(document)
}

/// The same of a document that has been read as JSON.
pub(super) fn of_map(id: &str, mut map: Map<String, Value>, now: SystemTime) -> Word {
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let ours = matches!(kind.as_str(), "space" | "box" | "entry" | "mark");
    map.retain(|key, _| key == "_id" || !key.starts_with('_'));
    if !ours && !map.get("stamp").is_some_and(Value::is_string) {
        return Word::Theirs;
    }
    let read = serde_json::to_string(&map).map_err(Error::from).and_then(|text| Document::of_kind(&kind, &text));
    match read.and_then(|document| checked(id, document, now)) {
        Ok(document) => Word::Ours(document),
        Err(_) if !ours => Word::Theirs,
        Err(why) => Word::Bad { kind, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entry;

    fn of(id: &str, text: &str) -> (Word, Vec<String>) {
        read(id, text, SystemTime::now())
    }

    /// What is read at once is what the map would have said.
    #[test]
    fn both_ways_to_read_a_document_agree() {
        let plain = serde_json::to_string(&Document::Entry(entry("b", "/a", 1, 1))).unwrap();
        let with = |fields: &str| plain.replacen('{', &format!("{{{fields},"), 1);
        for text in [
            plain.clone(),
            with(r#""_rev":"1-a""#),
            with(r#""_rev":"1-a","_conflicts":["1-b","1-c"],"_attachments":{"x":{}}"#),
            with(r#""colour":"red","_deleted_conflicts":["1-d"]"#),
            with(r#""size":3"#),
            with(r#""local":{"ino":1,"ctime":1,"ctime_nsec":1}"#),
            with(r#""type":"mark""#),
            with(r#""stamp":"ffffffffffff-0000-00000000""#),
            plain.replace("b:/a", "b:/b"),
            plain.replace("\"entry\"", "\"tag\""),
            "[1]".to_owned(),
            "\"x\"".to_owned(),
            "{}".to_owned(),
        ] {
            for id in ["b:/a", "b:/b"] {
                let map: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
                let (word, others) = of(id, &text);
                assert_eq!(others.len(), map.get("_conflicts").and_then(Value::as_array).map_or(0, Vec::len), "{text}");
                match (word, of_map(id, map, SystemTime::now())) {
                    (Word::Ours(one), Word::Ours(other)) => assert_eq!(one, other, "{text}"),
                    (Word::Theirs, Word::Theirs) => {}
                    (Word::Bad { kind, why }, Word::Bad { kind: other, why: reason }) => {
                        assert_eq!((kind, why.to_string()), (other, reason.to_string()), "{text}");
                    }
                    _ => panic!("{id}: {text}"),
                }
            }
        }
    }
}
