//! What is new in a replica, to its database: large batches, each document with the revision that it
//! replaces, so that what is sent twice is written once.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;
use ureq::http::Method;

use super::client::{Kind, kind_of};
use super::link::Link;
use crate::index::Index;
use crate::index::couch::Known;
use crate::record::{Document, Entry};
use crate::report::Unit;

/// Documents in one request at most, and their bytes.
const BATCH: usize = 2000;
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

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    id: String,
    #[serde(default)]
    rev: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

impl Link<'_> {
    /// Sends everything that the database does not have.
    pub(super) fn push(&mut self) -> Result<()> {
        loop {
            let page = self.index.page_after(self.couch.pushed, BATCH)?;
            let Some(&(last, _)) = page.last() else { break };
            let mut batch = Vec::new();
            for (_, document) in page {
                let known = self.index.known(&self.couch, &document.id())?;
                match known {
                    Some(known) if known.todo || known.stamp == Some(document.stamp()) => {}
                    known => batch.push((document, known.and_then(|k| k.rev))),
                }
            }
            self.send(batch)?;
            self.index.set_known(&mut self.couch, &[], Some(last))?;
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

    /// Sends documents, and reads those again that somebody else has written.
    fn send(&mut self, batch: Vec<(Document, Option<String>)>) -> Result<()> {
        let mut met = Vec::new();
        for written in self.write(batch)? {
            if let Written::Conflict { id } = written {
                met.push(id);
            }
        }
        self.look_up(&met)
    }

    /// Writes documents over these revisions, and remembers the new ones.
    pub(super) fn write(&mut self, batch: Vec<(Document, Option<String>)>) -> Result<Vec<Written>> {
        let mut done = Vec::new();
        let mut rest = batch.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut some, mut bytes) = (Vec::new(), 0);
            while let Some((document, rev)) = rest.next() {
                let text = with_rev(&document, rev.as_deref())?;
                bytes += text.len();
                some.push(Parcel { id: document.id(), document, rev, text });
                let next = rest.peek().is_some();
                if !next || some.len() >= BATCH || bytes >= BATCH_BYTES {
                    break;
                }
            }
            self.write_some(some, &mut done)?;
        }
        Ok(done)
    }

    fn write_some(&mut self, mut some: Vec<Parcel>, done: &mut Vec<Written>) -> Result<()> {
        let mut text = b"{\"docs\":[".to_vec();
        for (number, parcel) in some.iter().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            text.extend_from_slice(&parcel.text);
        }
        text.extend_from_slice(b"]}");
        let answer = match self.client.ask(&Method::POST, "_bulk_docs", Some(&text), self.patience) {
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
        let Ok(told) = serde_json::from_value::<Vec<Told>>(answer) else {
            return Err(self.client.trouble(Kind::Foreign, "not the answer of a CouchDB to _bulk_docs".to_owned()));
        };
        let mut told: BTreeMap<String, Told> = told.into_iter().map(|told| (told.id.clone(), told)).collect();
        let mut known = Vec::with_capacity(some.len());
        for Parcel { id, document, rev, .. } in some {
            let Some(told) = told.remove(&id) else {
                return Err(self.client.trouble(Kind::Foreign, "_bulk_docs does not say what became of a document".to_owned()));
            };
            self.sent.0 += 1;
            match (told.rev, told.error.as_deref()) {
                (Some(new), None) => {
                    self.sent.1 += 1;
                    known.push(Known { id: id.clone(), rev: Some(new), stamp: Some(document.stamp()), todo: false });
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

/// A document on its way.
struct Parcel {
    id: String,
    document: Document,
    rev: Option<String>,
    text: Vec<u8>,
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
