//! The two ways in which a comparison gets its items: from a scan's stream, for people's own pipes, and
//! straight from a walk on a second thread, which spares a million records that say nothing new.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Map;

use super::{Compare, Comparer, Difference, Differences};
use crate::boxfs::BoxRoot;
use crate::exit::Exit;
use crate::index::seals::Seals;
use crate::index::sqlite::{Access, BoxId, Sqlite};
use crate::path::{SpacePath, unescape};
use crate::record::{Extra, FileRecord, Ftype, Mode, Sha1};
use crate::report::Report;
use crate::scan::{Found, Item, SkippedRecord, Tracked, put_unknown, walk};
use crate::stream::{ErrorRecord, Line, Reader, Writer};

/// Items that travel between the threads at once: few enough wake-ups, in 200 KB a batch.
const BATCH: usize = 1024;

/// Compares a scan's stream with the index: `ltr-compare`.
///
/// # Errors
/// The stream is cut short or damaged: then nothing was concluded from absence; or the index cannot be
/// read.
pub fn compare_stream<R: BufRead, W: Write>(
    index: &Sqlite,
    compare: Compare,
    root: Option<&BoxRoot>,
    input: R,
    output: W,
) -> Result<Exit> {
    let mut reader = Reader::new(input);
    let writer = std::cell::RefCell::new(Writer::new(output));
    // an item has no room for what this ltr does not know, so it waits beside it
    let unknown = std::cell::RefCell::new(Extra::new());
    let mut put = |mut difference| {
        if let Difference::Record(record) = &mut difference
            && record.local.is_some()
        {
            record.extra = unknown.take();
        }
        put(&mut writer.borrow_mut(), difference, None)
    };
    let mut comparer = Comparer::new(index, compare, root, &mut put)?;
    let mut last = SpacePath::root();
    loop {
        let number = reader.line_number() + 1;
        let Some(line) = reader.next_line()? else { break };
        let found = match line {
            Line::Record { kind, json } => match kind.as_ref() {
                "scan" => {
                    let (item, extra) = item(json).with_context(|| format!("line {number}"))?;
                    unknown.replace(extra);
                    Found::Item(item)
                }
                "skipped" => {
                    let SkippedRecord { path, why } = serde_json::from_str(json).with_context(|| format!("line {number}"))?;
                    Found::Skipped { path, why }
                }
                _ => {
                    writer.borrow_mut().put_raw(json)?;
                    continue;
                }
            },
            // what failed may be no path at all: then it covers everything
            Line::Error(ErrorRecord { path, error }) => {
                Found::Failed { path: SpacePath::from_spelled(&path).unwrap_or_default(), error }
            }
        };
        if let Found::Item(Item { path, .. }) | Found::Skipped { path, .. } = &found {
            ensure!(*path >= last, "line {number} is not in path order");
            last.clone_from(path);
        }
        comparer.found(found)?;
    }
    comparer.finish()?;
    Ok(Exit::of_failures(writer.into_inner().end(Map::new())?))
}

/// What a `scan` record says was on disk.
fn item(json: &str) -> Result<(Item, Extra)> {
    let record: FileRecord = serde_json::from_str(json)?;
    record.check()?;
    let local = record.local.context("not a record of a scan: no local facts")?;
    let item = Item {
        path: record.path,
        ftype: record.ftype,
        size: record.size,
        mtime: record.mtime,
        mtime_nsec: record.mtime_nsec,
        mode: record.mode.unwrap_or(Mode(if record.ftype == Ftype::Dir { 0o755 } else { 0o644 })),
        ino: local.ino,
        dev: local.dev,
        ctime: local.ctime,
        ctime_nsec: local.ctime_nsec,
        target: record.target.as_deref().map(unescape).transpose()?,
    };
    Ok((item, record.extra))
}

/// Walks the box and compares at once: `ltr-scan --known`. Only what differs becomes a record.
///
/// # Errors
/// The box or the index cannot be read.
pub fn compare_walk<W: Write>(root: &Path, index: &Sqlite, compare: Compare, output: W, report: &mut dyn Report) -> Result<Exit> {
    let mut writer = Writer::new(output);
    differences(root, index, compare, &mut |difference| put(&mut writer, difference, Some(&mut *report)))?;
    Ok(Exit::of_failures(writer.end(Map::new())?))
}

