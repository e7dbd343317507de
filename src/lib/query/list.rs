//! What a box holds, or the whole space, with how many copies there are: `ltr ls`.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;
use serde_json::Map;

use super::copies::{add_elsewhere, at_path};
use super::{CopiesFilter, Scene, counting};
use crate::exit::Exit;
use crate::index::groups::{Group, Looks};
use crate::index::sqlite::{BoxId, Boxes};
use crate::lines::{Lines, lines};
use crate::path::{SpacePath, escape};
use crate::record::{Attrs, Ftype, Mode, Sha1};
use crate::report::Report;
use crate::resolve::Heads;
use crate::stream::Writer;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Files and folders; empty: the current folder, or with `whole` everything.
    pub paths: Vec<SpacePath>,
    /// What this box holds; none: the one here.
    pub box_name: Option<String>,
    /// Of folders, all that is below.
    pub recursive: bool,
    /// Every path of the space with the version that wins, instead of what one box holds. Recursive.
    pub whole: bool,
    /// Only files and symlinks whose content is held by so many boxes. Recursive.
    pub copies: Option<CopiesFilter>,
    /// Also media types and targets, which take a look-up each.
    pub long: bool,
}

/// One file, folder or symlink. A record of the type `file`.
#[derive(Serialize)]
struct FileLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    path: &'a str,
    name: &'a str,
    #[serde(rename = "box")]
    box_name: &'a str,
    ftype: Ftype,
    size: u64,
    mtime: i64,
    mtime_nsec: u32,
    mode: Mode,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha1: Option<Sha1>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    copies: usize,
    boxes: &'a [&'a str],
    flags: &'static str,
}

/// Writes a `file` record for each path that `wish` asks for.
///
/// # Errors
/// The box is unknown, the index cannot be read, or the output not written.
pub fn list<W: Write + Send>(scene: &Scene, wish: &List, output: W, report: &mut dyn Report) -> Result<Exit> {
    let boxes = scene.index.boxes()?;
    let of = if wish.whole { None } else { Some(scene.chosen(&boxes, wish.box_name.as_deref())?.id) };
    let by_content = wish.copies.is_some() && contents_indexed(scene, report);
    let here = scene.here_id(&boxes);
    let counting = counting(&boxes);
    let boxes = &boxes;
    let write = |found: Found, writer: &mut Writer<W>| put(&found, boxes, writer);
    let writer = lines(Writer::new(output), write, |lines| {
        let mut lister = Lister { scene, counting, here, of, wish, by_content, lines };
        starts(scene, wish).iter().try_for_each(|path| lister.list(path))
    })?;
    Ok(Exit::of_failures(writer.end(Map::new())?))
}

/// Without an index on content every look for other copies would read every row.
fn contents_indexed(scene: &Scene, report: &mut dyn Report) -> bool {
    let indexed = scene.index.index_contents();
    if let Err(error) = &indexed {
        report.notice(&format!("only copies at the same path are counted: {error:#}"));
    }
    indexed.is_ok()
}

fn starts(scene: &Scene, wish: &List) -> Vec<SpacePath> {
    match &scene.located {
        _ if !wish.paths.is_empty() => wish.paths.clone(),
        Some(located) if !wish.whole => vec![located.path.clone()],
        _ => vec![SpacePath::root()],
    }
}

/// What there is at a path.
struct Found {
    path: SpacePath,
    box_id: BoxId,
    looks: Looks,
    holders: Vec<BoxId>,
    /// Where it is asked for.
    full: Option<Attrs>,
    flags: &'static str,
}

struct Lister<'a, 's, 'e> {
    scene: &'a Scene,
    counting: Vec<BoxId>,
    here: Option<BoxId>,
    /// The box whose files are listed; none: the winners.
    of: Option<BoxId>,
    wish: &'a List,
    by_content: bool,
    lines: &'a mut Lines<'s, 'e, Found>,
}

impl Lister<'_, '_, '_> {
    fn list(&mut self, start: &SpacePath) -> Result<()> {
        let own = self.scene.index.group(start)?;
        let held = own.rows.iter().find(|r| Some(r.box_id) == self.of && r.present);
        if held.is_some_and(|row| row.ftype != Ftype::Dir) {
            return self.found(own);
        }
        let deep = self.wish.whole || self.wish.recursive || self.wish.copies.is_some();
        let mut groups = if deep { self.scene.index.groups(start) } else { self.scene.index.groups_in(start)? };
        groups = groups.without_local();
        if let (true, Some(enough)) = (self.wish.whole, self.wish.copies.and_then(|filter| filter.too_many())) {
            groups = groups.only_scarce(enough, &self.counting);
        }
        while let Some(group) = groups.next()? {
            // of a folder, what is in it
            if self.wish.whole || group.path != *start {
                self.found(group)?;
            }
        }
        Ok(())
    }

    fn found(&mut self, group: Group) -> Result<()> {
        let heads = || Heads::of(&group.rows, |id| self.counting.contains(&id));
        let row = match self.of {
            Some(id) => group.of(id).filter(|r| r.present),
            None => heads().winner().filter(|r| !r.purged),
        };
        let Some(row) = row else { return Ok(()) };
        let mut holders = at_path(&group.rows, row, &self.counting);
        if let Some(filter) = &self.wish.copies {
            if row.ftype == Ftype::Dir || !filter.possible(holders.len()) {
                return Ok(());
            }
            if self.by_content {
                add_elsewhere(&self.scene.index, row, &self.counting, &mut holders)?;
            }
            if !filter.matches(holders.len()) {
                return Ok(());
            }
        }
        let present = self.here.and_then(|id| group.of(id)).is_some_and(|r| r.present);
        // nearly everywhere there is one content, which is in no conflict
        let conflict = group.rows.iter().any(|other| other.content() != row.content()) && heads().conflict();
        let (box_id, looks, flags) = (row.box_id, row.looks(), flags(present, conflict));
        let full = if self.wish.long { self.scene.index.attrs(&group.path, row)? } else { None };
        self.lines.put(Found { path: group.path, box_id, looks, holders, full, flags })
    }
}

fn put<W: Write>(found: &Found, boxes: &Boxes, writer: &mut Writer<W>) -> Result<()> {
    let Found { path, box_id, looks, holders, full, flags } = found;
    let boxes_with: Vec<&str> = boxes.all.iter().filter(|b| holders.contains(&b.id)).map(|b| b.name.as_str()).collect();
    writer.put(&FileLine {
        kind: "file",
        path: &path.spelled(),
        name: &escape(path.name()),
        box_name: boxes.by_id(*box_id).map_or("", |b| b.name.as_str()),
        ftype: looks.ftype,
        size: looks.size,
        mtime: looks.mtime.0,
        mtime_nsec: looks.mtime.1,
        mode: looks.mode,
        sha1: looks.sha1,
        mime: full.as_ref().and_then(|attrs| attrs.mime.as_deref()),
        target: full.as_ref().and_then(|attrs| attrs.target.as_deref()),
        copies: boxes_with.len(),
        boxes: &boxes_with,
        flags,
    })
}

/// `c`: a copy is in the box here; `X`: boxes hold edits that conflict.
fn flags(present: bool, conflict: bool) -> &'static str {
    match (present, conflict) {
        (false, false) => "",
        (true, false) => "c",
        (false, true) => "X",
        (true, true) => "cX",
    }
}
