//! What differs between two boxes, by the index alone: `ltr diff`.

use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Map;

use super::{Scene, no_such_box};
use crate::exit::Exit;
use crate::index::groups::Row;
use crate::path::SpacePath;
use crate::record::{Ftype, Mode, Sha1};
use crate::stream::Writer;

/// One difference. A record of the type `diff`.
#[derive(Serialize)]
struct DiffLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    path: &'a SpacePath,
    status: &'static str,
    ftype: Ftype,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<Side>,
}

/// What one of the boxes has.
#[derive(Serialize)]
struct Side {
    ftype: Ftype,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha1: Option<Sha1>,
    mode: Mode,
    mtime: i64,
    mtime_nsec: u32,
}

/// Writes a `diff` record for each path at or below `under` at which the boxes `names` hold different
/// things: `<` only the first, `>` only the second, `!` other content, `m` other permission bits.
///
/// # Errors
/// A name is no box's, the index cannot be read, or the output not written.
pub fn diff<W: Write>(scene: &Scene, names: [&str; 2], under: &SpacePath, output: W) -> Result<Exit> {
    let boxes = scene.index.boxes()?;
    let id = |name| boxes.by_name(name).map(|b| b.id).with_context(|| no_such_box(name));
    let (first, second) = (id(names[0])?, id(names[1])?);
    let mut writer = Writer::new(output);
    let mut groups = scene.index.groups(under).only_of(&[first, second]);
    while let Some(group) = groups.next()? {
        let held = |id| group.of(id).filter(|r| r.present);
        let (a, b) = (held(first), held(second));
        if let (Some(status), Some(shown)) = (status(a, b), a.or(b)) {
            let (a, b) = (a.map(side), b.map(side));
            writer.put(&DiffLine { kind: "diff", path: &group.path, status, ftype: shown.ftype, a, b })?;
        }
    }
    Ok(Exit::of_failures(writer.end(Map::new())?))
}

fn status(a: Option<&Row>, b: Option<&Row>) -> Option<&'static str> {
    match (a, b) {
        (None, None) => None,
        (Some(_), None) => Some("<"),
        (None, Some(_)) => Some(">"),
        (Some(a), Some(b)) if a.content() != b.content() => Some("!"),
        // the mode of a symlink means nothing, and not every system can set it
        (Some(a), Some(b)) => (a.mode != b.mode && a.ftype != Ftype::Symlink).then_some("m"),
    }
}

fn side(row: &Row) -> Side {
    let (mtime, mtime_nsec) = row.mtime;
    Side { ftype: row.ftype, size: row.size, sha1: row.sha1, mode: row.mode, mtime, mtime_nsec }
}
