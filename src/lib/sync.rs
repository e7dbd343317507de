//! Gossip: two indexes of a space tell each other what they know.
//!
//! How far one index has read another is kept in the one that reads, next to the documents: whatever
//! happens to either file, the checkpoint is never ahead of what is there. It moves only after the
//! last document of a visit is on disk, so a sync that is interrupted anywhere reads some documents
//! again and misses none.

mod behind;
pub mod get;
mod line;
pub mod put;
mod refresh;
mod remote;
pub mod sink;
#[cfg(test)]
mod tests;
pub mod through;

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Map;

use crate::couch::places::Places;
use crate::couch::replicate::replicate;
use crate::couch::url::Database;
use crate::couch::visit::Visit;
use crate::exit::Exit;
use crate::index::Origin;
use crate::index::changes::Checkpoint;
use crate::index::sqlite::{Access, Sqlite};
use crate::ltrbox::file_of;
use crate::record::Document;
use crate::report::{Report, Unit};
use crate::sources::SourceRecord;
use crate::space::{Remote, Space};
use crate::ssh::Ssh;
use crate::stream::Writer;
pub use behind::behind;
pub use refresh::refresh;
use remote::Peer;
use sink::{BATCH, Sink, Tally, uuid};

/// How to sync.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only from the first to the second.
    pub one_way: bool,
    /// A folder for throw-away copies of what would be written: a dry run.
    pub scratch: Option<PathBuf>,
    /// An index that can only be read, as on a disk that is mounted so, is no failure.
    pub read_only_ok: bool,
    /// How to reach other machines.
    pub ssh: Ssh,
    /// Where replicas of databases are.
    pub places: Places,
}

impl Options {
    /// Both ways and in earnest, with the system's ssh, and with everything of this machine below `home`.
    ///
    /// # Errors
    /// As [`Ssh::new`].
    pub fn below(home: &Path) -> Result<Self> {
        let (ssh, places) = (Ssh::new("ssh", true)?, Places::below(home));
        Ok(Self { one_way: false, scratch: None, read_only_ok: false, ssh, places })
    }
}

/// One direction of a sync, in the words of CouchDB's replication history. A record of the type `sync`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Replication {
    /// Where documents were read.
    pub source: String,
    /// Where they were written.
    pub target: String,
    /// Whether everything new in the source is in the target now.
    pub ok: bool,
    /// Documents that were read: those that changed since the last sync.
    pub docs_read: u64,
    /// Those that the target did not have.
    pub docs_written: u64,
    /// Those that it refused.
    pub doc_write_failures: u64,
    /// When the first was read, RFC 3339.
    pub start_time: String,
    /// When the last was on disk.
    pub end_time: String,
    /// Where the next sync reads on.
    pub source_last_seq: String,
    /// Nothing was written: a dry run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dryrun: bool,
}

impl Replication {
    fn new(source: &Space, target: &Space, options: &Options) -> Self {
        let dryrun = options.scratch.is_some();
        Self { source: source.to_string(), target: target.to_string(), start_time: now(), dryrun, ..Self::default() }
    }

    /// One that begins now, between what these texts name.
    pub(crate) fn between(source: String, target: String, dryrun: bool) -> Self {
        Self { source, target, start_time: now(), dryrun, ..Self::default() }
    }

    /// What was read, up to `seq`.
    pub(crate) fn pulled(&mut self, tally: &Tally, seq: Option<&str>, ok: bool) {
        self.count(tally);
        (self.ok, self.end_time) = (ok && self.doc_write_failures == 0, now());
        seq.unwrap_or_default().trim_matches('"').clone_into(&mut self.source_last_seq);
    }

    /// What was sent, and of it written or refused, up to `seq`.
    pub(crate) fn pushed(&mut self, (read, written): (u64, u64), refused: u64, seq: u64, ok: bool) {
        (self.docs_read, self.docs_written, self.doc_write_failures) = (read, written, refused);
        (self.ok, self.end_time) = (ok && refused == 0, now());
        self.source_last_seq = seq.to_string();
    }

