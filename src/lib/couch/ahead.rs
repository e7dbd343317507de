//! Requests whose answers are not waited for at once: a thread reads what a database says, or sends it what
//! is new, while the replica is written. The server and the disk are then busy at the same time.
//!
//! The threads are not joined: when the work fails here, nobody waits for what the server still has to say.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use ureq::http::Method;

use super::client::{Client, Kind, Patience, kind_of};
use super::found::Found;
use super::pages::{Pages, ROWS};
use super::rows::{Tail, read_rows};

/// Rows that travel from the thread at once, and the bytes of their documents; so many times that are in memory.
const SOME: usize = 500;
const SOME_BYTES: usize = 1 << 20;
const WAITING: usize = 8;

/// What was read.
pub(super) enum Came {
    /// Some rows.
    Found(Vec<Found>),
    /// The end of an answer.
    End(Tail),
}

/// Reads everything that changed since then, with the documents.
pub(super) fn read(client: &Client, since: Option<String>, patience: Patience) -> Result<Receiver<Result<Came>>> {
    let (sender, receiver) = sync_channel(WAITING);
    let mut pages = Pages::begin(client, since, patience)?;
    let (client, now) = (client.twin(), crate::chance::now());
    let work = move || {
        while page(&client, &mut pages, now, &sender) {}
    };
    thread::Builder::new().spawn(work).context("cannot start a thread")?;
    Ok(receiver)
}

/// Returns whether there is more to read, and somebody who listens.
fn page(client: &Client, pages: &mut Pages, now: SystemTime, sender: &SyncSender<Result<Came>>) -> bool {
    match read_page(client, pages, now, sender) {
        Ok(tail) => {
            let next = tail.last_seq.clone().filter(|_| tail.count >= ROWS);
            sender.send(Ok(Came::End(tail))).is_ok() && next.is_some_and(|next| pages.turn(&next))
        }
        Err(error) => {
            // nobody listens any more: then nobody needs to know
            let _ = sender.send(Err(pages.failed().unwrap_or(error)));
            false
        }
    }
}

fn read_page(client: &Client, pages: &mut Pages, now: SystemTime, sender: &SyncSender<Result<Came>>) -> Result<Tail> {
    let (mut some, mut bytes) = (Vec::with_capacity(SOME), 0);
    let give = |some: &mut Vec<Found>| match sender.send(Ok(Came::Found(std::mem::replace(some, Vec::with_capacity(SOME))))) {
        Ok(()) => Ok(()),
        Err(_) => bail!("nobody listens"),
    };
    let tail = read_rows(client, pages, &mut |row| {
        let Some(found) = Found::of(&row, now) else { return Ok(()) };
        bytes += found.bytes;
        some.push(found);
        if some.len() >= SOME || bytes >= SOME_BYTES {
            bytes = 0;
            give(&mut some)?;
        }
        Ok(())
    });
    give(&mut some)?;
    tail
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use ureq::http::{Request, Response};
    use ureq::middleware::{Middleware, MiddlewareNext};
    use ureq::{Body, SendBody};

    use super::*;
    use crate::couch::places::Places;
    use crate::couch::url::Database;

    /// A database of so many documents, whose sequence numbers look like this.
    struct Server {
        documents: u64,
        seq: fn(u64) -> Value,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Middleware for Server {
        fn handle(&self, request: Request<SendBody<'_>>, _: MiddlewareNext<'_>) -> Result<Response<Body>, ureq::Error> {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let since = query.split_once("&since=").map(|part| part.1.to_owned()).unwrap_or_default();
            self.asked.lock().unwrap().push(since.clone());
            let text = percent_encoding::percent_decode_str(&since).decode_utf8().unwrap().into_owned();
            let is_since =
                |n: &u64| [(self.seq)(*n).to_string(), (self.seq)(*n).as_str().unwrap_or_default().to_owned()].contains(&text);
            let since = if text.is_empty() { 0 } else { (0..=self.documents).step_by(1000).find(is_since).unwrap() };
            let last = (since + ROWS).min(self.documents);
            let rows: Vec<String> = (since + 1..=last).map(|n| row(n, &(self.seq)(n))).collect();
            let text = format!("{{\"results\":[\n{}\n],\n\"last_seq\":{}}}\n", rows.join(",\n"), (self.seq)(last));
            Ok(Response::builder().status(200).body(Body::builder().data(text)).unwrap())
        }
    }

    fn row(n: u64, seq: &Value) -> String {
        let text = "y".repeat(100);
        format!("{{\"seq\":{seq},\"id\":\"tag:{n}\",\"changes\":[{{\"rev\":\"1-a\"}}],\"doc\":{{\"text\":\"{text}\"}}}}")
    }

    /// Whether the next page can be told from the end of this one, or only once that is understood: all rows come,
    /// in their order, and no page is asked for twice.
    #[test]
    fn page_after_page_comes_once() {
        let seqs: [fn(u64) -> Value; 3] = [|n| json!(n), |n| json!(format!("{n}-g1+/=")), |n| json!([n, "x"])];
        for (number, seq) in seqs.into_iter().enumerate() {
            for documents in [1000, 20_000, 25_000] {
                let asked = Arc::default();
                let server = Server { documents, seq, asked: Arc::clone(&asked) };
                let nowhere = Places::below(Path::new("/nonexistent"));
                let client = Client::simulated(&nowhere, &Database::parse("http://h/x").unwrap(), server).unwrap();
                let came = read(&client, None, Patience::Patient).unwrap();
                let (mut ids, mut ends) = (Vec::new(), 0);
                for some in came {
                    match some.unwrap() {
                        Came::Found(found) => ids.extend(found.into_iter().map(|found| found.id)),
                        Came::End(_) => ends += 1,
                    }
                }
                assert_eq!(ids, (1..=documents).map(|n| format!("tag:{n}")).collect::<Vec<_>>(), "{number}");
                let pages = documents / ROWS + 1;
                assert_eq!(ends, pages, "{number} {documents}");
                let mut asked = asked.lock().unwrap().clone();
                // one more where the last page is large, and does not say that it is the last
                let all = asked.len() as u64;
                assert!((pages..=pages + 1).contains(&all), "{number} {documents}: {asked:?}");
                asked.dedup();
                assert_eq!(asked.len() as u64, all, "{number} {documents}: {asked:?}");
            }
        }
    }
}
