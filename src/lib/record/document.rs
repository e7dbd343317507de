//! Documents of an index, and the keys that they have in it.

use anyhow::{Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::wire::Wire;
use super::{Entry, Extra, Fields, Mark};
use crate::path::SpacePath;
use crate::stamp::Stamp;

/// A document of an index.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all documents are entries, so a box around them would only add an allocation"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// The space itself.
    Space(Fields),
    /// A box of this name.
    Box(String, Fields),
    /// What a box holds.
    Entry(Entry),
    /// What a box should hold.
    Mark(Mark),
    /// Of a type that this ltr does not know; kept as it is.
    Other(Other),
}

/// A document that this ltr only carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    /// Its key.
    pub id: String,
    /// When it was written.
    pub stamp: Stamp,
    /// The whole document.
    pub json: Map<String, Value>,
}

impl Other {
    /// Takes a document of the unknown type `kind`: only its key and stamp are looked at.
    ///
    /// # Errors
    /// It has no usable `_id` or `stamp`, or another type.
    pub fn from_map(kind: &str, mut json: Map<String, Value>) -> Result<Self> {
        let Some(id) = json.get("_id").and_then(Value::as_str).map(str::to_owned) else { bail!("a document has an _id") };
        ensure!(!id.is_empty() && !id.starts_with('_') && id.len() <= 8192, "not the key of a document");
        // of a field that is there twice, a reader of streams takes the first and a parser the last
        ensure!(json.get("type").and_then(Value::as_str) == Some(kind), "two types");
        // one key is one document
        ensure!(split_id(&id).is_none(), "the key of an entry or a mark");
        let Some(stamp) = json.get("stamp").and_then(Value::as_str) else { bail!("a document has a stamp") };
        let stamp = stamp.parse()?;
        json.remove("local");
        Ok(Self { id, stamp, json })
    }
}

impl Document {
    /// The key, `_id`.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Document::Space(_) => "space".to_owned(),
            Document::Box(name, _) => name.clone(),
            Document::Entry(e) => entry_id(&e.box_name, &e.path),
            Document::Mark(m) => mark_id(&m.box_name, &m.path),
            Document::Other(o) => o.id.clone(),
        }
    }

    /// When it was written.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        match self {
            Document::Space(f) | Document::Box(_, f) => f.stamp(),
            Document::Entry(e) => e.stamp,
            Document::Mark(m) => m.stamp,
            Document::Other(o) => o.stamp,
        }
    }

    /// Reads a document and checks it as the word of a stranger.
    ///
    /// # Errors
    /// It is malformed, out of range, or its key is not what its fields say.
    pub fn from_json(json: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(rename = "type", borrow)]
            kind: std::borrow::Cow<'a, str>,
        }
        Self::of_kind(&serde_json::from_str::<Kind<'_>>(json)?.kind, json)
    }

    /// [`Document::from_json`] where a stream's reader has found the type already.
    ///
    /// # Errors
    /// As [`Document::from_json`].
    pub fn of_kind(kind: &str, json: &str) -> Result<Self> {
        match kind {
            "entry" | "mark" | "space" | "box" => serde_json::from_str::<Wire<'_>>(json)?.into_document(),
            _ => Other::from_map(kind, serde_json::from_str(json)?).map(Document::Other),
        }
    }

    /// Reads a document of ltr's own types as a database has it, and returns the fields that are the database's
    /// (`_rev` and others that begin so) apart.
    ///
    /// # Errors
    /// As [`Document::from_json`], or it is of an unknown type.
    pub fn of_database(json: &[u8]) -> Result<(Self, Extra)> {
        let mut wire: Wire<'_> = serde_json::from_slice(json)?;
        let own = wire.take_own();
        Ok((wire.into_document()?, own))
    }

    /// Keys sorted, no blanks: what decides between equal stamps.
    #[must_use]
    pub fn canonical(&self) -> String {
        // serde_json's map without `preserve_order` is sorted, so going through a value sorts the keys
        serde_json::to_value(self).map(|v| v.to_string()).unwrap_or_default()
    }
}