    fn count(&mut self, tally: &Tally) {
        (self.docs_read, self.docs_written, self.doc_write_failures) = (tally.read(), tally.written, tally.failures);
    }
}

/// The time now, RFC 3339.
pub(crate) fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

/// Merges the index `a` into `b`, and then (unless `one_way`) `b` into `a`. At least one of them is a
/// file on this machine; the other machine's documents are read before any are sent there.
///
/// Writes one record of the type `sync` for each direction.
///
/// # Errors
/// They are of two spaces, one cannot be read or written, or does not answer; nothing was written then.
pub fn sync(a: &Space, b: &Space, options: &Options, output: impl Write, report: &mut dyn Report) -> Result<Exit> {
    let mut visitor = Visitor { writer: Writer::new(output), options: options.clone(), report, wrote: false };
    if !visitor.pair(a, b)? {
        visitor.report.notice(&format!("{a} and {b} are the same index"));
    }
    Ok(Exit::of_failures(visitor.writer.end(Map::new())?))
}

/// Merges the index `here` with that of every source, or (`one_way`) every source's into it. A source
/// that fails is reported, and the others are gone on with.
///
/// # Errors
/// The output cannot be written.
pub fn sync_sources(
    here: &Space,
    sources: &[SourceRecord],
    options: &Options,
    output: impl Write,
    report: &mut dyn Report,
) -> Result<Exit> {
    let mut visitor = Visitor { writer: Writer::new(output), options: options.clone(), report, wrote: false };
    let mut failures = 0;
    let mut spaces: Vec<&str> = sources.iter().filter_map(|s| s.space.as_deref()).collect();
    spaces.sort_unstable();
    spaces.dedup();
    let elsewhere = Some(here).filter(|here| !matches!(here, Space::File(_)));
    // what it is the replica of is a source too
    let asked = spaces.len() as u64 + u64::from(elsewhere.is_some());
    if let Some(space) = elsewhere
        && let Err(error) = visitor.meet(space, false)
    {
        failures += 1;
        visitor.fails(&space.to_string(), &error);
    }
    let here = &Space::File(file_of(here, &options.places));
    for &text in &spaces {
        let space = Space::parse(text, Path::new("/"))?;
        visitor.wrote = false;
        let merged = if options.one_way { visitor.pair(&space, here) } else { visitor.pair(here, &space) };
        if let Err(error) = merged {
            failures += 1;
            visitor.fails(text, &error);
        }
    }
    if let (Some(space), None, false) = (elsewhere, &options.scratch, spaces.is_empty() || failures == asked)
        && let Err(error) = visitor.leave(space)
    {
        failures += 1;
        visitor.fails(&space.to_string(), &error);
    }
    let errors = visitor.writer.end(Map::new())?;
    let none = failures > 0 && failures >= asked;
    Ok(if none { Exit::Nothing } else { Exit::of_failures(failures + errors) })
}

/// Makes the copy of `here` in `scratch` that a plan without consequences needs, where a sync has not made
/// one: a plan looks for contents, and their index must not be made in an index that is to stay as it is.
///
/// # Errors
/// The index cannot be read, or the copy not be written.
pub fn copy_for_plan(here: &Space, scratch: &Path) -> Result<()> {
    let Space::File(path) = here else { return Ok(()) };
    let index = Sqlite::open(path, Access::Read)?;
    if !index.has_content_index()? && std::fs::read_dir(scratch)?.next().is_none() {
        index.copy_to(&scratch.join("index"))?;
    }
    Ok(())
}

/// Why the system lets nobody, or not this user, write to an index; SQLite has words of its own for that.
fn not_writable(path: &Path) -> Option<String> {
    let places = [Some(path), path.parent()].into_iter().flatten();
    let refused = places.filter_map(|place| rustix::fs::access(place, rustix::fs::Access::WRITE_OK).err()).next();
    refused.map(|errno| std::io::Error::from(errno).to_string())
}

fn same_file(a: &Path, b: &Path) -> Result<bool> {
    let id = |path: &Path| {
        let meta = std::fs::metadata(path).with_context(|| path.display().to_string())?;
        anyhow::Ok((meta.dev(), meta.ino()))
    };
    Ok(id(a)? == id(b)?)
}

