//! A stream of documents into an index, and what became of each.
//!
//! Documents are facts of their own, so what came before a stream was cut short is kept; only a sync's
//! checkpoint waits for the trailer. An outcome is told only after its transaction is on disk.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Error, Result};
use serde_json::{Map, Value};

use super::line::{Ready, Record, Verified, read, told};
use super::sink::{BATCH, Sink, Tally, uuid};
use crate::exit::Exit;
use crate::index::changes::Checkpoint;
use crate::index::sqlite::Sqlite;
use crate::index::{Origin, Outcome};
use crate::path::escape;
use crate::record::{Document, Entry, Mark};
use crate::report::{Report, Unit};
use crate::stream::{ErrorRecord, Head, Line, Reader, Writer};

/// A batch is written when it has this many bytes, or is this old when the next line comes.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_AGE: Duration = Duration::from_secs(1);

/// How to put.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The documents are another index's: their local facts are not believed.
    pub elsewhere: bool,
    /// They are another index's changes: the space's document comes first, a `ready` record tells
    /// where to begin, and the checkpoint in the trailer is remembered. Implies `elsewhere`.
    pub sync: bool,
    /// No outcomes, only errors and the trailer.
    pub quiet: bool,
    /// A folder for a throw-away copy of the index, which is written in its place: a dry run.
    pub scratch: Option<PathBuf>,
}

impl Options {
    /// The arguments of ltr-index-put that ask for the same.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let all = [
            (self.elsewhere, "--from-elsewhere"),
            (self.sync, "--sync"),
            (self.quiet, "--quiet"),
            (self.scratch.is_some(), "--dryrun"),
        ];
        all.into_iter().filter(|(given, _)| *given).map(|(_, word)| word.to_owned()).collect()
    }
}

/// Puts the documents of the stream `input` into `index`, and writes a `put` record about each.
///
/// Records that are no documents are passed through, except `verified` ones, which are kept here.
/// The trailer counts `written`, `unchanged` and `older`, names the index, and has the `first` and
/// `last` sequence number that were issued, with the `checkpoint` after the last.
///
/// # Errors
/// Another space, an index that cannot be written, or a stream of which nothing could be used.
pub fn put_stream(
    index: &mut Sqlite,
    input: impl BufRead,
    output: impl Write,
    options: &Options,
    report: &mut dyn Report,
) -> Result<Exit> {
    if options.sync && options.scratch.is_none() {
        index.ask_again(SystemTime::now())?;
    }
    let mut put = Put::new(index, output, options)?;
    if options.sync {
        put.ready()?;
    }
    let mut reader = Reader::new(input);
    if let Err(Stop::Cut(error) | Stop::Failed(error)) = put.run(&mut reader, report) {
        return put.cut(error, "stdin", report);
    }
    if options.sync
        && let Some(end) = reader.end()
    {
        put.remember(&end.extra)?;
    }
    put.end()
}

/// Why a stream was not put to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// It could not be read further.
    Cut(Error),
    /// It could not be written, or must not.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

/// What is written about a line once its batch is on disk.
enum Pending {
    /// What became of the next document.
    Document,
    Raw(String),
    Error(ErrorRecord),
}

/// A stream on its way into an index.
pub(crate) struct Put<'a, W: Write> {
    pub(super) sink: Sink<'a>,
    origin: Origin,
    quiet: bool,
    /// `None` once its reader has gone: the documents are put all the same.
    output: Option<Writer<W>>,
    documents: Vec<Document>,
    verified: Vec<Verified>,
    pending: Vec<Pending>,
    bytes: usize,
    since: Option<Instant>,
    errors: u64,
    /// The first document was that of the space, and no news.
    pub(super) only_greeted: bool,
}

impl<'a, W: Write> Put<'a, W> {
    pub(crate) fn new(index: &'a mut Sqlite, output: W, options: &Options) -> Result<Self> {
        let origin = if options.elsewhere || options.sync { Origin::Elsewhere } else { Origin::Here };
        Ok(Self {
            sink: Sink::new(index, origin, options.sync, options.scratch.clone())?,
            origin,
            quiet: options.quiet,
            output: Some(Writer::new(output)),
            documents: Vec::new(),
            verified: Vec::new(),
            pending: Vec::new(),
            bytes: 0,
            since: None,
            errors: 0,
            only_greeted: false,
        })
    }

