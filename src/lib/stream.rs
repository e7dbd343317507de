//! Streams of JSON lines that cannot be cut short unnoticed: every one ends with a trailer.
//!
//! A [`Reader`] fails when the trailer is missing or counts something else than was read; whoever
//! draws conclusions from *absence* waits for its `Ok(None)`.

mod ahead;

use std::borrow::Cow;
use std::io::{BufRead, Read, Write};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::ahead::{ahead, widen};

/// Longest line that is accepted, in bytes. A path is at most 4 KiB (24 KiB when every byte is
/// escaped twice), so this leaves room for whatever a newer ltr adds.
pub const LINE_MAX: usize = 1 << 20;

/// The last line of every stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Lines before this one.
    pub count: u64,
    /// How many of them are error records.
    pub errors: u64,
    /// What the writer adds, such as a sync checkpoint.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What could not be read: nothing is concluded about it, or about what lies below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// The path in the space, or another name of the thing.
    pub path: String,
    /// The cause, as a person reads it.
    pub error: String,
}

/// The last line of a stream whose writer failed, and has told of it. A reader fails as where there is no
/// trailer, and need not tell once more.
pub const CUT: &str = "{\"type\":\"cut\"}\n";

/// The stream ended with [`CUT`].
#[derive(Debug)]
pub struct Cut {
    /// Lines before that one.
    pub after: u64,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stream cut short after line {}: its writer failed", self.after)
    }
}

impl std::error::Error for Cut {}

/// The `type` of a line, read before the rest.
#[derive(Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(rename = "type", borrow)]
    pub(crate) kind: Cow<'a, str>,
}

/// Reads a stream line by line.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
    errors: u64,
    end: Option<End>,
}

/// One line of a stream.
#[derive(Debug)]
pub enum Line<'a> {
    /// A record of the type `kind`; `json` is the line without its newline.
    Record {
        /// The record's `type`.
        kind: Cow<'a, str>,
        /// The record itself.
        json: &'a str,
    },
    /// An error record.
    Error(ErrorRecord),
}

impl<R: BufRead> Reader<R> {
    /// A reader of the stream `input`.
    pub fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0, errors: 0, end: None }
    }

    /// The next line; `None` after a trailer that counts what was read.
    ///
    /// # Errors
    /// The stream is cut short, damaged, or cannot be read: nothing may be concluded from it.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>> {
        if self.end.is_some() {
            return Ok(None);
        }
        self.line.clear();
        let limit = LINE_MAX as u64 + 1;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.line).context("cannot read the stream")?;
        if read == 0 {
            bail!("stream cut short after line {}: no trailer", self.number);
        }
        if self.line == CUT.as_bytes() {
            bail!(Cut { after: self.number });
        }
        self.number += 1;
        let number = self.number;
        if self.line.pop_if(|b| *b == b'\n').is_none() {
            if self.line.len() > LINE_MAX {
                bail!("line {number} is longer than {LINE_MAX} bytes");
            }
            bail!("stream cut short in line {number}");
        }
        let Ok(json) = str::from_utf8(&self.line) else { bail!("line {number} is not UTF-8") };
        let kind = match glance(json.as_bytes()) {
            Some(kind) => Cow::Borrowed(kind),
            None => serde_json::from_str::<Head<'_>>(json).with_context(|| format!("line {number} is not a record"))?.kind,
        };
        match kind.as_ref() {
            "end" => {
                let mut end: End = parse(json, number)?;
                end.extra.remove("type");
                let (count, errors) = (number - 1, self.errors);
                if (end.count, end.errors) != (count, errors) {
                    bail!("trailer counts {} lines and {} errors, but {count} and {errors} were read", end.count, end.errors);
                }
                self.end = Some(end);
                Ok(None)
            }
            "error" => {
                self.errors += 1;
                Ok(Some(Line::Error(parse(json, number)?)))
            }
            _ => Ok(Some(Line::Record { kind, json })),
        }
    }

    /// The number of the line that [`Reader::next_line`] returned last, for messages.
    pub fn line_number(&self) -> u64 {
        self.number
    }

    /// The trailer, once it was read.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }
}

/// The `type` of a line that ltr's own commands have written, where it comes first or after `_id`. To
/// parse every line for its type, and again for what it says, took a quarter of a commit. `None` where
/// only a parser can tell.
fn glance(line: &[u8]) -> Option<&str> {
    let first = line.strip_prefix(b"{\"")?;
    let after = match first.strip_prefix(b"_id\":\"") {
        Some(id) => id.get(end_of_text(id)? + 1..)?.strip_prefix(b",\"")?,
        None => first,
    };
    let kind = after.strip_prefix(b"type\":\"")?;
    let kind = &kind[..kind.iter().position(|b| !b.is_ascii_lowercase())?];
    let rest = &after[b"type\":\"".len() + kind.len()..];
    let whole = rest.starts_with(b"\",") && line.ends_with(b"}");
    str::from_utf8(kind).ok().filter(|kind| whole && !kind.is_empty())
}

/// Where the quote is that ends a JSON string.
fn end_of_text(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str, number: u64) -> Result<T> {
    serde_json::from_str(json).with_context(|| format!("line {number}"))
}

/// Writes a stream and counts what its trailer says.
#[derive(Debug)]
pub struct Writer<W: Write> {
    output: W,
    count: u64,
    errors: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// A writer to `output`, which should be buffered.
    pub fn new(output: W) -> Self {
        Self { output, count: 0, errors: 0, buffer: Vec::new() }
    }

