//! Short texts that stand for values, as serde's visitors.

use std::fmt;

use serde::de::{Unexpected, Visitor};

/// Reads a short text where it stands: an owned copy of each was a fifth of what reading a record took.
pub(crate) struct Parse<T> {
    /// What it should be, for messages.
    pub(crate) what: &'static str,
    /// What the text says; `None` for anything else.
    pub(crate) parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Parse<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}
