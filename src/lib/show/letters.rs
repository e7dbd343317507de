//! Status records as a letter and a path: what `ltr status` and `ltr commit` print.

use anyhow::Result;
use serde::Deserialize;

use super::{Lines, Printer, Record};
use crate::path::unescape;
use crate::quote::Quoting;
use crate::stream::ErrorRecord;

/// What of a record is shown.
#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    path: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    renamed: Option<String>,
    /// Where the letter of a document is.
    #[serde(default)]
    local: Option<Local>,
}

#[derive(Deserialize)]
struct Local {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    renamed: Option<String>,
}

/// Shows letters and paths.
pub(super) struct Letters<'a> {
    pub all: bool,
    pub color: bool,
    pub quoting: Quoting,
    pub lines: Lines<'a>,
}

impl Printer for Letters<'_> {
    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        if !matches!(record.kind, "scan" | "put" | "entry") {
            return Ok(());
        }
        let row: Row = record.parse()?;
        let local = row.local.unwrap_or(Local { status: None, renamed: None });
        let Some(status) = row.status.or(local.status) else { return Ok(()) };
        if status == "C" && !self.all {
            return Ok(());
        }
        let mut line = self.letter(&status);
        line.extend_from_slice(b"  ");
        if let Some(old) = row.renamed.or(local.renamed) {
            self.name(&mut line, &old);
            line.extend_from_slice(b" -> ");
        }
        self.name(&mut line, &row.path);
        self.lines.put(&line)
    }

    /// What could not be read has been reported by whoever tried; here it has a letter.
    fn error(&mut self, error: &ErrorRecord) -> Result<bool> {
        let mut line = self.letter("?");
        line.extend_from_slice(b"  ");
        self.name(&mut line, &error.path);
        self.lines.put(&line)?;
        Ok(true)
    }
}

impl Letters<'_> {
    fn letter(&self, status: &str) -> Vec<u8> {
        let text = self.quoting.text(status).into_owned();
        match color(status) {
            Some(code) if self.color => [b"\x1b[", code.as_bytes(), b"m", &text, b"\x1b[m"].concat(),
            _ => text,
        }
    }

    fn name(&self, line: &mut Vec<u8>, spelled: &str) {
        let raw = unescape(spelled).unwrap_or_else(|_| spelled.as_bytes().to_vec());
        line.extend_from_slice(&self.quoting.name(&raw));
    }
}

/// The parameters of "select graphic rendition" (ECMA-48) for a letter.
fn color(status: &str) -> Option<&'static str> {
    Some(match status {
        "N" | "R" => "32",
        "M" => "33",
        "D" | "?" => "31",
        "L" | "X" => "1;31",
        "W" | "w" => "36",
        "s" => "2",
        "p" => "35",
        "U" => "34",
        _ => return None,
    })
}