/// One sync of two indexes.
struct Visitor<'a, W: Write> {
    writer: Writer<W>,
    options: Options,
    report: &'a mut dyn Report,
    /// An earlier direction has written something, so that a later error leaves a part done.
    wrote: bool,
}

impl<W: Write> Visitor<'_, W> {
    /// Returns whether they are two.
    fn pair(&mut self, a: &Space, b: &Space) -> Result<bool> {
        match (a, b) {
            (Space::File(from), Space::File(to)) if same_file(from, to)? => return Ok(false),
            (Space::File(from), Space::File(to)) => self.files((a, from), (b, to))?,
            (Space::File(here), Space::Ssh(there)) => self.with_remote((a, here), (b, there), true)?,
            (Space::Ssh(there), Space::File(here)) => self.with_remote((b, here), (a, there), false)?,
            (Space::Ssh(_), Space::Ssh(_)) => bail!("{a} and {b} are both elsewhere: sync each with an index on this machine"),
            // the replica of that database, as every box of it has it
            (Space::Http(database), Space::File(file)) | (Space::File(file), Space::Http(database))
                if self.is_replica(database, file) =>
            {
                return Ok(false);
            }
            (Space::Http(a), Space::Http(b)) if a.key() == b.key() => return Ok(false),
            (Space::Http(a), Space::Http(b)) => self.databases(a, b)?,
            (Space::Http(database), other) => self.with_database(database, other, true)?,
            (other, Space::Http(database)) => self.with_database(database, other, false)?,
        }
        Ok(true)
    }

    fn is_replica(&self, database: &Database, file: &Path) -> bool {
        same_file(&self.options.places.replica(database), file).unwrap_or(false)
    }

    /// Two databases: the server of the first is asked.
    fn databases(&mut self, a: &Database, b: &Database) -> Result<()> {
        if self.options.scratch.is_some() {
            bail!("a replication between databases cannot be tried: it would write");
        }
        let ways = [(a, b), (b, a)];
        for (source, target) in &ways[..if self.options.one_way { 1 } else { 2 }] {
            let record = replicate(&self.options.places, source, target)?;
            self.tell(&record)?;
        }
        Ok(())
    }

    /// A database and something else: by way of the database's replica, which is a file.
    fn with_database(&mut self, database: &Database, other: &Space, first: bool) -> Result<()> {
        let space = Space::Http(database.clone());
        self.meet(&space, first)?;
        let replica = Space::File(file_of(&space, &self.options.places));
        if first {
            self.pair(&replica, other)?
        } else {
            self.pair(other, &replica)?
        };
        if (!first || !self.options.one_way) && self.options.scratch.is_none() {
            self.leave(&space)?;
        }
        Ok(())
    }

    /// Brings the replica of what is elsewhere up to date.
    fn meet(&mut self, space: &Space, is_source: bool) -> Result<()> {
        let no_push = self.options.scratch.is_some() || (is_source && self.options.one_way);
        self.visit(space, &Visit { insist: true, no_push, scratch: self.options.scratch.clone(), ..Visit::default() })
    }

    /// Sends what is elsewhere what its replica got.
    fn leave(&mut self, space: &Space) -> Result<()> {
        self.visit(space, &Visit { insist: true, push_first: true, ..Visit::default() })
    }

    /// Reports what is wrong with `subject`, which an error may name itself.
    fn fails(&mut self, subject: &str, error: &anyhow::Error) {
        let cause = format!("{error:#}");
        self.report.failure(subject, cause.strip_prefix(&format!("{subject}: ")).unwrap_or(&cause));
    }

    fn tell(&mut self, record: &Replication) -> Result<()> {
        self.wrote |= record.docs_written > 0;
        self.writer.put(&crate::stream::Tagged { kind: "sync", record })?;
        self.writer.flush()
    }

    fn files(&mut self, (a, from): (&Space, &Path), (b, to): (&Space, &Path)) -> Result<()> {
        if !self.options.one_way && self.options.scratch.is_none() && self.is_read_only(b, to) {
            let mut here = Sqlite::open(from, Access::Write)?;
            let there = Sqlite::open(to, Access::Read)?;
            same_space((a, uuid(&here)?.as_deref()), (b, uuid(&there)?.as_deref()))?;
            self.direction((b, a), |record, scratch, report| local(&there, &mut here, None, scratch, record, report))?;
            return Ok(());
        }
        // with one direction the source is only read, so that its disk may be read-only
        let access = if self.options.one_way || self.options.scratch.is_some() { Access::Read } else { Access::Write };
        let mut from = Sqlite::open(from, access)?;
        let mut to = Sqlite::open(to, if self.options.scratch.is_some() { Access::Read } else { Access::Write })?;
        same_space((a, uuid(&from)?.as_deref()), (b, uuid(&to)?.as_deref()))?;
        let there = self.direction((a, b), |record, scratch, report| local(&from, &mut to, None, scratch, record, report))?;
        if self.options.one_way {
            return Ok(());
        }
        let Some(there) = there else { return Ok(()) };
        let echo = self.echo(&to, from.peer(to.id())?.0.as_deref(), &there)?;
        let Some(back) =
            self.direction((b, a), |record, scratch, report| local(&to, &mut from, echo.as_deref(), scratch, record, report))?
        else {
            return Ok(());
        };
        if let Some(last) = self.echo(&from, to.peer(from.id())?.0.as_deref(), &back)? {
            to.skip_echo(from.id(), &last)?;
        }
        Ok(())
    }

    /// Whether an index, on a disk that cannot be written or somebody else's, can only be read; that is
    /// said, since its half of the sync is not done.
    fn is_read_only(&mut self, space: &Space, path: &Path) -> bool {
        let Err(error) = Sqlite::open(path, Access::Write) else { return false };
        let readable = Sqlite::open(path, Access::Read).is_ok();
        if readable {
            match not_writable(path) {
                Some(cause) if self.options.read_only_ok => self.report.notice(&format!("{space}: only read: {cause}")),
                // one that is in use, or damaged, is another matter
                cause => {
                    let cause = cause.unwrap_or_else(|| format!("{error:#}"));
                    self.report.failure(&space.to_string(), &format!("only read: {cause}"));
                }
            }
        }
        readable
    }

    /// `push_only` when there is one direction: the index here is the first.
    fn with_remote(&mut self, (a, here): (&Space, &Path), (b, there): (&Space, &Remote), here_first: bool) -> Result<()> {
        let push_only = self.options.one_way && here_first;
        let dry = self.options.scratch.is_some();
        let mut index = Sqlite::open(here, if push_only || dry { Access::Read } else { Access::Write })?;
        if !push_only && !dry {
            index.ask_again(SystemTime::now())?;
        }
        let ssh = self.options.ssh.clone();
        let peer = Peer { ssh: &ssh, remote: there, dry };
        let pushing = if self.options.one_way && !push_only { None } else { Some(peer.pushing()?) };
        let mut pulled = Tally::default();
        if !push_only {
            let all = self.direction((b, a), |record, scratch, report| peer.pull(&mut index, scratch, record, report))?;
            let Some(tally) = all else { return Ok(()) };
            pulled = tally;
        }
        let Some(pushing) = pushing else { return Ok(()) };
        let mut reply = None;
        self.direction((a, b), |record, _, report| {
            let pulled = (!push_only && !dry).then_some(&pulled);
            let (tally, end) = peer.push(pushing, &index, pulled, record, report)?;
            reply = Some(end);
            Ok(tally)
        })?;
        if let (Some(reply), false) = (reply, push_only || dry) {
            reply.skip_echo(&mut index)?;
        }
        Ok(())
    }

    /// Runs one direction and writes its record. `None` when it was cut short with a part done, which
    /// has been reported.
    fn direction(
        &mut self,
        (source, target): (&Space, &Space),
        run: impl FnOnce(&mut Replication, Option<PathBuf>, &mut dyn Report) -> Result<Tally>,
    ) -> Result<Option<Tally>> {
        let mut record = Replication::new(source, target, &self.options);
        let result = run(&mut record, self.options.scratch.clone(), self.report);
        record.end_time = now();
        self.wrote |= record.docs_written > 0;
        record.ok = result.is_ok() && record.doc_write_failures == 0;
        let done = match result {
            Ok(tally) => Some(tally),
            Err(error) if self.wrote => {
                self.report.failure(&format!("{source} to {target}"), &format!("{error:#}"));
                None
            }
            Err(error) => return Err(error),
        };
        self.writer.put(&crate::stream::Tagged { kind: "sync", record: &record })?;
        self.writer.flush()?;
        Ok(done)
    }

    /// Where a reader who had read `index` up to `known` can go on, when all that was written since is
    /// what came from that reader itself.
    fn echo(&self, index: &Sqlite, known: Option<&str>, written: &Tally) -> Result<Option<String>> {
        if self.options.scratch.is_some() { Ok(None) } else { after_echo(index, known, written) }
    }
}

