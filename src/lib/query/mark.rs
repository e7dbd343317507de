//! Intentions by name: `ltr mark`.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::SystemTime;

use anyhow::{Result, ensure};
use serde_json::Map;

use super::Scene;
use crate::exit::Exit;
use crate::index::sqlite::{BoxInfo, Sqlite};
use crate::index::{Index, Origin};
use crate::path::SpacePath;
use crate::quote::for_terminal;
use crate::record::{Document, Mark, Want, mark_id};
use crate::stamp::Clock;
use crate::stream::{ErrorRecord, Writer};

/// Marks written in one transaction.
const BATCH: usize = 1000;
/// Longest path that is read, in bytes: longer ones are no paths, and are not to fill the memory.
const NAME_LIMIT: u64 = 1 << 16;

/// What to mark, and how.
#[derive(Clone, Debug)]
pub struct MarkPaths {
    /// The box that the marks are for; none: the one here.
    pub box_name: Option<String>,
    /// What should be.
    pub want: Want,
    /// Files and folders.
    pub paths: Vec<OsString>,
    /// What ends a path on `input`.
    pub separator: u8,
    /// Write nothing into the index.
    pub dry_run: bool,
}

/// The mark of `box_name` at exactly `path`, cleared ones too.
pub(super) fn existing(index: &Sqlite, box_name: &str, path: &SpacePath) -> Result<Option<Mark>> {
    Ok(match index.get(&mark_id(box_name, path))? {
        Some(Document::Mark(mark)) => Some(mark),
        _ => None,
    })
}

/// Writes marks for the paths in `wish` and on `input` into the index, and their documents to
/// `output`. An unknown path on `input` becomes an error record; the work goes on.
///
/// # Errors
/// A path in `wish` is unknown: then nothing is marked. The box is unknown or forgotten, the index
/// cannot be written, or input or output fail.
pub fn mark<W: Write>(scene: &mut Scene, wish: &MarkPaths, input: Option<impl BufRead>, output: W) -> Result<Exit> {
    let boxes = scene.index.boxes()?;
    let info = scene.chosen(&boxes, wish.box_name.as_deref())?;
    ensure!(!info.forgotten(), "the box {} is forgotten", info.name);
    let clock = scene.index.clock()?;
    let mut marker = Marker { scene, info, wish, clock, batch: Vec::new(), writer: Writer::new(output) };
    let paths = wish.paths.iter().map(|arg| marker.path(arg)).collect::<Result<Vec<_>>>()?;
    for path in paths {
        marker.add(path)?;
    }
    if let Some(mut input) = input {
        marker.read(&mut input)?;
    }
    marker.flush()?;
    Ok(Exit::of_failures(marker.writer.end(Map::new())?))
}

struct Marker<'a, W: Write> {
    scene: &'a mut Scene,
    info: &'a BoxInfo,
    wish: &'a MarkPaths,
    clock: Clock,
    batch: Vec<Document>,
    writer: Writer<W>,
}

impl<W: Write> Marker<'_, W> {
    /// A path that is known, or at which there is a mark to change: it may be all that is left there.
    fn path(&self, arg: &OsStr) -> Result<SpacePath> {
        let path = self.scene.resolve(arg)?;
        if existing(&self.scene.index, &self.info.name, &path)?.is_some() {
            return Ok(path);
        }
        self.scene.known(arg)
    }

    fn read(&mut self, input: &mut dyn BufRead) -> Result<()> {
        let mut name = Vec::new();
        while std::io::Read::take(&mut *input, NAME_LIMIT).read_until(self.wish.separator, &mut name)? > 0 {
            let whole = name.pop_if(|b| *b == self.wish.separator).is_some() || name.len() < NAME_LIMIT as usize;
            ensure!(whole, "a name on stdin is longer than {NAME_LIMIT} bytes");
            let arg = OsString::from_vec(std::mem::take(&mut name));
            match self.path(&arg) {
                Ok(path) => self.add(path)?,
                Err(error) => {
                    let (path, error) = (for_terminal(arg.as_bytes()), format!("{error:#}"));
                    let error = error.strip_prefix(&format!("{path}: ")).unwrap_or(&error).to_owned();
                    self.writer.put_error(&ErrorRecord { path, error })?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: SpacePath) -> Result<()> {
        let old = existing(&self.scene.index, &self.info.name, &path)?;
        self.batch.push(Document::Mark(Mark {
            box_name: self.info.name.clone(),
            path,
            want: self.wish.want,
            seen: self.info.commits,
            alone: false,
            stamp: self.clock.tick(SystemTime::now()),
            extra: old.map(|m| m.extra).unwrap_or_default(),
        }));
        if self.batch.len() == BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.wish.dry_run && !self.batch.is_empty() {
            self.scene.index.put(&self.batch, Origin::Here)?;
        }
        for document in self.batch.drain(..) {
            self.writer.put(&document)?;
        }
        Ok(())
    }
}
