//! What was seen, as a verdict and as text.

use std::path::PathBuf;

use tipline_log::Clock;
use tipline_ops::{
    CheckReview, CheckState, Expectation, Fleet, IdentityReview, Seen, assess, review_checks,
    unreadable,
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
    pub(super) metrics: Option<PathBuf>,
}

impl Judge {
    pub(super) fn fleet(&self, place: &LogLocation, seen: Result<Seen, Failure>) -> Fleet {
        let mut fleet = match seen {
            Ok(seen) => assess(&seen, (self.clock)(), &self.expected),
            Err(failure) => {
                let (why, advice) = place.explain(failure).into_parts();
                unreadable(place.address(), why, advice)
            }
        };
        let identities = self.identities.borrow().clone();
        let CheckReview { views, reminders, findings } =
            review_checks(&self.checks.borrow(), (self.clock)());
        fleet.checks = views;
        fleet.reminders = identities.reminders.into_iter().chain(reminders).collect();
        fleet.add(identities.findings.into_iter().chain(findings).collect());
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
