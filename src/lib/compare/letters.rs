//! The letters of design section 5.

use crate::record::Change;
use crate::resolve::Decision;
use crate::wants::Intent;

pub(crate) const IN_SYNC: &str = "C";
pub(crate) const DISCARDED: &str = "D";
pub(crate) const LOST: &str = "L";
pub(crate) const SKIPPED: &str = "s";

/// The letter of something that is on disk. A suspect counts as modified until a hash proves otherwise.
pub(crate) fn on_disk(change: Option<Change>, decision: &Decision<'_>) -> &'static str {
    match (change, decision) {
        (Some(Change::New), _) => "N",
        (Some(_), Decision::Update { .. } | Decision::Conflict { .. }) => "X",
        (Some(_), _) => "M",
        (None, _) => unchanged(decision),
    }
}

/// The letter of what is as the index says.
pub(crate) fn unchanged(decision: &Decision<'_>) -> &'static str {
    match decision {
        Decision::Update { .. } | Decision::Touch { .. } => "U",
        Decision::Conflict { .. } => "X",
        Decision::Purge { .. } => "p",
        Decision::Unwanted { .. } => SKIPPED,
        Decision::Nothing | Decision::Skipped | Decision::Fetch { .. } => IN_SYNC,
    }
}

/// The letter of something that is to be fetched.
pub(crate) fn wanted(intent: &Intent) -> &'static str {
    if intent.by_hand() { "W" } else { "w" }
}
