//! The digests of this run, to distinguish receipts and tails that agree from those that do not.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tipline_proto::{Digest, Position};

/// Newest positions that are remembered, in 2.6 MB; older ones are read from the log.
const REMEMBERED: usize = 1 << 16;

/// A row of positions, the newest ones that this primary wrote or claimed after.
#[derive(Debug, Default)]
pub(crate) struct Digests(Mutex<VecDeque<Position>>);

impl Digests {
    /// Adds a position. Whatever is remembered from its index on was lost by the log, and goes.
    pub(crate) fn push(&self, position: Position) {
        // A panic while the lock was held left whole positions: they are copied in one piece.
        let mut row = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while row.back().is_some_and(|newest| newest.index >= position.index) {
            row.pop_back();
        }
        if row.back().is_some_and(|newest| newest.index + 1 != position.index) {
            row.clear();
        }
        if row.len() == REMEMBERED {
            row.pop_front();
        }
        row.push_back(position);
    }

    /// Index of the newest one; 0 if there is none.
    pub(crate) fn newest(&self) -> u64 {
        let row = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        row.back().map_or(0, |newest| newest.index)
    }

    /// The digest at an index, if it is remembered.
    pub(crate) fn at(&self, index: u64) -> Option<Digest> {
        let row = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = index.checked_sub(row.front()?.index)?;
        Some(row.get(usize::try_from(offset).ok()?)?.digest)
    }
}
