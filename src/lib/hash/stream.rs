//! ltr-hash: the records of a scan, completed by what only reading the files can tell.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ahead::hashing;
use super::item::{Item, Records, file};
use super::{Hashed, hash_file, hash_symlink};
use crate::boxfs::BoxRoot;
use crate::exit::Exit;
use crate::record::{Change, FileRecord, Ftype, Was};
use crate::report::{Report, Unit};
use crate::stream::{ErrorRecord, Line, Reader, Writer};

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

/// What is gone, by size: what decides which new files are hashed for a status.
pub type Lazily = HashSet<u64>;

/// What there is to do about a record.
#[derive(Debug)]
pub enum Work {
    /// To read the file.
    Hash(Box<FileRecord>),
    /// To pass it on.
    Nothing(Item),
}

impl Work {
    /// What `ltr-hash` does about what was seen.
    pub(crate) fn of(record: FileRecord) -> Self {
        let record = Box::new(record);
        if is_wanted(&record, None) { Work::Hash(record) } else { Work::Nothing(Item::File(record)) }
    }

    /// The record that is passed on.
    pub(super) fn done(self, root: &BoxRoot) -> Item {
        let mut record = match self {
            Work::Nothing(item) => return item,
            Work::Hash(record) => record,
        };
        match hash_record(root, &record) {
            Ok(hashed) => {
                complete(&mut record, hashed);
                Item::File(record)
            }
            Err(cause) => Item::Failed(ErrorRecord { path: record.path.spelled(), error: cause.to_string() }),
        }
    }
}

/// The next line of `input`, and what there is to do about it.
///
/// # Errors
/// The stream is cut short or damaged, or a record malformed.
pub fn work_of<R: BufRead>(input: &mut Reader<R>, lazily: Option<&Lazily>) -> Result<Option<Work>> {
    Ok(match input.next_line()? {
        None => None,
        Some(Line::Error(error)) => Some(Work::Nothing(Item::Error(error))),
        Some(Line::Record { kind, json }) if kind == "scan" => {
            let mut record = file(json)?;
            if lazily.is_some() && certainly_modified(&record) {
                record.change = Some(Change::Modified);
                return Ok(Some(Work::Nothing(Item::File(Box::new(record)))));
            }
            let wanted = is_wanted(&record, lazily);
            Some(if wanted {
                Work::Hash(Box::new(record))
            } else {
                Work::Nothing(Item::Raw { scan: true, json: json.to_owned() })
            })
        }
        Some(Line::Record { json, .. }) => Some(Work::Nothing(Item::Raw { scan: false, json: json.to_owned() })),
    })
}

fn pass<R: BufRead, W: Write>(
    root: &BoxRoot,
    mut input: Reader<R>,
    output: W,
    lazily: Option<&Lazily>,
    report: &mut dyn Report,
) -> Result<Exit> {
    let mut output = Writer::new(output);
    hashing(root, &mut || work_of(&mut input, lazily), |records| {
        let mut told = 0;
        while let Some(item) = records.next()? {
            put(&mut output, item, report)?;
            if records.hashed() > told {
                told = records.hashed();
                report.progress(told, 0, Unit::Files);
            }
        }
        Ok(())
    })?;
    Ok(Exit::of_failures(output.end(trailer(&input))?))
}

/// Whether a hash is called for.
fn is_wanted(record: &FileRecord, lazily: Option<&Lazily>) -> bool {
    let lacks = record.ftype != Ftype::Dir && record.local.is_some() && record.sha1.is_none();
    lacks
        && match (lazily, record.change) {
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

fn hash_record(root: &BoxRoot, record: &FileRecord) -> io::Result<Hashed> {
    if record.ftype == Ftype::Symlink { hash_symlink(root, &record.path) } else { hash_file(root, &record.path) }
}

fn put<W: Write>(output: &mut Writer<W>, item: Item, report: &mut dyn Report) -> Result<()> {
    match item {
        Item::Raw { json, .. } => output.put_raw(&json),
        Item::Error(error) => output.put_error(&error),
        Item::File(record) => output.put(&record),
        Item::Failed(error) => {
            report.failure(&error.path, &error.error);
            output.put_error(&error)
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
fn spool_sizes<R: BufRead>(input: R, spool: &File) -> Result<Lazily> {
    let (mut input, mut spool) = (Reader::new(input), Writer::new(BufWriter::new(spool)));
    let mut sizes = Lazily::new();
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
