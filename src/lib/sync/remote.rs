//! The other side of a sync, when it is on another machine: ltr-index-get and ltr-index-put there.
//!
//! Each direction is one ssh connection; that of the second is opened before the first is used, so that a
//! long line is waited for once. A pull names all checkpoints that are known here, because the
//! id of the index there is not known before it answers; a push begins with that index's `ready`.

use std::io::{BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::ChildStdout;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value};

use super::get::Query;
use super::line::Ready;
use super::put::{self, Put, Stop};
use super::sink::{Tally, right_after, uuid};
use super::through::words;
use super::{Replication, after_echo};
use crate::index::Index;
use crate::index::changes::Checkpoint;
use crate::index::sqlite::Sqlite;
use crate::record::{Document, Entry};
use crate::report::{Report, Unit};
use crate::space::{Remote, Space};
use crate::ssh::{Patient, Session, Ssh};
use crate::stamp::parse_hex8;
use crate::stream::{End, ErrorRecord, Line, Reader, Writer};

/// Checkpoints that are sent along at most, the latest first, and the length of each: a command line
/// has an end.
const CHECKPOINTS: (usize, usize) = (16, 4096);

/// An index on another machine.
pub(super) struct Peer<'a> {
    pub(super) ssh: &'a Ssh,
    pub(super) remote: &'a Remote,
    /// Nothing is written there.
    pub(super) dry: bool,
}

impl Peer<'_> {
    /// Reads what is new there into `index`.
    pub(super) fn pull(
        &self,
        index: &mut Sqlite,
        scratch: Option<PathBuf>,
        record: &mut Replication,
        report: &mut dyn Report,
    ) -> Result<Tally> {
        let short = index.pulled()?.into_iter().filter(|text| text.len() <= CHECKPOINTS.1 && !text.contains('\0'));
        let query = Query { since: Some(short.take(CHECKPOINTS.0).collect()), ..Query::default() };
        let mut session = self.ssh.start(self.remote, &words("ltr-index-get", query.words(), self.remote), false)?;
        let mut reader = output_of(&mut session)?;
        let options = put::Options { sync: true, quiet: true, scratch, ..put::Options::default() };
        let mut put = Put::new(index, std::io::sink(), &options)?;
        let result = put.run(&mut reader, report);
        record.count(&put.sink.tally);
        record.docs_read -= u64::from(put.only_greeted);
        let end = reader.end().cloned();
        let lines = reader.line_number();
        drop(reader);
        match result {
            Ok(()) => {}
            Err(Stop::Cut(error)) => return Err(session.explain(error, lines).1),
            Err(Stop::Failed(error)) => return Err(error.context(Space::Ssh(self.remote.clone()).to_string())),
        }
        let extra = end.unwrap_or_default().extra;
        put.remember(&extra)?;
        extra.get("checkpoint").and_then(Value::as_str).unwrap_or_default().clone_into(&mut record.source_last_seq);
        let tally = put.sink.tally;
        session.finish()?;
        Ok(tally)
    }

    /// Opens what [`Peer::push`] needs.
    pub(super) fn pushing(&self) -> Result<Session> {
        let mut options = put::Options { sync: true, quiet: true, ..put::Options::default() }.words();
        options.extend(self.dry.then(|| "--dryrun".to_owned()));
        self.ssh.start(self.remote, &words("ltr-index-put", options, self.remote), true)
    }

    /// Sends what is new in `index`. `pulled`: what has just come from there, which is not sent back.
    pub(super) fn push(
        &self,
        mut session: Session,
        index: &Sqlite,
        pulled: Option<&Tally>,
        record: &mut Replication,
        report: &mut dyn Report,
    ) -> Result<(Tally, Reply)> {
        let mut reader = output_of(&mut session)?;
        let ready = match ready(&mut reader) {
            Ok(ready) => ready,
            Err(error) => {
                let lines = reader.line_number();
                drop(reader);
                return Err(session.explain(error, lines).1);
            }
        };
        let own = Space::File(index.path().to_path_buf());
        super::same_space((&own, uuid(index)?.as_deref()), (&Space::Ssh(self.remote.clone()), ready.uuid.as_deref()))?;
        let known = checkpoint_of(index, &ready);
        let start = match pulled {
            Some(tally) => after_echo(index, known, tally)?,
            None => None,
        };
        let input = session.stdin.take().context("no pipe to ssh")?;
        // its errors are read meanwhile, or both sides would wait for each other with full pipes
        let listener = std::thread::Builder::new().spawn(move || rest(reader)).context("cannot start a thread")?;
        let sent = send(index, (known, start.as_deref()), input, report);
        let Ok((lines, answer)) = listener.join() else { bail!("{}: cannot be read", self.remote.host) };
        let (end, failures) = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(session.explain(error, lines).1),
        };
        for failure in &failures {
            report.failure(&format!("{}: {}", self.remote.host, failure.path), &failure.error);
        }
        let reply = Reply { end, index: ready.index };
        let (sent, checkpoint) = sent?;
        let tally = reply.tally(failures.len() as u64);
        record.count(&tally);
        (record.docs_read, record.source_last_seq) = (sent, checkpoint);
        session.finish()?;
        Ok((tally, reply))
    }
}

