//! Everything that is known of a path: `ltr stat`.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;
use serde_json::Map;

use super::copies::tells;
use super::{Scene, counting};
use crate::compare::letters;
use crate::exit::Exit;
use crate::index::groups::{Group, Row};
use crate::index::sqlite::{BoxId, BoxInfo, Boxes};
use crate::path::SpacePath;
use crate::record::{Entry, Fields, Ftype, Mode, Sha1, Want, entry_id};
use crate::resolve::{Decision, Heads, decide};
use crate::stream::Writer;
use crate::wants::Intent;

/// One path. A record of the type `stat`.
#[derive(Serialize)]
struct StatLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    path: &'a SpacePath,
    #[serde(flatten)]
    what: What,
    flags: String,
    status: &'static str,
    copies: Vec<Copy<'a>>,
    marks: Vec<MarkLine<'a>>,
}

/// What this box has at the path, or else the box whose version wins.
#[derive(Serialize, Default)]
struct What {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    box_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ftype: Option<Ftype>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha1: Option<Sha1>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime_nsec: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

/// A box that holds the content.
#[derive(Serialize)]
struct Copy<'a> {
    #[serde(rename = "box")]
    box_name: &'a str,
    path: SpacePath,
    /// Empty where the box has none.
    url: &'a str,
    present: bool,
    /// When it was last seen there, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<u64>,
}

/// The mark that decides for a box.
#[derive(Serialize)]
struct MarkLine<'a> {
    #[serde(rename = "box")]
    box_name: &'a str,
    path: SpacePath,
    want: Want,
}

/// Writes a `stat` record for each of `paths`; that of `/` is about the box here.
///
/// # Errors
/// The index cannot be read, or the output not written.
pub fn stat<W: Write>(scene: &Scene, paths: &[SpacePath], output: W) -> Result<Exit> {
    let boxes = scene.index.boxes()?;
    // where it cannot be made, one look for copies is slow, and works
    let _ = scene.index.index_contents();
    let stat = Stat { scene, counting: counting(&boxes), here: scene.here().and_then(|name| boxes.by_name(name)), boxes: &boxes };
    let mut writer = Writer::new(output);
    for path in paths {
        writer.put(&if path.is_root() { stat.root(path)? } else { stat.path(path)? })?;
    }
    Ok(Exit::of_failures(writer.end(Map::new())?))
}

struct Stat<'a> {
    scene: &'a Scene,
    boxes: &'a Boxes,
    counting: Vec<BoxId>,
    here: Option<&'a BoxInfo>,
}

