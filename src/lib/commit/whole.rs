//! A commit in one process: what ltr-scan, ltr-hash, ltr-record and ltr-index-put do one after the other, by the same
//! code, but without the streams between them.
//!
//! To write each record as JSON, and to read it again, took a quarter of the processor time of a first commit between
//! hash and put, as long as hashing its files of 4 KiB; and a tenth between scan and hash, where a file on its way
//! could also not be hashed before the last one was seen.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;

use anyhow::{Context, Result, anyhow};

use super::out::Out;
use super::{Author, Candidates, Commit, record_into};
use crate::boxfs::BoxRoot;
use crate::compare::{Compare, Difference, compare_walk, differences};
use crate::exit::Exit;
use crate::hash::ahead::{Source, hashing};
use crate::hash::item::Item;
use crate::hash::stream::{Work, work_of};
use crate::index::sqlite::{Access, Sqlite};
use crate::record::Document;
use crate::report::Report;
use crate::scan::{Found, put_unknown};
use crate::stream::{ErrorRecord, Reader, Writer};
use crate::sync::put::{Options, Put};

/// Differences that travel between the threads at once, and batches of them that wait at most.
const BATCH: usize = 256;
const BATCHES: usize = 8;

/// What a commit reads and writes.
pub struct Place<'a> {
    /// The box, whose files are looked at and hashed.
    pub root: &'a BoxRoot,
    /// The index as it is read.
    pub index: &'a Sqlite,
    /// The same index once more: what is written in batches is not to disturb what is being read.
    pub target: &'a mut Sqlite,
}

/// Looks for what has changed in the box, or at and below the paths that a person named, hashes it, and puts the documents
/// that record it into the index: the output is that of ltr-index-put. `spools` are two empty files.
///
/// # Errors
/// The box cannot be read, or the index cannot be read or written.
pub fn commit<W: Write>(
    commit: &Commit,
    place: Place<'_>,
    author: Author,
    output: W,
    spools: [File; 2],
    report: &mut dyn Report,
) -> Result<Exit> {
    let Place { root, index, target } = place;
    let [changes, spool] = spools;
    // nothing can be gone of what was never there; what was only pulled has no commit
    let is_first = author.own.commits == 0 && !index.has_entries(&commit.box_name)?;
    let (box_name, under) = (commit.box_name.clone(), commit.named.clone());
    let compare = Compare { box_name, under, all: false, fs: commit.fs, remember: !is_first };
    let gone = if is_first { Candidates::default() } else { look(root.path(), index, compare.clone(), &changes, report)? };
    let report = RefCell::new(report);
    let mut into = Into { put: Put::new(target, output, &Options::default())?, report: &report };
    let record = |source: Source<'_>| {
        hashing(root, source, |records| {
            records.read_ahead()?;
            record_into(commit, index, author, (records, Some(gone)), &mut into, spool)
        })
    };
    let done = if is_first {
        while_looking(root.path(), index, compare, &report, record)
    } else {
        let mut changes = Reader::new(BufReader::new(changes));
        record(&mut || work_of(&mut changes, None))
    };
    into.put.finish(done, &root.path().display().to_string(), *report.borrow_mut())
}

/// Writes what differs from the index into `changes`, and tells what of it is gone.
fn look(root: &Path, index: &Sqlite, compare: Compare, mut changes: &File, report: &mut dyn Report) -> Result<Candidates> {
    compare_walk(root, index, compare, BufWriter::new(changes), report)?;
    let gone = Candidates::read(changes.try_clone()?)?;
    changes.rewind()?;
    Ok(gone)
}

/// Hands `take` what differs from the index while the box is still being looked at.
fn while_looking(
    root: &Path,
    index: &Sqlite,
    compare: Compare,
    report: &RefCell<&mut dyn Report>,
    take: impl FnOnce(Source<'_>) -> Result<()>,
) -> Result<()> {
    let (sender, receiver) = sync_channel(BATCHES);
    std::thread::scope(|scope| {
        let path = index.path();
        let looking = Builder::new()
            .spawn_scoped(scope, move || send_differences(root, path, compare, sender))
            .context("cannot start a thread")?;
        let mut looking = Some(looking);
        let mut batch = Vec::new().into_iter();
        // moved, so that whoever looks hears of it when nobody takes anything any more
        let receiver: Receiver<Vec<Difference>> = receiver;
        take(&mut || {
            loop {
                for difference in batch.by_ref() {
                    if let Some(work) = work(difference, *report.borrow_mut())? {
                        return Ok(Some(work));
                    }
                }
                match (receiver.recv(), looking.take()) {
                    (Ok(next), thread) => (batch, looking) = (next.into_iter(), thread),
                    (Err(_), None) => return Ok(None),
                    // only now is it known that these were all
                    (Err(_), Some(thread)) => {
                        thread.join().map_err(|_| anyhow!("the look at the box ended unexpectedly"))??;
                        return Ok(None);
                    }
                }
            }
        })
    })
}

/// The thread that looks, with its own connection to the index.
fn send_differences(root: &Path, index: &Path, compare: Compare, sender: SyncSender<Vec<Difference>>) -> Result<()> {
    let index = Sqlite::open(index, Access::Read)?;
    let gone = || anyhow!("the commit has ended");
    let mut batch = Vec::new();
    differences(root, &index, compare, &mut |difference| {
        batch.push(difference);
        if batch.len() == BATCH {
            sender.send(std::mem::take(&mut batch)).map_err(|_| gone())?;
        }
        Ok(())
    })?;
    sender.send(batch).map_err(|_| gone())
}

/// What there is to do about a difference, of which a person is told where nothing can be concluded from it.
fn work(difference: Difference, report: &mut dyn Report) -> Result<Option<Work>> {
    Ok(match difference {
        Difference::Record(record) => Some(Work::of(record)),
        Difference::Unknown(Found::Failed { path, error }) => {
            Some(Work::Nothing(Item::Failed(ErrorRecord { path: path.spelled(), error })))
        }
        Difference::Unknown(found) => {
            let mut line = Vec::new();
            put_unknown(found, &mut Writer::new(&mut line), Some(report))?;
            // what has no path has no record either
            let json = String::from_utf8(line).context("not a record")?;
            json.strip_suffix('\n').map(|json| Work::Nothing(Item::Raw { scan: false, json: json.to_owned() }))
        }
    })
}

/// An index that documents are put into.
struct Into<'a, 'r, W: Write> {
    put: Put<'a, W>,
    report: &'a RefCell<&'r mut dyn Report>,
}

impl<W: Write> Out for Into<'_, '_, W> {
    fn document(&mut self, document: Document) -> Result<()> {
        self.put.document(document, *self.report.borrow_mut())
    }

    fn raw(&mut self, json: &str) -> Result<()> {
        self.put.raw(json, *self.report.borrow_mut())
    }

    fn error(&mut self, record: ErrorRecord) -> Result<()> {
        self.put.error(record, *self.report.borrow_mut())
    }

    fn failure(&mut self, subject: &str, record: ErrorRecord) -> Result<()> {
        self.report.borrow_mut().failure(subject, &record.error);
        self.error(record)
    }
}
