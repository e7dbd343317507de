//! What is new in a replica, to its database: large batches, each document with the revision that it
//! replaces, so that what is sent twice is written once.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;
use ureq::http::Method;

use super::ahead::Post;
use super::client::{Client, Kind, kind_of};
use super::link::Link;
use crate::index::Index;
use crate::index::couch::{Couch, Known};
use crate::index::sqlite::Sqlite;
use crate::record::{Document, Entry};
use crate::report::Unit;
use crate::stamp::Stamp;

/// Documents in one request at most, and their bytes.
const BATCH: usize = 5000;
const BATCH_BYTES: usize = 4 << 20;

/// How often what others wrote at the same time is read, merged and sent again.
const ROUNDS: usize = 5;

/// What became of a document that was sent.
pub(super) enum Written {
    /// It is there.
    Done {
        id: String,
        /// The revision that it replaced.
        over: Option<String>,
    },
    /// Somebody else has written it.
    Conflict { id: String },
    /// It is not taken.
    Refused,
}

/// What `_bulk_docs` says of one document.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Told {
    /// Its key.
    #[serde(default)]
    pub id: String,
    /// Its revision, where it was written.
    #[serde(default)]
    pub rev: Option<String>,
    /// Why it was not, in a word and in many.
    #[serde(default)]
    pub error: Option<String>,
    /// The many.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What `_bulk_docs` says of each of the documents that were sent, in their order.
///
/// # Errors
/// It is cut short or says something else, or not what became of one of them.
pub fn told(client: &Client, sent: &[&str], answer: &[u8]) -> Result<Vec<Told>> {
    let all: Vec<Told> = client.understood(answer)?;
    let mut all: BTreeMap<String, Told> = all.into_iter().map(|told| (told.id.clone(), told)).collect();
    let missing = || client.trouble(Kind::Foreign, "_bulk_docs does not say what became of a document".to_owned());
    sent.iter().map(|id| all.remove(*id).ok_or_else(missing)).collect()
}

impl Link<'_> {
    /// Sends everything that the database does not have. While it takes one batch, the next is made ready.
    pub(super) fn push(&mut self) -> Result<()> {
        let post = Post::begin(self.client, self.patience)?;
        let (mut sent, mut after) = (None, self.couch.pushed);
        loop {
            let Some((last, batch)) = self.index.at_once(|index| next_batch(index, &self.couch, after))? else { break };
            after = last;
            if !batch.is_empty() && batch.iter().map(|parcel| parcel.text.len()).sum::<usize>() <= BATCH_BYTES {
                post.give(bulk(&batch));
                if let Some(before) = sent.replace((batch, last)) {
                    self.arrived(before, post.answer())?;
                }
                continue;
            }
            // what was sent before has its place before
            if let Some(before) = sent.take() {
                self.arrived(before, post.answer())?;
            }
            let written = self.write_parcels(batch)?;
            self.meet(written)?;
            self.index.set_known(&mut self.couch, &[], Some(last))?;
        }
        if let Some(before) = sent.take() {
            self.arrived(before, post.answer())?;
        }
        for _ in 0..ROUNDS {
            if !self.send_todo()? {
                break;
            }
        }
        Ok(())
    }

    /// Sends what was left behind. Returns whether anything is worth another try.
    fn send_todo(&mut self) -> Result<bool> {
        let (mut after, mut sent) = (String::new(), false);
        loop {
            let page = self.index.todo(&self.couch, &after, BATCH)?;
            let Some(last) = page.last() else { return Ok(sent) };
            after.clone_from(&last.id);
            let (mut batch, mut done) = (Vec::new(), Vec::new());
            for known in page {
                if self.refused.contains_key(&known.id) {
                    continue;
                }
                match self.index.get(&known.id)? {
                    None => done.push(Known { todo: false, ..known }),
                    Some(_) if known.rev.is_some() && known.stamp.is_none() => {
                        let reason = "something that is not ltr's has this key there".to_owned();
                        self.refused.insert(known.id, reason);
                    }
                    Some(document) => batch.push((document, known.rev)),
                }
            }
            self.index.set_known(&mut self.couch, &done, None)?;
            sent |= !batch.is_empty();
            self.send(batch)?;
        }
    }

    /// What became of a batch, and of everything up to its number in the index.
    fn arrived(&mut self, (batch, last): (Vec<Parcel>, u64), answer: Result<Vec<u8>>) -> Result<()> {
        let mut done = Vec::new();
        self.settle(batch, answer, &mut done)?;
        self.meet(done)?;
        self.index.set_known(&mut self.couch, &[], Some(last))
    }

    /// Sends documents, and reads those again that somebody else has written.
    fn send(&mut self, batch: Vec<(Document, Option<String>)>) -> Result<()> {
        let written = self.write(batch)?;
        self.meet(written)
    }

    fn meet(&mut self, written: Vec<Written>) -> Result<()> {
        let met = written.into_iter().filter_map(|written| match written {
            Written::Conflict { id } => Some(id),
            _ => None,
        });
        self.look_up(&met.collect::<Vec<_>>())
    }

    /// Writes documents over these revisions, and remembers the new ones.
    pub(super) fn write(&mut self, batch: Vec<(Document, Option<String>)>) -> Result<Vec<Written>> {
        let parcels: Result<Vec<Parcel>> = batch.into_iter().map(|(document, rev)| Parcel::new(&document, rev)).collect();
        self.write_parcels(parcels?)
    }

    fn write_parcels(&mut self, batch: Vec<Parcel>) -> Result<Vec<Written>> {
        let mut done = Vec::new();
        let mut rest = batch.into_iter().peekable();
        while let Some(first) = rest.next() {
            let (mut bytes, mut some) = (first.text.len(), vec![first]);
            while let Some(next) = rest.next_if(|next| some.len() < BATCH && bytes + next.text.len() <= BATCH_BYTES) {
                bytes += next.text.len();
                some.push(next);
            }
            self.write_some(some, &mut done)?;
        }
        Ok(done)
    }

    fn write_some(&mut self, some: Vec<Parcel>, done: &mut Vec<Written>) -> Result<()> {
        let answer = self.client.text(&Method::POST, "_bulk_docs", Some(&bulk(&some)), self.patience);
        self.settle(some, answer, done)
    }

    fn settle(&mut self, mut some: Vec<Parcel>, answer: Result<Vec<u8>>, done: &mut Vec<Written>) -> Result<()> {
        let answer = match answer {
            Ok(answer) => answer,
            // one document that it does not take spoils the whole request
            Err(error) if kind_of(&error) == Some(Kind::Unfit) => {
                if some.len() > 1 {
                    let second = some.split_off(some.len() / 2);
                    self.write_some(some, done)?;
                    return self.write_some(second, done);
                }
                return self.refuse(some, &error.to_string(), done);
            }
            Err(error) => return Err(error),
        };
        let told = told(self.client, &some.iter().map(|parcel| parcel.id.as_str()).collect::<Vec<_>>(), &answer)?;
        let mut known = Vec::with_capacity(some.len());
        for (Parcel { id, stamp, rev, .. }, told) in some.into_iter().zip(told) {
            self.sent.0 += 1;
            match (told.rev, told.error.as_deref()) {
                (Some(new), None) => {
                    self.sent.1 += 1;
                    known.push(Known { id: id.clone(), rev: Some(new), stamp: Some(stamp), todo: false });
                    self.refused.remove(&id);
                    done.push(Written::Done { id, over: rev });
                }
                (_, Some("conflict")) => {
                    known.push(Known { id: id.clone(), rev: None, stamp: None, todo: true });
                    done.push(Written::Conflict { id });
                }
                (_, error) => {
                    let reason = told.reason.unwrap_or_else(|| error.unwrap_or("no revision").to_owned());
                    known.push(Known { id: id.clone(), rev: None, stamp: None, todo: true });
                    self.refused.insert(id, reason);
                    done.push(Written::Refused);
                }
            }
        }
        self.index.set_known(&mut self.couch, &known, None)?;
        self.report.progress(self.sent.0, 0, Unit::Documents);
        Ok(())
    }

    fn refuse(&mut self, some: Vec<Parcel>, reason: &str, done: &mut Vec<Written>) -> Result<()> {
        let mut known = Vec::new();
        for Parcel { id, .. } in some {
            self.refused.insert(id.clone(), reason.to_owned());
            known.push(Known { id, rev: None, stamp: None, todo: true });
            done.push(Written::Refused);
        }
        self.index.set_known(&mut self.couch, &known, None)
    }
}

