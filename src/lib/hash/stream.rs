//! ltr-hash: the records of a scan, completed by what only reading the files can tell.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Hashed, hash_file, hash_symlink};
use crate::boxfs::BoxRoot;
use crate::exit::Exit;
use crate::record::{Change, FileRecord, Ftype, Was};
use crate::report::{Report, Unit};
use crate::stream::{ErrorRecord, Line, Reader, Writer};

/// Records that wait for their hashes at a time, which bounds memory and keeps the order.
const BATCH: usize = 512;
/// Bytes after which a batch is large enough: what was hashed is then passed on, and outlives a kill.
const BATCH_BYTES: u64 = 256 << 20;
/// Two readers keep a disk and a core busy; more make an archive disk seek.
const WORKERS: usize = 2;

/// Passes a stream on, with `sha1` and `mime` in every `scan` record of a file or symlink that was
/// seen on disk (`local`) and lacks them; `size`, times and `local` then are of the very read. A
/// suspect becomes in sync (`C`) or modified. What cannot be read becomes an error record.
///
/// With `lazy`, only what a hash decides for `ltr status`: suspects of unchanged size (others are
/// modified without reading), and new files of the size of something that is gone (a rename), or purged. That needs the
/// input twice, so it is kept in `spool`, an empty file.
///
/// # Errors
/// The input is cut short or damaged, the output cannot be written, `lazy` without a spool.
pub fn hash_stream<R: BufRead, W: Write>(
    root: &BoxRoot,
    input: R,
    output: W,
    lazy: bool,
    spool: Option<File>,
    report: &mut dyn Report,
) -> Result<Exit> {
    if !lazy {
        return pass(root, Reader::new(input), output, None, report);
    }
    let mut spool = spool.context("lazy hashing reads its input twice, and so needs a spool")?;
    let gone = spool_sizes(input, &spool)?;
    spool.rewind()?;
    pass(root, Reader::new(BufReader::new(spool)), output, Some(&gone), report)
}

/// One record on its way.
enum Item {
    Raw(String),
    Error(ErrorRecord),
    /// To be hashed.
    File(Box<FileRecord>),
    /// Changed by this stage without a hash.
    Judged(Box<FileRecord>),
}

fn pass<R: BufRead, W: Write>(
    root: &BoxRoot,
    mut input: Reader<R>,
    output: W,
    gone: Option<&HashSet<u64>>,
    report: &mut dyn Report,
) -> Result<Exit> {
    let mut output = Writer::new(output);
    let mut hashed = 0;
    let mut done: Option<Batch> = None;
    let mut batch = Batch::read(&mut input, gone)?;
    loop {
        // while this batch is hashed the one before is written, and the next one read
        let next = batch.hash(root, || -> Result<Option<Batch>> {
            if let Some(done) = done.take() {
                hashed += done.write(&mut output, report)?;
                if hashed > 0 {
                    report.progress(hashed, 0, Unit::Files);
                }
            }
            if batch.items.is_empty() { Ok(None) } else { Batch::read(&mut input, gone).map(Some) }
        });
        let Some(next) = next? else { break };
        done = Some(std::mem::replace(&mut batch, next));
    }
    Ok(Exit::of_failures(output.end(trailer(&input))?))
}

/// The next line; a file whose hash is called for comes as a record, all else as it is.
fn next_item<R: BufRead>(input: &mut Reader<R>, gone: Option<&HashSet<u64>>) -> Result<Option<Item>> {
    Ok(match input.next_line()? {
        None => None,
        Some(Line::Error(error)) => Some(Item::Error(error)),
        Some(Line::Record { kind, json }) if kind == "scan" => {
            let mut record: FileRecord = serde_json::from_str(json).context("not a scan record")?;
            record.check().with_context(|| format!("{}", record.path))?;
            if gone.is_some() && certainly_modified(&record) {
                record.change = Some(Change::Modified);
                return Ok(Some(Item::Judged(Box::new(record))));
            }
            Some(if is_wanted(&record, gone) { Item::File(Box::new(record)) } else { Item::Raw(json.to_owned()) })
        }
        Some(Line::Record { json, .. }) => Some(Item::Raw(json.to_owned())),
    })
}

/// Whether a hash is called for.
fn is_wanted(record: &FileRecord, gone: Option<&HashSet<u64>>) -> bool {
    let lacks = record.ftype != Ftype::Dir && record.local.is_some() && record.sha1.is_none();
    lacks
        && match (gone, record.change) {
            (None, _) => true,
            (Some(_), Some(Change::Suspect)) => true,
            (Some(gone), Some(Change::New)) => {
                let as_purged = record.was.as_ref().is_some_and(|was| was.size == record.size);
                as_purged || (record.size > 0 && gone.contains(&record.size))
            }
            (Some(_), _) => false,
        }
}

/// A suspect of another size or kind needs no hash to be called modified.
fn certainly_modified(record: &FileRecord) -> bool {
    record.change == Some(Change::Suspect)
        && record.was.as_ref().is_some_and(|was| was.size != record.size || was.ftype != record.ftype)
}

/// Records in their order, with room for a result beside each.
struct Batch {
    items: Vec<Item>,
    slots: Vec<Mutex<Option<io::Result<Hashed>>>>,
    files: usize,
}

