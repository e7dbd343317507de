//! Version vectors: which edit of a path this is, and whether one edit knew of another
//! (Parker et al., "Detection of Mutual Inconsistency in Distributed Systems", 1983).

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;
use crate::record::Parse;
use crate::stamp::parse_hex8;

/// Largest count: what every JSON reader holds exactly (RFC 8259, section 6).
pub const COUNT_MAX: u64 = (1 << 53) - 1;

/// How two versions relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same edits.
    Equal,
    /// The first lacks edits of the second.
    Older,
    /// The first has all edits of the second, and more.
    Newer,
    /// Each has edits that the other lacks.
    Concurrent,
}

/// A version vector: counts of edits by actor, sorted by actor, no zeros.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Version {
    counts: Vec<(u32, u64)>,
}

impl Version {
    /// The vector of one actor alone.
    #[must_use]
    pub fn of(actor: u32, count: u64) -> Self {
        Self { counts: vec![(actor, count)] }
    }

    /// Whether no edit is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The edits of `actor` that this version has.
    #[must_use]
    pub fn count(&self, actor: u32) -> u64 {
        self.counts.binary_search_by_key(&actor, |c| c.0).map_or(0, |at| self.counts[at].1)
    }

    /// How this version relates to `other`.
    #[must_use]
    pub fn relation(&self, other: &Self) -> Relation {
        if self == other {
            return Relation::Equal;
        }
        match (other.includes(self), self.includes(other)) {
            (true, _) => Relation::Older,
            (_, true) => Relation::Newer,
            _ => Relation::Concurrent,
        }
    }

    /// Whether this version has every edit of `other`.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        other.counts.iter().all(|&(actor, count)| self.count(actor) >= count)
    }

    /// The one edit that this version has beyond `other`; `None` when it has several, or none.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Option<(u32, u64)> {
        let mut more = self.counts.iter().filter(|c| c.1 > other.count(c.0));
        let first = more.next().copied();
        if more.next().is_some() { None } else { first }
    }

    /// Takes over all edits of `other`.
    pub fn join(&mut self, other: &Self) {
        for &(actor, count) in &other.counts {
            match self.counts.binary_search_by_key(&actor, |c| c.0) {
                Ok(at) => self.counts[at].1 = self.counts[at].1.max(count),
                Err(at) => self.counts.insert(at, (actor, count)),
            }
        }
    }

    /// The version of an edit by `actor` on top of this one. `least` is the number that the actor's
    /// box gives to the edits it records now: no number is used twice, even where this vector has
    /// forgotten the actor.
    #[must_use]
    pub fn successor(&self, actor: u32, least: u64) -> Self {
        let mut next = self.clone();
        next.join(&Self::of(actor, least.max(self.count(actor) + 1)));
        next
    }

    /// The greatest count of any actor.
    #[must_use]
    pub fn greatest(&self) -> u64 {
        self.counts.iter().map(|c| c.1).max().unwrap_or(0)
    }

    /// Refuses what a reader of JSON would: [`Version::from_bytes`] takes any bytes.
    ///
    /// # Errors
    /// A count is out of range, or the actors are not in order.
    pub fn check(&self) -> anyhow::Result<()> {
        let counts = self.counts.iter().all(|c| (1..=COUNT_MAX).contains(&c.1));
        anyhow::ensure!(counts && self.counts.is_sorted_by(|a, b| a.0 < b.0), "count of a version out of range");
        Ok(())
    }

    /// Compact bytes for the index: actor and count, big-endian, 12 bytes a pair.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.counts.len() * 12);
        for (actor, count) in &self.counts {
            bytes.extend_from_slice(&actor.to_be_bytes());
            bytes.extend_from_slice(&count.to_be_bytes());
        }
        bytes
    }

    /// What [`Version::to_bytes`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (pairs, rest) = bytes.as_chunks::<12>();
        if !rest.is_empty() {
            return None;
        }
        let counts = pairs
            .iter()
            .map(|&[a, b, c, d, e, f, g, h, i, j, k, l]| {
                (u32::from_be_bytes([a, b, c, d]), u64::from_be_bytes([e, f, g, h, i, j, k, l]))
            })
            .collect();
        Some(Self { counts })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (actor, count)) in self.counts.iter().enumerate() {
            write!(f, "{}{actor:08x}:{count}", if i > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.counts.len()))?;
        for (actor, count) in &self.counts {
            map.serialize_entry(&Actor(*actor), count)?;
        }
        map.end()
    }
}

/// An actor as the key of a map.
struct Actor(u32);

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = [0; 8];
        hex::write(self.0.into(), &mut digits);
        serializer.serialize_str(str::from_utf8(&digits).map_err(S::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| parse_hex8(text).map(Actor);
        deserializer.deserialize_str(Parse { what: "an actor of 8 hex digits", parse })
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counts;
        impl<'de> Visitor<'de> for Counts {
            type Value = Version;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version vector")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Version, A::Error> {
                let mut version = Version::default();
                while let Some((actor, count)) = map.next_entry::<Actor, u64>()? {
                    let actor = actor.0;
                    if count == 0 || count > COUNT_MAX || version.count(actor) != 0 {
                        return Err(A::Error::custom("count of a version out of range"));
                    }
                    version.join(&Version::of(actor, count));
                }
                Ok(version)
            }
        }
        deserializer.deserialize_map(Counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn versions() -> impl Strategy<Value = Version> {
        proptest::collection::btree_map(0u32..4, 1u64..4, 0..4).prop_map(|m| Version { counts: m.into_iter().collect() })
    }

    proptest! {
        #[test]
        fn joining_is_a_least_upper_bound(a in versions(), b in versions(), c in versions()) {
            let join = |x: &Version, y: &Version| { let mut j = x.clone(); j.join(y); j };
            prop_assert_eq!(join(&a, &b), join(&b, &a));
            prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
            prop_assert!(join(&a, &b).includes(&a));
            prop_assert_eq!(a.includes(&b) && b.includes(&a), a == b);
        }

        #[test]
        fn a_successor_is_newer(a in versions(), actor in 0u32..6, least in 0u64..6) {
            prop_assert_eq!(a.successor(actor, least).relation(&a), Relation::Newer);
        }

        #[test]
        fn bytes_and_json_keep_a_version(a in versions()) {
            prop_assert_eq!(Version::from_bytes(&a.to_bytes()), Some(a.clone()));
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<Version>(&json).unwrap(), a);
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for json in [
            r#"{"1":1}"#,
            r#"{"1f2e3d4c":0}"#,
            r#"{"1f2e3d4c":-1}"#,
            r#"{"1f2e3d4c":9007199254740992}"#,
            "[]",
            r#"{"1F2e3d4c":1}"#,
        ] {
            assert!(serde_json::from_str::<Version>(json).is_err(), "{json}");
        }
    }
}
