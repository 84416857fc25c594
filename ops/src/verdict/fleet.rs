//! The fleet as it is shown. Serialised, it is the object of `tipline status --json`, so the names
//! must stay stable.

use std::time::Duration;

use serde::Serialize;

use super::finding::{Finding, Verdict};
use super::recovery::RecoveryView;
use crate::millis::{milliseconds, some_milliseconds};

/// A fleet, and the verdict on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// `well`, `degraded` or `broken`.
    pub verdict: Verdict,
    /// The verdict in one sentence.
    pub summary: String,
    /// What is wrong, one sentence each, the worst first; empty if all is well.
    pub reasons: Vec<String>,
    /// The same, in the same order, for programs.
    pub findings: Vec<Finding>,
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
    /// How far the policy is reached; `null` if none is expected.
    pub policy: Option<PolicyView>,
    /// What is on the board and cannot be read.
    pub unreadable: Vec<UnreadableView>,
    /// In which ways the log can lose what it acknowledges.
    pub shortfalls: Vec<ShortfallView>,
    /// When places were verified and drilled.
    pub checks: Vec<CheckView>,
    /// Open reminders, one sentence each. They change no verdict.
    pub reminders: Vec<String>,
    /// Whether the fleet could be recovered; `null` if nobody looked.
    pub recovery: Option<RecoveryView>,
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
        fleet.findings.iter_mut().for_each(|finding| finding.text.clear());
        for consumer in &mut fleet.consumers {
            (consumer.age, consumer.at_risk_in) = (Duration::ZERO, None);
            (consumer.lag, consumer.applying, consumer.frozen) = (None, None, None);
            consumer.clock_ahead = None;
        }
        if let Some(policy) = &mut fleet.policy {
            policy.lag = None;
        }
        for check in &mut fleet.checks {
            (check.age, check.well_age) = (None, None);
        }
        // They tell ages. That there is another one is a change.
        fleet.reminders.iter_mut().for_each(String::clear);
        if let Some(recovery) = &mut fleet.recovery {
            (recovery.runway.left, recovery.runway.limit) = (None, None);
            recovery.runway.text.clear();
            recovery.conditions.iter_mut().for_each(|condition| condition.text.clear());
        }
        if let Some(primary) = &mut fleet.primary {
            (primary.age, primary.outbox_oldest) = (Duration::ZERO, None);
            primary.clock_ahead = None;
        }
        fleet
    }
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
    /// Height of the first block that needs a proof.
    pub proofs_from: Option<u64>,
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
    /// How it is.
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
    /// Payload bytes of the events that are not in the log yet.
    pub outbox_waiting_bytes: u64,
    /// For how long the oldest event waits that is not in the log yet, by the primary's clock;
    /// `null` if none waits, or if that is not known.
    #[serde(rename = "outbox_oldest_ms", serialize_with = "some_milliseconds")]
    pub outbox_oldest: Option<Duration>,
    /// How many events the outbox may hold; `null` if that is not known.
    pub outbox_max_events: Option<u64>,
    /// How many payload bytes the outbox may hold; `null` if that is not known.
    pub outbox_max_bytes: Option<u64>,
    /// Why the log does not take what waits; `null` while it does.
    pub held_up: Option<String>,
    /// What is wrong with the source of its events.
    pub source_failure: Option<String>,
    /// How long ago it announced itself.
    #[serde(rename = "age_ms", serialize_with = "milliseconds")]
    pub age: Duration,
    /// By how much its clock is ahead of the one that the verdict is made by; `null` if it is not.
    #[serde(rename = "clock_ahead_ms", serialize_with = "some_milliseconds")]
    pub clock_ahead: Option<Duration>,
    /// Why it stopped.
    pub failure: Option<String>,
}

