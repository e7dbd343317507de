//! Where time and chance come from: the one door to both, so that a simulated world is the same
//! whenever it is replayed, and its clocks may be wrong by hours.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

thread_local! {
    static SIMULATED: Cell<Option<Simulated>> = const { Cell::new(None) };
}

/// A time and a stream of ids that somebody made up.
#[derive(Clone, Copy, Debug)]
pub struct Simulated {
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// What the next ids are drawn from.
    pub seed: u64,
}

/// From here on this thread lives in a simulated world, or (`None`) in the real one again. For tests.
pub fn simulate(world: Option<Simulated>) {
    SIMULATED.set(world);
}

/// The time of the simulated world that this thread lives in.
#[must_use]
pub fn simulated() -> Option<Simulated> {
    SIMULATED.get()
}

/// The time that stamps are made from.
#[must_use]
pub fn now() -> SystemTime {
    SIMULATED.get().map_or_else(SystemTime::now, |world| UNIX_EPOCH + Duration::from_millis(world.now_ms))
}

/// Thirty-two random bits.
#[must_use]
pub fn bits() -> u32 {
    let Some(world) = SIMULATED.get() else { return uuid::Uuid::new_v4().as_fields().0 };
    let (seed, bits) = splitmix(world.seed);
    SIMULATED.set(Some(Simulated { seed, ..world }));
    u32::try_from(bits >> 32).unwrap_or_default()
}

/// The next state and number of a small generator (Steele, Lea and Flood, "Fast Splittable Pseudorandom
/// Number Generators", 2014).
#[must_use]
pub fn splitmix(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, z ^ (z >> 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_world_is_the_same_again() {
        let drawn = |seed| {
            simulate(Some(Simulated { now_ms: 1000, seed }));
            let ids: Vec<u32> = (0..4).map(|_| bits()).collect();
            let time = now();
            simulate(None);
            (ids, time)
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1).0, drawn(2).0);
        assert_eq!(drawn(1).1, UNIX_EPOCH + Duration::from_secs(1));
        assert!(now() > drawn(1).1 && bits() != bits());
    }
}
