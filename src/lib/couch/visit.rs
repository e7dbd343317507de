//! A visit to a database on behalf of a command: the replica is brought up to date, and what is new in it
//! is pushed. A command that can do without says that the database does not answer, and goes on.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Error, Result};

use super::client::{Client, Kind, Patience, kind_of};
use super::link::{Link, look};
use super::places::Places;
use super::replica;
use super::url::Database;
use crate::index::couch::Couch;
use crate::index::sqlite::{Access, Sqlite, now_ms};
use crate::index::visits::Visits;
use crate::report::Report;
use crate::sync::Replication;

/// How long a database that did not answer is not asked again.
const AGAIN: Duration = Duration::from_secs(60);

/// What to do.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// Without an answer there is nothing to go on with.
    pub insist: bool,
    /// First send what is new: nothing else is waited for.
    pub push_first: bool,
    /// Send nothing.
    pub no_push: bool,
    /// A folder for a copy of the replica that is brought up to date in its place: a dry run. Nothing is
    /// sent, and no copy is made where there is no news.
    pub scratch: Option<PathBuf>,
}

/// What a visit did.
#[derive(Debug, Default)]
pub struct Visited {
    /// Whether the database answered to the end.
    pub reached: bool,
    /// What was read, and what was sent.
    pub done: Vec<Replication>,
    /// Documents that are still to be sent.
    pub pending: u64,
}

/// Brings the replica of `database` up to date, and the database.
///
/// # Errors
/// The replica cannot be read or written, or does not exist and cannot be made; with `insist`, whatever
/// keeps the database from answering.
pub fn visit(places: &Places, database: &Database, wish: &Visit, report: &mut dyn Report) -> Result<Visited> {
    let client = Client::new(places, database)?;
    let patience = if wish.insist { Patience::Patient } else { Patience::Probe };
    let path = replica::make(places, &client, patience)?;
    let mut index = Sqlite::open(&path, Access::Write)?;
    index.make_replica()?;
    let last = index.couch(None)?;
    let resting = last.as_ref().filter(|couch| !wish.insist && is_resting(couch, now_ms()));
    if let Some(couch) = resting {
        let pending = index.pending(couch)?;
        if !wish.push_first {
            report.notice(&away(&client, Some(couch)));
        }
        tell_pending(wish, pending, report);
        return Ok(Visited { pending, ..Visited::default() });
    }
    let mut done = Vec::new();
    match run(&client, &mut index, wish, patience, &mut done, report) {
        Ok(pending) => {
            tell_pending(wish, pending, report);
            Ok(Visited { reached: true, done, pending })
        }
        Err(error) if wish.insist || kind_of(&error).is_none() => Err(error),
        Err(error) => {
            let couch = index.couch(None)?.or(last);
            let pending = couch.as_ref().map_or(Ok(0), |couch| index.pending(couch))?;
            tell_failure(&client, couch.as_ref(), &error, report);
            if let Some(couch) = couch.filter(|_| kind_of(&error) == Some(Kind::Away)) {
                index.set_away(&couch, true)?;
            }
            tell_pending(wish, pending, report);
            Ok(Visited { done, pending, ..Visited::default() })
        }
    }
}

/// As [`visit`] with [`Visit::insist`], for a replica that is open already, be it in no file. Returns how many
/// documents are still to be sent.
///
/// # Errors
/// The replica cannot be read or written, or whatever keeps the database from answering.
pub fn visit_with(client: &Client, index: &mut Sqlite, report: &mut dyn Report) -> Result<u64> {
    index.make_replica()?;
    let wish = Visit { insist: true, ..Visit::default() };
    run(client, index, &wish, Patience::Patient, &mut Vec::new(), report)
}

