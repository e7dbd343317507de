//! Requests whose answers are not waited for at once: a thread reads what a database says, or sends it what
//! is new, while the replica is written. The server and the disk are then busy at the same time.
//!
//! The threads are not joined: when the work fails here, nobody waits for what the server still has to say.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use ureq::http::Method;

use super::client::{Client, Kind, Patience, kind_of};
use super::rows::{Row, Tail, read_rows};
use super::url::encode;

/// Rows that are asked for at once. After a lost connection that many are read again at most.
pub(super) const ROWS: u64 = 10_000;

/// Rows that travel from the thread at once, and their bytes, roughly; so many times that are in memory.
const SOME: usize = 500;
const SOME_BYTES: usize = 1 << 20;
const WAITING: usize = 4;

/// What was read.
pub(super) enum Came {
    /// Some rows.
    Rows(Vec<Row>),
    /// The end of an answer.
    End(Tail),
}

/// Reads everything that changed since then, with the documents.
pub(super) fn read(client: &Client, mut since: Option<String>, patience: Patience) -> Result<Receiver<Result<Came>>> {
    let (sender, receiver) = sync_channel(WAITING);
    let client = client.twin();
    let work = move || {
        while let Some(last) = page(&client, since.as_deref(), patience, &sender) {
            since = Some(last);
        }
    };
    thread::Builder::new().spawn(work).context("cannot start a thread")?;
    Ok(receiver)
}

/// Returns where to read on, unless this was the end or nobody listens.
fn page(client: &Client, since: Option<&str>, patience: Patience, sender: &SyncSender<Result<Came>>) -> Option<String> {
    match read_page(client, since, patience, sender) {
        Ok(tail) => {
            let next = tail.last_seq.as_ref().filter(|_| tail.count >= ROWS).map(Value::to_string);
            sender.send(Ok(Came::End(tail))).ok()?;
            next
        }
        Err(error) => {
            // nobody listens any more: then nobody needs to know
            let _ = sender.send(Err(error));
            None
        }
    }
}

fn read_page(client: &Client, since: Option<&str>, patience: Patience, sender: &SyncSender<Result<Came>>) -> Result<Tail> {
    let path = format!("_changes?include_docs=true&conflicts=true&limit={ROWS}{}", since_of(since)?);
    let body = client.stream(&Method::GET, &path, None, patience)?;
    let (mut some, mut bytes) = (Vec::new(), 0);
    let give = |some: &mut Vec<Row>| match sender.send(Ok(Came::Rows(std::mem::take(some)))) {
        Ok(()) => Ok(()),
        Err(_) => bail!("nobody listens"),
    };
    let tail = read_rows(client, body, &mut |row| {
        bytes += row.doc.as_ref().map_or(0, size_of);
        some.push(row);
        if some.len() >= SOME || bytes >= SOME_BYTES {
            bytes = 0;
            give(&mut some)?;
        }
        Ok(())
    })?;
    give(&mut some)?;
    Ok(tail)
}

/// The parameter that says where to read on: `since` is JSON.
pub(super) fn since_of(since: Option<&str>) -> Result<String> {
    let Some(since) = since else { return Ok(String::new()) };
    // opaque: a string goes as it is, anything else as JSON
    Ok(match serde_json::from_str::<Value>(since)? {
        Value::String(text) => format!("&since={}", encode(&text)),
        other => format!("&since={}", encode(&other.to_string())),
    })
}

/// The bytes of a document, roughly.
pub(super) fn size_of(map: &Map<String, Value>) -> usize {
    map.iter().map(|(k, v)| k.len() + v.as_str().map_or(16, str::len)).sum()
}

/// Sends bodies of `_bulk_docs`, one after the other.
pub(super) struct Post {
    bodies: SyncSender<Vec<u8>>,
    answers: Receiver<Result<Vec<u8>>>,
}

impl Post {
    /// With a thread of its own.
    pub(super) fn begin(client: &Client, patience: Patience) -> Result<Self> {
        let (bodies, work) = sync_channel::<Vec<u8>>(1);
        let (done, answers) = sync_channel(1);
        let client = client.twin();
        let post = move || {
            for text in work {
                let answer = client.text(&Method::POST, "_bulk_docs", Some(&text), patience);
                // a body that is not taken is divided and sent again; after anything else nothing more goes
                let failed = answer.as_ref().is_err_and(|error| kind_of(error) != Some(Kind::Unfit));
                if done.send(answer).is_err() || failed {
                    return;
                }
            }
        };
        thread::Builder::new().spawn(post).context("cannot start a thread")?;
        Ok(Self { bodies, answers })
    }

    /// Sends this after what was given before.
    pub(super) fn give(&self, text: Vec<u8>) {
        // where the thread has ended, its answer tells why
        let _ = self.bodies.send(text);
    }

    /// The answer to the first of those that have none yet.
    pub(super) fn answer(&self) -> Result<Vec<u8>> {
        self.answers.recv().context("the thread that sends ended early")?
    }
}
