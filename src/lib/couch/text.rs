//! The text of a long answer, of which only what is looked at is in memory: JSON values are read where they
//! stand. Read byte by byte, as they came, they cost three times as much.

use std::io::{ErrorKind, Read};

use anyhow::Error;
use serde::de::DeserializeOwned;

/// Bytes that are asked for at once, at least.
const SOME: usize = 1 << 17;

/// Longest value in bytes: several times the largest document that CouchDB takes by default.
const VALUE_MAX: usize = 128 << 20;

/// Why no more is read.
#[derive(Debug)]
pub(super) enum Fault {
    /// It ends in the middle, or cannot be read on.
    Cut(String),
    /// It says something else than was asked.
    Other(String),
    /// Who looked at a value failed.
    Visit(Error),
}

/// A text that is read as it is needed.
pub(super) struct Text<R> {
    source: R,
    buffer: Vec<u8>,
    /// What comes next in the buffer, and where that ends.
    at: usize,
    end: usize,
    /// Nothing follows.
    ended: bool,
    /// Why that is so, where it is no end.
    broken: Option<String>,
}

impl<R: Read> Text<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), at: 0, end: 0, ended: false, broken: None }
    }

    /// The next byte that is not blank; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, Fault> {
        loop {
            let rest = &self.buffer[self.at..self.end];
            if let Some(blank) = rest.iter().position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t')) {
                self.at += blank;
                return Ok(Some(self.buffer[self.at]));
            }
            self.at = self.end;
            if self.ended {
                return self.broken.take().map_or(Ok(None), |why| Err(Fault::Cut(why)));
            }
            self.fill()?;
        }
    }

    /// Passes over the next byte that is not blank, which is one of these.
    pub(super) fn one_of(&mut self, wanted: &[u8]) -> Result<u8, Fault> {
        match self.peek()? {
            Some(byte) if wanted.contains(&byte) => {
                self.at += 1;
                Ok(byte)
            }
            Some(_) => Err(Fault::Other(format!("no {}", wanted.escape_ascii()))),
            None => Err(Fault::Cut(format!("no {}", wanted.escape_ascii()))),
        }
    }

    /// The next value as `read` finds it at the beginning of a text, with the bytes that it takes. Where the text
    /// ends in the middle of it, `read` is asked again when there is more.
    pub(super) fn value<V>(&mut self, mut read: impl FnMut(&[u8]) -> serde_json::Result<(V, usize)>) -> Result<V, Fault> {
        if self.peek()?.is_none() {
            return Err(Fault::Cut("no value".to_owned()));
        }
        loop {
            let rest = &self.buffer[self.at..self.end];
            match read(rest) {
                // a number at the end may go on
                Ok((value, length)) if self.ended || length < rest.len() || matches!(rest.last(), Some(b'"' | b']' | b'}')) => {
                    self.at += length;
                    return Ok(value);
                }
                Err(error) if self.ended => {
                    return Err(match self.broken.take() {
                        Some(why) => Fault::Cut(why),
                        None if error.is_eof() => Fault::Cut(error.to_string()),
                        None => Fault::Other(error.to_string()),
                    });
                }
                // half a number is taken for a wrong one
                Err(error) if !error.is_eof() && !matches!(rest.last(), Some(b'-' | b'+' | b'.' | b'e' | b'E')) => {
                    return Err(Fault::Other(error.to_string()));
                }
                _ => self.fill()?,
            }
        }
    }

    /// Reads on: as much again as is left, so that a long value is not tried many times.
    fn fill(&mut self) -> Result<(), Fault> {
        let left = self.end - self.at;
        if left > VALUE_MAX {
            return Err(Fault::Other("a value without end".to_owned()));
        }
        self.buffer.copy_within(self.at..self.end, 0);
        (self.at, self.end) = (0, left);
        let size = (2 * left + 1).max(SOME);
        if self.buffer.len() < size || self.buffer.len() > 16 * size {
            self.buffer.resize(size, 0);
            self.buffer.shrink_to_fit();
        }
        while self.end < 2 * left + 1 && !self.ended {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => (self.ended, self.broken) = (true, Some(error.to_string())),
            }
        }
        Ok(())
    }
}

/// The value of this type at the beginning of a text, and the bytes that it takes.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<(T, usize)> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<T>();
    match values.next() {
        Some(value) => Ok((value?, values.byte_offset())),
        None => Err(serde_json::Error::io(ErrorKind::UnexpectedEof.into())),
    }
}