/// A consumer, by its newest receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsumerView {
    /// Its name.
    pub name: String,
    /// `replica`, `backup`, `archive`, `audit`, or `unknown` for one of a newer version.
    pub role: &'static str,
    /// How it is.
    pub state: State,
    /// The highest level that anything has reached: `applied`, `durable`, `verified`, `offsite`.
    pub level: Option<&'static str>,
    /// Everything up to this event is at that level.
    pub index: u64,
    /// Digest there, as its receipt says: to hold a restore to, or to compare with another copy.
    /// `null` if nothing has reached any level.
    pub digest: Option<String>,
    /// Height of its newest block.
    pub block: Option<u64>,
    /// Highest height at or below which every block has its proof.
    pub proof: Option<u64>,
    /// The height that the log went back to after what this one has: its blocks above are of a
    /// branch that was rolled back. `null` if it has none of those.
    pub rolled_back_to: Option<u64>,
    /// How many blocks it lags the fleet's newest; `null` while it has none and the fleet has.
    pub lag_blocks: Option<u64>,
    /// How many events it lags the fleet's newest.
    pub lag_events: u64,
    /// How long ago the oldest event was committed that it does not have; `null` if it has all,
    /// or if that is not known.
    #[serde(rename = "lag_ms", serialize_with = "some_milliseconds")]
    pub lag: Option<Duration>,
    /// For how long its store has been applying the present batch; `null` if it applies none.
    #[serde(rename = "applying_ms", serialize_with = "some_milliseconds")]
    pub applying: Option<Duration>,
    /// For how long its store has been frozen for a snapshot; `null` unless it is.
    #[serde(rename = "frozen_ms", serialize_with = "some_milliseconds")]
    pub frozen: Option<Duration>,
    /// What it may expect of the log: `reserved`, `at risk`, `lost` or `diverged`.
    pub reservation: &'static str,
    /// When a reserved one will be at risk if it stands still; `null` if that is not known.
    #[serde(rename = "at_risk_in_ms", serialize_with = "some_milliseconds")]
    pub at_risk_in: Option<Duration>,
    /// How long ago it sent its newest receipt.
    #[serde(rename = "age_ms", serialize_with = "milliseconds")]
    pub age: Duration,
    /// By how much its clock is ahead of the one that the verdict is made by; `null` if it is not.
    #[serde(rename = "clock_ahead_ms", serialize_with = "some_milliseconds")]
    pub clock_ahead: Option<Duration>,
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
    /// Its store is frozen for a snapshot of its volume. It thaws by itself.
    Frozen,
    /// Too far behind: a consumer behind the fleet's newest, or the log behind the primary's outbox.
    Behind,
    /// It has blocks of a branch that was rolled back.
    Orphaned,
    /// Its store applies one batch for too long.
    Stalled,
    /// Not heard of for too long.
    Silent,
    /// The log no longer holds the events that it needs next.
    Stranded,
    /// It said that it failed, or that the source of its events did.
    Failed,
    /// It holds events that the log does not have: the log lost them.
    Ahead,
    /// It holds another history than the log.
    Diverged,
}

impl State {
    /// Every state, from well to the worst.
    pub const ALL: &[State] = &[
        State::Well,
        State::Frozen,
        State::Behind,
        State::Orphaned,
        State::Stalled,
        State::Silent,
        State::Stranded,
        State::Failed,
        State::Ahead,
        State::Diverged,
    ];
}

/// A policy, and how far it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyView {
    /// The policy.
    pub policy: String,
    /// Whether everything is backed up by it that is not too young.
    pub reached: bool,
    /// Everything up to this event is backed up by it; 0 if nothing is.
    pub index: u64,
    /// How many events of the log are not backed up by it.
    pub lag_events: u64,
    /// How long ago the oldest of those was committed; `null` if there is none, or if that is not
    /// known.
    #[serde(rename = "lag_ms", serialize_with = "some_milliseconds")]
    pub lag: Option<Duration>,
}

/// Something on the board that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableView {
    /// Where it is: a subject, or a row.
    pub place: String,
    /// Whose receipt it should be; `null` if that cannot be told.
    pub consumer: Option<String>,
    /// What is wrong with it.
    pub why: String,
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
