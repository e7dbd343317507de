//! Boxes and spaces: documents that merge field by field, and the policy that a box has.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::stamp::Stamp;

/// A box's intention where no mark speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Everything.
    #[default]
    Complete,
    /// Only what is marked.
    Ondemand,
    /// Every folder, and of the files only what is marked.
    Skeleton,
}

impl FromStr for Policy {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "complete" => Ok(Self::Complete),
            "ondemand" => Ok(Self::Ondemand),
            "skeleton" => Ok(Self::Skeleton),
            _ => bail!("no such policy: {text} (complete, ondemand or skeleton)"),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::Ondemand => "ondemand",
            Self::Skeleton => "skeleton",
        })
    }
}

/// A box or space document: fields that merge one by one, each with its own stamp.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Fields {
    /// All fields but `_id`, `type`, `stamp` and `stamps`.
    pub fields: Map<String, Value>,
    /// When each field was written.
    pub stamps: std::collections::BTreeMap<String, Stamp>,
}

impl Fields {
    /// Sets a field at `stamp`.
    pub fn set(&mut self, key: &str, value: Value, stamp: Stamp) {
        self.fields.insert(key.to_owned(), value);
        self.stamps.insert(key.to_owned(), stamp);
    }

    /// The greatest stamp of any field.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamps.values().copied().max().unwrap_or_default()
    }

    /// A text field.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key).and_then(Value::as_str)
    }

    /// A number field.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        self.fields.get(key).and_then(Value::as_u64)
    }

    /// The policy of a box; `complete` where none can be read.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.text("policy").and_then(|t| t.parse().ok()).unwrap_or_default()
    }

    /// Where a box can be reached.
    #[must_use]
    pub fn urls(&self) -> Vec<&str> {
        self.fields.get("urls").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Whether the box is gone for good: its copies no longer count.
    #[must_use]
    pub fn forgotten(&self) -> bool {
        self.fields.get("forgotten").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Merges field by field: of each, the greater stamp wins, of equal stamps the greater canonical
    /// bytes. Returns whether anything changed.
    pub fn merge(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (key, value) in &other.fields {
            let stamp = other.stamps.get(key).copied().unwrap_or_default();
            let mine = self.stamps.get(key).copied().unwrap_or_default();
            let greater = match self.fields.get(key) {
                None => true,
                Some(old) => (stamp, value.to_string()) > (mine, old.to_string()),
            };
            if greater {
                self.set(key, value.clone(), stamp);
                changed = true;
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_merge_one_by_one() {
        let stamp = |ms| Stamp { ms, counter: 0, index: 0 };
        let mut a = Fields::default();
        a.set("policy", "complete".into(), stamp(1));
        a.set("urls", Value::Array(vec!["/x".into()]), stamp(5));
        let mut b = Fields::default();
        b.set("policy", "ondemand".into(), stamp(2));
        b.set("urls", Value::Array(vec![]), stamp(3));
        let (mut ab, mut ba) = (a.clone(), b.clone());
        assert!(ab.merge(&b) && ba.merge(&a));
        assert_eq!(ab, ba);
        assert_eq!((ab.policy(), ab.urls()), (Policy::Ondemand, vec!["/x"]));
        assert!(!ab.merge(&a));
    }
}