/// The key of the entry of `box_name` at `path`.
#[must_use]
pub fn entry_id(box_name: &str, path: &SpacePath) -> String {
    format!("{box_name}:{path}")
}

/// The key of the mark for `box_name` at `path`.
#[must_use]
pub fn mark_id(box_name: &str, path: &SpacePath) -> String {
    format!("mark:{box_name}:{path}")
}

/// The box and the path of the entry with the key `id`, or (`true`) of the mark; `None` for other keys.
#[must_use]
pub fn split_id(id: &str) -> Option<(&str, SpacePath, bool)> {
    let (rest, mark) = id.strip_prefix("mark:").map_or((id, false), |rest| (rest, true));
    let (box_name, path) = rest.split_once(':')?;
    Some((box_name, SpacePath::from_spelled(path).ok()?, mark))
}

/// Refuses what cannot be the name of a box: `[A-Za-z0-9][A-Za-z0-9._@+-]*`, not `space`.
///
/// # Errors
/// Names the rule.
pub fn check_box_name(name: &str) -> Result<()> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b));
    ensure!(
        first && rest && name.len() <= 128,
        "invalid box name {name:?}: letters, digits and ._@+- only, a letter or digit first"
    );
    ensure!(name != "space", "the box name space is reserved");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"_id":"b:/a","type":"entry","box":"b","path":"/a","ftype":"file","present":true,"commit":17,"size":1234,"mtime":1295303519,"mtime_nsec":5,"mode":"0644","sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709","version":{"1f2e3d4c":3},"stamp":"012d97a0c1f0-0000-1f2e3d4c","colour":"red"}"#;

    #[test]
    fn unknown_fields_and_documents_are_kept() {
        for json in [
            ENTRY,
            r#"{"_id":"mark:b:/","type":"mark","box":"b","path":"/","want":"skip","seen":3,"stamp":"000000000001-0000-00000000","why":{"a":[1]}}"#,
            r#"{"_id":"future","type":"tag","stamp":"000000000001-0000-00000000","size":"large","x":1}"#,
        ] {
            let document = Document::from_json(json).unwrap();
            let again: Value = serde_json::from_str(&document.canonical()).unwrap();
            assert_eq!(again, serde_json::from_str::<Value>(json).unwrap());
        }
    }

    #[test]
    fn hostile_documents_are_refused() {
        for (from, to) in [
            (r#""path":"/a""#, r#""path":"/../a""#),
            (r#""path":"/a""#, r#""path":"/b""#),
            (r#""box":"b""#, r#""box":"-b""#),
            (r#""size":1234"#, r#""size":-1"#),
            (r#""size":1234"#, r#""size":18446744073709551615"#),
            (r#""size":1234"#, r#""size":"1""#),
            (r#""mtime_nsec":5"#, r#""mtime_nsec":1000000000"#),
            (r#""mode":"0644""#, r#""mode":"+644""#),
            (r#""sha1":"da"#, r#""sha1":"DA"#),
            (r#""ftype":"file""#, r#""ftype":"fifo""#),
            (r#""ftype":"file""#, r#""ftype":"symlink""#),
            (r#""commit":17"#, r#""commit":9007199254740992"#),
            (r#""present":true,"#, ""),
            (r#""size":1234"#, r#""size":1,"size":2"#),
            (r#""colour":"red""#, r#""_rev":"1-a""#),
        ] {
            let json = ENTRY.replace(from, to);
            assert_ne!(json, ENTRY, "{from}");
            assert!(Document::from_json(&json).is_err(), "{to}");
        }
    }

    #[test]
    fn what_is_not_known_passes_for_nothing_else() {
        for json in [
            r#"{"_id":"f","type":"tag","type":"entry","stamp":"000000000001-0000-00000000"}"#,
            r#"{"_id":"b:/a","type":"tag","stamp":"000000000001-0000-00000000"}"#,
            r#"{"_id":"mark:b:/a","type":"tag","stamp":"000000000001-0000-00000000"}"#,
            r#"{"_id":"_design/x","type":"tag","stamp":"000000000001-0000-00000000"}"#,
        ] {
            assert!(Document::of_kind("tag", json).is_err(), "{json}");
        }
    }
}
