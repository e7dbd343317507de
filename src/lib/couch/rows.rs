//! The rows of `_changes` and `_all_docs`, one by one as they come: an answer may be larger than memory,
//! and CouchDB sends a row a line where others send one line.
//!
//! Anybody may have put anything into a document. One that is no JSON to ltr (a number without end, hundreds of
//! brackets, half a surrogate) is read as one without fields, so that it spoils no other.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use anyhow::{Error, Result};
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::client::{Client, Kind};

/// Longest row in bytes: several times the largest document that CouchDB takes by default.
const ROW_MAX: u64 = 128 << 20;

/// A row.
#[derive(Debug, Default, Deserialize)]
pub struct Row {
    /// The key of the document; in `_all_docs` absent where there is none.
    #[serde(default, deserialize_with = "leniently")]
    pub id: Option<String>,
    /// What was asked for, in `_all_docs`.
    #[serde(default, deserialize_with = "leniently")]
    pub key: Option<String>,
    /// The leaves, in `_changes`; the winner first.
    #[serde(default)]
    pub changes: Vec<Leaf>,
    /// The winner, in `_all_docs`.
    #[serde(default)]
    pub value: Option<Leaf>,
    /// Whether the winner is a deletion, in `_changes`.
    #[serde(default)]
    pub deleted: bool,
    /// The winner itself.
    #[serde(default, deserialize_with = "leniently")]
    pub doc: Option<Map<String, Value>>,
}

/// A revision.
#[derive(Debug, Default, Deserialize)]
pub struct Leaf {
    /// Its name.
    pub rev: String,
    /// Whether it is a deletion.
    #[serde(default)]
    pub deleted: bool,
}

/// What is there, or the empty value where it is something else.
pub(super) fn leniently<'de, D: Deserializer<'de>, T: Default + DeserializeOwned>(source: D) -> Result<Option<T>, D::Error> {
    let text = Option::<Box<RawValue>>::deserialize(source)?;
    Ok(text.map(|text| serde_json::from_str(text.get()).unwrap_or_default()))
}

impl Row {
    /// The revision that wins.
    #[must_use]
    pub fn rev(&self) -> Option<&str> {
        self.value.as_ref().or(self.changes.first()).map(|leaf| leaf.rev.as_str())
    }

    /// Whether the document is there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        !self.deleted && self.id.is_some() && !self.value.as_ref().is_some_and(|v| v.deleted)
    }
}

/// What follows the rows.
#[derive(Debug, Default)]
pub struct Tail {
    /// How many rows there were.
    pub count: u64,
    /// Where to read on, opaque.
    pub last_seq: Option<Value>,
}

/// Reads the rows of the answer `body`.
///
/// # Errors
/// It ends early, it is no such answer, or `visit` failed.
pub fn read_rows(client: &Client, body: impl Read, visit: &mut dyn FnMut(Row) -> Result<()>) -> Result<Tail> {
    let left = Rc::new(Cell::new(ROW_MAX));
    // a buffer of its own between the gauge and the parser would hide what belongs to the next row
    let gauge = Gauge { inner: BufReader::with_capacity(1 << 16, body), left: Rc::clone(&left) };
    let mut reading = Reading { visit, failed: None, left, tail: Tail::default(), whole: false };
    let mut parser = serde_json::Deserializer::from_reader(gauge);
    let read = reading.deserialize_all(&mut parser);
    match (reading.failed, read) {
        (Some(error), _) => Err(error),
        (None, Err(error)) if error.is_io() || error.is_eof() => Err(client.cut(&error)),
        (None, Err(error)) => Err(client.trouble(Kind::Foreign, format!("not the answer of a CouchDB ({error})"))),
        (None, Ok(())) if !reading.whole => {
            Err(client.trouble(Kind::Foreign, "not the answer of a CouchDB (no rows)".to_owned()))
        }
        (None, Ok(())) => Ok(reading.tail),
    }
}

/// Ends the reading of a row that is too long.
struct Gauge<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Gauge<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.ok_or_else(|| io::Error::other("a row without end"))?);
        Ok(read)
    }
}

struct Reading<'a> {
    visit: &'a mut dyn FnMut(Row) -> Result<()>,
    failed: Option<Error>,
    left: Rc<Cell<u64>>,
    tail: Tail,
    whole: bool,
}

impl Reading<'_> {
    fn deserialize_all<R: Read>(
        &mut self,
        parser: &mut serde_json::Deserializer<serde_json::de::IoRead<R>>,
    ) -> serde_json::Result<()> {
        serde::Deserializer::deserialize_map(&mut *parser, Whole(self))?;
        parser.end()
    }
}

struct Whole<'r, 'a>(&'r mut Reading<'a>);

impl<'de> Visitor<'de> for Whole<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with rows")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "results" | "rows" => {
                    map.next_value_seed(Rows(self.0))?;
                    self.0.whole = true;
                }
                "last_seq" => self.0.tail.last_seq = Some(map.next_value()?),
                // a server that fails in the middle says so at the end
                "error" | "reason" => {
                    let said: Value = map.next_value()?;
                    self.0.failed.get_or_insert_with(|| anyhow::anyhow!("the server fails: {said}"));
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Rows<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Rows<'_, '_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element::<Row>()? {
            self.0.left.set(ROW_MAX);
            self.0.tail.count += 1;
            if let Err(error) = (self.0.visit)(row) {
                self.0.failed = Some(error);
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
