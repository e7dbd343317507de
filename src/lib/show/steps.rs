//! The steps of a plan as the commands that a person would type for them: `cp SRC DST`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Lines, Printer, Record};
use crate::path::{SpacePath, on_disk, unescape};
use crate::quote::Quoting;
use crate::record::{Action, Ftype, Source, Verb};
use crate::space::{Remote, folder_of};
use crate::stream::ErrorRecord;

/// Shows actions, planned or done.
pub(super) struct Steps<'a> {
    pub root: &'a Path,
    pub quoting: Quoting,
    pub lines: Lines<'a>,
}

/// A command and its operands.
type Step = (&'static str, Vec<Vec<u8>>);

impl Printer for Steps<'_> {
    /// Who carried out the steps has said it.
    fn error(&mut self, _error: &ErrorRecord) -> Result<bool> {
        Ok(true)
    }

    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        if !matches!(record.kind, "action" | "done") {
            return Ok(());
        }
        let action: Action = record.parse()?;
        action.check().with_context(|| format!("line {} is no usable {} record", record.number, record.kind))?;
        for (command, operands) in self.steps(&action) {
            let mut line = command.as_bytes().to_vec();
            for operand in &operands {
                line.push(b' ');
                line.extend_from_slice(&self.quoting.name(operand));
            }
            self.lines.put(&line)?;
        }
        Ok(())
    }
}

impl Steps<'_> {
    fn steps(&self, action: &Action) -> Vec<Step> {
        let there = self.file(&action.path);
        match action.action {
            Verb::Mkdir => vec![("mkdir", vec![there])],
            Verb::Touch => vec![("touch", vec![there])],
            Verb::Remove => vec![("rm", vec![there])],
            Verb::Move => vec![("mv", self.own_source(action).into_iter().chain([there]).collect())],
            Verb::Fetch | Verb::Replace | Verb::Copy | Verb::Link => vec![self.arrival(action)],
            Verb::Conflict => {
                let kept = action.keep.iter().map(|keep| self.file(keep));
                vec![("mv", std::iter::once(there).chain(kept).collect()), self.arrival(action)]
            }
        }
    }

    /// How the wanted content comes to its path.
    fn arrival(&self, action: &Action) -> Step {
        let there = self.file(&action.path);
        let used = used(action);
        // where a copy was planned and its source was not there any more, the content came from elsewhere
        let own = self.own_source(action).filter(|_| used.is_none());
        match (action.ftype, own, used.or(action.from.first())) {
            (Ftype::Dir, ..) => ("mkdir", vec![there]),
            (Ftype::Symlink, ..) => ("ln -s", vec![target(action), there]),
            (Ftype::File, Some(own), _) => ("cp", vec![own, there]),
            (Ftype::File, None, Some(source)) => {
                let (command, from) = transfer(source, action.extra.get("via").and_then(Value::as_str));
                (command, vec![from, there])
            }
            // nobody is known to have it: the plan wants it all the same
            (Ftype::File, None, None) => ("fetch", vec![there]),
        }
    }

    fn file(&self, path: &SpacePath) -> Vec<u8> {
        on_disk(self.root, path).as_os_str().as_bytes().to_vec()
    }

    fn own_source(&self, action: &Action) -> Option<Vec<u8>> {
        action.source.as_ref().map(|source| self.file(source))
    }
}

fn target(action: &Action) -> Vec<u8> {
    let spelled = action.target.as_deref().unwrap_or_default();
    unescape(spelled).unwrap_or_else(|_| spelled.as_bytes().to_vec())
}

/// The candidate that was used, as `done` records say.
fn used(action: &Action) -> Option<&Source> {
    let at = action.extra.get("used").and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok());
    at.and_then(|at| action.from.get(at))
}

/// The command that gets a file of another box, and what it is called there.
fn transfer(source: &Source, via: Option<&str>) -> (&'static str, Vec<u8>) {
    let url = source.url.as_str();
    match Remote::parse(url) {
        Ok(Some(remote)) => {
            let host = remote.bracketed();
            let (command, place) = match (via, remote.port) {
                (Some("rsync"), _) => ("rsync", format!("{host}:")),
                (Some("ssh"), _) => ("ssh", format!("{host}:")),
                (_, Some(port)) => ("scp", format!("sftp://{host}:{port}")),
                (_, None) => ("scp", format!("sftp://{host}")),
            };
            (command, [place.as_bytes(), &remote.file(&source.path)].concat())
        }
        _ => match folder_of(url) {
            Some(folder) => ("cp", on_disk(&folder, &source.path).into_os_string().into_encoded_bytes()),
            // no command can get it until the box has a url that leads somewhere
            None => ("fetch", [source.box_name.as_bytes(), b":", &source.path.raw()].concat()),
        },
    }
}
