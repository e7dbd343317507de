//! Where the documents of a commit go: into a stream, or an index (see `whole`).

use std::io::Write;

use anyhow::Result;

use crate::record::Document;
use crate::report::Report;
use crate::stream::{ErrorRecord, Writer};

/// Takes what a commit writes.
pub(super) trait Out {
    /// A document.
    fn document(&mut self, document: Document) -> Result<()>;
    /// A record that a commit is not about.
    fn raw(&mut self, json: &str) -> Result<()>;
    /// What a stage before could not read.
    fn error(&mut self, record: ErrorRecord) -> Result<()>;
    /// What is reported now, of `subject`.
    fn failure(&mut self, subject: &str, record: ErrorRecord) -> Result<()>;
}

/// A stream of documents.
pub(super) struct Lines<'a, W: Write> {
    pub(super) writer: Writer<W>,
    pub(super) report: &'a mut dyn Report,
}

impl<W: Write> Out for Lines<'_, W> {
    fn document(&mut self, document: Document) -> Result<()> {
        self.writer.put(&document)
    }

    fn raw(&mut self, json: &str) -> Result<()> {
        self.writer.put_raw(json)
    }

    fn error(&mut self, record: ErrorRecord) -> Result<()> {
        self.writer.put_error(&record)
    }

    fn failure(&mut self, subject: &str, record: ErrorRecord) -> Result<()> {
        self.report.failure(subject, &record.error);
        self.error(record)
    }
}
