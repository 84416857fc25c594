//! When what is kept was verified and drilled, as the destinations themselves say.

use std::time::Duration;

use tipline_backup::{Check, Destination, Newest, Record};
use tipline_log::{Clock, error_chain};
use tipline_proto::Timestamp;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::finding::{Finding, Kind};
use super::fleet::CheckView;
use super::liveness::{CLOCK_TOLERANCE, ahead, later};
use crate::text::age;

/// Destinations do not change often.
const AGAIN: Duration = Duration::from_secs(60);

/// How long a destination may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A check that should be made again and again.
#[derive(Debug, Clone)]
pub struct ExpectedCheck {
    /// What is checked. The records are read there.
    pub destination: Destination,
    /// Which check.
    pub check: Check,
    /// How often it is expected; `None` if it is only to be shown.
    pub every: Option<Duration>,
}

/// What a destination says of a check.
#[derive(Debug, Clone)]
pub struct CheckState {
    pub(super) place: String,
    pub(super) check: Check,
    /// The newest records, or why they are not known.
    pub(super) found: Result<Newest, String>,
    /// How often it is expected.
    pub(super) expected: Option<Duration>,
}

/// Reads the records now, and again each minute for as long as there is a receiver.
pub async fn follow_checks(
    expected: Vec<ExpectedCheck>,
    clock: Clock,
) -> watch::Receiver<Vec<CheckState>> {
    let (newest, states) = watch::channel(read(&expected, &clock).await);
    if !expected.is_empty() {
        tokio::spawn(async move {
            while !newest.is_closed() {
                sleep(AGAIN).await;
                newest.send_replace(read(&expected, &clock).await);
            }
        });
    }
    states
}

async fn read(expected: &[ExpectedCheck], clock: &Clock) -> Vec<CheckState> {
    // At once: each may have to be waited for.
    let until = later(clock(), CLOCK_TOLERANCE);
    let one = |one: &ExpectedCheck| tokio::spawn(read_one(one.clone(), until));
    let reading: Vec<_> = expected.iter().map(one).collect();
    let mut states = Vec::new();
    for (expected, one) in expected.iter().zip(reading) {
        // One that is left out would be taken for one that nobody asked for.
        states.push(one.await.unwrap_or_else(|_| CheckState {
            place: expected.destination.place().to_owned(),
            check: expected.check,
            found: Err("internal error: reading its records panicked".to_owned()),
            expected: expected.every,
        }));
    }
    states
}

async fn read_one(expected: ExpectedCheck, until: Timestamp) -> CheckState {
    let ExpectedCheck { destination, check, every } = expected;
    let found = match timeout(PATIENCE, Record::newest(&destination, check, until)).await {
        Ok(found) => found.map_err(|error| error_chain(&error)),
        Err(_) => Err(format!("it has not answered for {} s", PATIENCE.as_secs())),
    };
    CheckState { place: destination.place().to_owned(), check, found, expected: every }
}

/// What the records of checks say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReview {
    /// What [`crate::Fleet`] shows of the checks.
    pub views: Vec<CheckView>,
    /// What to remind of, one sentence each.
    pub reminders: Vec<String>,
    /// What is wrong with the records.
    pub findings: Vec<Finding>,
}

/// What the records of checks say: pure.
pub fn review_checks(states: &[CheckState], now: Timestamp) -> CheckReview {
    CheckReview {
        views: states.iter().map(|state| state.view(now)).collect(),
        reminders: states.iter().filter_map(|state| state.reminder(now)).collect(),
        findings: states.iter().filter_map(|state| state.clock(now)).collect(),
    }
}

impl CheckState {
    /// The event up to which the newest one looked that was well.
    pub(super) fn checked_up_to(&self) -> Option<u64> {
        Some(self.found.as_ref().ok()?.succeeded.as_ref()?.index)
    }

    fn view(&self, now: Timestamp) -> CheckView {
        let Newest { newest, succeeded: well, .. } = self.found.clone().unwrap_or_default();
        let age = |record: &Option<Record>| Some(now.since(record.as_ref()?.time()));
        CheckView {
            place: self.place.clone(),
            check: self.check.as_str(),
            ok: newest.as_ref().map(|record| record.ok),
            age: age(&newest),
            well_age: age(&well),
            index: well.map(|record| record.index),
            expected: self.expected,
            summary: newest.map(|record| record.summary),
        }
    }

