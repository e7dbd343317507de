//! The hash that names a content.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Parse;
use crate::hex;

/// A SHA-1 (FIPS 180-4) of a file's bytes, or of a symlink's target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha1(pub [u8; 20]);

impl Sha1 {
    fn hex(self) -> [u8; 40] {
        let mut text = [0; 40];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            hex::write(byte.into(), pair);
        }
        text
    }

    fn from_hex(text: &str) -> Option<Self> {
        let digits: &[u8; 40] = text.as_bytes().try_into().ok()?;
        let mut sha1 = [0; 20];
        for (byte, [high, low]) in sha1.iter_mut().zip(digits.as_chunks().0) {
            *byte = hex::value(*high)? << 4 | hex::value(*low)?;
        }
        Some(Self(sha1))
    }
}

impl fmt::Display for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.hex()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Sha1 {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::from_hex(text).context("a sha1 is 40 hex digits")
    }
}

impl Serialize for Sha1 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(str::from_utf8(&self.hex()).map_err(S::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Sha1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse { what: "a sha1", parse: Self::from_hex })
    }
}
