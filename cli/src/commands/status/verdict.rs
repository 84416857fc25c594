//! What was seen, as a verdict and as text.

use std::path::PathBuf;

use tipline_log::Clock;
use tipline_ops::{
    CheckReview, CheckState, Expectation, Fleet, IdentityReview, Kept, PlaceState, Seen, assess,
    recovery, review_checks, unreadable,
};
use tokio::sync::watch::Receiver;

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
}

impl Judge {
    pub(super) fn fleet(&self, place: &LogLocation, seen: Result<Seen, Failure>) -> Fleet {
        let identities = self.identities.borrow().clone();
        let (checks, places) = (self.checks.borrow(), self.places.borrow());
        let kept = Kept { checks: &checks, places: &places, identities: &identities };
        let now = (self.clock)();
        let (recovery, wrong) = recovery(seen.as_ref().ok(), kept, now, &self.expected);
        let mut fleet = match seen {
            Ok(seen) => assess(&seen, now, &self.expected),
            Err(failure) => {
                let (why, advice) = place.explain(failure).into_parts();
                unreadable(place.address(), why, advice)
            }
        };
        let CheckReview { views, reminders, findings } = review_checks(&checks, now);
        fleet.checks = views;
        fleet.recovery = Some(recovery);
        fleet.reminders = identities.reminders.into_iter().chain(reminders).collect();
        fleet.add(wrong.into_iter().chain(identities.findings).chain(findings).collect());
        fleet
    }

    pub(super) fn keep_metrics(&self, fleet: &Fleet) -> Result<(), Failure> {
        match &self.metrics {
            Some(file) => metrics::write(file, fleet, (self.clock)()),
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
