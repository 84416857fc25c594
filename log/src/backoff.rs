//! Growing pauses between attempts.

use std::time::Duration;

/// Pauses that double from a first one up to a longest one. There is no jitter. Who waits here
/// waits alone, and a simulation must see the same pauses under the same seed.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Backoff {
    /// The first pause, and the longest.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, attempts: 0 }
    }

    /// Counts a failed attempt. Returns the pause before the next one.
    pub fn failed(&mut self) -> Duration {
        let pause = self.first.saturating_mul(1 << self.attempts.min(16)).min(self.longest);
        self.attempts = self.attempts.saturating_add(1);
        pause
    }

    /// An attempt succeeded. The next failure is the first again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How many attempts failed in a row.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether the last attempt failed.
    pub const fn is_pausing(&self) -> bool {
        self.attempts > 0
    }
}

impl Default for Backoff {
    /// 50 ms, 100 ms and so on up to 1 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(1))
    }
}