    fn reminder(&self, now: Timestamp) -> Option<String> {
        let (place, check) = (&self.place, self.check.as_str());
        let done = match self.check {
            Check::Verify => "verified",
            Check::Drill => "drilled",
        };
        let Newest { newest, succeeded: well, .. } = match &self.found {
            Ok(found) => found,
            Err(why) => return Some(format!("whether {place} was {done} is not known: {why}")),
        };
        if let Some(bad) = newest.as_ref().filter(|newest| !newest.ok) {
            let ago = age(now.since(bad.time()));
            return Some(format!("the last {check} of {place}, {ago} ago: {}", bad.summary));
        }
        let expected = self.expected?;
        let Some(well) = well else {
            return Some(format!("{place} was never {done}: tipline {check} --from {place}"));
        };
        let (ago, expected_text) = (now.since(well.time()), age(expected));
        (ago > expected).then(|| {
            let ago = age(ago);
            format!("{place} was {done} {ago} ago, expected within {expected_text}")
        })
    }

    /// A record of a time to come hides nothing, and whoever wrote it is to be put right.
    fn clock(&self, now: Timestamp) -> Option<Finding> {
        let record = self.found.as_ref().ok()?.ahead.as_ref()?;
        let (place, check) = (&self.place, self.check.as_str());
        let by = age(ahead(record.time(), now)?);
        let text = format!("a {check} of {place} was recorded by a clock that is ahead by {by}");
        Some(Finding::degraded(Kind::CheckClock, place, text))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tipline_backup::{Check, Newest, Record};
    use tipline_proto::Timestamp;

    use super::{CheckReview, CheckState, review_checks};

    const HOUR: u64 = 3_600_000_000;

    fn record(hours_ago: u64, ok: bool) -> Option<Record> {
        let time_us = 1000 * HOUR - hours_ago * HOUR;
        let summary = if ok { "all is there" } else { "a segment is damaged" }.to_owned();
        Some(Record { time_us, ok, index: 7, summary, checkpoint: None, restored_ms: None })
    }

    fn reviewed(found: Result<Newest, String>, hours: u64) -> CheckReview {
        let (place, expected) = ("dir:b".to_owned(), Some(Duration::from_secs(hours * 3600)));
        let looked = CheckState { place, check: Check::Verify, found, expected };
        let review = review_checks(&[looked], Timestamp::from_micros(1000 * HOUR));
        assert_eq!((review.views.len(), review.views[0].check), (1, "verify"));
        review
    }

    fn found(newest: Option<Record>, succeeded: Option<Record>) -> Result<Newest, String> {
        Ok(Newest { newest, succeeded, ahead: None })
    }

    #[test]
    fn what_is_old_missing_or_not_well_is_reminded_of_and_nothing_else() {
        let told = |found, hours| reviewed(found, hours).reminders;
        assert_eq!(told(found(record(3, true), record(3, true)), 4), Vec::<String>::new());
        let old = told(found(record(5, true), record(5, true)), 4);
        assert_eq!(old, ["dir:b was verified 5 h ago, expected within 4 h"]);
        let never = told(found(None, None), 4);
        assert_eq!(never, ["dir:b was never verified: tipline verify --from dir:b"]);
        let bad = told(found(record(1, false), record(3, true)), 4);
        assert_eq!(bad, ["the last verify of dir:b, 60 min ago: a segment is damaged"]);
        let away = told(Err("it does not answer".into()), 4);
        assert_eq!(away, ["whether dir:b was verified is not known: it does not answer"]);
    }

    #[test]
    fn a_record_of_a_time_to_come_is_a_finding_and_hides_nothing() {
        let mut ahead = record(0, true).unwrap();
        ahead.time_us += 8 * HOUR;
        let newest = Newest { newest: record(1, false), succeeded: None, ahead: Some(ahead) };
        let CheckReview { views, reminders, findings } = reviewed(Ok(newest), 4);
        assert_eq!(views[0].ok, Some(false));
        assert_eq!(reminders, ["the last verify of dir:b, 60 min ago: a segment is damaged"]);
        let texts: Vec<_> = findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(texts, ["a verify of dir:b was recorded by a clock that is ahead by 8 h"]);
    }
}
