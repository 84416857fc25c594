//! How often the parts of one file are tried again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tipline_log::error_chain;

use super::error::DestinationError;
use crate::throttle::Throttle;

/// How often anything of one file may fail.
const RETRIES: u32 = 30;
/// The longest pause before it is tried again.
const LONGEST: Duration = Duration::from_secs(30);

/// The retries of one file, however many pieces it has, and of reading it back, if that belongs to
/// it. An outage of 8 minutes is got over, with one piece on its way.
pub(crate) struct Budget<'a> {
    left: AtomicU32,
    throttle: &'a Throttle,
}

impl<'a> Budget<'a> {
    /// The pause before the first retry of a piece. Each further one is twice as long.
    pub(crate) const PAUSE: Duration = Duration::from_millis(500);

    /// A new file. `throttle` ends the pauses, too.
    pub(crate) fn new(throttle: &'a Throttle) -> Self {
        Self { left: AtomicU32::new(RETRIES), throttle }
    }

    /// What follows, slows and ends the work on the file.
    pub(crate) fn throttle(&self) -> &'a Throttle {
        self.throttle
    }

    /// Waits until it is time to try again.
    ///
    /// # Errors
    /// `error` itself, if that would be in vain, or there was enough of it.
    pub(crate) async fn again(
        &self,
        error: DestinationError,
        pause: &mut Duration,
    ) -> Result<(), DestinationError> {
        let DestinationError::Unavailable { .. } = error else { return Err(error) };
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if spent.is_err() {
            return Err(error);
        }
        let seconds = pause.as_secs_f64();
        tracing::warn!(error = error_chain(&error), seconds, "trying again after a pause");
        if !self.throttle.wait(*pause).await {
            return Err(error);
        }
        *pause = (*pause * 2).min(LONGEST);
        Ok(())
    }
}
