//! Stamps order all writes of documents: a hybrid logical clock (Kulkarni et al., "Logical Physical
//! Clocks", 2014), so that a clock that is wrong can delay nobody's edits for ever.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;
use crate::record::Parse;

/// Largest milliseconds since 1970 that a stamp may carry: 12 hex digits. What is read is what a clock
/// may write; that nobody gets there is the business of [`horizon`].
pub const MS_MAX: u64 = (1 << 48) - 1;

/// How far ahead of the time here the word of another index may be.
const AHEAD: Duration = Duration::from_hours(366 * 24);

/// No time is earlier than this, 2026: a machine whose clock fell back to 1970 can still learn.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

/// Largest milliseconds since 1970 in what another index says. Without this limit one stamp at the end
/// of time would be the last that its readers can issue.
#[must_use]
pub fn horizon(now: SystemTime) -> u64 {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().max(EARLIEST);
    u64::try_from((now + AHEAD).as_millis()).unwrap_or(MS_MAX)
}

/// One tick of the clock: when, which in that millisecond, and at which index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Milliseconds since 1970.
    pub ms: u64,
    /// Counts stamps within one millisecond.
    pub counter: u16,
    /// The index that issued the stamp.
    pub index: u32,
}

impl Stamp {
    /// The 12 bytes whose order is the order of stamps.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..6].copy_from_slice(&self.ms.to_be_bytes()[2..]);
        bytes[6..8].copy_from_slice(&self.counter.to_be_bytes());
        bytes[8..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// What [`Stamp::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        Self {
            ms: u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
            counter: u16::from_be_bytes([g, h]),
            index: u32::from_be_bytes([i, j, k, l]),
        }
    }

    fn text(self) -> [u8; 26] {
        let mut text = [b'-'; 26];
        hex::write(self.ms, &mut text[..12]);
        hex::write(self.counter.into(), &mut text[13..17]);
        hex::write(self.index.into(), &mut text[18..]);
        text
    }

    fn from_text(text: &[u8]) -> Option<Self> {
        let (ms, rest) = text.split_first_chunk::<12>()?;
        let (counter, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<4>()?;
        let index: &[u8; 8] = rest.strip_prefix(b"-")?.try_into().ok()?;
        let (counter, index) = (hex::read(counter)?.try_into().ok()?, hex::read(index)?.try_into().ok()?);
        Some(Self { ms: hex::read(ms)?, counter, index })
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

/// A string that is not a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAStamp;

impl fmt::Display for NotAStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a stamp")
    }
}

impl std::error::Error for NotAStamp {}

impl FromStr for Stamp {
    type Err = NotAStamp;
    fn from_str(text: &str) -> Result<Self, NotAStamp> {
        Self::from_text(text.as_bytes()).ok_or(NotAStamp)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(str::from_utf8(&self.text()).map_err(S::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse { what: "a stamp", parse: |text| Self::from_text(text.as_bytes()) })
    }
}

/// Reads the 8 hex digits of an index id or actor.
#[must_use]
pub fn parse_hex8(text: &str) -> Option<u32> {
    if text.len() == 8 { hex::read(text.as_bytes()).and_then(|n| u32::try_from(n).ok()) } else { None }
}

/// Eight random hex digits' worth, for index ids and actors.
#[must_use]
pub fn random_id() -> u32 {
    crate::chance::bits()
}

/// Issues stamps greater than any it has seen.
#[derive(Clone, Debug)]
pub struct Clock {
    last: Stamp,
    index: u32,
}

impl Clock {
    /// A clock of the index `index` that has seen `last`.
    #[must_use]
    pub fn new(index: u32, last: Stamp) -> Self {
        Self { last, index }
    }

    /// Learns of a stamp that somebody else issued.
    pub fn see(&mut self, stamp: Stamp) {
        self.last = self.last.max(stamp);
    }

    /// The greatest stamp seen or issued.
    #[must_use]
    pub fn last(&self) -> Stamp {
        self.last
    }

    /// The next stamp: the time `now`, or just after the greatest seen where that is later.
    pub fn tick(&mut self, now: SystemTime) -> Stamp {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
        let now = u64::try_from(now).unwrap_or(MS_MAX).min(MS_MAX);
        let (ms, counter) = if now > self.last.ms {
            (now, 0)
        } else {
            match self.last.counter.checked_add(1) {
                Some(counter) => (self.last.ms, counter),
                None if self.last.ms < MS_MAX => (self.last.ms + 1, 0),
                None => (MS_MAX, u16::MAX),
            }
        };
        self.last = Stamp { ms, counter, index: self.index };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_whatever_the_clock_does() {
        let mut clock = Clock::new(7, Stamp::default());
        let late = UNIX_EPOCH + Duration::from_secs(100);
        let first = clock.tick(late);
        let second = clock.tick(UNIX_EPOCH);
        assert!(second > first);
        clock.see(Stamp { ms: 1 << 40, counter: u16::MAX, index: 9 });
        let third = clock.tick(late);
        assert_eq!(third, Stamp { ms: (1 << 40) + 1, counter: 0, index: 7 });
    }

    #[test]
    fn text_and_bytes_keep_the_order() {
        let stamps = [
            Stamp { ms: 1, counter: 2, index: 3 },
            Stamp { ms: 1, counter: 3, index: 0 },
            Stamp { ms: 256, counter: 0, index: 0 },
        ];
        for pair in stamps.windows(2) {
            assert!(pair[0].to_string() < pair[1].to_string());
            assert!(pair[0].to_bytes() < pair[1].to_bytes());
            assert_eq!(pair[0].to_string().parse(), Ok(pair[0]));
            assert_eq!(Stamp::from_bytes(pair[0].to_bytes()), pair[0]);
        }
    }

    #[test]
    fn what_is_no_stamp_is_refused() {
        for text in ["", "1-2-3", "00000000000A-0000-00000000", "1000000000000-0000-00000000", "000000000001-0000-000000001"] {
            assert_eq!(text.parse::<Stamp>(), Err(NotAStamp), "{text:?}");
        }
    }
}
