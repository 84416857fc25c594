//! The fleet as it is shown. Serialised, it is the object of `tipline status --json`: keep the
//! names stable.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Everything that `tipline status` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Fleet {
    /// `well`, `degraded` or `broken`.
    pub(crate) verdict: Verdict,
    /// The verdict in one sentence.
    pub(crate) summary: String,
    /// What is wrong, one sentence each, the worst first; empty if all is well.
    pub(crate) reasons: Vec<String>,
    /// What to do, where one thing is wrong that a command mends.
    pub(crate) advice: Option<String>,
    /// The log.
    pub(crate) log: LogView,
    /// The newest block of the fleet; `null` before the first.
    pub(crate) tip: Option<TipView>,
    /// The primary; `null` if none has ever announced itself.
    pub(crate) primary: Option<PrimaryView>,
    /// Every consumer, sorted by name.
    pub(crate) consumers: Vec<ConsumerView>,
    /// In which ways the log can lose what it acknowledges.
    pub(crate) shortfalls: Vec<ShortfallView>,
    /// When places were verified and drilled.
    pub(crate) checks: Vec<CheckView>,
    /// What to see to some day, one sentence each. It changes no verdict.
    pub(crate) reminders: Vec<String>,
}

impl Fleet {
    /// Whether nothing but time has passed.
    pub(crate) fn is_same_but_for_time(&self, other: &Fleet) -> bool {
        self.timeless() == other.timeless()
    }

    fn timeless(&self) -> Fleet {
        let mut fleet = self.clone();
        fleet.summary.clear();
        fleet.reasons.clear();
        for consumer in &mut fleet.consumers {
            (consumer.age, consumer.at_risk_in) = (Duration::ZERO, None);
        }
        for check in &mut fleet.checks {
            (check.age, check.well_age) = (None, None);
        }
        // They tell ages. That there is another one is a change.
        fleet.reminders.iter_mut().for_each(String::clear);
        fleet.primary.iter_mut().for_each(|primary| primary.age = Duration::ZERO);
        fleet
    }
}

/// How the fleet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Well,
    Degraded,
    Broken,
}

/// The log; everything but its address is `null` if it cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct LogView {
    pub(crate) address: String,
    pub(crate) chain: Option<String>,
    /// Hex.
    pub(crate) genesis: Option<String>,
    /// Hex.
    pub(crate) lineage: Option<String>,
    /// Index of the oldest event it holds.
    pub(crate) first: Option<u64>,
    /// Index of the newest event; 0 before the first.
    pub(crate) last: Option<u64>,
    /// Digest at `last`, hex.
    pub(crate) digest: Option<String>,
    /// Epoch of the newest event.
    pub(crate) epoch: Option<u64>,
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TipView {
    pub(crate) height: u64,
    /// Hex.
    pub(crate) hash: String,
}

/// The primary, by its newest announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PrimaryView {
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) epoch: u64,
    /// Index of the newest event that it knows to be in the log.
    pub(crate) index: u64,
    /// Height of the newest block that it published.
    pub(crate) block: Option<u64>,
    /// Events in its outbox that are not in the log yet.
    pub(crate) outbox_events: u64,
    /// Payload bytes of all events that the outbox holds, logged ones that are kept included.
    pub(crate) outbox_bytes: u64,
    /// How long ago it announced itself.
    #[serde(rename = "age_ms", serialize_with = "milliseconds")]
    pub(crate) age: Duration,
    /// Why it stopped.
    pub(crate) failure: Option<String>,
}

/// A consumer, by its newest receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ConsumerView {
    pub(crate) name: String,
    /// `replica`, `backup`, `archive` or `audit`.
    pub(crate) role: &'static str,
    pub(crate) state: State,
    /// The highest level that anything has reached: `applied`, `durable`, `verified`, `offsite`.
    pub(crate) level: Option<&'static str>,
    /// Everything up to this event is at that level.
    pub(crate) index: u64,
    /// Height of its newest block.
    pub(crate) block: Option<u64>,
    /// Highest height at or below which every block has its proof.
    pub(crate) proof: Option<u64>,
    /// Blocks behind the fleet's newest; `null` while it has none and the fleet has.
    pub(crate) lag_blocks: Option<u64>,
    /// Events behind the fleet's newest.
    pub(crate) lag_events: u64,
    /// What it may expect of the log: `reserved`, `at risk`, `lost` or `apart`.
    pub(crate) reservation: &'static str,
    /// When a reserved one will be at risk if it stands still; `null` if that is not known.
    #[serde(rename = "at_risk_in_ms", serialize_with = "some_milliseconds")]
    pub(crate) at_risk_in: Option<Duration>,
    /// How long ago it sent its newest receipt.
    #[serde(rename = "age_ms", serialize_with = "milliseconds")]
    pub(crate) age: Duration,
    /// Why it stopped.
    pub(crate) failure: Option<String>,
    /// Kind and place of its store.
    pub(crate) store: String,
}

/// How one of the fleet is; the worst that is true of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Well,
    /// Too many blocks behind the fleet's newest.
    Behind,
    /// Not heard of for too long.
    Silent,
    /// The log no longer holds the events that it needs next.
    Stranded,
    /// It said that it failed.
    Failed,
    /// It holds events that the log does not have: the log lost them.
    Ahead,
    /// It holds another history than the log.
    Diverged,
}

/// One way in which the log can lose what it acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ShortfallView {
    /// The setting, with the value found.
    pub(crate) found: String,
    /// What can be lost by it, and when.
    pub(crate) risk: String,
    /// What to do about it.
    pub(crate) remedy: String,
    /// Whether it was accepted by `accept-shortfalls`.
    pub(crate) accepted: bool,
}

/// A check of a place, by the records that are kept there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CheckView {
    pub(crate) place: String,
    /// `verify` or `drill`.
    pub(crate) check: &'static str,
    /// Whether the newest one was well; `null` if there is none, or that is not known.
    pub(crate) ok: Option<bool>,
    /// How long ago it was.
    #[serde(rename = "age_ms", serialize_with = "some_milliseconds")]
    pub(crate) age: Option<Duration>,
    /// How long ago the newest one was that was well.
    #[serde(rename = "well_age_ms", serialize_with = "some_milliseconds")]
    pub(crate) well_age: Option<Duration>,
    /// The event up to which that one looked.
    pub(crate) index: Option<u64>,
    /// How often it is expected.
    #[serde(rename = "expected_ms", serialize_with = "some_milliseconds")]
    pub(crate) expected: Option<Duration>,
    /// What the newest one found.
    pub(crate) summary: Option<String>,
}

fn milliseconds<S: Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(age.as_millis())
}

fn some_milliseconds<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_millis()).serialize(serializer)
}