    fn ready(&mut self) -> Result<()> {
        let index = self.sink.index();
        let ready =
            Ready { kind: "ready".to_owned(), index: format!("{:08x}", index.id()), uuid: uuid(index)?, pulled: index.pulled()? };
        self.write(|writer| writer.put(&ready))?;
        self.write(Writer::flush)
    }

    /// Puts everything up to the trailer.
    pub(super) fn run<R: BufRead>(&mut self, reader: &mut Reader<R>, report: &mut dyn Report) -> Result<(), Stop> {
        loop {
            let number = reader.line_number() + 1;
            let line = match reader.next_line() {
                Ok(line) => line,
                Err(error) => {
                    self.commit(report)?;
                    return Err(Stop::Cut(error));
                }
            };
            match line {
                Some(Line::Record { kind, json }) => self.take(&kind, json, number, report)?,
                Some(Line::Error(record)) => self.pass(record),
                None => return Ok(self.commit(report)?),
            }
            self.commit_if_due(report)?;
        }
    }

    /// Puts a document that a commit here has made.
    pub(crate) fn document(&mut self, document: Document, report: &mut dyn Report) -> Result<()> {
        if let Document::Entry(Entry { path, .. }) | Document::Mark(Mark { path, .. }) = &document {
            self.bytes += path.key().len();
        }
        self.since.get_or_insert_with(Instant::now);
        self.pending.push(Pending::Document);
        self.documents.push(document);
        self.commit_if_due(report)
    }

    /// Takes another record as it came.
    pub(crate) fn raw(&mut self, json: &str, report: &mut dyn Report) -> Result<()> {
        let head: Head<'_> = serde_json::from_str(json)?;
        self.take(&head.kind, json, 0, report)?;
        self.commit_if_due(report)
    }

    /// Takes what could not be read.
    pub(crate) fn error(&mut self, record: ErrorRecord, report: &mut dyn Report) -> Result<()> {
        self.pass(record);
        self.commit_if_due(report)
    }

    /// Ends after the last document, or after an error of `subject` that came before it.
    pub(crate) fn finish(mut self, done: Result<()>, subject: &str, report: &mut dyn Report) -> Result<Exit> {
        let put = self.commit(report);
        match done {
            Ok(()) => put.and_then(|()| self.end()),
            Err(error) => self.cut(error, subject, report),
        }
    }

    /// What was put before an error is kept.
    fn cut(self, error: Error, subject: &str, report: &mut dyn Report) -> Result<Exit> {
        if self.sink.tally.written == 0 {
            return Err(error);
        }
        report.failure(subject, &format!("{error:#}"));
        Ok(Exit::Part)
    }

    fn pass(&mut self, record: ErrorRecord) {
        if self.sink.refuse(&format!("{}: {}", record.path, record.error), None) {
            self.errors += 1;
            self.pending.push(Pending::Error(record));
        }
    }

    fn commit_if_due(&mut self, report: &mut dyn Report) -> Result<()> {
        if self.is_due() { self.commit(report) } else { Ok(()) }
    }

    fn take(&mut self, kind: &str, json: &str, number: u64, report: &mut dyn Report) -> Result<()> {
        self.bytes += json.len();
        self.since.get_or_insert_with(Instant::now);
        match read(kind, json) {
            Ok(Record::Document(document)) => {
                if number == 1 && matches!(document, Document::Space(_)) {
                    // only ltr-index-get begins with the space: its documents are another index's word
                    self.origin = Origin::Elsewhere;
                    self.sink.from_elsewhere();
                }
                self.sink.admit(&document)?;
                match self.sink.check(&document) {
                    Ok(()) => {
                        if !self.quiet {
                            self.pending.push(Pending::Document);
                        }
                        self.documents.push(document);
                    }
                    // without its space nothing else of an index has a place
                    Err(error) if matches!(document, Document::Space(_)) => return Err(error),
                    Err(error) => self.refuse(number, json, Some(&document), &error, report),
                }
            }
            Ok(Record::Verified(seen)) => self.verified.push(seen),
            Ok(Record::Foreign) if self.quiet => {}
            Ok(Record::Foreign) => self.pending.push(Pending::Raw(json.to_owned())),
            Err(error) => self.refuse(number, json, None, &error, report),
        }
        Ok(())
    }

