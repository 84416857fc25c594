//! Since when there is something newer than what one has.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// More are merged, so that a fleet that grows for ever while someone stands still is remembered
/// in bounded space.
const MOST: usize = 256;

/// Heights, or indices, each with the moment at which the fleet was first heard to have reached it, on one
/// monotonic clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps(VecDeque<(u64, Instant)>);

impl Steps {
    /// The fleet is at `height` now. One that is lower than the last begins again: the chain went
    /// back.
    pub(super) fn reach(&mut self, height: u64, at: Instant) {
        match self.0.back() {
            Some((last, _)) if *last == height => return,
            Some((last, _)) if *last > height => self.0.clear(),
            _ => {}
        }
        self.0.push_back((height, at));
        if self.0.len() > MOST {
            self.merge();
        }
    }

    /// Since when the fleet has something above `height`; `None` if it has not.
    pub(super) fn above(&self, height: u64) -> Option<Instant> {
        self.0.iter().find(|(reached, _)| *reached > height).map(|(_, at)| *at)
    }

    /// For how long there has been something above `height`; zero if there is nothing.
    pub(super) fn waits(&self, height: u64, now: Instant) -> Duration {
        self.above(height).map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// How far `height` is below the newest.
    pub(super) fn behind(&self, height: u64) -> u64 {
        self.last().map_or(0, |(newest, _)| newest.saturating_sub(height))
    }

    /// The newest height, and when it was reached.
    pub(super) fn last(&self) -> Option<(u64, Instant)> {
        self.0.back().copied()
    }

    /// Two become one: the higher of the two heights, with the earlier moment. So nobody seems to
    /// be behind for a shorter time than it is.
    fn merge(&mut self) {
        let steps: Vec<_> = std::mem::take(&mut self.0).into();
        let pairs = steps.chunks(2).filter_map(|pair| match pair {
            [(_, at), (height, _)] => Some((*height, *at)),
            [one] => Some(*one),
            _ => None,
        });
        self.0 = pairs.collect();
    }
}
