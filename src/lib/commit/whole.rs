//! A commit in one process: what ltr-hash, ltr-record and ltr-index-put do one after the other, by the same code, but
//! without the two streams between them.
//!
//! To write each record as JSON, and to read it again, took a quarter of the processor time of a first commit, as long
//! as hashing its files of 4 KiB.

use std::fs::File;
use std::io::{BufRead, Write};

use anyhow::Result;

use super::out::Out;
use super::{Author, Commit, record_into};
use crate::boxfs::BoxRoot;
use crate::exit::Exit;
use crate::hash::ahead::hashing;
use crate::index::sqlite::Sqlite;
use crate::record::Document;
use crate::report::Report;
use crate::stream::{ErrorRecord, Reader};
use crate::sync::put::{Options, Put};

/// What a commit reads and writes.
pub struct Place<'a> {
    /// The box, whose files are hashed.
    pub root: &'a BoxRoot,
    /// The index as it is read.
    pub index: &'a Sqlite,
    /// The same index once more: what is written in batches is not to disturb what is being read.
    pub target: &'a mut Sqlite,
}

/// Hashes the files of the scan records of `input`, and puts the documents that record them into the index: the output is
/// that of ltr-index-put. `gone` is as in [`super::record`].
///
/// # Errors
/// The stream is cut short or damaged and nothing was put, or the index cannot be read or written.
pub fn commit<R: BufRead, W: Write>(
    commit: &Commit,
    place: Place<'_>,
    author: Author,
    (input, gone): (R, Option<File>),
    output: W,
    spool: File,
    report: &mut dyn Report,
) -> Result<Exit> {
    let Place { root, index, target } = place;
    let mut into = Into { put: Put::new(target, output, &Options::default())?, report };
    let mut input = Reader::new(input);
    let done = hashing(root, &mut input, None, |records| {
        records.read_ahead()?;
        record_into(commit, index, author, (records, gone), &mut into, spool)
    });
    into.put.finish(done, into.report)
}

/// An index that documents are put into.
struct Into<'a, W: Write> {
    put: Put<'a, W>,
    report: &'a mut dyn Report,
}

impl<W: Write> Out for Into<'_, W> {
    fn document(&mut self, document: Document) -> Result<()> {
        self.put.document(document, self.report)
    }

    fn raw(&mut self, json: &str) -> Result<()> {
        self.put.raw(json, self.report)
    }

    fn error(&mut self, record: ErrorRecord) -> Result<()> {
        self.put.error(record, self.report)
    }

    fn failure(&mut self, subject: &str, record: ErrorRecord) -> Result<()> {
        self.report.failure(subject, &record.error);
        self.error(record)
    }
}
