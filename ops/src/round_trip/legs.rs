//! What came of a mark: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tipline_log::Board;
use tipline_proto::{ConsumerName, Digest, Label, Level, Position, Receipt};

use crate::millis::{milliseconds, some_milliseconds};

/// What is sent on its way, and what it must come to.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Name of the mark. No other mark may have it.
    pub name: Label,
    /// What every consumer must say of it, at least.
    pub level: Level,
    /// Consumers that must answer even if they have never sent a receipt.
    pub expected: Vec<ConsumerName>,
    /// How long all of it may take, from when the primary is asked.
    pub within: Duration,
}

/// What came of it. Serialised, it is the object of `tipline check --json`, so the names must stay
/// stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoundTrip {
    /// Whether every leg ended in time, and somebody acknowledged.
    pub ok: bool,
    /// Name of the mark.
    pub mark: String,
    /// What was asked of every consumer.
    pub level: &'static str,
    /// How long all of it might take.
    #[serde(rename = "within_ms", serialize_with = "milliseconds")]
    pub within: Duration,
    /// Index of the mark in the log; `null` if it did not get there in time.
    pub index: Option<u64>,
    /// Digest there, hex.
    pub digest: Option<String>,
    /// Time from asking the primary until the mark was seen in the log; `null` as `index` is.
    #[serde(rename = "logged_ms", serialize_with = "some_milliseconds")]
    pub logged: Option<Duration>,
    /// Every consumer that has a receipt or is expected, sorted by name.
    pub consumers: Vec<Answer>,
    /// Why the log could not be asked in the end; `null` if it could.
    pub log_failure: Option<String>,
}

/// What a consumer said of the mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Its name.
    pub name: String,
    /// Its role; `null` if it has never sent a receipt.
    pub role: Option<&'static str>,
    /// What it said.
    pub state: AnswerState,
    /// Time from when the mark was seen in the log until the receipt was; `null` unless it
    /// acknowledged.
    #[serde(rename = "acknowledged_ms", serialize_with = "some_milliseconds")]
    pub acknowledged: Option<Duration>,
    /// Everything up to this event is at the level; `null` if nothing is.
    pub index: Option<u64>,
    /// Why it stopped, or what it waits for, if it said so.
    pub failure: Option<String>,
}

/// What a consumer said of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerState {
    /// It has the mark, at the level.
    Acknowledged,
    /// It reports only lower levels, has not failed, and is not expected to report this one: it is
    /// not waited for.
    Below,
    /// It has not acknowledged the mark.
    Waiting,
    /// It acknowledged another history than the log's.
    Diverged,
    /// It is expected, and has never sent a receipt.
    Missing,
}

impl AnswerState {
    /// Whether nothing more is to come, or need come.
    fn is_well(self) -> bool {
        matches!(self, Self::Acknowledged | Self::Below)
    }
}

/// Where the mark is in the log, and when it was seen there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logged {
    pub(super) position: Position,
    pub(super) after: Duration,
}

/// What is known while it is waited for.
#[derive(Debug)]
pub(super) struct Legs<'a> {
    pub(super) probe: &'a Probe,
    pub(super) logged: Option<Logged>,
    pub(super) board: Board,
    /// The log's own digests, at the indexes of receipts.
    pub(super) digests: BTreeMap<u64, Digest>,
    /// When each receipt that acknowledges was seen, from when the mark was.
    pub(super) seen: BTreeMap<ConsumerName, Duration>,
}

impl<'a> Legs<'a> {
    pub(super) fn new(probe: &'a Probe, board: Board) -> Self {
        let (digests, seen) = (BTreeMap::new(), BTreeMap::new());
        Self { probe, logged: None, board, digests, seen }
    }

    /// Indexes at which the log's digest is needed to tell whether a receipt acknowledges.
    pub(super) fn wanted(&self) -> Vec<u64> {
        let receipts = self.board.receipts.iter();
        let named = receipts.filter_map(|receipt| self.acknowledges(receipt));
        let mut wanted: Vec<u64> = named.map(|position| position.index).collect();
        wanted.retain(|index| !self.digests.contains_key(index));
        wanted
    }

    /// Takes note of who has acknowledged by now.
    pub(super) fn note(&mut self, since_logged: Duration) {
        let receipts = self.board.receipts.iter();
        let well = receipts.filter(|receipt| self.state(receipt) == AnswerState::Acknowledged);
        for name in well.map(|receipt| receipt.consumer.clone()).collect::<Vec<_>>() {
            self.seen.entry(name).or_insert(since_logged);
        }
    }

    /// Whether there is nothing more to wait for.
    pub(super) fn is_done(&self) -> bool {
        self.logged.is_some() && self.is_ok(&self.answers())
    }

    pub(super) fn finish(self, log_failure: Option<String>) -> RoundTrip {
        let consumers = self.answers();
        RoundTrip {
            ok: self.logged.is_some() && self.is_ok(&consumers),
            mark: self.probe.name.to_string(),
            level: self.probe.level.as_str(),
            within: self.probe.within,
            index: self.logged.map(|logged| logged.position.index),
            digest: self.logged.map(|logged| logged.position.digest.to_string()),
            logged: self.logged.map(|logged| logged.after),
            consumers,
            log_failure,
        }
    }

    /// Everybody, and somebody at all.
    fn is_ok(&self, answers: &[Answer]) -> bool {
        let is_there = |answer: &Answer| answer.state == AnswerState::Acknowledged;
        answers.iter().all(|answer| answer.state.is_well()) && answers.iter().any(is_there)
    }

    fn answers(&self) -> Vec<Answer> {
        let receipts = &self.board.receipts;
        let answer = |receipt: &Receipt| {
            let state = self.state(receipt);
            let seen = self.seen.get(&receipt.consumer).copied();
            Answer {
                name: receipt.consumer.to_string(),
                role: Some(receipt.role.as_str()),
                state,
                acknowledged: seen.filter(|_| state == AnswerState::Acknowledged),
                index: receipt.reached.at(self.probe.level).map(|position| position.index),
                failure: receipt.failure.clone(),
            }
        };
        let is_missing =
            |name: &&ConsumerName| receipts.iter().all(|receipt| receipt.consumer != **name);
        let missing = self.probe.expected.iter().filter(is_missing).map(|name| Answer {
            name: name.to_string(),
            role: None,
            state: AnswerState::Missing,
            acknowledged: None,
            index: None,
            failure: None,
        });
        let mut answers: Vec<Answer> = receipts.iter().map(answer).chain(missing).collect();
        answers.sort_by(|a, b| a.name.cmp(&b.name));
        answers.dedup_by(|a, b| a.name == b.name);
        answers
    }

    /// The position by which it has the mark, if its history is the log's.
    fn acknowledges(&self, receipt: &Receipt) -> Option<Position> {
        let mark = self.logged?.position.index;
        receipt.reached.at(self.probe.level).filter(|position| position.index >= mark)
    }

    fn state(&self, receipt: &Receipt) -> AnswerState {
        let reached = &receipt.reached;
        let is_below = reached.at(self.probe.level).is_none() && reached.highest().is_some();
        // One whose store may be lost takes back what it said of higher levels.
        let has_failed = receipt.failure.is_some();
        if is_below && !has_failed && !self.probe.expected.contains(&receipt.consumer) {
            return AnswerState::Below;
        }
        let Some(Position { index, digest }) = self.acknowledges(receipt) else {
            return AnswerState::Waiting;
        };
        match self.digests.get(&index) {
            Some(own) if *own == digest => AnswerState::Acknowledged,
            Some(_) => AnswerState::Diverged,
            None => AnswerState::Waiting,
        }
    }
}
