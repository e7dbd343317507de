//! The same fields of every record, as comma separated values or as an aligned table.

use std::io::Write;
use std::str::FromStr;

use anyhow::{Error, Result};
use csv::{ErrorKind, Terminator, Writer, WriterBuilder};
use serde_json::Value;
use tabwriter::TabWriter;

use super::field::Look;
use super::{Field, Printer, Record};

/// Rows that are aligned with each other: enough for any screen, and memory stays bounded.
const BLOCK: usize = 4096;

/// Fields by name, separated by commas: `path,size:h,sha1:8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    fields: Vec<Field>,
}

impl FromStr for Columns {
    type Err = Error;

    /// # Errors
    /// One of them is no [`Field`].
    fn from_str(text: &str) -> Result<Self> {
        Ok(Self { fields: text.split(',').map(str::parse).collect::<Result<_>>()? })
    }
}

impl Columns {
    pub(super) fn tells_time(&self) -> bool {
        self.fields.iter().any(Field::tells_time)
    }

    fn header(&self) -> Vec<Vec<u8>> {
        self.fields.iter().map(|f| f.name().into_bytes()).collect()
    }

    fn row(&self, record: &Record<'_>, look: Look<'_>) -> Result<Vec<Vec<u8>>> {
        let value: Value = record.parse()?;
        Ok(self.fields.iter().map(|f| f.show(&value, look)).collect())
    }
}

/// Shows records as comma separated values.
pub(super) struct Csv<'a> {
    columns: &'a Columns,
    look: Look<'a>,
    writer: Writer<&'a mut dyn Write>,
}

impl<'a> Csv<'a> {
    /// Writes the header.
    pub(super) fn new(columns: &'a Columns, look: Look<'a>, output: &'a mut dyn Write) -> Result<Self> {
        let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(output);
        writer.write_record(columns.header()).map_err(cause)?;
        Ok(Self { columns, look, writer })
    }
}

impl Printer for Csv<'_> {
    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        self.writer.write_record(self.columns.row(record, self.look)?).map_err(cause)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(self.writer.flush()?)
    }
}

/// The error of the output itself: csv's own hides it, and a closed pipe must be known as one.
fn cause(error: csv::Error) -> Error {
    match error.into_kind() {
        ErrorKind::Io(e) => e.into(),
        other => Error::msg(format!("{other:?}")),
    }
}

/// Shows records as a table.
pub(super) struct Table<'a> {
    columns: &'a Columns,
    look: Look<'a>,
    output: &'a mut dyn Write,
    rows: Vec<Vec<Vec<u8>>>,
    /// How many of `rows` are headers: one in the first block, then none.
    headers: usize,
}

impl<'a> Table<'a> {
    pub(super) fn new(columns: &'a Columns, look: Look<'a>, output: &'a mut dyn Write) -> Self {
        Self { columns, look, output, rows: vec![columns.header()], headers: 1 }
    }

    fn write_block(&mut self) -> Result<()> {
        for column in 0..self.columns.fields.len() {
            align_numbers(&mut self.rows, self.headers, column);
        }
        self.headers = 0;
        let mut table = TabWriter::new(&mut *self.output).padding(2);
        for row in self.rows.drain(..) {
            table.write_all(&row.join(&b'\t'))?;
            table.write_all(b"\n")?;
        }
        Ok(table.flush()?)
    }
}

impl Printer for Table<'_> {
    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        self.rows.push(self.columns.row(record, self.look)?);
        if self.rows.len() >= BLOCK { self.write_block() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        self.write_block()
    }
}

/// Moves the numbers of a column, and its header, to the right.
fn align_numbers(rows: &mut [Vec<Vec<u8>>], headers: usize, column: usize) {
    let mut cells = rows.iter().skip(headers).map(|row| &row[column]).filter(|cell| !cell.is_empty()).peekable();
    if cells.peek().is_none() || !cells.all(|cell| is_number(cell)) {
        return;
    }
    let width = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    for row in rows {
        let cell = &mut row[column];
        cell.splice(..0, std::iter::repeat_n(b' ', width - cell.len()));
    }
}

/// A number, with or without a unit: `-3`, `1.2M`.
fn is_number(cell: &[u8]) -> bool {
    let digits = cell.strip_prefix(b"-").unwrap_or(cell);
    let digits = match digits {
        [digits @ .., unit] if b"KMGTPE".contains(unit) => digits,
        _ => digits,
    };
    !digits.is_empty() && digits.iter().all(|b| b.is_ascii_digit() || *b == b'.')
}
