//! Removing paths from the whole space: `ltr rm`. What is written here are documents for
//! `ltr-index-put`; the copies go at the next pull of each box.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Map;

use super::Scene;
use crate::exit::Exit;
use crate::index::groups::Group;
use crate::index::own::Own;
use crate::index::sqlite::{BoxId, Boxes};
use crate::path::SpacePath;
use crate::quote::for_terminal;
use crate::record::{Document, Entry, FileRecord, Ftype, Local};
use crate::resolve::{Heads, purged};
use crate::stamp::Clock;
use crate::stream::Writer;

/// What to purge.
#[derive(Clone, Debug)]
pub struct Purge {
    /// Files and folders.
    pub paths: Vec<OsString>,
    /// Folders too, with all below.
    pub recursive: bool,
    /// Write `scan` records with the letter, which no index takes, instead of documents: this index need not be allowed
    /// to write for the box.
    pub dry_run: bool,
}

/// Writes a purging entry of the box here for each path that any box has a copy of, in path order.
/// What is purged already is passed over. The index stays as it is.
///
/// # Errors
/// A path is unknown, the space's root, or a folder without `recursive`: then nothing is written.
/// There is no box here, or its index has to be synced first.
pub fn purge<W: Write>(scene: &mut Scene, wish: &Purge, output: W) -> Result<Exit> {
    let located = scene.located.clone().context("no box here")?;
    let boxes = scene.index.boxes()?;
    let starts = starts(scene, wish, &boxes)?;
    let own = if wish.dry_run { guess(&boxes, &located.box_name) } else { located.own(&mut scene.index)? };
    let me = boxes.by_name(&located.box_name).map_or(BoxId(-1), |b| b.id);
    let clock = scene.index.clock()?;
    let mut purger = Purger { scene, boxes: &boxes, box_name: &located.box_name, me, own, clock };
    let mut writer = Writer::new(output);
    for start in starts {
        let mut groups = scene.index.groups(&start);
        while let Some(group) = groups.next()? {
            if let Some(entry) = purger.entry(&group)? {
                if wish.dry_run {
                    writer.put(&shown(entry))?;
                } else {
                    writer.put(&Document::Entry(entry))?;
                }
            }
        }
    }
    Ok(Exit::of_failures(writer.end(Map::new())?))
}

/// What a status will say of a purged path.
fn shown(entry: Entry) -> FileRecord {
    FileRecord { status: entry.local.and_then(|local| local.status), ..FileRecord::new(entry.path, &entry.attrs) }
}

/// For a dry run: no document is put, so that anybody's hand will do.
fn guess(boxes: &Boxes, name: &str) -> Own {
    Own { actor: 0, commits: boxes.by_name(name).map_or(0, |b| b.commits), moved: false }
}

/// The paths, sorted, none within another: each is to be purged once.
fn starts(scene: &Scene, wish: &Purge, boxes: &Boxes) -> Result<Vec<SpacePath>> {
    let mut starts = Vec::with_capacity(wish.paths.len());
    for arg in &wish.paths {
        let shown = || for_terminal(arg.as_bytes());
        let path = scene.resolve(arg)?;
        ensure!(!path.is_root(), "{}: not the whole space", shown());
        ensure!(scene.index.knows(&path)?, "{}: not in the space", shown());
        if !wish.recursive && is_folder(&scene.index.group(&path)?, boxes) {
            bail!("{}: is a folder (-r purges all of it)", shown());
        }
        starts.push(path);
    }
    starts.sort();
    starts.dedup_by(|next, before| next.is_within(before));
    Ok(starts)
}

fn is_folder(group: &Group, boxes: &Boxes) -> bool {
    let heads = Heads::of(&group.rows, |id| boxes.by_id(id).is_some());
    // without an entry of its own, it is known for what is below it
    heads.winner().or(group.rows.first()).is_none_or(|r| r.ftype == Ftype::Dir)
}

struct Purger<'a> {
    scene: &'a Scene,
    boxes: &'a Boxes,
    box_name: &'a str,
    me: BoxId,
    own: Own,
    clock: Clock,
}

impl Purger<'_> {
    /// The purge of what is at a path; `None` where no box has a copy, or where it is purged already.
    fn entry(&mut self, group: &Group) -> Result<Option<Entry>> {
        // copies of forgotten boxes do not count, but they are to go as well when the box comes back
        let heads = Heads::of(&group.rows, |id| self.boxes.by_id(id).is_some());
        let Some(winner) = heads.winner().filter(|w| !w.purged) else { return Ok(None) };
        let mine = if group.of(self.me).is_some() { self.scene.index.entry(self.box_name, &group.path)? } else { None };
        let theirs = self.boxes.by_id(winner.box_id).map(|b| self.scene.index.entry(&b.name, &group.path)).transpose()?;
        let Some(theirs) = theirs.flatten() else { return Ok(None) };
        let present = mine.as_ref().is_some_and(|e| e.present);
        let attrs = mine.as_ref().filter(|_| present).unwrap_or(&theirs).attrs.clone();
        let (commit, local, extra) = mine.map_or_else(Default::default, |e| (e.commit, e.local, e.extra));
        // facts that nobody has looked up must vouch for nothing
        let local = local.unwrap_or(Local { racy: true, ..Local::default() });
        Ok(Some(Entry {
            box_name: self.box_name.to_owned(),
            path: group.path.clone(),
            attrs,
            present,
            purged: true,
            moved: None,
            commit,
            version: purged(&group.rows, self.own.actor, self.own.commits + 1),
            stamp: self.clock.tick(SystemTime::now()),
            local: Some(Local { status: Some("p".to_owned()), renamed: None, ..local }),
            extra,
        }))
    }
}
