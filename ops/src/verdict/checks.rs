//! When what is kept was verified and drilled, as the destinations themselves say.

use std::time::Duration;

use tipline_backup::{Check, Destination, Record};
use tipline_log::error_chain;
use tipline_proto::Timestamp;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::fleet::CheckView;
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
    place: String,
    check: Check,
    /// The newest one, and the newest that found nothing wrong; or why that is not known.
    found: Result<(Option<Record>, Option<Record>), String>,
    /// How often it is expected.
    expected: Option<Duration>,
}

/// Reads the records now, and again each minute for as long as there is a receiver.
pub async fn follow_checks(expected: Vec<ExpectedCheck>) -> watch::Receiver<Vec<CheckState>> {
    let (newest, states) = watch::channel(read(&expected).await);
    if !expected.is_empty() {
        tokio::spawn(async move {
            while !newest.is_closed() {
                sleep(AGAIN).await;
                newest.send_replace(read(&expected).await);
            }
        });
    }
    states
}

async fn read(expected: &[ExpectedCheck]) -> Vec<CheckState> {
    // At once: each may have to be waited for.
    let reading: Vec<_> = expected.iter().cloned().map(|one| tokio::spawn(read_one(one))).collect();
    let mut states = Vec::new();
    for one in reading {
        states.extend(one.await);
    }
    states
}

async fn read_one(expected: ExpectedCheck) -> CheckState {
    let ExpectedCheck { destination, check, every } = expected;
    let found = match timeout(PATIENCE, Record::newest(&destination, check)).await {
        Ok(found) => found.map_err(|error| error_chain(&error)),
        Err(_) => Err(format!("it has not answered for {} s", PATIENCE.as_secs())),
    };
    CheckState { place: destination.place().to_owned(), check, found, expected: every }
}

/// What [`crate::Fleet`] shows of the checks, and what to remind of: pure.
pub fn review_checks(states: &[CheckState], now: Timestamp) -> (Vec<CheckView>, Vec<String>) {
    let views = states.iter().map(|state| state.view(now)).collect();
    let reminders = states.iter().filter_map(|state| state.reminder(now)).collect();
    (views, reminders)
}

impl CheckState {
    fn view(&self, now: Timestamp) -> CheckView {
        let (newest, well) = self.found.clone().unwrap_or_default();
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
        let (newest, well) = match &self.found {
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
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tipline_backup::{Check, Record};
    use tipline_proto::Timestamp;

    use super::{CheckState, review_checks};

    const HOUR: u64 = 3_600_000_000;

    fn record(hours_ago: u64, ok: bool) -> Option<Record> {
        let time_us = 1000 * HOUR - hours_ago * HOUR;
        let summary = if ok { "all is there" } else { "a segment is damaged" }.to_owned();
        Some(Record { time_us, ok, index: 7, summary })
    }

    fn told(found: Result<(Option<Record>, Option<Record>), String>, hours: u64) -> Vec<String> {
        let (place, expected) = ("dir:b".to_owned(), Some(Duration::from_secs(hours * 3600)));
        let looked = CheckState { place, check: Check::Verify, found, expected };
        let (views, reminders) = review_checks(&[looked], Timestamp::from_micros(1000 * HOUR));
        assert_eq!((views.len(), views[0].check), (1, "verify"));
        reminders
    }

    #[test]
    fn what_is_old_missing_or_not_well_is_reminded_of_and_nothing_else() {
        assert_eq!(told(Ok((record(3, true), record(3, true))), 4), Vec::<String>::new());
        let old = told(Ok((record(5, true), record(5, true))), 4);
        assert_eq!(old, ["dir:b was verified 5 h ago, expected within 4 h"]);
        let never = told(Ok((None, None)), 4);
        assert_eq!(never, ["dir:b was never verified: tipline verify --from dir:b"]);
        let bad = told(Ok((record(1, false), record(3, true))), 4);
        assert_eq!(bad, ["the last verify of dir:b, 60 min ago: a segment is damaged"]);
        let away = told(Err("it does not answer".into()), 4);
        assert_eq!(away, ["whether dir:b was verified is not known: it does not answer"]);
    }
}