/// What the database does not have of the documents after the sequence number `after`, and the last one's number.
fn next_batch(index: &Sqlite, couch: &Couch, after: u64) -> Result<Option<(u64, Vec<Parcel>)>> {
    let page = index.page_after(after, BATCH)?;
    let Some(&(last, _)) = page.last() else { return Ok(None) };
    let mut batch = Vec::new();
    for (_, document) in page {
        match index.known(couch, &document.id())? {
            Some(known) if known.todo || known.stamp == Some(document.stamp()) => {}
            known => batch.push(Parcel::new(&document, known.and_then(|k| k.rev))?),
        }
    }
    Ok(Some((last, batch)))
}

/// A document on its way.
struct Parcel {
    id: String,
    stamp: Stamp,
    rev: Option<String>,
    text: Vec<u8>,
}

impl Parcel {
    fn new(document: &Document, rev: Option<String>) -> Result<Self> {
        let text = with_rev(document, rev.as_deref())?;
        Ok(Self { id: document.id(), stamp: document.stamp(), rev, text })
    }
}

/// The body of a `_bulk_docs`.
fn bulk(some: &[Parcel]) -> Vec<u8> {
    let mut text = b"{\"docs\":[".to_vec();
    for (number, parcel) in some.iter().enumerate() {
        if number > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&parcel.text);
    }
    text.extend_from_slice(b"]}");
    text
}

/// The JSON of a document, with the revision that it replaces.
pub(super) fn with_rev(document: &Document, rev: Option<&str>) -> Result<Vec<u8>> {
    let mut text = match document {
        Document::Entry(entry) if entry.local.is_some() => {
            serde_json::to_vec(&Document::Entry(Entry { local: None, ..entry.clone() }))?
        }
        other => serde_json::to_vec(other)?,
    };
    if let Some(rev) = rev {
        let field = format!("{{\"_rev\":{},", serde_json::to_string(rev)?);
        text.splice(..1, field.into_bytes());
    }
    Ok(text)
}
