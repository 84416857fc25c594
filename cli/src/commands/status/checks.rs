//! When what is kept was verified and drilled, as the places themselves say.

use std::time::Duration;

use tipline_backup::{Check, Destination, Record};
use tipline_log::Clock;
use tipline_proto::Timestamp;
use tokio::sync::watch;

use super::PATIENCE;
use super::fleet::CheckView;
use crate::output::report::{Failure, chain};
use crate::output::text::age;

/// Places do not change often.
const AGAIN: Duration = Duration::from_secs(60);

/// Options of `tipline status`.
#[derive(Debug, clap::Args)]
pub(super) struct ChecksArgs {
    /// Where archives and checkpoints are: show when they were last verified and drilled. Several
    /// have commas between
    #[arg(long, env = "TIPLINE_CHECKS", value_name = "ADDRESS", value_delimiter = ',')]
    checks: Vec<String>,

    /// Remind of a place that was not verified within this time
    #[arg(long, env = "TIPLINE_EXPECT_VERIFY", value_name = "TIME", requires = "checks")]
    #[arg(value_parser = crate::settings::Parsed::<humantime::Duration>::new())]
    expect_verify: Option<humantime::Duration>,

    /// Remind of a place that was not drilled within this time
    #[arg(long, env = "TIPLINE_EXPECT_DRILL", value_name = "TIME", requires = "checks")]
    #[arg(value_parser = crate::settings::Parsed::<humantime::Duration>::new())]
    expect_drill: Option<humantime::Duration>,
}

/// What a place says of a check.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    place: String,
    check: Check,
    /// The newest one, and the newest that was well; or why that is not known.
    found: Result<(Option<Record>, Option<Record>), String>,
    /// How often it is expected.
    expected: Option<Duration>,
}

impl ChecksArgs {
    /// Looks now, and again each minute for as long as somebody has what it gives.
    ///
    /// # Errors
    /// An address is none.
    pub(super) async fn follow(&self) -> Result<watch::Receiver<Vec<Looked>>, Failure> {
        let mut places = Vec::new();
        for address in &self.checks {
            let destination = Destination::open(address)?;
            places.push((destination.clone(), Check::Verify, self.expect_verify.map(Into::into)));
            places.push((destination, Check::Drill, self.expect_drill.map(Into::into)));
        }
        let (newest, looked) = watch::channel(look(&places).await);
        if !places.is_empty() {
            tokio::spawn(async move {
                while !newest.is_closed() {
                    tokio::time::sleep(AGAIN).await;
                    newest.send_replace(look(&places).await);
                }
            });
        }
        Ok(looked)
    }
}

async fn look(places: &[(Destination, Check, Option<Duration>)]) -> Vec<Looked> {
    let one = |(destination, check, expected): (Destination, Check, Option<Duration>)| async move {
        let place = destination.place().to_owned();
        let found = Record::newest(&destination, check);
        let found = match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found.map_err(|error| chain(&error)),
            Err(_) => Err(format!("it has not answered for {} s", PATIENCE.as_secs())),
        };
        Looked { place, check, found, expected }
    };
    // At once: each may have to be waited for.
    let looking: Vec<_> = places.iter().cloned().map(|place| tokio::spawn(one(place))).collect();
    let mut looked = Vec::new();
    for one in looking {
        looked.extend(one.await);
    }
    looked
}

/// What is shown, and what to remind of.
pub(super) fn judge(looked: &[Looked], clock: &Clock) -> (Vec<CheckView>, Vec<String>) {
    let now = clock();
    let views = looked.iter().map(|looked| looked.view(now)).collect();
    let reminders = looked.iter().filter_map(|looked| looked.reminder(now)).collect();
    (views, reminders)
}

impl Looked {
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
    use std::sync::Arc;
    use std::time::Duration;

    use tipline_backup::{Check, Record};
    use tipline_log::Clock;
    use tipline_proto::Timestamp;

    use super::{Looked, judge};

    const HOUR: u64 = 3_600_000_000;

    fn record(hours_ago: u64, ok: bool) -> Option<Record> {
        let time_us = 1000 * HOUR - hours_ago * HOUR;
        let summary = if ok { "all is there" } else { "a segment is damaged" }.to_owned();
        Some(Record { time_us, ok, index: 7, summary })
    }

    fn told(found: Result<(Option<Record>, Option<Record>), String>, hours: u64) -> Vec<String> {
        let (place, expected) = ("dir:b".to_owned(), Some(Duration::from_secs(hours * 3600)));
        let looked = Looked { place, check: Check::Verify, found, expected };
        let clock: Clock = Arc::new(|| Timestamp::from_micros(1000 * HOUR));
        let (views, reminders) = judge(&[looked], &clock);
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