    fn refuse(&mut self, number: u64, json: &str, document: Option<&Document>, error: &Error, report: &mut dyn Report) {
        if !self.sink.refuse(&escape(json.as_bytes()), document) {
            return;
        }
        let (subject, cause) = (format!("line {number}"), format!("{error:#}"));
        report.failure(&subject, &cause);
        self.errors += 1;
        self.pending.push(Pending::Error(ErrorRecord { path: subject, error: cause }));
    }

    fn is_due(&self) -> bool {
        let old = self.since.is_some_and(|since| since.elapsed() >= BATCH_AGE);
        self.pending.len() >= BATCH || self.documents.len() >= BATCH || self.bytes >= BATCH_BYTES || old
    }

    /// Writes what has gathered, and tells what became of it.
    fn commit(&mut self, report: &mut dyn Report) -> Result<()> {
        let first = self.sink.tally == Tally::default();
        let outcomes = self.sink.put(&self.documents)?;
        if first && let (Some(Document::Space(_)), Some(outcome)) = (self.documents.first(), outcomes.first()) {
            self.only_greeted = *outcome != Outcome::Written;
        }
        if self.origin == Origin::Here && !self.sink.is_dry() && !self.verified.is_empty() {
            let seen = self.verified.iter().map(|v| (v.box_name.as_str(), v.sha1, v.ms));
            self.sink.index().set_all_verified(seen)?;
        }
        let documents = std::mem::take(&mut self.documents);
        let mut outcomes = documents.iter().zip(outcomes);
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Document => {
                    let Some((document, outcome)) = outcomes.next() else { continue };
                    self.write(|writer| writer.put(&told(document, outcome.word())))?;
                }
                Pending::Raw(json) => self.write(|writer| writer.put_raw(&json))?,
                Pending::Error(record) => self.write(|writer| writer.put_error(&record))?,
            }
        }
        self.write(Writer::flush)?;
        self.verified.clear();
        (self.bytes, self.since) = (0, None);
        report.progress(self.sink.tally.read(), 0, Unit::Documents);
        Ok(())
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer<W>) -> Result<()>) -> Result<()> {
        let Some(writer) = &mut self.output else { return Ok(()) };
        match write(writer) {
            Err(error) if has_gone(&error) => {
                self.output = None;
                Ok(())
            }
            other => other,
        }
    }

    /// Remembers how far the other index has been read, when that is what its trailer says: everything
    /// after `since` came, and everything up to `since` was here before. What was refused counts as read.
    pub(super) fn remember(&mut self, extra: &Map<String, Value>) -> Result<()> {
        let text = |key: &str| extra.get(key).and_then(Value::as_str);
        let Some(checkpoint) = text("checkpoint") else { return Ok(()) };
        let peer = checkpoint.parse::<Checkpoint>()?.index;
        if self.sink.is_dry() || peer == self.sink.index().id() {
            return Ok(());
        }
        self.sink.keep_refused()?;
        let (pulled, _) = self.sink.index().peer(peer)?;
        if text("since").is_none() || text("since") == pulled.as_deref() {
            self.sink.index().set_peer(peer, Some(checkpoint), None)?;
        }
        Ok(())
    }

    /// Writes the trailer.
    fn end(mut self) -> Result<Exit> {
        let tally = self.sink.tally.clone();
        let index = self.sink.index();
        let mut extra = Map::new();
        extra.insert("index".to_owned(), format!("{:08x}", index.id()).into());
        for (key, count) in [("written", tally.written), ("unchanged", tally.unchanged), ("older", tally.older)] {
            extra.insert(key.to_owned(), count.into());
        }
        if let (Some((first, last)), false) = (tally.issued, self.sink.is_dry()) {
            extra.insert("first".to_owned(), first.into());
            extra.insert("last".to_owned(), last.into());
            if let Some(checkpoint) = self.sink.index().checkpoint_at(last)? {
                extra.insert("checkpoint".to_owned(), checkpoint.into());
            }
        }
        if let Some(writer) = self.output {
            match writer.end(extra) {
                Err(error) if has_gone(&error) => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(Exit::of_failures(self.errors))
    }
}

fn has_gone(error: &Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