/// Returns how many documents are still to be sent.
fn run(
    client: &Client,
    index: &mut Sqlite,
    wish: &Visit,
    patience: Patience,
    done: &mut Vec<Replication>,
    report: &mut dyn Report,
) -> Result<u64> {
    let mut seen = look(client, patience)?;
    let last = index.couch(None)?;
    let nothing_new = last.as_ref().is_some_and(|couch| couch.seen.as_ref() == Some(&seen));
    if nothing_new
        && !wish.insist
        && let Some(couch) = &last
        && !index.is_ahead(couch)?
    {
        if couch.away_ms > 0 {
            index.set_away(couch, false)?;
        }
        return Ok(0);
    }
    let patience = if patience == Patience::Probe { Patience::Brief } else { patience };
    if let Some(folder) = &wish.scratch {
        let path = folder.join(format!("{:08x}", index.id()));
        if !path.exists() {
            index.copy_to(&path)?;
        }
        let mut copy = Sqlite::open(&path, Access::Write)?;
        let mut link = Link::new(client, &mut copy, patience, report)?;
        let mut record = Replication::between(client.database().to_string(), "replica".to_owned(), true);
        let read = link.pull();
        record.pulled(&link.pulled, link.couch.since.as_deref(), read.is_ok());
        done.push(record);
        return read.map(|()| 0);
    }
    let mut link = Link::new(client, index, patience, report)?;
    let result = exchange(&mut link, wish, &mut seen, done);
    link.finish();
    result?;
    let couch = link.couch.clone();
    index.pending(&couch)
}

fn exchange(link: &mut Link<'_>, wish: &Visit, seen: &mut String, done: &mut Vec<Replication>) -> Result<()> {
    // what it looked like when it was last read to its end; then only what comes after needs to be read
    let is_read = link.couch.since.is_some() && link.couch.seen.as_ref() == Some(seen);
    if !wish.push_first && !is_read {
        let mut record = Replication::between(link.client.database().to_string(), "replica".to_owned(), false);
        let read = link.pull();
        record.pulled(&link.pulled, link.couch.since.as_deref(), read.is_ok());
        done.push(record);
        read?;
    }
    if !wish.no_push && link.index.is_ahead(&link.couch)? {
        let mut record = Replication::between("replica".to_owned(), link.client.database().to_string(), false);
        let sent = link.push();
        record.pushed(link.sent, link.refused.len() as u64, link.couch.pushed, sent.is_ok());
        done.push(record);
        sent?;
        *seen = look(link.client, link.patience)?;
        link.pull_after_push()?;
    } else if wish.push_first {
        return Ok(());
    }
    link.index.set_seen(&mut link.couch, seen)
}

fn is_resting(couch: &Couch, now: u64) -> bool {
    Visits { reached_ms: couch.synced_ms, away_ms: couch.away_ms }.is_resting(AGAIN, now)
}

/// How old a replica is that was last read to its end at `ms`, milliseconds since 1970; 0: never.
pub(crate) fn as_of(ms: u64) -> String {
    let time = i64::try_from(ms).ok().filter(|ms| *ms > 0).and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match time {
        Some(time) => {
            let time = time.to_zoned(jiff::tz::TimeZone::system());
            format!("index as of {}", time.strftime("%Y-%m-%d %H:%M"))
        }
        None => "it was never read to its end".to_owned(),
    }
}

fn away(client: &Client, couch: Option<&Couch>) -> String {
    format!("{} does not answer; {}", client.database().authority(), as_of(couch.map_or(0, |couch| couch.synced_ms)))
}

fn tell_failure(client: &Client, couch: Option<&Couch>, error: &Error, report: &mut dyn Report) {
    report.notice(&match kind_of(error) {
        Some(Kind::Away) => away(client, couch),
        _ => format!("{error:#}; {}", as_of(couch.map_or(0, |couch| couch.synced_ms))),
    });
}

fn tell_pending(wish: &Visit, pending: u64, report: &mut dyn Report) {
    match pending {
        _ if wish.no_push => {}
        0 => {}
        1 => report.notice("1 document to push"),
        more => report.notice(&format!("{more} documents to push")),
    }
}

/// The file of the replica of `database`, which is made where there is none.
///
/// # Errors
/// There is none, and the database does not answer; or nothing can be written.
pub fn replica_of(places: &Places, database: &Database) -> Result<PathBuf> {
    let link = places.replica(database);
    if link.exists() {
        return Ok(link);
    }
    let client = Client::new(places, database)?;
    replica::make(places, &client, Patience::Patient).context("there is no replica of it on this machine yet")
}