fn output_of(session: &mut Session) -> Result<Reader<BufReader<Patient<ChildStdout>>>> {
    let output = session.stdout.take().context("no pipe from ssh")?;
    Ok(Reader::new(BufReader::with_capacity(1 << 16, output)))
}

fn ready(reader: &mut Reader<BufReader<Patient<ChildStdout>>>) -> Result<Ready> {
    match reader.next_line()? {
        Some(Line::Record { kind, json }) if kind == "ready" => Ok(serde_json::from_str(json)?),
        _ => bail!("ltr-index-put there is not ready for a sync"),
    }
}

/// How far the other index has read this one, as far as this one still knows.
fn checkpoint_of<'a>(index: &Sqlite, ready: &'a Ready) -> Option<&'a str> {
    let own = |text: &&String| text.parse::<Checkpoint>().is_ok_and(|c| c.index == index.id());
    let known = ready.pulled.iter().find(own)?;
    index.honours(known).unwrap_or(false).then_some(known)
}

/// Writes what changed in `index` after `start`, or else `known`, as a stream for a reader that has
/// everything up to `known`. Returns how many documents, and the checkpoint.
fn send(
    index: &Sqlite,
    (known, start): (Option<&str>, Option<&str>),
    input: impl Write,
    report: &mut dyn Report,
) -> Result<(u64, String)> {
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 16, input));
    if let Some(space) = index.space()? {
        writer.put(&Document::Space(space))?;
    }
    let mut sent = 0;
    let checkpoint = index.changes(start.or(known), &mut |document| {
        sent += 1;
        if sent % 1000 == 0 {
            report.progress(sent, 0, Unit::Documents);
        }
        match document {
            Document::Space(_) => Ok(()),
            Document::Entry(entry) => writer.put(&Document::Entry(Entry { local: None, ..entry })),
            other => writer.put(&other),
        }
    })?;
    let mut extra = Map::new();
    extra.insert("checkpoint".to_owned(), checkpoint.as_str().into());
    extra.insert("since".to_owned(), known.map_or(Value::Null, Value::from));
    writer.end(extra)?;
    Ok((sent, checkpoint))
}

/// What the other side says at last, and what it refused.
type Answer = (End, Vec<ErrorRecord>);

/// Reads to the trailer. Returns the number of lines too.
fn rest(mut reader: Reader<BufReader<Patient<ChildStdout>>>) -> (u64, Result<Answer>) {
    let mut failures = Vec::new();
    let result = loop {
        match reader.next_line() {
            Ok(Some(Line::Error(record))) => failures.push(record),
            Ok(Some(Line::Record { .. })) => {}
            Ok(None) => break reader.end().cloned().ok_or_else(|| anyhow!("no trailer")),
            Err(error) => break Err(error),
        }
    };
    (reader.line_number(), result.map(|end| (end, failures)))
}

/// The trailer of ltr-index-put.
pub(super) struct Reply {
    end: End,
    index: String,
}

impl Reply {
    fn number(&self, key: &str) -> u64 {
        self.end.extra.get(key).and_then(Value::as_u64).unwrap_or(0)
    }

    fn tally(&self, failures: u64) -> Tally {
        let issued = self.end.extra.contains_key("first").then(|| (self.number("first"), self.number("last")));
        let [written, unchanged, older] = ["written", "unchanged", "older"].map(|key| self.number(key));
        Tally { written, unchanged, older, failures, issued }
    }

    /// Moves `index`'s checkpoint of that index over what was just sent there. It was read, and so
    /// found valid, on this same visit.
    pub(super) fn skip_echo(&self, index: &mut Sqlite) -> Result<()> {
        let Some(id) = parse_hex8(&self.index) else { return Ok(()) };
        let (pulled, _) = index.peer(id)?;
        let seq = pulled.map_or(Ok(0), |text| text.parse::<Checkpoint>().map(|c| c.seq))?;
        let tally = self.tally(0);
        let checkpoint = self.end.extra.get("checkpoint").and_then(Value::as_str);
        if let (Some(last), Some(text)) = (right_after(tally.issued, tally.written, seq), checkpoint) {
            let then: Checkpoint = text.parse()?;
            ensure!(then.index == id && then.seq == last, "{}: not its checkpoint", self.index);
            index.skip_echo(id, text)?;
        }
        Ok(())
    }
}
