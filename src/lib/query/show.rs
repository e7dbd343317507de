//! Documents as they are: `ltr show`.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, ensure};
use serde_json::Map;

use super::{Scene, mark};
use crate::exit::Exit;
use crate::index::Index;
use crate::path::SpacePath;
use crate::quote::for_terminal;
use crate::record::{Document, Entry};
use crate::stream::Writer;

/// Writes the documents that `object` names: none: the space's; a box or a document's key: that one; a
/// path: the entries and marks of all boxes at it.
///
/// # Errors
/// There is no such thing, the index cannot be read, or the output not written.
pub fn show<W: Write>(scene: &Scene, object: Option<&OsStr>, output: W) -> Result<Exit> {
    let documents = match object {
        None => vec![scene.index.get("space")?.context("the space has no document: no box was created yet")?],
        Some(object) => documents(scene, object)?,
    };
    let mut writer = Writer::new(output);
    for document in &documents {
        writer.put(document)?;
    }
    Ok(Exit::of_failures(writer.end(Map::new())?))
}

fn documents(scene: &Scene, object: &OsStr) -> Result<Vec<Document>> {
    let named = object.to_str().map(|id| scene.index.get(id)).transpose()?.flatten();
    if let Some(document) = named {
        return Ok(vec![public(document)]);
    }
    // what could be no path may have been meant as a box
    let documents = scene.resolve(object).map_or(Ok(Vec::new()), |path| at(scene, &path))?;
    ensure!(!documents.is_empty(), "{}: no box, document or path of this space", for_terminal(object.as_bytes()));
    Ok(documents)
}

fn at(scene: &Scene, path: &SpacePath) -> Result<Vec<Document>> {
    let boxes = scene.index.boxes()?;
    let mut documents = Vec::new();
    for info in &boxes.all {
        documents.extend(scene.index.entry(&info.name, path)?.map(Document::Entry).map(public));
    }
    for info in &boxes.all {
        documents.extend(mark::existing(&scene.index, &info.name, path)?.map(Document::Mark));
    }
    Ok(documents)
}

/// Local facts are no part of a document.
fn public(document: Document) -> Document {
    match document {
        Document::Entry(entry) => Document::Entry(Entry { local: None, ..entry }),
        other => other,
    }
}
