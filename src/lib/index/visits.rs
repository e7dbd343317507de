//! What the replica of an index on another machine remembers of its visits there.

use std::time::Duration;

use anyhow::Result;

use super::sqlite::{Sqlite, now_ms, set_meta};

const REACHED: &str = "reached_ms";
const AWAY: &str = "away_ms";

/// When what a replica is of was last reached, and when it last did not answer, in milliseconds since
/// 1970; 0 where it never was so, or has answered since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visits {
    /// It answered to the end.
    pub reached_ms: u64,
    /// It did not answer.
    pub away_ms: u64,
}

impl Visits {
    /// Whether it is not to be asked at `now_ms`, so soon after it did not answer.
    #[must_use]
    pub fn is_resting(&self, again: Duration, now_ms: u64) -> bool {
        let since = now_ms.saturating_sub(self.away_ms);
        self.away_ms > 0 && self.away_ms <= now_ms && u128::from(since) < again.as_millis()
    }
}

impl Sqlite {
    /// The last visits to the index on another machine that this one is the replica of.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn visits(&self) -> Result<Visits> {
        let [reached_ms, away_ms] = [REACHED, AWAY].map(|key| self.meta(key));
        Ok(Visits { reached_ms: reached_ms?.unwrap_or(0).unsigned_abs(), away_ms: away_ms?.unwrap_or(0).unsigned_abs() })
    }

    /// Remembers a visit to it.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn set_visit(&self, reached: bool) -> Result<()> {
        let now = i64::try_from(now_ms())?;
        set_meta(&self.connection, AWAY, if reached { 0 } else { now })?;
        if reached { set_meta(&self.connection, REACHED, now) } else { Ok(()) }
    }
}
