//! Batches that are verified and wait for the store.

use std::collections::VecDeque;

use tipline_proto::limits::{MAX_APPLY_BYTES, MAX_APPLY_EVENTS};
use tipline_store::Batch;

/// At most two batches: one that grows while the store is busy, and one that did not fit into
/// it; or one alone that is larger than a batch should be.
#[derive(Debug, Default)]
pub(crate) struct Queue(VecDeque<Batch>);

impl Queue {
    /// Whether another batch may come.
    pub(crate) fn has_room(&self) -> bool {
        self.0.len() < 2 && self.0.iter().map(bytes).sum::<usize>() < MAX_APPLY_BYTES
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether nothing more fits into the oldest batch.
    pub(crate) fn is_full(&self) -> bool {
        let is_full = |batch: &Batch| batch.entries.len() >= MAX_APPLY_EVENTS;
        !self.has_room() || self.0.front().is_some_and(is_full)
    }

    /// Adds the next batch: into the last one if both together are within the limits, so that
    /// whatever has arrived is applied at once.
    pub(crate) fn push(&mut self, batch: Batch) {
        match self.0.back_mut() {
            Some(last) if fit(last, &batch) => {
                last.entries.extend(batch.entries);
                last.cursor = batch.cursor;
                last.base = batch.base;
            }
            _ => self.0.push_back(batch),
        }
    }

    /// The oldest batch.
    pub(crate) fn pop(&mut self) -> Option<Batch> {
        self.0.pop_front()
    }
}

fn fit(a: &Batch, b: &Batch) -> bool {
    a.entries.len() + b.entries.len() <= MAX_APPLY_EVENTS && bytes(a) + bytes(b) <= MAX_APPLY_BYTES
}

fn bytes(batch: &Batch) -> usize {
    batch.entries.iter().map(|entry| entry.event.payload().len()).sum()
}
