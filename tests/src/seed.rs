//! Randomness that can be repeated.

use std::ops::RangeInclusive;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt, SeedableRng};

/// The environment variable that repeats a run.
const VARIABLE: &str = "TIPLINE_SEED";

/// A source of random numbers that is wholly determined by its seed.
#[derive(Debug)]
pub struct Rng {
    seed: u64,
    source: StdRng,
}

impl Rng {
    /// A new seed, or the one in `TIPLINE_SEED`. It is printed, and so it
    /// stands in the output of a test that fails.
    ///
    /// # Panics
    /// When `TIPLINE_SEED` is no number.
    pub fn from_env() -> Rng {
        let seed = match std::env::var(VARIABLE) {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|error| panic!("{VARIABLE}={text:?} is no seed: {error}")),
            Err(_) => rand::rng().next_u64(),
        };
        println!("to repeat: {VARIABLE}={seed}");
        Rng::new(seed)
    }

    /// The source of this seed.
    pub fn new(seed: u64) -> Rng {
        Rng { seed, source: StdRng::seed_from_u64(seed) }
    }

    /// The seed it was made of.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Another source that this one determines, for a task or thread of its own.
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.source.next_u64())
    }

    /// A number within `range`, each equally likely.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.source.random_range(range)
    }

    /// True once in `one_in` times. `one_in` is at least 1.
    pub fn once_in(&mut self, one_in: u32) -> bool {
        self.source.random_ratio(1, one_in)
    }

    /// One of `choices`, which has at least one.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.source.random_range(0..choices.len())]
    }

    /// So many random bytes. Not by the source itself: what it inlines is many times slower in a
    /// debug build.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.source.next_u64().to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_one_others() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            let mut other = rng.fork();
            (rng.within(0..=u64::MAX), rng.bytes(20), other.within(0..=u64::MAX))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let (own, _, forked) = draw(1);
        assert_ne!(own, forked);
    }
}
