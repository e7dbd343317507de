//! The steps of a plan as the commands that a person would type for them: `cp SRC DST`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Deserialize;
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
    pub sum: Sum,
}

/// What came from other machines, for the last line.
#[derive(Default)]
pub(super) struct Sum {
    boxes: Vec<String>,
    files: u64,
    bytes: u64,
    ms: u64,
    failures: u64,
}

#[derive(Deserialize)]
struct Transfer {
    #[serde(rename = "box")]
    box_name: String,
    files: u64,
    bytes: u64,
    ms: u64,
}

impl Sum {
    fn add(&mut self, transfer: Transfer) {
        self.boxes.push(transfer.box_name);
        self.files += transfer.files;
        self.bytes = self.bytes.saturating_add(transfer.bytes);
        self.ms = self.ms.max(transfer.ms);
    }

    fn line(&self) -> Option<String> {
        if self.boxes.is_empty() {
            return None;
        }
        let seconds = Duration::from_millis(self.ms.max(1)).as_secs_f64();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
        let rate = (self.bytes as f64 / seconds) as u64;
        let files = if self.files == 1 { "file" } else { "files" };
        let failed = if self.failures > 0 { format!(", {} failed", self.failures) } else { String::new() };
        Some(format!(
            "ltr: {} {files}, {} from {} in {seconds:.1} s ({}/s){failed}",
            self.files,
            human(self.bytes),
            self.boxes.join(" "),
            human(rate)
        ))
    }
}

/// A number of bytes with a decimal prefix, as the makers of disks count.
pub(super) fn human(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 999.95 || unit == "TB" {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    String::new()
}

/// A command and its operands.
type Step = (&'static str, Vec<Vec<u8>>);

impl Printer for Steps<'_> {
    /// Who carried out the steps has said it.
    fn error(&mut self, _error: &ErrorRecord) -> Result<bool> {
        self.sum.failures += 1;
        Ok(true)
    }

    fn finish(&mut self) -> Result<()> {
        self.sum.line().map_or(Ok(()), |line| self.lines.put(line.as_bytes()))
    }

    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        if record.kind == "transfer" {
            self.sum.add(record.parse()?);
        }
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
            Verb::Move if used(action).is_none() => vec![("mv", self.own_source(action).into_iter().chain([there]).collect())],
            // a move whose source was edited here leaves it, and its content comes from elsewhere
            Verb::Move | Verb::Fetch | Verb::Replace | Verb::Copy | Verb::Link => vec![self.arrival(action)],
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
                let (command, from) = transfer(source, action.extra.get("via").and_then(Value::as_str), self.is_remote());
                (command, vec![from, there])
            }
            // nobody is known to have it: the plan wants it all the same
            (Ftype::File, None, None) => ("fetch", vec![there]),
        }
    }

    /// Whether the box is on another machine: a push.
    fn is_remote(&self) -> bool {
        self.root.to_str().is_some_and(|root| Remote::parse(root).is_ok_and(|remote| remote.is_some()))
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

/// What stands for itself in the path of a url (RFC 3986, section 2.3): scp decodes the rest.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The command that gets a file of another box, and what it is called there.
fn transfer(source: &Source, via: Option<&str>, to_remote: bool) -> (&'static str, Vec<u8>) {
    let url = source.url.as_str();
    match Remote::parse(url) {
        Ok(Some(remote)) => {
            let (host, file) = (remote.bracketed(), remote.file(&source.path));
            let command = ["rsync", "ssh", "tar"].into_iter().find(|command| via == Some(*command));
            if let Some(command) = command {
                return (command, [host.as_bytes(), b":", &file].concat());
            }
            let port = remote.port.map_or_else(String::new, |port| format!(":{port}"));
            ("scp", format!("sftp://{host}{port}{}", percent_encode(&file, PLAIN)).into_bytes())
        }
        _ => match folder_of(url) {
            Some(folder) if to_remote => ("scp", on_disk(&folder, &source.path).into_os_string().into_encoded_bytes()),
            Some(folder) => ("cp", on_disk(&folder, &source.path).into_os_string().into_encoded_bytes()),
            // no command can get it until the box has a url that leads somewhere
            None => ("fetch", [source.box_name.as_bytes(), b":", &source.path.raw()].concat()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_sums_up() {
        let mut sum = Sum::default();
        assert_eq!(sum.line(), None);
        sum.add(Transfer { box_name: "a".into(), files: 1, bytes: 1_200_000, ms: 400 });
        assert_eq!(sum.line().unwrap(), "ltr: 1 file, 1.2 MB from a in 0.4 s (3.0 MB/s)");
        sum.add(Transfer { box_name: "b".into(), files: 2, bytes: 5, ms: 200 });
        sum.failures = 3;
        assert_eq!(sum.line().unwrap(), "ltr: 3 files, 1.2 MB from a b in 0.4 s (3.0 MB/s), 3 failed");
        assert_eq!([999, 1000, 999_960, u64::MAX].map(human), ["999 B", "1.0 kB", "1.0 MB", "18446744.1 TB"]);
    }
}
