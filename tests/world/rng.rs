//! Chance that a seed repeats, and what the environment asks for.

use litter::chance::splitmix;

/// A small generator of its own, so that a seed means the same history everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        let (state, bits) = splitmix(self.0);
        self.0 = state;
        bits
    }

    pub fn draw(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap()
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
