//! The boxes of the space: `ltr box`.

use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Map;

use super::{Scene, no_such_box};
use crate::exit::Exit;
use crate::index::census::Total;
use crate::index::sqlite::BoxInfo;
use crate::record::{Fields, Policy};
use crate::stream::Writer;

/// One box. A record of the type `boxinfo`.
#[derive(Serialize)]
struct BoxLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    here: bool,
    /// `*` for the box here, as `git branch` does.
    star: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Policy>,
    urls: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<&'a str>,
    forgotten: bool,
    commits: u64,
    #[serde(flatten)]
    long: Option<Long>,
}

#[derive(Serialize)]
struct Long {
    files: u64,
    bytes: u64,
    /// Seconds since 1970; none before the first commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserve: Option<u64>,
}

/// Writes a `boxinfo` record for each box, or for those in `names`; `long` counts their files too.
///
/// # Errors
/// A name is no box's, the index cannot be read, or the output not written.
pub fn list_boxes<W: Write>(scene: &Scene, names: &[String], long: bool, output: W) -> Result<Exit> {
    let boxes = scene.index.boxes()?;
    let mut chosen: Vec<&BoxInfo> = boxes.all.iter().collect();
    if !names.is_empty() {
        let named = |name: &String| boxes.by_name(name).with_context(|| no_such_box(name));
        chosen = names.iter().map(named).collect::<Result<_>>()?;
    }
    let totals = if long { scene.index.totals()? } else { Vec::new() };
    let mut writer = Writer::new(output);
    for info in chosen {
        let fields = info.fields.as_ref();
        writer.put(&BoxLine {
            kind: "boxinfo",
            name: &info.name,
            here: scene.here() == Some(info.name.as_str()),
            star: if scene.here() == Some(info.name.as_str()) { "*" } else { " " },
            policy: fields.map(Fields::policy),
            urls: fields.map(Fields::urls).unwrap_or_default(),
            uuid: fields.and_then(|f| f.text("uuid")),
            forgotten: info.forgotten(),
            commits: info.commits,
            long: long.then(|| long_of(info, &totals)),
        })?;
    }
    Ok(Exit::of_failures(writer.end(Map::new())?))
}

fn long_of(info: &BoxInfo, totals: &[Total]) -> Long {
    let total = totals.iter().find(|t| t.box_id == info.id);
    Long {
        files: total.map_or(0, |t| t.files),
        bytes: total.map_or(0, |t| t.bytes),
        last: total.map(|t| t.last.ms / 1000),
        reserve: info.fields.as_ref().and_then(|f| f.number("reserve")),
    }
}
