//! Counts, rates and delays of a history, from its entries alone.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;
use tipline_proto::{Entry, Event, HeightRanges, ProofsFrom, Timestamp};

/// How many blocks without a proof have their commit times remembered: 32 MB. Of older ones the delay
/// is not measured.
const REMEMBERED: usize = 1 << 20;
/// The longest delay that is told apart from longer ones, in milliseconds: a year.
const LONGEST_MS: u64 = 365 * 24 * 3_600_000;

/// What entries say, one after the other. Times are the primary's commit times.
#[derive(Debug)]
pub struct Stats {
    proofs_from: ProofsFrom,
    kinds: BTreeMap<&'static str, KindStats>,
    first: Option<(u64, Timestamp)>,
    last: Option<(u64, Timestamp)>,
    epochs: u64,
    tip: Option<u64>,
    second: (u64, u64),
    busiest: u64,
    between_blocks: Delays,
    newest_block: Option<Timestamp>,
    unproven: BTreeMap<u64, Timestamp>,
    /// How many of them may be.
    remembered: usize,
    /// Blocks that were taken out of there, and those of them that have their proof by now.
    forgotten: HeightRanges,
    forgotten_proven: HeightRanges,
    proofs: Delays,
    rollbacks: BTreeMap<&'static str, u64>,
    deepest: u64,
    unknown_depth: u64,
}

/// Entries of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct KindStats {
    /// How many.
    pub events: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Bytes of the largest payload.
    pub largest: u64,
}

/// Delays in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DelayStats {
    /// How many were measured.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_ms: u64,
    /// Nine of ten took no longer.
    pub p90_ms: u64,
    /// 99 of 100 took no longer.
    pub p99_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

/// A summary of it.
#[derive(Debug, Clone, Serialize)]
pub struct StatsReport {
    /// Index of the first entry and of the last.
    pub entries: Option<(u64, u64)>,
    /// By kind.
    pub kinds: BTreeMap<&'static str, KindStats>,
    /// How many events.
    pub events: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Commit time of the first entry and of the last, in microseconds since 1970.
    pub time_us: Option<(u64, u64)>,
    /// Events per second of commit time, on average; `None` if no time passed.
    pub events_per_second: Option<f64>,
    /// Payload bytes per second, likewise.
    pub bytes_per_second: Option<f64>,
    /// The most events in a row that were committed in one second of the clock.
    pub busiest_second: u64,
    /// How many claims of the log.
    pub epochs: u64,
    /// From the commit of a block to that of the next.
    pub between_blocks: Option<DelayStats>,
    /// From the commit of a block to that of its first proof.
    pub proof_delay: Option<DelayStats>,
    /// How many blocks have no proof.
    pub unproven: u64,
    /// Of how many blocks without a proof the time was forgotten, because a million newer ones had
    /// none either.
    pub unproven_forgotten: u64,
    /// How many rollbacks, by how many blocks they took back: `1`, `2`, `3-5`, `6-10`, `11-100`,
    /// `over 100`.
    pub rollbacks: BTreeMap<&'static str, u64>,
    /// The most blocks that one took back.
    pub deepest_rollback: u64,
    /// Rollbacks before any block, so that nothing says how deep they are.
    pub rollbacks_of_unknown_depth: u64,
}

impl Stats {
    /// Nothing yet, of a chain whose blocks need proofs from a height on.
    pub fn new(proofs_from: ProofsFrom) -> Self {
        Self::remembering(proofs_from, REMEMBERED)
    }

    pub(crate) fn remembering(proofs_from: ProofsFrom, remembered: usize) -> Self {
        Self {
            proofs_from,
            kinds: BTreeMap::new(),
            first: None,
            last: None,
            epochs: 0,
            tip: None,
            second: (0, 0),
            busiest: 0,
            between_blocks: Delays::new(),
            newest_block: None,
            unproven: BTreeMap::new(),
            remembered,
            forgotten: HeightRanges::default(),
            forgotten_proven: HeightRanges::default(),
            proofs: Delays::new(),
            rollbacks: BTreeMap::new(),
            deepest: 0,
            unknown_depth: 0,
        }
    }

