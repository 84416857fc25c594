//! A page: the rows that are read at once.

use std::ops::ControlFlow;

/// How many rows a page has at most.
pub(crate) const ROWS: usize = 1000;
/// At how many payload bytes a page is full: what is in the processor's cache is not fetched again.
const BYTES: usize = 1 << 20;

/// A page that is being read: at least one row, whatever its length.
#[derive(Debug)]
pub(crate) struct Page<T> {
    rows: Vec<T>,
    bytes: usize,
}

impl<T> Page<T> {
    /// Takes a row. Breaks once it is full.
    pub(crate) fn push(&mut self, row: T, payload: usize) -> ControlFlow<()> {
        self.rows.push(row);
        self.bytes += payload;
        let is_full = self.rows.len() >= ROWS || self.bytes >= BYTES;
        if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn into_rows(self) -> Vec<T> {
        self.rows
    }
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), bytes: 0 }
    }
}
