//! The steps of a plan as the commands that a person would type for them: `cp SRC DST`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Lines, Printer, Record};
use crate::path::{SpacePath, on_disk, unescape};
use crate::quote::Quoting;
use crate::record::{Action, Ftype, Source, Verb};
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

    /// Whoever could not carry out a step has said so.
    fn error(&mut self, _error: &ErrorRecord) -> Result<bool> {
        Ok(true)
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
        match (action.ftype, self.own_source(action), source(action)) {
            (Ftype::Dir, ..) => ("mkdir", vec![there]),
            (Ftype::Symlink, ..) => ("ln -s", vec![target(action), there]),
            (Ftype::File, Some(own), _) => ("cp", vec![own, there]),
            (Ftype::File, None, Some(source)) => {
                let (command, from) = transfer(source, action.extra.get("via").and_then(Value::as_str) == Some("rsync"));
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

/// The candidate that was used, as `done` records say, else the first.
fn source(action: &Action) -> Option<&Source> {
    let used = action.extra.get("used").and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok());
    used.and_then(|at| action.from.get(at)).or(action.from.first())
}

/// The command that gets a file of another box, and what it is called there.
fn transfer(source: &Source, rsync: bool) -> (&'static str, Vec<u8>) {
    match Place::of(&source.url) {
        // no command can get it until the box has a url
        Place::Unknown => ("fetch", below(&format!("{}:", source.box_name), &source.path)),
        Place::Folder(folder) => ("cp", below(folder, &source.path)),
        Place::Host(host, folder) if rsync => ("rsync", below(&format!("{host}:{folder}"), &source.path)),
        Place::Host(host, folder) => ("scp", below(&format!("sftp://{host}{folder}"), &source.path)),
    }
}

/// The raw name of `path` below the text `root`.
fn below(root: &str, path: &SpacePath) -> Vec<u8> {
    [root.trim_end_matches('/').as_bytes(), &path.raw()].concat()
}

/// Where a box is.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Unknown,
    Folder(&'a str),
    /// Host, with user and port as given, and a folder that begins with `/`.
    Host(&'a str, &'a str),
}

impl<'a> Place<'a> {
    fn of(url: &'a str) -> Self {
        if url.is_empty() {
            return Self::Unknown;
        }
        if let Some(rest) = url.strip_prefix("ssh://") {
            let at = rest.find('/').unwrap_or(rest.len());
            return Self::Host(&rest[..at], &rest[at..]);
        }
        match url.find(":/") {
            Some(at) if at > 0 && !url[..at].contains('/') => Self::Host(&url[..at], &url[at + 1..]),
            _ => Self::Folder(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_folder_or_a_host() {
        for (url, place) in [
            ("", Place::Unknown),
            ("/home/x:/y", Place::Folder("/home/x:/y")),
            ("./a", Place::Folder("./a")),
            (":/a", Place::Folder(":/a")),
            ("maytag:/home/x", Place::Host("maytag", "/home/x")),
            ("t@maytag:/", Place::Host("t@maytag", "/")),
            ("t@[::1]:/x", Place::Host("t@[::1]", "/x")),
            ("ssh://t@maytag:22/x", Place::Host("t@maytag:22", "/x")),
            ("ssh://maytag", Place::Host("maytag", "")),
        ] {
            assert_eq!(Place::of(url), place, "{url}");
        }
    }
}
