//! Records as text for people and spreadsheets. One pass, a line a record; what could not be read is
//! reported, and a stream that was cut short is an error after what came before it was shown.

mod columns;
mod field;
mod letters;
mod stat;
mod steps;
mod template;

use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::exit::Exit;
use crate::quote::Quoting;
use crate::report::Report;
use crate::stream::{ErrorRecord, Line, Reader, Writer};

use field::Look;

pub use columns::Columns;
pub use field::Field;
pub use template::Template;

/// What to make of the records.
#[derive(Clone, Debug)]
pub enum Mode {
    /// A line of this form for each record.
    Template(Template),
    /// Comma separated values (RFC 4180) with a header.
    Csv(Columns),
    /// Aligned columns with a header.
    Table(Columns),
    /// Status letters and paths.
    Letters {
        /// Also what is in sync, `C`.
        all: bool,
        /// Letters in colour.
        color: bool,
    },
    /// Everything about a path, a block of lines each.
    Stat,
    /// The steps of a plan as the commands that would do them.
    Steps {
        /// The box's root: an absolute folder.
        root: PathBuf,
    },
}

impl Mode {
    /// Whether a time zone matters: to find out which one it is takes a millisecond, and the time zone
    /// database.
    #[must_use]
    pub fn tells_time(&self) -> bool {
        match self {
            Mode::Template(template) => template.tells_time(),
            Mode::Csv(columns) | Mode::Table(columns) => columns.tells_time(),
            Mode::Letters { .. } | Mode::Stat | Mode::Steps { .. } => false,
        }
    }
}

/// How the text is to look.
#[derive(Clone, Debug)]
pub struct Style {
    /// What to make of the records.
    pub mode: Mode,
    /// Whether the text goes to a terminal: names are then quoted, and lines appear at once.
    pub terminal: bool,
    /// Whether a program beside this one may show its progress on the terminal, on the line where the next one goes.
    pub shared: bool,
    /// Lines end with NUL, and names are raw even on a terminal. Not for CSV and tables.
    pub nul: bool,
    /// The time zone of times.
    pub zone: TimeZone,
}

impl Style {
    fn quoting(&self) -> Quoting {
        Quoting::of_terminal(self.terminal && !self.nul)
    }
}

/// Passes the stream `input` on as it is, trailer and all: what a command shows with `--json`. The exit
/// status says what the error records say, which a last `cat` in a pipe would not.
///
/// # Errors
/// The stream is cut short or damaged (all that came before has been written), or `output` cannot be
/// written.
pub fn pass(input: impl BufRead, output: impl Write) -> Result<Exit> {
    let mut reader = Reader::new(input);
    let mut writer = Writer::new(output);
    let passed = pass_records(&mut reader, &mut writer);
    if let Err(error) = passed {
        writer.flush()?;
        return Err(error);
    }
    let extra = reader.end().map(|end| end.extra.clone()).unwrap_or_default();
    Ok(Exit::of_failures(writer.end(extra)?))
}

fn pass_records<R: BufRead, W: Write>(reader: &mut Reader<R>, writer: &mut Writer<W>) -> Result<()> {
    while let Some(line) = reader.next_line()? {
        match line {
            Line::Record { json, .. } => writer.put_raw(json)?,
            Line::Error(error) => writer.put_error(&error)?,
        }
    }
    Ok(())
}

/// Shows the stream `input` on `output`. Error records become failures of `report`.
///
/// # Errors
/// The stream is cut short or damaged (all that came before has been written), or `output` cannot be
/// written.
pub fn format(input: impl BufRead, mut output: impl Write, style: &Style, report: &mut dyn Report) -> Result<Exit> {
    let shown = {
        let mut printer = printer(&mut output, style)?;
        let shown = show_all(input, printer.as_mut(), report);
        printer.finish().and(shown)
    };
    output.flush()?;
    shown.map(Exit::of_failures)
}

fn show_all(input: impl BufRead, printer: &mut dyn Printer, report: &mut dyn Report) -> Result<u64> {
    let mut reader = Reader::new(input);
    let (mut failures, mut number) = (0, 0);
    while let Some(line) = reader.next_line()? {
        number += 1;
        match line {
            Line::Record { kind, json } => printer.record(&Record { kind: &kind, json, number })?,
            Line::Error(e) => {
                failures += 1;
                if !printer.error(&e)? {
                    report.failure(&e.path, &e.error);
                }
            }
        }
    }
    Ok(failures)
}

/// One line of the stream.
struct Record<'a> {
    kind: &'a str,
    json: &'a str,
    number: u64,
}

impl<'a> Record<'a> {
    /// # Errors
    /// Names the line: its fields are not what its type says.
    fn parse<T: Deserialize<'a>>(&self) -> Result<T> {
        serde_json::from_str(self.json).with_context(|| format!("line {} is no usable {} record", self.number, self.kind))
    }
}

/// One way of showing records.
trait Printer {
    fn record(&mut self, record: &Record<'_>) -> Result<()>;

    /// Shows an error record, and returns true, or leaves it to be reported.
    fn error(&mut self, _error: &ErrorRecord) -> Result<bool> {
        Ok(false)
    }

    /// Writes what was held back.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn printer<'a>(output: &'a mut dyn Write, style: &'a Style) -> Result<Box<dyn Printer + 'a>> {
    Ok(match &style.mode {
        Mode::Template(template) => {
            Box::new(template::Lines { template, look: look(style, style.quoting()), lines: lines(output, style) })
        }
        Mode::Csv(columns) => Box::new(columns::Csv::new(columns, look(style, style.quoting()), output)?),
        Mode::Table(columns) => {
            let quoting = if style.terminal { Quoting::Terminal } else { Quoting::Lines };
            Box::new(columns::Table::new(columns, look(style, quoting), output))
        }
        Mode::Letters { all, color } => {
            Box::new(letters::Letters { all: *all, color: *color, quoting: style.quoting(), lines: lines(output, style) })
        }
        Mode::Stat => Box::new(stat::Stat { quoting: style.quoting(), lines: lines(output, style) }),
        Mode::Steps { root } => {
            // a step can take minutes, and who reads along wants to know which
            let lines = Lines { live: true, ..lines(output, style) };
            Box::new(steps::Steps { root, quoting: style.quoting(), lines, sum: steps::Sum::default() })
        }
    })
}

fn look(style: &Style, quoting: Quoting) -> Look<'_> {
    Look { quoting, zone: &style.zone }
}

fn lines<'a>(output: &'a mut dyn Write, style: &Style) -> Lines<'a> {
    let shared = style.shared && !style.nul && matches!(style.mode, Mode::Letters { .. } | Mode::Steps { .. });
    Lines { output, begin: if shared { CLEARED } else { b"" }, end: if style.nul { 0 } else { b'\n' }, live: style.terminal }
}

/// Back to the beginning of the line, of which nothing stays (ECMA-48, EL).
const CLEARED: &[u8] = b"\r\x1b[K";

/// Output line by line.
struct Lines<'a> {
    output: &'a mut dyn Write,
    begin: &'static [u8],
    end: u8,
    /// Whether each line is to be seen at once.
    live: bool,
}

impl Lines<'_> {
    fn put(&mut self, line: &[u8]) -> Result<()> {
        self.output.write_all(self.begin)?;
        self.output.write_all(line)?;
        self.output.write_all(&[self.end])?;
        if self.live {
            self.output.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
