//! What was seen, as a verdict and as text.

use std::path::PathBuf;
use std::sync::Arc;

use tipline_log::{Clock, Log};
use tipline_ops::{
    CheckState, Expectation, Fleet, IdentityReview, Kept, PlaceState, RetentionSeen, Seen, judged,
};
use tokio::sync::watch::{Receiver, Sender};

use super::{metrics, table};
use crate::open::log::LogLocation;
use crate::output::report::Failure;

/// Turns what was seen, or why nothing was, into a verdict.
pub(super) struct Judge {
    pub(super) expected: Expectation,
    pub(super) clock: Clock,
    pub(super) identities: Receiver<IdentityReview>,
    pub(super) checks: Receiver<Vec<CheckState>>,
    pub(super) places: Receiver<Vec<PlaceState>>,
    pub(super) metrics: Option<PathBuf>,
    /// What the log may forget, for the metrics.
    pub(super) retention: Receiver<Option<RetentionSeen>>,
    /// The log once it is open, for what reads it beside.
    pub(super) log: Sender<Option<Arc<dyn Log>>>,
}

impl Judge {
    pub(super) fn fleet(&self, place: &LogLocation, seen: Result<Seen, Failure>) -> Fleet {
        let seen = seen.map_err(|failure| place.not_seen(failure));
        let identities = self.identities.borrow().clone();
        let (checks, places) = (self.checks.borrow(), self.places.borrow());
        let kept = Kept { checks: &checks, places: &places, identities: &identities };
        judged(seen.as_ref().map_err(Clone::clone), kept, (self.clock)(), &self.expected)
    }

    pub(super) fn keep_metrics(&self, fleet: &Fleet) -> Result<(), Failure> {
        match &self.metrics {
            Some(file) => {
                let retention = self.retention.borrow().clone();
                metrics::write(file, fleet, retention.as_ref(), (self.clock)())
            }
            None => Ok(()),
        }
    }
}

/// The fleet as text or JSON.
pub(super) fn show(text: &mut String, fleet: &Fleet, json: bool) -> Result<(), Failure> {
    if json {
        text.push_str(&serde_json::to_string(fleet)?);
        text.push('\n');
    } else {
        text.push_str(&table::render(fleet));
    }
    Ok(())
}
