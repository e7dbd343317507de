//! `stat` records as a block of lines each, as stat(1) shows a file.

use anyhow::Result;
use serde::Deserialize;

use super::{Lines, Printer, Record};
use crate::path::unescape;
use crate::quote::Quoting;

/// What of a record is shown, in this order.
#[derive(Deserialize)]
struct Shown {
    path: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default, rename = "box")]
    box_name: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    ftype: Option<String>,
    #[serde(default)]
    mime: Option<String>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    sha1: Option<String>,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    flags: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    copies: Vec<Copy>,
}

#[derive(Deserialize)]
struct Copy {
    #[serde(rename = "box")]
    box_name: String,
    path: String,
    #[serde(default)]
    url: String,
}

/// Shows what `ltr stat` shows.
pub(super) struct Stat<'a> {
    pub quoting: Quoting,
    pub lines: Lines<'a>,
}

impl Printer for Stat<'_> {
    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        if record.kind != "stat" {
            return Ok(());
        }
        let Shown { path, id, box_name, size, ftype, mime, mode, sha1, target, flags, status, copies } = record.parse()?;
        self.line("File", &path)?;
        let size = size.map(|s| s.to_string());
        let fields = [("id", id), ("box", box_name), ("size", size), ("type", ftype), ("mimetype", mime)];
        let more = [("mode", mode), ("sha1sum", sha1), ("target", target), ("flags", Some(flags)), ("status", Some(status))];
        for (label, value) in fields.into_iter().chain(more) {
            if let Some(value) = value {
                self.line(label, &value)?;
            }
        }
        for copy in copies {
            let place = if copy.url.is_empty() { "no url" } else { &copy.url };
            self.line("copy", &format!("{}:{} ({place})", copy.box_name, copy.path))?;
        }
        Ok(())
    }
}

impl Stat<'_> {
    fn line(&mut self, label: &str, value: &str) -> Result<()> {
        let raw = unescape(value).unwrap_or_else(|_| value.as_bytes().to_vec());
        let mut line = format!("{label:>8}: ").into_bytes();
        match std::str::from_utf8(&raw) {
            Ok(text) => line.extend_from_slice(&self.quoting.text(text)),
            Err(_) => line.extend_from_slice(&self.quoting.name(&raw)),
        }
        self.lines.put(&line)
    }
}