    /// Writes one record.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn put<T: Serialize>(&mut self, record: &T) -> Result<()> {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, record)?;
        self.buffer.push(b'\n');
        self.output.write_all(&self.buffer)?;
        self.count += 1;
        Ok(())
    }

    /// Passes a record on as it came.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn put_raw(&mut self, json: impl AsRef<[u8]>) -> Result<()> {
        self.output.write_all(json.as_ref())?;
        self.output.write_all(b"\n")?;
        self.count += 1;
        Ok(())
    }

    /// Writes an error record.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn put_error(&mut self, record: &ErrorRecord) -> Result<()> {
        self.errors += 1;
        self.put(&Tagged { kind: "error", record })
    }

    /// Error records written so far.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Hands what was written on to the next process.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.output.flush()?)
    }

    /// Writes the trailer with `extra` fields and returns the number of error records.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn end(mut self, extra: Map<String, Value>) -> Result<u64> {
        let end = End { count: self.count, errors: self.errors, extra };
        self.put(&Tagged { kind: "end", record: &end })?;
        self.output.flush()?;
        Ok(self.errors)
    }
}

/// A record with its `type` in front.
#[derive(Serialize)]
pub struct Tagged<'a, T> {
    /// The record's `type`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// Its other fields.
    #[serde(flatten)]
    pub record: &'a T,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<u64> {
        let mut reader = Reader::new(text.as_bytes());
        let mut lines = 0;
        while reader.next_line()?.is_some() {
            lines += 1;
        }
        Ok(lines)
    }

    #[test]
    fn a_stream_that_its_writer_cut_is_no_whole_one() {
        let text = format!("{{\"type\":\"scan\"}}\n{CUT}");
        let mut reader = Reader::new(text.as_bytes());
        assert!(reader.next_line().unwrap().is_some());
        for _ in 0..2 {
            let error = reader.next_line().unwrap_err();
            assert!(error.to_string().contains("cut short after line 1"), "{error}");
        }
        let cut = Reader::new(CUT.as_bytes()).next_line().unwrap_err();
        assert!(cut.is::<Cut>());
    }

    #[test]
    fn a_whole_stream_is_read() {
        let mut output = Vec::new();
        let mut writer = Writer::new(&mut output);
        writer.put_raw(r#"{"type":"scan","path":"/a","new":[1]}"#).unwrap();
        writer.put_error(&ErrorRecord { path: "/b".into(), error: "Permission denied".into() }).unwrap();
        assert_eq!(writer.end(Map::new()).unwrap(), 1);
        let text = String::from_utf8(output).unwrap();
        assert!(text.ends_with("{\"type\":\"end\",\"count\":2,\"errors\":1}\n"), "{text}");
        assert_eq!(read(&text).unwrap(), 2);
        for cut in 0..text.len() {
            assert!(read(&text[..cut]).is_err(), "cut after {cut} bytes");
        }
    }

    #[test]
    fn a_glance_sees_what_a_parser_sees() {
        for (line, kind) in [
            (r#"{"type":"scan","path":"/a"}"#, Some("scan")),
            (r#"{"_id":"b:/a\"\\\\","type":"entry","box":"b"}"#, Some("entry")),
            (r#"{"_id":"b:/a\",\"type\":\"x\",","type":"entry","box":"b"}"#, Some("entry")),
            (r#"{ "type":"scan","path":"/a"}"#, None),
            (r#"{"path":"/a","type":"scan"}"#, None),
            (r#"{"type":"sc\u0061n","path":"/a"}"#, None),
            (r#"{"type":"scan","path":"/a""#, None),
            (r#"{"type":"","path":"/a"}"#, None),
            (r#"{"type":"scan"#, None),
            (r#"{"_id":"\"#, None),
            (r#"{"_id":""#, None),
        ] {
            assert_eq!(glance(line.as_bytes()), kind, "{line}");
            if let Some(kind) = kind {
                assert_eq!(serde_json::from_str::<Head<'_>>(line).unwrap().kind, kind);
            }
        }
    }

    #[test]
    fn damage_is_noticed() {
        for (text, message) in [
            ("", "no trailer"),
            ("\n", "line 1 is not a record"),
            ("{}\n", "line 1 is not a record"),
            ("[1]\n", "line 1 is not a record"),
            ("{\"type\":\"end\",\"count\":1,\"errors\":0}\n", "counts 1 lines"),
            ("{\"type\":\"a\"}\n{\"type\":\"end\",\"count\":0,\"errors\":0}\n", "counts 0 lines"),
            ("{\"type\":\"end\",\"count\":-1,\"errors\":0}\n", "line 1"),
            ("{\"type\":\"error\",\"path\":\"/a\",\"error\":\"x\"}\n{\"type\":\"end\",\"count\":1,\"errors\":0}\n", "0 errors"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(message), "{text:?}: {error}");
        }
        let bytes = b"{\"type\":\"a\",\"x\":\"\xff\"}\n{\"type\":\"end\",\"count\":1,\"errors\":0}\n";
        assert!(Reader::new(&bytes[..]).next_line().unwrap_err().to_string().contains("not UTF-8"));
        let long = format!("{{\"type\":\"{}\"}}\n", "a".repeat(10 << 20));
        assert!(read(&long).unwrap_err().to_string().contains("longer than"));
    }
}
