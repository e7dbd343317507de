//! Permission bits.

use std::fmt;

use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Parse;

/// Permission bits, `"0644"` in records. Those that lend the rights of a file's owner or group to who runs
/// it (setuid, setgid) are never among them: the owner does not travel, so they would lend somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mode(pub u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Mode {
    /// What a file system says, without the bits that no mode has.
    #[must_use]
    pub fn new(bits: u32) -> Self {
        Self(bits & 0o1777)
    }

    fn from_digits(text: &str) -> Option<Self> {
        let digits = text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
        u32::from_str_radix(text, 8).ok().filter(|m| digits && *m <= 0o7777).map(Self::new)
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 > 0o7777 {
            return serializer.collect_str(self);
        }
        let digits = [9, 6, 3, 0].map(|shift| b"01234567"[(self.0 >> shift & 7) as usize]);
        serializer.serialize_str(str::from_utf8(&digits).map_err(S::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse { what: "four octal digits", parse: Self::from_digits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mode_lends_rights() {
        for (text, mode) in [("\"4755\"", 0o755), ("\"2770\"", 0o770), ("\"1777\"", 0o1777), ("\"7000\"", 0o1000)] {
            assert_eq!(serde_json::from_str::<Mode>(text).unwrap(), Mode(mode));
        }
    }
}
