//! Two databases: one server is asked to replicate to the other, as CouchDB does it itself.

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::client::{Client, Patience, body};
use super::link::{look, space_there};
use super::places::Places;
use super::url::Database;
use crate::sync::Replication;

/// Makes sure that both are there, and of one space; or one of them has none yet.
fn check(places: &Places, source: &Database, target: &Database) -> Result<(Client, Client)> {
    let (from, to) = (Client::new(places, source)?, Client::new(places, target)?);
    // a server that makes what it does not find would hide a slip of the pen
    look(&from, Patience::Patient)?;
    look(&to, Patience::Patient)?;
    let (a, b) = (space_there(&from, Patience::Patient)?, space_there(&to, Patience::Patient)?);
    if let (Some(a), Some(b)) = (a, b)
        && a != b
    {
        bail!("two spaces do not merge: {} has the uuid {a}, {} has {b}", from.database(), to.database());
    }
    Ok((from, to))
}

/// The URL with which a server reaches a database. It has the password, and is for a request's body only.
fn way(client: &Client) -> String {
    match client.login() {
        Some((user, password)) => client.database().of(&user, None).with_password(Some(&password)),
        None => client.database().key(),
    }
}

/// Asks the source's server to send what the target lacks, and waits for it.
///
/// # Errors
/// One of them is missing or does not answer, they are of two spaces, or the replication fails.
pub fn replicate(places: &Places, source: &Database, target: &Database) -> Result<Replication> {
    let (from, to) = check(places, source, target)?;
    let mut record = Replication::between(from.database().to_string(), to.database().to_string(), false);
    let text = body(&json!({"source": way(&from), "target": way(&to)}))?;
    let answer = from.ask(&Method::POST, "/_replicate", Some(&text), Patience::Long).map_err(|error| to.hushed(error))?;
    // the last one of the history, or (of a server that keeps none) the answer itself
    let history = answer.get("history").and_then(|h| h.get(0)).unwrap_or(&answer);
    let number = |key: &str| history.get(key).or_else(|| answer.get(key)).and_then(Value::as_u64).unwrap_or(0);
    (record.docs_read, record.docs_written) = (number("docs_read"), number("docs_written"));
    record.doc_write_failures = number("doc_write_failures");
    record.ok = answer.get("ok").and_then(Value::as_bool).unwrap_or(false) && record.doc_write_failures == 0;
    for (key, field) in [("start_time", &mut record.start_time), ("end_time", &mut record.end_time)] {
        if let Some(time) = history.get(key).and_then(Value::as_str) {
            time.clone_into(field);
        }
    }
    if record.end_time.is_empty() {
        record.end_time = crate::sync::now();
    }
    let last = answer.get("source_last_seq").or_else(|| answer.get("last_seq")).cloned().unwrap_or(Value::Null);
    record.source_last_seq = last.as_str().map_or_else(|| last.to_string(), str::to_owned);
    let failed = || to.hush(&from.hush(&answer.to_string()));
    ensure!(answer.get("ok") == Some(&Value::Bool(true)), "{}: the replication failed: {}", from.database(), failed());
    Ok(record)
}

/// What keeps two databases in step from now on. A record of the type `replicator`.
#[derive(Clone, Debug, Serialize)]
pub struct Continuous {
    /// Where documents are read.
    pub source: String,
    /// Where they are written.
    pub target: String,
    /// The URL of the document in `_replicator`, which ends it when it is deleted.
    pub url: String,
    /// Its revision.
    pub rev: String,
}

/// Makes a document in the `_replicator` database of the source's server, with which it sends on
/// everything until that document is deleted.
///
/// # Errors
/// As [`replicate`]; and a password would be kept in that document, which `keep_password` allows.
pub fn replicate_continuously(places: &Places, source: &Database, target: &Database, keep_password: bool) -> Result<Continuous> {
    let (from, to) = check(places, source, target)?;
    let secret = from.login().is_some() || to.login().is_some();
    ensure!(
        !secret || keep_password,
        "{}: the server would keep the passwords in a document of its _replicator database, where its admins can read them: --keep-password allows it",
        from.database()
    );
    let id = format!("ltr-{}", crate::hash::sha1_of(format!("{} {}", from.database(), to.database()).as_bytes()));
    let end = |client: &Client| match client.login() {
        Some((user, password)) => {
            json!({"url": client.database().key(), "auth": {"basic": {"username": user, "password": password.reveal()}}})
        }
        None => json!(client.database().key()),
    };
    let path = format!("/_replicator/{id}");
    let mut document = Map::new();
    for (key, value) in [("_id", json!(id)), ("source", end(&from)), ("target", end(&to)), ("continuous", json!(true))] {
        document.insert(key.to_owned(), value);
    }
    if let Ok(old) = from.ask(&Method::GET, &path, None, Patience::Patient)
        && let Some(rev) = old.get("_rev")
    {
        document.insert("_rev".to_owned(), rev.clone());
    }
    let answer = from.ask(&Method::PUT, &path, Some(&body(&document)?), Patience::Patient).map_err(|error| to.hushed(error))?;
    let rev = answer.get("rev").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (source, target) = (from.database().to_string(), to.database().to_string());
    Ok(Continuous { source, target, url: format!("{}{path}", from.database().server()), rev })
}
