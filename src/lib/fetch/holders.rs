//! The other boxes that hold what is about to be removed here. Each is reached, locked, and read,
//! before the file goes, and stays locked until that is recorded: two boxes that drop the same file at
//! once each find the other locked, and keep it.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::sources::{Known, Sources};
use super::ssh::Elsewhere;
use super::verify::{Answer, Question, holds};
use super::{Options, Verified};
use crate::boxfs::BoxRoot;
use crate::index::sqlite::now_ms;
use crate::lock::{self, Lock};
use crate::record::{Action, Source};
use crate::report::Report;
use crate::ssh::{Patient, Session};
use crate::stream::Tagged;

/// The boxes that were asked, locked until this is dropped.
#[derive(Default)]
pub(super) struct Holders {
    asked: HashMap<(String, String), Holder>,
}

enum Holder {
    Local {
        root: Arc<BoxRoot>,
        _lock: Lock,
    },
    Remote(Box<Verifier>),
    /// Reached, and not to be had: locked, or without an ltr.
    Refused,
    OutOfReach,
}

/// Whether a box holds a content.
pub(super) enum Held {
    No,
    /// It was looked at.
    Seen,
    /// It was looked at not long ago (`--trust-offline`).
    Trusted,
}

/// An `ltr-verify` on another machine.
struct Verifier {
    session: Option<Session>,
    questions: Option<Patient<ChildStdin>>,
    answers: BufReader<Patient<ChildStdout>>,
}

impl Holders {
    /// Makes sure that enough other boxes hold the content of `action` for it to be removed.
    ///
    /// `seen` gets the boxes that were looked into and hold it.
    ///
    /// # Errors
    /// "only N of M copies could be verified (names)".
    pub(super) fn verify(
        &mut self,
        sources: &Sources<'_>,
        action: &Action,
        options: &Options<'_>,
        seen: &mut Vec<Verified>,
        report: &mut dyn Report,
    ) -> Result<()> {
        // a copy elsewhere is owed whatever an index says that somebody else may have written
        let owed = action.mincopies.unwrap_or(1).max(1);
        let mut verified = HashSet::new();
        for source in &action.from {
            if verified.len() as u64 >= owed {
                break;
            }
            if verified.contains(source.box_name.as_str()) {
                continue;
            }
            let held = self.holds(sources, source, action, options, report);
            if let (Held::Seen, Some(sha1)) = (&held, action.sha1) {
                seen.push(Verified { box_name: source.box_name.clone(), sha1, ms: now_ms() });
            }
            if !matches!(held, Held::No) {
                verified.insert(source.box_name.as_str());
            }
        }
        if verified.len() as u64 >= owed {
            return Ok(());
        }
        let names: Vec<&str> = action.from.iter().map(|s| s.box_name.as_str()).collect();
        let names = if names.is_empty() { "no other box".to_owned() } else { names.join(", ") };
        bail!("only {} of {owed} copies could be verified ({names})", verified.len())
    }

    /// Asks one box, which stays locked.
    pub(super) fn holds(
        &mut self,
        sources: &Sources<'_>,
        source: &Source,
        action: &Action,
        options: &Options<'_>,
        report: &mut dyn Report,
    ) -> Held {
        let key = (source.box_name.clone(), source.url.clone());
        let holder = self.asked.entry(key).or_insert_with(|| {
            approach(sources, source, report).unwrap_or_else(|e| {
                report.notice(&format!("box {}: {e:#}", source.box_name));
                Holder::Refused
            })
        });
        let Some(sha1) = action.sha1 else { return Held::No };
        let question = Question { path: source.path.clone(), ftype: action.ftype, size: action.size, sha1 };
        let answer = match holder {
            Holder::Local { root, .. } => holds(root, &question).map_err(Into::into),
            Holder::Remote(verifier) => verifier.ask(&question),
            Holder::Refused => return Held::No,
            Holder::OutOfReach => return if (options.trusted)(source, sha1) { Held::Trusted } else { Held::No },
        };
        match answer {
            Ok(true) => Held::Seen,
            Ok(false) => Held::No,
            Err(e) => {
                report.notice(&format!("{}: in box {}: {e:#}", source.path, source.box_name));
                Held::No
            }
        }
    }
}

/// Reaches and locks a box.
fn approach(sources: &Sources<'_>, source: &Source, report: &mut dyn Report) -> Result<Holder> {
    Ok(match sources.find(source, &mut |text| report.notice(&text)) {
        Known::Gone => Holder::OutOfReach,
        Known::Local(root) => {
            let lock = lock::take(&root)?;
            Holder::Local { root, _lock: lock }
        }
        Known::Remote(remote) => Holder::Remote(Box::new(Verifier::start(&remote)?)),
    })
}

impl Verifier {
    fn start(remote: &Elsewhere) -> Result<Self> {
        let mut session = remote.verifier()?;
        let questions = session.stdin.take();
        let answers = BufReader::new(session.stdout.take().context("ssh has an output")?);
        Ok(Self { session: Some(session), questions, answers })
    }

    fn ask(&mut self, question: &Question) -> Result<bool> {
        let questions = self.questions.as_mut().context("does not answer")?;
        // it is read to the end before there is an answer
        self.answers.get_ref().life().allow(question.size);
        let mut line = serde_json::to_vec(&Tagged { kind: "verify", record: question })?;
        line.push(b'\n');
        questions.write_all(&line)?;
        questions.flush()?;
        let mut reply = Vec::new();
        std::io::Read::take(&mut self.answers, crate::stream::LINE_MAX as u64).read_until(b'\n', &mut reply)?;
        ensure!(!reply.is_empty(), "does not answer");
        let answer: Answer = serde_json::from_slice(&reply)?;
        ensure!(answer.question == *question, "answers something else");
        Ok(answer.ok)
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        // hanging up ends it, and with it the lock there
        self.questions = None;
        self.session.take().and_then(Session::hang_up);
    }
}
