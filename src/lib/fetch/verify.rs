//! ltr-verify: whether a box holds what an index says, asked by a box that is about to remove its own
//! copy. The box stays locked until the asker has removed it and hangs up (design section 6.5).

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::boxfs::BoxRoot;
use crate::exit::Exit;
use crate::hash::hash_path;
use crate::path::SpacePath;
use crate::record::{Ftype, Sha1};
use crate::stream::{LINE_MAX, Tagged, Writer};

/// A question: a line of the type `verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Where.
    pub path: SpacePath,
    /// File or symlink; left out, a file.
    #[serde(default = "file")]
    pub ftype: Ftype,
    /// Bytes.
    pub size: u64,
    /// Hash of the content.
    pub sha1: Sha1,
}

/// Its answer: the same line with `ok`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked.
    #[serde(flatten)]
    pub question: Question,
    /// Whether it is so.
    pub ok: bool,
    /// Why it could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn file() -> Ftype {
    Ftype::File
}

/// Whether the box holds what `question` describes: the content is read.
///
/// # Errors
/// It is there and cannot be read.
pub fn holds(root: &BoxRoot, question: &Question) -> io::Result<bool> {
    match root.look(&question.path)? {
        Some(stat) if stat.kind.ftype() == Some(question.ftype) && stat.size == question.size => {
            Ok(hash_path(root, &question.path)?.sha1 == question.sha1)
        }
        _ => Ok(false),
    }
}

/// Answers each line of `input` at once, until it ends, with a trailer or without. The caller holds the
/// lock of the box at `root` from before the first answer to the end.
///
/// # Errors
/// A line is no question; the answers cannot be written.
pub fn verify_stream<R: BufRead, W: Write>(root: &BoxRoot, mut input: R, output: W) -> Result<Exit> {
    let mut output = Writer::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        io::Read::take(&mut input, LINE_MAX as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() || line.starts_with(br#"{"type":"end""#) {
            break;
        }
        let question: Question = serde_json::from_slice(&line).context("not a question")?;
        let (ok, error) = match holds(root, &question) {
            Ok(ok) => (ok, None),
            Err(e) => (false, Some(e.to_string())),
        };
        output.put(&Tagged { kind: "verify", record: &Answer { question, ok, error } })?;
        output.flush()?;
    }
    output.end(Map::new())?;
    Ok(Exit::Done)
}