impl Batch {
    fn read<R: BufRead>(input: &mut Reader<R>, gone: Option<&HashSet<u64>>) -> Result<Self> {
        let mut batch = Self { items: Vec::new(), slots: Vec::new(), files: 0 };
        let mut bytes = 0;
        while batch.items.len() < BATCH
            && (bytes < BATCH_BYTES || batch.files < 2 * WORKERS)
            && let Some(item) = next_item(input, gone)?
        {
            if let Item::File(record) = &item {
                bytes = record.size.saturating_add(bytes);
                batch.files += 1;
            }
            batch.items.push(item);
            batch.slots.push(Mutex::new(None));
        }
        Ok(batch)
    }

    /// Hashes what is to be hashed, on threads of their own, and meanwhile does `other` on this one.
    fn hash<T>(&self, root: &BoxRoot, other: impl FnOnce() -> T) -> T {
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let (Some(item), Some(slot)) = (self.items.get(at), self.slots.get(at)) else { break };
                if let Item::File(record) = item {
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash_record(root, record));
                }
            }
        };
        std::thread::scope(|scope| {
            let wanted = WORKERS.min(self.files);
            let started = (0..wanted).take_while(|_| Builder::new().spawn_scoped(scope, work).is_ok()).count();
            let done = other();
            if started < wanted {
                // where the system gives no more threads, this one does their part
                work();
            }
            done
        })
    }

    /// Writes the records with their results; returns how many were hashed.
    fn write<W: Write>(self, output: &mut Writer<W>, report: &mut dyn Report) -> Result<u64> {
        let mut hashed = 0;
        for (item, slot) in self.items.into_iter().zip(self.slots) {
            let result = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
            hashed += u64::from(result.is_some());
            put(output, item, result, report)?;
        }
        Ok(hashed)
    }
}

fn hash_record(root: &BoxRoot, record: &FileRecord) -> io::Result<Hashed> {
    if record.ftype == Ftype::Symlink { hash_symlink(root, &record.path) } else { hash_file(root, &record.path) }
}

fn put<W: Write>(output: &mut Writer<W>, item: Item, result: Option<io::Result<Hashed>>, report: &mut dyn Report) -> Result<()> {
    match (item, result) {
        (Item::Raw(json), _) => output.put_raw(&json),
        (Item::Error(error), _) => output.put_error(&error),
        (Item::File(record), None) | (Item::Judged(record), _) => output.put(&record),
        (Item::File(mut record), Some(Ok(hashed))) => {
            complete(&mut record, hashed);
            output.put(&record)
        }
        (Item::File(record), Some(Err(cause))) => {
            let (path, error) = (record.path.spelled(), cause.to_string());
            report.failure(&path, &error);
            output.put_error(&ErrorRecord { path, error })
        }
    }
}

/// Writes into the record what was read, and judges a suspect by it.
fn complete(record: &mut FileRecord, hashed: Hashed) {
    let Hashed { sha1, mime, stat, racy } = hashed;
    (record.sha1, record.size) = (Some(sha1), stat.size);
    (record.mtime, record.mtime_nsec) = (stat.mtime, stat.mtime_nsec);
    record.mode = record.mode.map(|_| stat.mode);
    record.mime = mime.or(record.mime.take());
    let local = stat.local(racy);
    record.local = Some(match record.local.take() {
        Some(old) => crate::record::Local { status: old.status, renamed: old.renamed, ..local },
        None => local,
    });
    if record.change == Some(Change::Suspect)
        && let Some(was) = &record.was
    {
        let same = was.sha1 == Some(sha1) && was.ftype == record.ftype && record.mode.is_none_or(|m| m == was.mode);
        if same {
            record.status = Some(record.otherwise.clone().unwrap_or_else(|| "C".to_owned()));
        } else {
            record.change = Some(Change::Modified);
        }
    }
}

/// Of a record, what tells the size of something gone.
#[derive(Deserialize)]
struct Gone {
    ftype: Ftype,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    change: Option<Change>,
    #[serde(default)]
    was: Option<Was>,
}

/// Copies the input into the spool and returns the sizes of the files that are gone.
fn spool_sizes<R: BufRead>(input: R, spool: &File) -> Result<HashSet<u64>> {
    let (mut input, mut spool) = (Reader::new(input), Writer::new(BufWriter::new(spool)));
    let mut sizes = HashSet::new();
    while let Some(line) = input.next_line()? {
        match line {
            Line::Error(error) => spool.put_error(&error)?,
            Line::Record { kind, json } => {
                if kind == "scan" {
                    let gone: Gone = serde_json::from_str(json).context("not a scan record")?;
                    if gone.change == Some(Change::Gone) && gone.ftype == Ftype::File {
                        sizes.insert(gone.was.map_or(gone.size, |was| was.size));
                    }
                }
                spool.put_raw(json)?;
            }
        }
    }
    spool.end(trailer(&input))?;
    Ok(sizes)
}

/// What the writer before us added to its trailer.
fn trailer<R: BufRead>(input: &Reader<R>) -> Map<String, Value> {
    let mut extra = input.end().map(|e| e.extra.clone()).unwrap_or_default();
    extra.remove("type");
    extra
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