/// See [`Visitor::echo`].
fn after_echo(index: &Sqlite, known: Option<&str>, written: &Tally) -> Result<Option<String>> {
    let seq = match known {
        Some(text) if index.honours(text)? => text.parse::<Checkpoint>()?.seq,
        _ => 0,
    };
    match written.right_after(seq) {
        Some(last) => index.checkpoint_at(last),
        None => Ok(None),
    }
}

/// Reads what is new in `from`, since `start` or the last sync, into `to`. A document that is damaged or
/// hostile stays out, which is told once; the checkpoint moves over it.
fn local(
    from: &Sqlite,
    to: &mut Sqlite,
    start: Option<&str>,
    scratch: Option<PathBuf>,
    record: &mut Replication,
    report: &mut dyn Report,
) -> Result<Tally> {
    if scratch.is_none() {
        to.ask_again(SystemTime::now())?;
    }
    let known = to.peer(from.id())?.0;
    let mut sink = Sink::new(to, Origin::Elsewhere, true, scratch)?;
    if let Some(space) = from.space()? {
        let space = Document::Space(space);
        sink.admit(&space)?;
        sink.check(&space)?;
    }
    let mut batch = Vec::with_capacity(BATCH);
    let result = from.changes_even_if_damaged(start.or(known.as_deref()), &mut |read| {
        let (document, checked) = match read {
            Ok(document) => (Some(document), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let checked = checked.and_then(|()| document.as_ref().map_or(Ok(()), |document| sink.check(document)));
        match (document, checked) {
            (Some(document), Ok(())) => {
                sink.admit(&document)?;
                batch.push(document);
            }
            (document, Err(error)) => {
                let cause = format!("{error:#}");
                let what = document.as_ref().map_or_else(|| cause.clone(), Document::canonical);
                if sink.refuse(&what, document.as_ref()) {
                    report.failure(&from.path().display().to_string(), &cause);
                }
            }
            (None, Ok(())) => {}
        }
        if batch.len() >= BATCH {
            sink.put(&batch)?;
            batch.clear();
            report.progress(sink.tally.read(), 0, Unit::Documents);
        }
        Ok(())
    });
    // documents are facts of their own: those before an error stay
    let rest = sink.put(&batch);
    record.count(&sink.tally);
    let checkpoint = result?;
    rest?;
    if !sink.is_dry() {
        sink.keep_refused()?;
        let tally = sink.tally;
        to.set_peer(from.id(), Some(&checkpoint), None)?;
        record.source_last_seq = checkpoint;
        return Ok(tally);
    }
    record.source_last_seq = checkpoint;
    Ok(sink.tally)
}

/// Refuses two spaces before anything is written to either.
fn same_space((a, here): (&Space, Option<&str>), (b, there): (&Space, Option<&str>)) -> Result<()> {
    match (here, there) {
        (Some(here), Some(there)) if here != there => {
            bail!("two spaces do not merge: {a} has the uuid {here}, {b} has {there}")
        }
        _ => Ok(()),
    }
}
