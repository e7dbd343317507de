//! The text of `_changes`, page after page, read by a thread of its own: the next page is asked for before this one
//! is understood, so that a server which prepares a page as a whole does so while the last one is worked on.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use anyhow::{Context, Error, Result};
use serde::Deserialize;
use serde_json::Value;
use ureq::http::Method;

use super::client::{Client, Patience};
use super::url::encode;

/// Rows that are asked for at once. After a lost connection that many are read again at most.
pub(super) const ROWS: u64 = 10_000;

/// Bytes that travel from the thread at once, and how often as many are in memory: more than most pages have.
const PIECE: usize = 1 << 17;
const WAITING: usize = 64;

/// A page with less is probably the last one: what comes after it is not asked for beforehand.
const LARGE: usize = 1 << 20;

/// How much of the end of a page is looked at for where to read on.
const END: usize = 1 << 14;

enum Piece {
    Text(Vec<u8>),
    /// The end of a page, and after what the next one that is read begins, where that is known.
    End(Option<Value>),
    Failed(Error),
}

/// A page, and after that the next.
pub(super) struct Pages {
    pieces: Receiver<Piece>,
    after: Sender<Value>,
    text: io::Cursor<Vec<u8>>,
    next: Option<Value>,
    ended: bool,
    failed: Option<Error>,
}

impl Pages {
    /// Of everything that changed since then, with the documents.
    pub(super) fn begin(client: &Client, since: Option<String>, patience: Patience) -> Result<Self> {
        let (sender, pieces) = sync_channel(WAITING);
        let (after, told) = channel();
        let client = client.twin();
        let work = move || read(&client, since, patience, &sender, &told);
        // not joined: when the work fails here, nobody waits for what the server still has to say
        thread::Builder::new().spawn(work).context("cannot start a thread")?;
        Ok(Self { pieces, after, text: io::Cursor::default(), next: None, ended: false, failed: None })
    }

    /// Goes on to the page after `last`, which this one said. Returns whether that can be.
    pub(super) fn turn(&mut self, last: &Value) -> bool {
        self.ended = false;
        match self.next.take() {
            Some(next) => next == *last,
            None => self.after.send(last.clone()).is_ok(),
        }
    }

    /// Why there was no more to read.
    pub(super) fn failed(&mut self) -> Option<Error> {
        self.failed.take()
    }
}

impl Read for Pages {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.text.read(buffer)?;
            if read > 0 || self.ended {
                return Ok(read);
            }
            match self.pieces.recv() {
                Ok(Piece::Text(text)) => self.text = io::Cursor::new(text),
                Ok(Piece::End(next)) => (self.next, self.ended) = (next, true),
                Ok(Piece::Failed(error)) => {
                    let told = io::Error::other(format!("{error:#}"));
                    self.failed = Some(error);
                    return Err(told);
                }
                Err(_) => return Err(io::Error::other("the thread that reads ended early")),
            }
        }
    }
}

/// Reads pages for as long as somebody wants them.
fn read(client: &Client, mut since: Option<String>, patience: Patience, sender: &SyncSender<Piece>, told: &Receiver<Value>) {
    loop {
        let next = match page(client, since.as_deref(), patience, sender) {
            Ok(Some(next)) => next,
            // nobody listens any more
            Ok(None) => return,
            Err(error) => return sender.send(Piece::Failed(error)).unwrap_or_default(),
        };
        if sender.send(Piece::End(next.clone())).is_err() {
            return;
        }
        let Some(last) = next.or_else(|| told.recv().ok()) else { return };
        since = Some(last.to_string());
    }
}

/// Reads a page. `None`: nobody listens; else where the next one begins, if it can be told and there is one.
#[allow(clippy::option_option, reason = "the outer one ends the thread")]
fn page(client: &Client, since: Option<&str>, patience: Patience, sender: &SyncSender<Piece>) -> Result<Option<Option<Value>>> {
    let path = format!("_changes?include_docs=true&conflicts=true&limit={ROWS}{}", since_of(since)?);
    let mut body = client.stream(&Method::GET, &path, None, patience)?;
    let (mut size, mut last) = (0, Vec::new());
    loop {
        let mut text = Vec::with_capacity(PIECE);
        let read = (&mut body).take(PIECE as u64).read_to_end(&mut text);
        size += text.len();
        let is_whole = text.len() < PIECE;
        if is_whole {
            last.extend_from_slice(&text);
        } else {
            last.clone_from(&text);
        }
        if !text.is_empty() && sender.send(Piece::Text(text)).is_err() {
            return Ok(None);
        }
        read.map_err(|error| client.cut(&error))?;
        if is_whole {
            return Ok(Some(next_of(&last).filter(|_| size >= LARGE)));
        }
    }
}

/// Where the page after the one with this end begins.
fn next_of(text: &[u8]) -> Option<Value> {
    #[derive(Deserialize)]
    struct Rest {
        last_seq: Value,
        #[serde(default)]
        pending: Option<u64>,
    }
    let end = &text[text.len().saturating_sub(END)..];
    let rows_end = end.iter().rposition(|b| *b == b']')?;
    let rest = end[rows_end + 1..].trim_ascii_start().strip_prefix(b",")?;
    let rest: Rest = serde_json::from_slice(&[b"{", rest].concat()).ok()?;
    (rest.pending != Some(0)).then_some(rest.last_seq)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_known_from_the_end_of_this_one() {
        for (text, next) in [
            (r#"{"results":[{"seq":"1-g"}],"last_seq":"1-g","pending":7}"#, Some(Value::from("1-g"))),
            ("{\"results\":[\n{}\n],\n\"last_seq\":12}\n", Some(Value::from(12))),
            (r#"{"results":[],"last_seq":"1-g","pending":0}"#, None),
            (r#"{"last_seq":1,"results":[]}"#, None),
            (r#"{"results":[],"last_seq":[1,"x"]}"#, None),
            (r#"{"results":[],"last_seq":"]"}"#, None),
            (r#"{"results":[],"last_seq":"#, None),
            ("", None),
        ] {
            assert_eq!(next_of(text.as_bytes()), next, "{text}");
        }
    }
}
