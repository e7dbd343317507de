//! The letters of design section 5.

use crate::record::Change;
use crate::resolve::Decision;
use crate::wants::Intent;

pub(super) const IN_SYNC: &str = "C";
pub(super) const DISCARDED: &str = "D";
pub(super) const LOST: &str = "L";
pub(super) const SKIPPED: &str = "s";

/// The letter of something that is on disk. A suspect counts as modified until a hash proves otherwise.
pub(super) fn on_disk(change: Option<Change>, decision: &Decision<'_>) -> &'static str {
    match (change, decision) {
        (Some(Change::New), _) => "N",
        (Some(_), Decision::Update { .. } | Decision::Conflict { .. }) => "X",
        (Some(_), _) => "M",
        (None, _) => unchanged(decision),
    }
}

/// The letter of what is as the index says.
pub(super) fn unchanged(decision: &Decision<'_>) -> &'static str {
    match decision {
        Decision::Update { .. } | Decision::Touch { .. } => "U",
        Decision::Conflict { .. } => "X",
        Decision::Purge { .. } => "p",
        Decision::Unwanted { .. } => SKIPPED,
        Decision::Nothing | Decision::Skipped | Decision::Fetch { .. } => IN_SYNC,
    }
}

/// The letter of something that is to be fetched.
pub(super) fn wanted(intent: &Intent) -> &'static str {
    if intent.by_hand() { "W" } else { "w" }
}
