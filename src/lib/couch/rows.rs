//! The rows of `_changes` and `_all_docs`, one by one as they come: an answer may be larger than memory,
//! and CouchDB sends a row a line where others send one line.
//!
//! Anybody may have put anything into a document. One that is no JSON to ltr (a number without end, hundreds of
//! brackets, half a surrogate) is handed on as the text that it is, so that it spoils no other.

use std::borrow::Cow;
use std::io::Read;

use anyhow::{Error, Result};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::{Client, Kind};
use super::text::{Fault, Text, parse};

/// A row, as long as it is in memory.
#[derive(Debug, Default, Deserialize)]
pub struct Row<'a> {
    /// The key of the document; in `_all_docs` absent where there is none.
    #[serde(default, borrow, deserialize_with = "leniently")]
    pub id: Option<Cow<'a, str>>,
    /// What was asked for, in `_all_docs`.
    #[serde(default, borrow, deserialize_with = "leniently")]
    pub key: Option<Cow<'a, str>>,
    /// The leaves, in `_changes`; the winner first.
    #[serde(default, borrow)]
    pub changes: Vec<Leaf<'a>>,
    /// The winner, in `_all_docs`.
    #[serde(default, borrow)]
    pub value: Option<Leaf<'a>>,
    /// Whether the winner is a deletion, in `_changes`.
    #[serde(default)]
    pub deleted: bool,
    /// The winner itself.
    #[serde(default, borrow)]
    pub doc: Option<&'a RawValue>,
}

/// A revision.
#[derive(Debug, Default, Deserialize)]
pub struct Leaf<'a> {
    /// Its name.
    #[serde(borrow)]
    pub rev: Cow<'a, str>,
    /// Whether it is a deletion.
    #[serde(default)]
    pub deleted: bool,
}

/// The text that is there, or an empty one where it is something else.
fn leniently<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    let text = Option::<&RawValue>::deserialize(source)?.map(RawValue::get);
    Ok(text.map(|text| match serde_json::from_str::<&str>(text) {
        Ok(plain) => Cow::Borrowed(plain),
        Err(_) => Cow::Owned(serde_json::from_str(text).unwrap_or_default()),
    }))
}

impl Row<'_> {
    /// The revision that wins.
    #[must_use]
    pub fn rev(&self) -> Option<&str> {
        self.value.as_ref().or(self.changes.first()).map(|leaf| leaf.rev.as_ref())
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

/// What is done with each row.
type Visit<'a> = &'a mut dyn FnMut(Row<'_>) -> Result<()>;

/// Reads the rows of the answer `body`.
///
/// # Errors
/// It ends early, it is no such answer, or `visit` failed.
pub fn read_rows(client: &Client, body: impl Read, visit: Visit<'_>) -> Result<Tail> {
    let mut reading = Reading { text: Text::new(body), visit, tail: Tail::default(), whole: false, said: None };
    let read = reading.all();
    match (read, reading.said) {
        (Err(Fault::Visit(error)), _) | (_, Some(error)) => Err(error),
        (Err(Fault::Cut(why)), _) => Err(client.cut(&why)),
        (Err(Fault::Other(why)), _) => Err(client.trouble(Kind::Foreign, format!("not the answer of a CouchDB ({why})"))),
        (Ok(()), _) if !reading.whole => Err(client.trouble(Kind::Foreign, "not the answer of a CouchDB (no rows)".to_owned())),
        (Ok(()), _) => Ok(reading.tail),
    }
}

struct Reading<'a, R> {
    text: Text<R>,
    visit: Visit<'a>,
    tail: Tail,
    whole: bool,
    /// What a server says that fails in the middle.
    said: Option<Error>,
}

impl<R: Read> Reading<'_, R> {
    fn all(&mut self) -> Result<(), Fault> {
        self.text.one_of(b"{")?;
        if self.text.peek()? == Some(b'}') {
            self.text.one_of(b"}")?;
        } else {
            loop {
                self.field()?;
                if self.text.one_of(b",}")? == b'}' {
                    break;
                }
            }
        }
        match self.text.peek()? {
            None => Ok(()),
            Some(_) => Err(Fault::Other("more after its end".to_owned())),
        }
    }

    fn field(&mut self) -> Result<(), Fault> {
        let key: String = self.text.value(parse)?;
        self.text.one_of(b":")?;
        match key.as_str() {
            "results" | "rows" => self.rows(),
            "last_seq" => {
                self.tail.last_seq = Some(self.text.value(parse)?);
                Ok(())
            }
            // a server that fails in the middle says so at the end
            "error" | "reason" => {
                let said: Value = self.text.value(parse)?;
                self.said.get_or_insert_with(|| anyhow::anyhow!("the server fails: {said}"));
                Ok(())
            }
            _ => self.text.value(parse::<IgnoredAny>).map(drop),
        }
    }

    fn rows(&mut self) -> Result<(), Fault> {
        self.whole = true;
        self.text.one_of(b"[")?;
        if self.text.peek()? == Some(b']') {
            return self.text.one_of(b"]").map(drop);
        }
        loop {
            self.row()?;
            if self.text.one_of(b",]")? == b']' {
                return Ok(());
            }
        }
    }

    fn row(&mut self) -> Result<(), Fault> {
        let visit = &mut self.visit;
        let looked = self.text.value(|text| {
            let mut rows = serde_json::Deserializer::from_slice(text).into_iter::<Row<'_>>();
            let row = rows.next().transpose()?.unwrap_or_default();
            Ok((visit(row), rows.byte_offset()))
        })?;
        self.tail.count += 1;
        looked.map_err(Fault::Visit)
    }
}
