//! What changed in a database, into its replica.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use ureq::http::Method;

use super::ahead::{self, Came};
use super::client::{Kind, body};
use super::found::Found;
use super::link::Link;
use super::pages::{ROWS, since_of};
use super::rows::read_rows;
use crate::index::couch::Known;
use crate::index::{Index, Origin, Outcome};
use crate::record::Document;
use crate::report::Unit;

/// Rows that are asked for at once, without documents.
const BARE_ROWS: u64 = 20_000;

/// Documents in one transaction at most, and their bytes, roughly.
const BATCH: usize = 2048;
const BATCH_BYTES: usize = 8 << 20;

/// Keys that are looked up at once.
const KEYS: usize = 1000;

/// What has been found and is not yet in the replica.
#[derive(Default)]
pub(super) struct Basket {
    /// In their order: whether there is a document, and what there is to know of it.
    rows: Vec<(bool, Known)>,
    documents: Vec<Document>,
    bytes: usize,
    /// Documents with several leaves: key, winner, the others.
    conflicts: Vec<Conflict>,
}

/// A document with several leaves.
pub(super) struct Conflict {
    pub(super) id: String,
    pub(super) winner: (String, Document),
    pub(super) others: Vec<String>,
}

impl Link<'_> {
    /// Reads everything that changed.
    pub(super) fn pull(&mut self) -> Result<()> {
        let came = ahead::read(self.client, self.couch.since.clone(), self.patience)?;
        let mut basket = Basket::default();
        loop {
            match came.recv().context("the thread that reads ended early")?? {
                Came::Found(all) => all.into_iter().try_for_each(|found| self.take(found, &mut basket))?,
                Came::End(tail) => {
                    self.empty(std::mem::take(&mut basket))?;
                    if !self.go_on(tail.last_seq, tail.count < ROWS)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Reads what changed when most of it is what was just pushed: that is not read again.
    pub(super) fn pull_after_push(&mut self) -> Result<()> {
        loop {
            let path = format!("_changes?style=all_docs&limit={BARE_ROWS}{}", since_of(self.couch.since.as_deref())?);
            let body = self.client.stream(&Method::GET, &path, None, self.patience)?;
            let mut ids = Vec::new();
            let client = self.client;
            let tail = read_rows(client, body, &mut |row| {
                if let Some(id) = row.id.as_ref().filter(|id| !id.starts_with("_design/")) {
                    let known = self.index.known(&self.couch, id)?;
                    let same = row.is_there() && row.changes.len() == 1 && known.is_some_and(|k| k.rev.as_deref() == row.rev());
                    if !same {
                        ids.push(id.clone().into_owned());
                    }
                }
                Ok(())
            })?;
            self.look_up(&ids)?;
            if !self.go_on(tail.last_seq, tail.count < BARE_ROWS)? {
                return Ok(());
            }
        }
    }

    /// Remembers how far the database was read. Returns whether there may be more.
    fn go_on(&mut self, last: Option<Value>, at_end: bool) -> Result<bool> {
        let Some(last) = last else {
            return Err(self.client.trouble(Kind::Foreign, "not the answer of a CouchDB (no last_seq)".to_owned()));
        };
        self.index.set_since(&mut self.couch, &last.to_string())?;
        Ok(!at_end)
    }

    /// Reads these documents, whatever is known of them.
    pub(super) fn look_up(&mut self, ids: &[String]) -> Result<()> {
        for keys in ids.chunks(KEYS) {
            // in the body: CouchDB takes long keys there, and none of its characters needs care
            let keys = body(&json!({ "keys": keys }))?;
            let body =
                self.client.stream(&Method::POST, "_all_docs?include_docs=true&conflicts=true", Some(&keys), self.patience)?;
            let mut basket = Basket::default();
            let client = self.client;
            let now = crate::chance::now();
            read_rows(client, body, &mut |row| Found::of(&row, now).map_or(Ok(()), |found| self.take(found, &mut basket)))?;
            self.empty(basket)?;
        }
        Ok(())
    }

    fn take(&mut self, found: Found, basket: &mut Basket) -> Result<()> {
        let Found { id, rev, there, others, word, bytes } = found;
        let document = self.heard(&id, word)?;
        if let (Some(rev), Some(document)) = (&rev, &document)
            && !others.is_empty()
        {
            basket.conflicts.push(Conflict { id: id.clone(), winner: (rev.clone(), document.clone()), others });
        }
        let stamp = document.as_ref().map(Document::stamp);
        basket.rows.push((document.is_some(), Known { id, rev: rev.filter(|_| there), stamp, todo: false }));
        basket.documents.extend(document);
        basket.bytes += bytes;
        if basket.rows.len() >= BATCH || basket.bytes >= BATCH_BYTES {
            self.store(basket)?;
        }
        Ok(())
    }

    fn empty(&mut self, mut basket: Basket) -> Result<()> {
        self.store(&mut basket)?;
        self.resolve(basket.conflicts)
    }

    /// Puts what was found into the replica, and remembers what the database has.
    fn store(&mut self, basket: &mut Basket) -> Result<()> {
        basket.bytes = 0;
        let (rows, documents) = (std::mem::take(&mut basket.rows), std::mem::take(&mut basket.documents));
        let outcomes = self.put(&documents)?;
        let (before, after) = self.index.last_put();
        let mut put = documents.iter().zip(outcomes);
        let mut known = Vec::with_capacity(rows.len());
        for (is_ours, row) in rows {
            if is_ours {
                let (document, outcome) = put.next().context("an outcome for each document")?;
                known.push(Known { todo: self.is_ahead(document, outcome)?, ..row });
            } else if self.index.has(&row.id)? {
                // somebody deleted it there, or put something else in its place
                known.push(Known { todo: true, ..row });
            }
        }
        // what was just read need not be sent, where nothing else waited
        let pushed = (!documents.is_empty() && self.couch.pushed == before).then_some(after);
        self.index.set_known(&mut self.couch, &known, pushed)?;
        self.report.progress(self.pulled.read(), 0, Unit::Documents);
        Ok(())
    }

    /// Puts documents of the database into the replica.
    pub(super) fn put(&mut self, documents: &[Document]) -> Result<Vec<Outcome>> {
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = self.index.put(documents, Origin::Elsewhere)?;
        self.pulled.add(&outcomes, self.index.last_put());
        Ok(outcomes)
    }

    /// Whether the replica, after `document` was put, has more than the database.
    fn is_ahead(&self, document: &Document, outcome: Outcome) -> Result<bool> {
        Ok(match (outcome, document) {
            (Outcome::Older, _) => true,
            (Outcome::Unchanged, _) => false,
            // merged field by field: some may be newer here
            (Outcome::Written, Document::Space(_) | Document::Box(..)) => {
                self.index.get(&document.id())?.is_some_and(|merged| merged != *document)
            }
            (Outcome::Written, _) => false,
        })
    }
}
