//! The fleet as it is shown. Serialised, it is the object of `tipline status --json`, so the names
//! must stay stable.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// A fleet, and the verdict on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// `well`, `degraded` or `broken`.
    pub verdict: Verdict,
    /// The verdict in one sentence.
    pub summary: String,
    /// What is wrong, one sentence each, the worst first; empty if all is well.
    pub reasons: Vec<String>,
    /// What to do, if one command helps.
    pub advice: Option<String>,
    /// The log.
    pub log: LogView,
    /// The newest block of the fleet; `null` before the first block.
    pub tip: Option<TipView>,
    /// The primary; `null` if none has ever announced itself.
    pub primary: Option<PrimaryView>,
    /// Every consumer, sorted by name.
    pub consumers: Vec<ConsumerView>,
    /// In which ways the log can lose what it acknowledges.
    pub shortfalls: Vec<ShortfallView>,
    /// When places were verified and drilled.
    pub checks: Vec<CheckView>,
    /// Open reminders, one sentence each. They change no verdict.
    pub reminders: Vec<String>,
}

impl Fleet {
    /// Whether nothing but time has passed.
    pub fn is_same_but_for_time(&self, other: &Fleet) -> bool {
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
pub enum Verdict {
    /// Everyone is heard of, and within the limits.
    Well,
    /// Something is wrong, and nothing is lost.
    Degraded,
    /// The log cannot be read, lost events, or someone holds another history.
    Broken,
}

/// The log; everything but its address is `null` if it cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LogView {
    /// Its address, without a password.
    pub address: String,
    /// Name of its chain.
    pub chain: Option<String>,
    /// Hash of its genesis block, hex.
    pub genesis: Option<String>,
    /// Its lineage, hex.
    pub lineage: Option<String>,
    /// Index of the oldest event it holds.
    pub first: Option<u64>,
    /// Index of the newest event; 0 before the first.
    pub last: Option<u64>,
    /// Digest at `last`, hex.
    pub digest: Option<String>,
    /// Epoch of the newest event.
    pub epoch: Option<u64>,
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TipView {
    /// Its height.
    pub height: u64,
    /// Its hash, hex.
    pub hash: String,
}

/// The primary, by its newest announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrimaryView {
    /// Its name.
    pub name: String,
    /// How it is: well, silent or failed.
    pub state: State,
    /// Its epoch.
    pub epoch: u64,
    /// Index of the newest event that it knows to be in the log.
    pub index: u64,
    /// Height of the newest block that it published.
    pub block: Option<u64>,
    /// Events in its outbox that are not in the log yet.
    pub outbox_events: u64,
    /// Payload bytes of all events that the outbox holds, logged ones that are kept included.
    pub outbox_bytes: u64,
    /// How long ago it announced itself.
    #[serde(rename = "age_ms", serialize_with = "milliseconds")]
    pub age: Duration,
    /// Why it stopped.
    pub failure: Option<String>,
}

/// A consumer, by its newest receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsumerView {
    /// Its name.
    pub name: String,
    /// `replica`, `backup`, `archive` or `audit`.
    pub role: &'static str,
    /// How it is.
    pub state: State,
    /// The highest level that anything has reached: `applied`, `durable`, `verified`, `offsite`.
    pub level: Option<&'static str>,
    /// Everything up to this event is at that level.
    pub index: u64,
    /// Height of its newest block.
    pub block: Option<u64>,
    /// Highest height at or below which every block has its proof.
    pub proof: Option<u64>,
    /// How many blocks it lags the fleet's newest; `null` while it has none and the fleet has.
    pub lag_blocks: Option<u64>,
    /// How many events it lags the fleet's newest.
    pub lag_events: u64,
    /// What it may expect of the log: `reserved`, `at risk`, `lost` or `apart`.
    pub reservation: &'static str,
    /// When a reserved one will be at risk if it stands still; `null` if that is not known.
    #[serde(rename = "at_risk_in_ms", serialize_with = "some_milliseconds")]
    pub at_risk_in: Option<Duration>,
    /// How long ago it sent its newest receipt.
    #[serde(rename = "age_ms", serialize_with = "milliseconds")]
    pub age: Duration,
    /// Why it stopped.
    pub failure: Option<String>,
    /// Kind and place of its store.
    pub store: String,
}

/// How one of the fleet is; the worst that is true of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Heard of, and within the limits.
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
pub struct ShortfallView {
    /// The setting, with the value found.
    pub found: String,
    /// What can be lost by it, and when.
    pub risk: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether it was accepted by `accept-shortfalls`.
    pub accepted: bool,
}

/// A check of a place, by the records that are kept there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckView {
    /// The destination that was checked.
    pub place: String,
    /// `verify` or `drill`.
    pub check: &'static str,
    /// Whether the newest one was well; `null` if there is none, or that is not known.
    pub ok: Option<bool>,
    /// How long ago it was.
    #[serde(rename = "age_ms", serialize_with = "some_milliseconds")]
    pub age: Option<Duration>,
    /// How long ago the newest one was that was well.
    #[serde(rename = "well_age_ms", serialize_with = "some_milliseconds")]
    pub well_age: Option<Duration>,
    /// The event up to which that one looked.
    pub index: Option<u64>,
    /// How often it is expected.
    #[serde(rename = "expected_ms", serialize_with = "some_milliseconds")]
    pub expected: Option<Duration>,
    /// What the newest one found.
    pub summary: Option<String>,
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
