//! What is shown, and since when it is so.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use tipline_ops::Fleet;

/// The log is read once a second. What is older than this is not shown as new.
const STALE: Duration = Duration::from_secs(3);
/// So many seconds are kept of each consumer.
const SAMPLES: usize = 300;
/// Of so many consumers.
const CONSUMERS: usize = 1_000;

/// The fleet as it was when it was last read, and what came after.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) address: String,
    began: Instant,
    read: Option<(Fleet, Instant)>,
    /// Why the log was not read since then.
    failure: Option<Fleet>,
    lags: BTreeMap<String, VecDeque<Option<u64>>>,
    pub(super) offset: usize,
    /// How far there is something to scroll to.
    pub(super) furthest: usize,
}

impl Live {
    pub(super) fn new(address: String, now: Instant) -> Self {
        let lags = BTreeMap::new();
        Self { address, began: now, read: None, failure: None, lags, offset: 0, furthest: 0 }
    }

    /// Notes what was read at this moment, or why nothing was.
    pub(super) fn note(&mut self, fleet: Fleet, at: Instant) {
        if fleet.log.last.is_none() {
            self.failure = Some(fleet);
        } else {
            (self.read, self.failure) = (Some((fleet, at)), None);
        }
    }

    /// What was read, and how old it is.
    pub(super) fn read(&self, now: Instant) -> Option<(&Fleet, Duration)> {
        let (fleet, at) = self.read.as_ref()?;
        Some((fleet, now.saturating_duration_since(*at)))
    }

    /// For how long the log has not been read, and why, once that is too long.
    pub(super) fn cut_off(&self, now: Instant) -> Option<(Duration, Option<&Fleet>)> {
        let since = self.read.as_ref().map_or(self.began, |(_, at)| *at);
        let silent = now.saturating_duration_since(since);
        let is_cut_off = self.failure.is_some() || self.read.is_none() || silent > STALE;
        is_cut_off.then_some((silent, self.failure.as_ref()))
    }

    /// Notes how far everyone is behind now; nothing while that is not known. Once a second.
    pub(super) fn sample(&mut self, now: Instant) {
        let is_known = self.cut_off(now).is_none();
        let Some((fleet, _)) = &self.read else { return };
        self.lags.retain(|name, _| fleet.consumers.iter().any(|one| one.name == *name));
        for one in fleet.consumers.iter().take(CONSUMERS) {
            let lags = self.lags.entry(one.name.clone()).or_default();
            if lags.len() == SAMPLES {
                lags.pop_front();
            }
            lags.push_back(is_known.then_some(one.lag_events));
        }
    }

    /// How many events it was behind, second by second; `None` where that is not known.
    pub(super) fn lags(&self, name: &str) -> impl DoubleEndedIterator<Item = Option<u64>> + Clone {
        self.lags.get(name).into_iter().flatten().copied()
    }

    /// Moves what is shown by so many lines.
    pub(super) fn scroll(&mut self, by: isize) {
        self.offset = self.offset.saturating_add_signed(by).min(self.furthest);
    }
}