/// Walks the box and hands what differs from the index to `out`, in path order.
///
/// # Errors
/// The box or the index cannot be read, or `out` failed: nothing may be concluded from absence.
pub fn differences(root: &Path, index: &Sqlite, compare: Compare, out: Differences<'_>) -> Result<()> {
    let beneath = BoxRoot::open(root).with_context(|| root.display().to_string())?;
    let starts = compare.under.clone();
    let remember = compare.remember && starts.iter().all(SpacePath::is_root);
    // read before all else: what is written from now on is looked at again
    let seq = index.seq()?;
    let mut comparer = Comparer::new(index, Compare { remember, ..compare }, Some(&beneath), out)?;
    let rules = comparer.seal_rules();
    let (sender, receiver) = sync_channel::<Vec<Found>>(8);
    let (root, index_path) = (root.to_path_buf(), index.path().to_path_buf());
    let seals = rules.clone();
    let walker = std::thread::Builder::new()
        .spawn(move || walk_into(&root, &index_path, seals, remember, &starts, &sender))
        .context("cannot start a thread")?;
    let compared = drain(&receiver, &mut comparer);
    drop(receiver);
    let walked = walker.join().map_err(|_| anyhow!("the walk ended unexpectedly"))?;
    compared?;
    walked?;
    let clean = comparer.finish()?;
    if let Some((me, rules)) = rules.filter(|_| !clean.is_empty()) {
        // a read-only index, or one that somebody is writing, has to do without
        let _ = index.set_seals(me, &rules, seq, &clean);
    }
    Ok(())
}

fn drain(receiver: &Receiver<Vec<Found>>, comparer: &mut Comparer<'_>) -> Result<()> {
    for batch in receiver {
        for found in batch {
            comparer.found(found)?;
        }
    }
    Ok(())
}

/// The walking thread, with its own connection to the index.
fn walk_into(
    root: &Path,
    index: &Path,
    seals: Option<(BoxId, String)>,
    remember: bool,
    starts: &[SpacePath],
    sender: &SyncSender<Vec<Found>>,
) -> Result<()> {
    let index = Sqlite::open(index, Access::Read)?;
    let seals = seals.map(|(me, rules)| index.seals(me, &rules)).transpose()?;
    // to make them takes time
    let seals = seals.filter(|seals| remember || !seals.is_empty());
    let mut batch = Vec::with_capacity(BATCH);
    let gone = || anyhow!("the comparison has ended");
    walk(root, starts, &mut Known { entries: Entries(&index), seals }, &mut |found| {
        batch.push(found);
        if batch.len() == BATCH {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            sender.send(full).map_err(|_| gone())?;
        }
        Ok(())
    })?;
    sender.send(batch).map_err(|_| gone())
}

/// What has an entry in an index.
#[derive(Debug)]
pub struct Entries<'a>(pub &'a Sqlite);

impl Tracked for Entries<'_> {
    fn at_or_below(&mut self, path: &SpacePath) -> Result<bool> {
        self.0.knows(path)
    }
}

/// What has an entry, and the folders in which there was nothing to tell; none where nobody wants to know.
struct Known<'a> {
    entries: Entries<'a>,
    seals: Option<Seals<'a>>,
}

impl Tracked for Known<'_> {
    fn at_or_below(&mut self, path: &SpacePath) -> Result<bool> {
        self.entries.at_or_below(path)
    }

    fn seals(&self) -> bool {
        self.seals.is_some()
    }

    fn is_sealed(&mut self, folder: &SpacePath, seal: &Sha1) -> Result<bool> {
        self.seals.as_mut().map_or(Ok(false), |seals| seals.has(folder, seal))
    }
}

fn put<W: Write>(writer: &mut Writer<W>, difference: Difference, report: Option<&mut dyn Report>) -> Result<()> {
    match difference {
        Difference::Record(record) => writer.put(&record),
        Difference::Unknown(found) => put_unknown(found, writer, report),
    }
}
