//! The verdict with everything that is followed beside the log: pure.

use tipline_proto::Timestamp;

use super::assess::{assess, unreadable};
use super::checks::{CheckReview, review_checks};
use super::expectation::Expectation;
use super::fleet::Fleet;
use super::recovery::{Kept, recovery};
use super::seen::Seen;

/// A log that was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSeen {
    /// Its address, without a password.
    pub address: String,
    /// Why it was not read.
    pub why: String,
    /// What to do, if one command helps.
    pub advice: Option<String>,
}

/// Turns what was seen of the log, or why nothing was, and what is known of backups into a verdict.
pub fn judged(
    seen: Result<&Seen, NotSeen>,
    kept: Kept<'_>,
    now: Timestamp,
    expected: &Expectation,
) -> Fleet {
    let (checks, identities) = (kept.checks, kept.identities.clone());
    let (recovery, wrong) = recovery(seen.as_ref().ok().copied(), kept, now, expected);
    let mut fleet = match seen {
        Ok(seen) => assess(seen, now, expected),
        Err(NotSeen { address, why, advice }) => unreadable(address, why, advice),
    };
    let CheckReview { views, reminders, findings } = review_checks(checks, now);
    fleet.checks = views;
    fleet.recovery = Some(recovery);
    fleet.reminders = identities.reminders.into_iter().chain(reminders).collect();
    fleet.add(wrong.into_iter().chain(identities.findings).chain(findings).collect());
    fleet
}
