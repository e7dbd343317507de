//! The same plumbing on another machine: its streams pass through here, checked line by line.

use std::io::{BufReader, Read, Write};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::get::Query;
use super::put::Options;
use crate::exit::Exit;
use crate::report::Report;
use crate::space::Remote;
use crate::ssh::{Session, Ssh};
use crate::stream::{Line, Reader, Writer};

/// The words that run `program` with `options` on `remote`'s index there.
pub(super) fn words(program: &str, options: Vec<String>, remote: &Remote) -> Vec<String> {
    let mut words = vec![program.to_owned()];
    words.extend(options);
    // a path is absolute, so no option
    words.push(remote.path.clone());
    words
}

/// Creates an index on another machine; whether there was none.
///
/// # Errors
/// As [`get_remote`].
pub fn init_remote(ssh: &Ssh, remote: &Remote) -> Result<bool> {
    let mut session = ssh.start(remote, &words("ltr-index-init", Vec::new(), remote), false)?;
    let mut reader = Reader::new(BufReader::new(session.stdout.take().context("no pipe from ssh")?));
    let mut created = false;
    let read = loop {
        match reader.next_line() {
            Ok(Some(Line::Record { kind, json })) if kind == "index" => match serde_json::from_str(json) {
                Ok(Made { created: made }) => created = made,
                Err(error) => break Err(error.into()),
            },
            Ok(Some(_)) => {}
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let lines = reader.line_number();
    drop(reader);
    match read {
        Ok(()) => session.finish().map(|_| created),
        Err(error) => Err(session.explain(error, lines).1),
    }
}

/// What of an `index` record counts here.
#[derive(Deserialize)]
struct Made {
    created: bool,
}

/// [`super::get::get`] on another machine.
///
/// # Errors
/// It does not answer, has no ltr or no such index, or what it says is cut short or no stream.
pub fn get_remote(ssh: &Ssh, remote: &Remote, query: &Query, output: impl Write, report: &mut dyn Report) -> Result<Exit> {
    let session = ssh.start(remote, &words("ltr-index-get", query.words(), remote), false)?;
    pass(session, output, report)
}

/// [`super::put::put_stream`] on another machine.
///
/// # Errors
/// As [`get_remote`].
pub fn put_remote(
    ssh: &Ssh,
    remote: &Remote,
    options: &Options,
    mut input: impl Read + Send + 'static,
    output: impl Write,
    report: &mut dyn Report,
) -> Result<Exit> {
    let mut session = ssh.start(remote, &words("ltr-index-put", options.words(), remote), true)?;
    let mut there = session.stdin.take().context("no pipe to ssh")?;
    // not joined: when the other side ends early, nobody waits for the rest of the input; and why it
    // ended is told by its own output and exit status, not by the pipe that broke
    let feeder = std::thread::Builder::new().spawn(move || {
        let mut block = vec![0; 1 << 16];
        loop {
            // it has nothing to say while there is nothing for it to read
            there.life().is_ours(true);
            let read = input.read(&mut block);
            there.life().is_ours(false);
            match read {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(read @ 1..) if there.write_all(&block[..read]).is_ok() => {}
                _ => break,
            }
        }
    });
    feeder.context("cannot start a thread")?;
    pass(session, output, report)
}

/// Copies what a session says, up to its trailer.
pub(crate) fn pass(mut session: Session, output: impl Write, report: &mut dyn Report) -> Result<Exit> {
    let mut reader = Reader::new(BufReader::new(session.stdout.take().context("no pipe from ssh")?));
    let mut writer = Writer::new(output);
    loop {
        match reader.next_line() {
            Ok(Some(Line::Record { json, .. })) => writer.put_raw(json)?,
            Ok(Some(Line::Error(record))) => writer.put_error(&record)?,
            Ok(None) => break,
            Err(error) => {
                writer.flush()?;
                let lines = reader.line_number();
                drop(reader);
                let host = session.host().to_owned();
                let (code, error) = session.explain(error, lines);
                if code == Some(1) {
                    report.failure(&host, "done in part");
                    return Ok(Exit::Part);
                }
                return Err(error);
            }
        }
    }
    let extra = reader.end().map(|end| end.extra.clone()).unwrap_or_default();
    let errors = writer.end(extra)?;
    Ok(session.finish()?.max(Exit::of_failures(errors)))
}