    /// Adds the next entry.
    pub fn add(&mut self, entry: &Entry) {
        let Entry { index, time, .. } = *entry;
        self.first.get_or_insert((index, time));
        self.last = Some((index, time));
        let bytes = entry.event.payload().len() as u64;
        let kind = self.kinds.entry(entry.event.kind().as_str()).or_default();
        kind.events += 1;
        kind.bytes += bytes;
        kind.largest = kind.largest.max(bytes);
        let second = time.as_micros() / 1_000_000;
        self.second =
            if self.second.0 == second { (second, self.second.1 + 1) } else { (second, 1) };
        self.busiest = self.busiest.max(self.second.1);
        match &entry.event {
            Event::EpochStarted { .. } => self.epochs += 1,
            Event::BlockCommitted { height, .. } => self.block(*height, time),
            Event::BlockProven { height, .. } => {
                if let Some(committed) = self.unproven.remove(height) {
                    self.proofs.add(committed, time);
                } else if self.forgotten.contains(*height) {
                    self.forgotten_proven.insert(*height);
                }
            }
            Event::RolledBack { to_height, .. } => self.rollback(*to_height),
            _ => {}
        }
    }

    fn block(&mut self, height: u64, time: Timestamp) {
        if let Some(before) = self.newest_block.replace(time) {
            self.between_blocks.add(before, time);
        }
        self.tip = Some(height);
        if height >= self.proofs_from.height() {
            self.unproven.insert(height, time);
        }
        if self.unproven.len() > self.remembered
            && let Some((oldest, _)) = self.unproven.pop_first()
        {
            self.forgotten.insert(oldest);
        }
    }

    fn rollback(&mut self, to_height: u64) {
        self.unproven.split_off(&to_height.saturating_add(1));
        self.forgotten.remove_above(to_height);
        self.forgotten_proven.remove_above(to_height);
        let Some(tip) = self.tip.replace(to_height) else {
            self.unknown_depth += 1;
            return;
        };
        let depth = tip.saturating_sub(to_height);
        let class = match depth {
            ..=1 => "1",
            2 => "2",
            3..=5 => "3-5",
            6..=10 => "6-10",
            11..=100 => "11-100",
            _ => "over 100",
        };
        *self.rollbacks.entry(class).or_default() += 1;
        self.deepest = self.deepest.max(depth);
    }

    /// What was added up to now.
    pub fn report(&self) -> StatsReport {
        let total = |of: fn(&KindStats) -> u64| self.kinds.values().map(of).sum::<u64>();
        let (events, bytes) = (total(|kind| kind.events), total(|kind| kind.bytes));
        let times = self.first.zip(self.last);
        let seconds = times.map(|((_, first), (_, last))| last.since(first).as_secs_f64());
        let forgotten = heights(&self.forgotten) - heights(&self.forgotten_proven);
        let rate = |of: u64| seconds.filter(|s| *s > 0.0).map(|seconds| of as f64 / seconds);
        StatsReport {
            entries: times.map(|((first, _), (last, _))| (first, last)),
            kinds: self.kinds.clone(),
            events,
            bytes,
            time_us: times.map(|((_, first), (_, last))| (first.as_micros(), last.as_micros())),
            events_per_second: rate(events),
            bytes_per_second: rate(bytes),
            busiest_second: self.busiest,
            epochs: self.epochs,
            between_blocks: self.between_blocks.report(),
            proof_delay: self.proofs.report(),
            unproven: self.unproven.len() as u64 + forgotten,
            unproven_forgotten: forgotten,
            rollbacks: self.rollbacks.clone(),
            deepest_rollback: self.deepest,
            rollbacks_of_unknown_depth: self.unknown_depth,
        }
    }
}

fn heights(of: &HeightRanges) -> u64 {
    of.ranges().map(|range| range.end() - range.start() + 1).sum()
}

#[derive(Debug)]
struct Delays(Option<Histogram<u64>>);

impl Delays {
    /// To three digits. The bounds are sound, so there is one.
    fn new() -> Self {
        Self(Histogram::new_with_max(LONGEST_MS, 3).ok())
    }

    fn add(&mut self, from: Timestamp, to: Timestamp) {
        if let Some(histogram) = &mut self.0 {
            let ms = u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX);
            histogram.saturating_record(ms);
        }
    }

    fn report(&self) -> Option<DelayStats> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        let at = |quantile| histogram.value_at_quantile(quantile);
        let (count, max_ms) = (histogram.len(), histogram.max());
        Some(DelayStats { count, p50_ms: at(0.5), p90_ms: at(0.9), p99_ms: at(0.99), max_ms })
    }
}
