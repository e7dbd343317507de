//! The lines of ltr-index-put: what they are to an index, and what is answered.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::path::SpacePath;
use crate::record::{Document, Other, Sha1, check_box_name};

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
pub(super) struct Told<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "_id")]
    id: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
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

/// What is told about `document`.
pub(super) fn told<'a>(document: &'a Document, outcome: &'static str) -> Told<'a> {
    let (id, path, local) = match document {
        Document::Entry(e) => {
            // nearly all are entries: to spell each path once instead of twice is a hundredth of a first commit
            let path = e.path.spelled();
            ([&e.box_name, ":", &path].concat(), Some(path), e.local.as_ref())
        }
        Document::Mark(m) => (document.id(), Some(m.path.spelled()), None),
        _ => (document.id(), None, None),
    };
    let (status, renamed) = local.map_or((None, None), |l| (l.status.as_deref(), l.renamed.as_ref()));
    Told { kind: "put", id, outcome, path, status, renamed }
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
pub(super) fn read(kind: &str, json: &str) -> Result<Record> {
    match kind {
        "entry" | "mark" | "space" | "box" => Ok(Record::Document(Document::of_kind(kind, json)?)),
        "verified" => {
            let seen: Verified = serde_json::from_str(json).context("verified")?;
            check_box_name(&seen.box_name)?;
            ensure!(i64::try_from(seen.ms).is_ok(), "ms out of range");
            Ok(Record::Verified(seen))
        }
        _ => {
            let map: Map<String, Value> = serde_json::from_str(json)?;
            let document = map.contains_key("_id") && map.contains_key("stamp");
            Ok(if document { Record::Document(Document::Other(Other::from_map(kind, map)?)) } else { Record::Foreign })
        }
    }
}
