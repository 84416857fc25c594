//! The last hours, in bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use tipline_proto::Level;

use super::picture::Picture;
use crate::verdict::{Seen, Verdict};

/// For so long there is a point for each [`History::EVERY`].
pub const HISTORY_FINE: Duration = Duration::from_secs(3600);
/// For so long there are points at all: older ones than [`HISTORY_FINE`] are a minute apart.
pub const HISTORY_SPAN: Duration = Duration::from_secs(12 * 3600);
/// Of so many consumers it is remembered how they were, by name. It bounds the memory: 1,400
/// points of 64 consumers are about 5 MB.
pub const MAX_CONSUMERS: usize = 64;
/// Older points are this far apart.
const COARSE_MS: u64 = 60_000;
/// Of the points that are not a minute apart there are at most so many.
const MAX_FINE: usize = 2_000;

/// How a fleet was at one moment, or, of older ones, at the worst within a minute. What is not known
/// is `None`, which is not 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Point {
    /// Counts the points, from 1.
    #[serde(skip)]
    pub(super) number: u64,
    /// When, in milliseconds since 1970.
    pub t: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// Index of the log's newest event.
    pub last: Option<u64>,
    /// Events per second that came into the log since the point before.
    pub rate: Option<f64>,
    /// For how long the oldest event has waited that would be lost with primary and log.
    pub rpo_ms: Option<u64>,
    /// How many events would be.
    pub lost: Option<u64>,
    /// Every consumer that there was.
    pub consumers: BTreeMap<String, ConsumerPoint>,
}

/// How a consumer was at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ConsumerPoint {
    /// How long ago the oldest event was committed that it did not have; 0 if it had all.
    pub lag_ms: Option<u64>,
    /// Time from an event's commit to its receipt, at most since the point before: of the newest event
    /// of each batch.
    pub latency_ms: Option<u64>,
}

/// The last hours of a fleet.
#[derive(Debug, Default)]
pub struct History {
    /// The last hour.
    fine: VecDeque<Point>,
    /// What was before it.
    coarse: VecDeque<Point>,
    /// How many points were ever added.
    added: u64,
    /// How far each consumer was when its receipt was last seen.
    reached: BTreeMap<String, u64>,
    /// The worst since the newest point.
    latency: BTreeMap<String, u64>,
}

impl History {
    /// A point for each such time, and for each change of the verdict.
    pub const EVERY: Duration = Duration::from_secs(5);

    /// Takes the time that events took to be received, of every look at the log.
    pub fn observe(&mut self, seen: &Seen) {
        let mut reached = BTreeMap::new();
        for receipt in seen.board.receipts.iter().take(MAX_CONSUMERS) {
            let Some(position) = receipt.reached.at(Level::Applied) else { continue };
            let name = receipt.consumer.to_string();
            // What was there before we looked says nothing about how long it took.
            let has_moved = self.reached.get(&name).is_some_and(|before| *before < position.index);
            if let (true, Some(committed)) = (has_moved, seen.times.get(&position.index)) {
                let took = millis(receipt.time.since(*committed));
                let worst = self.latency.entry(name.clone()).or_default();
                *worst = took.max(*worst);
            }
            reached.insert(name, position.index);
        }
        self.reached = reached;
    }

    /// Adds how the fleet is, and drops what is too old.
    pub fn add(&mut self, picture: &Picture) {
        let now = picture.at_ms;
        // A clock that was put back: what it dated before would stay for ever.
        self.fine.retain(|point| point.t <= now);
        self.coarse.retain(|point| point.t <= now);
        self.added += 1;
        let point = self.point(picture);
        self.latency.clear();
        self.fine.push_back(point);
        self.thin(now);
    }

    /// How many points were ever added.
    pub(super) fn added(&self) -> u64 {
        self.added
    }

    /// The points that were added after so many, the oldest first.
    pub(super) fn after(&self, added: u64) -> impl Iterator<Item = &Point> {
        self.coarse.iter().chain(&self.fine).filter(move |point| point.number > added)
    }

    fn point(&self, picture: &Picture) -> Point {
        let fleet = &picture.fleet;
        let last = fleet.log.last;
        let loss = picture.exposure.as_ref().map(|exposure| &exposure.with_log);
        let consumers = fleet.consumers.iter().take(MAX_CONSUMERS).map(|consumer| {
            let lag_ms = match consumer.lag_events {
                0 => Some(0),
                _ => consumer.lag.map(millis),
            };
            let latency_ms = self.latency.get(&consumer.name).copied();
            (consumer.name.clone(), ConsumerPoint { lag_ms, latency_ms })
        });
        Point {
            number: self.added,
            t: picture.at_ms,
            verdict: fleet.verdict,
            last,
            rate: self.rate(picture.at_ms, last),
            rpo_ms: loss.and_then(|loss| match loss.events {
                0 => Some(0),
                _ => loss.oldest.map(millis),
            }),
            lost: loss.map(|loss| loss.events),
            consumers: consumers.collect(),
        }
    }

    fn rate(&self, now: u64, last: Option<u64>) -> Option<f64> {
        let before = self.fine.back()?;
        let passed = now.checked_sub(before.t).filter(|passed| *passed > 0)?;
        let came = last?.checked_sub(before.last?)?;
        Some(came as f64 * 1000.0 / passed as f64)
    }

    /// Older points become one for each minute, then none.
    fn thin(&mut self, now: u64) {
        let (fine, oldest) =
            (now.saturating_sub(millis(HISTORY_FINE)), now.saturating_sub(millis(HISTORY_SPAN)));
        while let Some(point) = self
            .fine
            .front()
            .is_some_and(|point| point.t < fine)
            .then(|| self.fine.pop_front())
            .flatten()
        {
            match self.coarse.back_mut() {
                Some(before) if before.t / COARSE_MS == point.t / COARSE_MS => before.merge(point),
                _ => self.coarse.push_back(point),
            }
        }
        while self.coarse.front().is_some_and(|point| point.t < oldest) {
            self.coarse.pop_front();
        }
        // However often the verdict turns.
        while self.fine.len() > MAX_FINE {
            self.fine.pop_front();
        }
    }
}

impl Point {
    /// Takes in the next one: the worst of both.
    fn merge(&mut self, next: Point) {
        (self.t, self.number) = (next.t, next.number);
        self.verdict = self.verdict.max(next.verdict);
        self.last = next.last.or(self.last);
        self.rate = match (self.rate, next.rate) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        self.rpo_ms = self.rpo_ms.max(next.rpo_ms);
        self.lost = self.lost.max(next.lost);
        for (name, point) in next.consumers {
            let mine = self.consumers.entry(name).or_default();
            mine.lag_ms = mine.lag_ms.max(point.lag_ms);
            mine.latency_ms = mine.latency_ms.max(point.latency_ms);
        }
        while self.consumers.len() > MAX_CONSUMERS {
            self.consumers.pop_last();
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