impl<'a> Stat<'a> {
    /// The root has no entry: its copies are the boxes themselves.
    fn root(&self, path: &'a SpacePath) -> Result<StatLine<'a>> {
        let box_name = self.here.map(|b| b.name.clone());
        let what = What { id: box_name.clone(), box_name, ftype: Some(Ftype::Dir), ..What::default() };
        let all = self.boxes.all.iter().filter(|b| !b.forgotten());
        let copies = all.map(|b| self.copy(b, path.clone(), None)).collect::<Result<_>>()?;
        let flags = if self.here.is_some() { "cb" } else { "" }.to_owned();
        let status = if self.here.is_some() { letters::IN_SYNC } else { "" };
        Ok(StatLine { kind: "stat", path, what, flags, status, copies, marks: self.marks(path, Ftype::Dir)? })
    }

    fn path(&self, path: &'a SpacePath) -> Result<StatLine<'a>> {
        let group = self.scene.index.group(path)?;
        let heads = Heads::of(&group.rows, |id| self.counting.contains(&id));
        let own = self.here.and_then(|b| group.of(b.id));
        let shown = own.filter(|r| r.present).or(heads.winner()).or(own).or(group.rows.iter().max_by_key(|r| r.stamp));
        let ftype = shown.map_or(Ftype::File, |r| r.ftype);
        let intent = self.here.map(|b| self.scene.intent(b, path, ftype)).transpose()?;
        let entry = shown.and_then(|r| self.boxes.by_id(r.box_id)).map(|b| self.scene.index.entry(&b.name, path)).transpose()?;
        Ok(StatLine {
            kind: "stat",
            path,
            what: entry.flatten().map(what_of).unwrap_or_default(),
            flags: flags(own, &heads, intent.as_ref()),
            status: self.status(&group, &heads, intent.as_ref()),
            copies: shown.map(|r| self.copies(&group, r)).transpose()?.unwrap_or_default(),
            marks: self.marks(path, ftype)?,
        })
    }

    /// The letter as far as the index knows; none where there is no box to have one.
    fn status(&self, group: &Group, heads: &Heads<'_>, intent: Option<&Intent>) -> &'static str {
        let (Some(here), Some(intent)) = (self.here, intent) else { return "" };
        if group.rows.is_empty() {
            return "N";
        }
        let decision = decide(&group.rows, here.id, intent, |id| self.counting.contains(&id));
        let present = group.of(here.id).is_some_and(|r| r.present);
        match (present, &decision, heads.winner()) {
            (true, ..) => letters::unchanged(&decision),
            (false, Decision::Fetch { .. }, _) => letters::wanted(intent),
            (false, Decision::Skipped, _) => letters::SKIPPED,
            (false, _, None) => letters::LOST,
            (false, _, Some(winner)) if winner.purged => "p",
            // neither here nor wanted
            (false, ..) => "",
        }
    }

    /// Every place that holds the content of `row` and counts.
    fn copies(&self, group: &Group, row: &Row) -> Result<Vec<Copy<'a>>> {
        let places: Vec<(SpacePath, Row)> = match row.sha1 {
            Some(sha1) if tells(row) => self.scene.index.holders(row.ftype, sha1)?,
            _ => {
                let same = |r: &&Row| r.present && !r.purged && r.content() == row.content();
                group.rows.iter().filter(same).map(|r| (group.path.clone(), r.clone())).collect()
            }
        };
        let counted = places.into_iter().filter(|(_, r)| self.counting.contains(&r.box_id));
        let named = counted.filter_map(|(path, r)| Some((path, self.boxes.by_id(r.box_id)?)));
        named.map(|(path, info)| self.copy(info, path, row.sha1)).collect()
    }

    fn copy(&self, info: &'a BoxInfo, path: SpacePath, sha1: Option<Sha1>) -> Result<Copy<'a>> {
        let url = info.fields.as_ref().and_then(|f: &Fields| f.urls().into_iter().next()).unwrap_or_default();
        let verified = sha1.map(|sha1| self.scene.index.verified(&info.name, sha1)).transpose()?.flatten();
        Ok(Copy { box_name: &info.name, path, url, present: true, verified: verified.map(|ms| ms / 1000) })
    }

    fn marks(&self, path: &SpacePath, ftype: Ftype) -> Result<Vec<MarkLine<'a>>> {
        let mut marks = Vec::new();
        for info in &self.boxes.all {
            let intent = self.scene.intent(info, path, ftype)?;
            let want = if intent.wanted { Want::Want } else { Want::Skip };
            marks.extend(intent.mark.map(|mark| MarkLine { box_name: &info.name, path: mark.path, want }));
        }
        Ok(marks)
    }
}

fn what_of(entry: Entry) -> What {
    let a = entry.attrs;
    What {
        id: Some(entry_id(&entry.box_name, &entry.path)),
        box_name: Some(entry.box_name),
        ftype: Some(a.ftype),
        size: Some(a.size),
        mime: a.mime,
        sha1: a.sha1,
        mode: Some(a.mode),
        mtime: Some(a.mtime),
        mtime_nsec: Some(a.mtime_nsec),
        target: a.target,
        version: Some(entry.version.to_string()),
    }
}

/// `c` a copy is here, `s` marked skip, `w` wanted here and missing, `p` purged, `X` conflict.
fn flags(own: Option<&Row>, heads: &Heads<'_>, intent: Option<&Intent>) -> String {
    let present = own.is_some_and(|r| r.present);
    let purged = heads.winner().is_some_and(|w| w.purged);
    let awaited = !present && !purged && heads.winner().is_some() && intent.is_some_and(|i| i.wanted);
    let skipped = intent.is_some_and(|i| i.skipped().is_some());
    let all = [(present, 'c'), (skipped, 's'), (awaited, 'w'), (purged, 'p'), (heads.conflict(), 'X')];
    all.iter().filter(|(holds, _)| *holds).map(|(_, flag)| *flag).collect()
}
