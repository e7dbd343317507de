//! A database and its replica, for the length of a visit: what is known of the one is kept in the other.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Kind, Patience, body, kind_of};
use super::found::Word;
use crate::index::couch::Couch;
use crate::index::sqlite::Sqlite;
use crate::record::Document;
use crate::report::Report;
use crate::sync::sink::{Tally, uuid};

/// Where a database says which one it is: `_local` documents do not travel when it is replicated, and go
/// when it is deleted.
const MARK: &str = "_local/ltr";

/// Documents of strangers that are named at most; they are left alone, so one need not know of all.
const NAMED: u64 = 5;

/// A visit.
pub(super) struct Link<'a> {
    pub(super) client: &'a Client,
    pub(super) index: &'a mut Sqlite,
    pub(super) couch: Couch,
    pub(super) patience: Patience,
    pub(super) report: &'a mut dyn Report,
    /// What became of the documents that were read.
    pub(super) pulled: Tally,
    /// Documents that were sent, and those that were written there.
    pub(super) sent: (u64, u64),
    /// Documents that the database does not take.
    pub(super) refused: std::collections::BTreeMap<String, String>,
    strangers: u64,
}

/// How a database looks from outside: as long as it looks the same, nobody has written to it.
pub(super) fn look(client: &Client, patience: Patience) -> Result<String> {
    let info = client.ask(&Method::GET, "", None, patience)?;
    let part = |key: &str| info.get(key).cloned().unwrap_or(Value::Null);
    if info.get("update_seq").is_none() || info.get("db_name").is_none() {
        return Err(client.trouble(Kind::Foreign, "not a database of a CouchDB".to_owned()));
    }
    Ok(json!([client.database().key(), part("update_seq"), part("doc_count"), part("doc_del_count")]).to_string())
}

/// The mark of a database, made where it has none.
pub(super) fn mark(client: &Client, patience: Patience) -> Result<String> {
    if let Some(mark) = read_mark(client, patience)? {
        return Ok(mark);
    }
    let mark = uuid::Uuid::new_v4().to_string();
    match client.ask(&Method::PUT, MARK, Some(&body(&json!({"_id": MARK, "mark": mark}))?), patience) {
        Ok(_) => Ok(mark),
        // somebody else was here at the same time
        Err(error) => read_mark(client, patience)?.ok_or(error),
    }
}

fn read_mark(client: &Client, patience: Patience) -> Result<Option<String>> {
    match client.ask(&Method::GET, MARK, None, patience) {
        Ok(document) => Ok(document.get("mark").and_then(Value::as_str).map(str::to_owned)),
        Err(error) if kind_of(&error) == Some(Kind::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The uuid of the space that a database has; none before the first box.
pub(super) fn space_there(client: &Client, patience: Patience) -> Result<Option<String>> {
    match client.ask(&Method::GET, "space", None, patience) {
        Ok(document) => Ok(document.get("uuid").and_then(Value::as_str).map(str::to_owned)),
        Err(error) if kind_of(&error) == Some(Kind::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

impl<'a> Link<'a> {
    /// Begins a visit to the database that is there now, which may be another than last time.
    pub(super) fn new(client: &'a Client, index: &'a mut Sqlite, patience: Patience, report: &'a mut dyn Report) -> Result<Self> {
        let mark = mark(client, patience)?;
        let couch = match index.couch(Some(&mark))? {
            Some(couch) => couch,
            None => {
                let (here, there) = (uuid(index)?, space_there(client, patience)?);
                if let (Some(here), Some(there)) = (here, there) {
                    let database = client.database();
                    ensure!(here == there, "two spaces do not merge: {database} has the uuid {there}, here is {here}");
                }
                index.make_replica()?;
                index.add_couch(&mark)?
            }
        };
        let refused = std::collections::BTreeMap::new();
        Ok(Self { client, index, couch, patience, report, pulled: Tally::default(), sent: (0, 0), refused, strangers: 0 })
    }

    /// The document, where there is one that ltr can read. What is not ltr's is left alone.
    pub(super) fn heard(&mut self, id: &str, word: Word) -> Result<Option<Document>> {
        match word {
            Word::Ours(document) => Ok(Some(document)),
            Word::Theirs => Ok(None),
            // without its space nothing else has a place
            Word::Bad { kind, why } if kind == "space" && id == "space" => Err(why.context(self.client.database().to_string())),
            Word::Bad { why, .. } => {
                self.strangers += 1;
                if self.strangers <= NAMED {
                    let id = crate::path::escape(id.as_bytes());
                    self.report.notice(&format!("{}: {id}: left alone: {why:#}", self.client.database()));
                }
                Ok(None)
            }
        }
    }

    /// Tells of what was not told one by one.
    pub(super) fn finish(&mut self) {
        if self.strangers > NAMED {
            let more = self.strangers - NAMED;
            self.report.notice(&format!("{}: {more} more such documents", self.client.database()));
        }
        for (id, reason) in std::mem::take(&mut self.refused) {
            let id = crate::path::escape(id.as_bytes());
            self.report.failure(&self.client.database().to_string(), &format!("{id}: not taken: {reason}"));
        }
    }
}
