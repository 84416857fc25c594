//! What a server decides how often it is said.

use std::time::Duration;

use tokio::time::Instant;

/// So often the same is said within a stretch of time, and no more.
const SAID: u32 = 16;
const STRETCH: Duration = Duration::from_secs(600);
/// Most characters of what a server says that are repeated.
const LONGEST: usize = 256;

/// Messages of one kind, for the log of the process.
#[derive(Debug, Default)]
pub(super) struct Bounded {
    began: Option<Instant>,
    said: u32,
    left_out: u64,
}

impl Bounded {
    /// Whether it is to be said; if so, how many like it were not said since the last one.
    pub(super) fn left_out(&mut self) -> Option<u64> {
        if self.began.is_none_or(|began| began.elapsed() >= STRETCH) {
            (self.began, self.said) = (Some(Instant::now()), 0);
        }
        if self.said == SAID {
            self.left_out += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// The beginning of a text from a server.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}
