//! The lines of ltr-index-put: what they are to an index, and what is answered.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::path::SpacePath;
use crate::record::{Document, Object, Other, Sha1, check_box_name};

/// What an index that takes part in a sync says first: a record of the type `ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ready {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Its id.
    pub(super) index: String,
    /// Its space, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uuid: Option<String>,
    /// How far it has read other indexes.
    #[serde(default)]
    pub(super) pulled: Vec<String>,
}

/// A record of the type `put`: what became of a document.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "_id")]
    id: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a SpacePath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renamed: Option<&'a SpacePath>,
}

/// A record of the type `verified`: a box was seen to hold a content.
#[derive(Deserialize)]
pub(super) struct Verified {
    #[serde(rename = "box")]
    pub(super) box_name: String,
    pub(super) sha1: Sha1,
    pub(super) ms: u64,
}

/// Appends what is told about `document` to a line.
pub(super) fn tell(document: &Document, outcome: &'static str, line: &mut Vec<u8>) -> Result<()> {
    let Document::Entry(entry) = document else { return Ok(serde_json::to_writer(line, &told(document, outcome))?) };
    // as serde_json would write it: there are as many as there are files
    let (path, local) = (entry.path.spelled(), entry.local.as_ref());
    let mut object = Object(line);
    object.text(r#"{"type":"put","_id":"#, &[&entry.box_name, ":", &path].concat())?.text(r#","outcome":"#, outcome)?;
    object.text(r#","path":"#, &path)?.optional_text(r#","status":"#, local.and_then(|l| l.status.as_deref()))?;
    object.optional_path(r#","renamed":"#, local.and_then(|l| l.renamed.as_ref()))?.raw("}");
    Ok(())
}

fn told<'a>(document: &'a Document, outcome: &'static str) -> Told<'a> {
    let (path, local) = match document {
        Document::Entry(e) => (Some(&e.path), e.local.as_ref()),
        Document::Mark(m) => (Some(&m.path), None),
        _ => (None, None),
    };
    let (status, renamed) = local.map_or((None, None), |l| (l.status.as_deref(), l.renamed.as_ref()));
    Told { kind: "put", id: document.id(), outcome, path, status, renamed }
}

/// What a line is to an index.
#[allow(clippy::large_enum_variant, reason = "nearly all are documents")]
pub(super) enum Record {
    /// Something to put.
    Document(Document),
    /// Something to remember here.
    Verified(Verified),
    /// Nothing.
    Foreign,
}

/// Reads a line of the type `kind`.
pub(super) fn read(kind: &str, json: &[u8]) -> Result<Record> {
    match kind {
        "entry" | "mark" | "space" | "box" => Ok(Record::Document(Document::of_kind(kind, json)?)),
        "verified" => {
            let seen: Verified = serde_json::from_slice(json).context("verified")?;
            check_box_name(&seen.box_name)?;
            ensure!(i64::try_from(seen.ms).is_ok(), "ms out of range");
            Ok(Record::Verified(seen))
        }
        _ => {
            let map: Map<String, Value> = serde_json::from_slice(json)?;
            let document = map.contains_key("_id") && map.contains_key("stamp");
            Ok(if document { Record::Document(Document::Other(Other::from_map(kind, map)?)) } else { Record::Foreign })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_told_of_like_any_document() {
        let entry = r#"{"_id":"b:/a\"","type":"entry","box":"b","path":"/a\"","ftype":"dir","present":true,"version":{"1f2e3d4c":3},"stamp":"012d97a0c1f0-0000-1f2e3d4c""#;
        for local in [
            "",
            r#","local":{"ino":1,"ctime":2,"ctime_nsec":3}"#,
            r#","local":{"ino":1,"ctime":2,"ctime_nsec":3,"status":"R","renamed":"/\u00e9\t"}"#,
        ] {
            let document = Document::from_json(format!("{entry}{local}}}").as_bytes()).unwrap();
            let mut line = Vec::new();
            tell(&document, "written", &mut line).unwrap();
            assert_eq!(String::from_utf8(line).unwrap(), serde_json::to_string(&told(&document, "written")).unwrap());
        }
    }
}
