//! Looking again at what changed between two questions to the server.
//!
//! What a log holds is read with several questions, and the answers may not fit together. It
//! was trimmed in between, or the rest of a batch is not stored yet. How long that takes depends
//! on the server's disk, so the looks are bounded by time, not by their number.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::connect::Link;
use crate::backoff::Backoff;
use crate::error::LogError;

/// As long as a single question may take.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The looks at one thing.
pub(super) struct Reread {
    end: Instant,
    backoff: Backoff,
}

impl Reread {
    pub(super) fn begin() -> Self {
        Self { end: Instant::now() + PATIENCE, backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE) }
    }

    /// Waits until it is worth while to look once more.
    ///
    /// # Errors
    /// `Unavailable`, with `why`, once the answers have disagreed for too long.
    pub(super) async fn again(&mut self, link: &Link, why: &str) -> Result<(), LogError> {
        if Instant::now() >= self.end {
            return Err(link.unavailable(why, None));
        }
        sleep(self.backoff.failed()).await;
        Ok(())
    }
}
