//! Finding a target, from the newest entry back. Pure: a row at a time.
//!
//! Entries that are missing on the way may hold the target, or what undoes it. Then there is no
//! answer, unless what is kept says that they do not matter.

use std::ops::{ControlFlow, RangeInclusive};

use tipline_proto::{Kind, Timestamp};

use super::target::Target;
use crate::archive::Row;
use crate::sources::spans::Gap;

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The index to restore to.
    At(u64),
    /// There is certainly none.
    Nowhere,
    /// It depends on entries that are missing.
    Missing(Gap),
}

/// Looks for a target among rows, the newest first.
#[derive(Debug)]
pub(crate) struct Seek<'a> {
    target: &'a Target,
    exclusive: bool,
    /// The lowest height that any later entry rolled back to, if nothing is missing after it.
    rolled_back_to: Option<u64>,
    /// The height of the chain at the end, if nothing is missing after the entry that says so.
    tip: Option<u64>,
    /// Index of the oldest entry that there is to find.
    first: u64,
    /// Index of the next older entry, if none is missing.
    next: u64,
    /// The last entries that were missing on the way.
    passed: Option<Gap>,
    /// Lowest and highest height of all blocks seen.
    pub(crate) heights: Option<(u64, u64)>,
    /// The newest row.
    pub(crate) newest: Option<Row>,
    /// The oldest row so far.
    pub(crate) oldest: Option<Row>,
    /// The block of the height was there, and is rolled back.
    pub(crate) gone: bool,
    /// The time is later than all that is known.
    pub(crate) later: bool,
}

impl<'a> Seek<'a> {
    /// `entries` are the indexes of those that there are, as far as is known.
    pub(crate) fn new(target: &'a Target, exclusive: bool, entries: RangeInclusive<u64>) -> Self {
        Self {
            target,
            exclusive,
            rolled_back_to: None,
            tip: None,
            first: *entries.start(),
            next: *entries.end(),
            passed: None,
            heights: None,
            newest: None,
            oldest: None,
            gone: false,
            later: false,
        }
    }

    /// Sees the next older row, or one again. Breaks as soon as the answer is known.
    pub(crate) fn see(&mut self, row: &Row) -> ControlFlow<Found> {
        // Spans may overlap.
        if row.index > self.next {
            return ControlFlow::Continue(());
        }
        if row.index < self.next {
            self.passed = Some(Gap { first: row.index + 1, last: self.next });
        }
        let follows_gap = row.index < self.next;
        self.next = row.index.saturating_sub(1);
        self.remember(row);
        match self.target {
            Target::Latest | Target::Index(_) => ControlFlow::Continue(()),
            Target::Time(time) => self.see_time(row, *time, follows_gap),
            Target::Hash(hash) => {
                // There is one of it. Bitcoin's explorers print it from its last byte on.
                let is_hash =
                    row.label == hash.as_ref() || row.label.iter().rev().eq(hash.as_ref());
                let found = row.kind == Kind::BlockCommitted && is_hash;
                if found { self.found(row) } else { ControlFlow::Continue(()) }
            }
            Target::Mark(name) => {
                let found = row.kind == Kind::Marked && row.label == name.as_str().as_bytes();
                if found { self.found_or_missing(row) } else { ControlFlow::Continue(()) }
            }
            Target::Height(wanted) => self.see_height(row, *wanted),
        }
    }

    /// After the last row: what is missing may hold the target.
    pub(crate) fn end(&self) -> Found {
        let last = self.next;
        let below = (last >= self.first).then_some(Gap { first: self.first, last });
        match (self.target, below.or(self.passed)) {
            // All that was seen is later, and so is what is missing within it.
            (Target::Time(_), _) if below.is_none() => Found::Nowhere,
            (_, None) => Found::Nowhere,
            (Target::Height(wanted), _) if self.tip.is_some_and(|tip| *wanted > tip) => {
                Found::Nowhere
            }
            (_, Some(gap)) => Found::Missing(gap),
        }
    }

    fn remember(&mut self, row: &Row) {
        if self.newest.is_none() {
            self.newest = Some(row.clone());
        }
        self.oldest = Some(row.clone());
        let Some(height) = row.height else { return };
        if row.kind == Kind::BlockCommitted {
            let (low, high) = self.heights.unwrap_or((height, height));
            self.heights = Some((low.min(height), high.max(height)));
        }
        if matches!(row.kind, Kind::BlockCommitted | Kind::RolledBack) && self.passed.is_none() {
            self.tip.get_or_insert(height);
        }
    }

    fn see_time(&mut self, row: &Row, time: Timestamp, follows_gap: bool) -> ControlFlow<Found> {
        let is_before = if self.exclusive { row.time < time } else { row.time <= time };
        match self.passed.filter(|_| follows_gap) {
            // Unless what is before the gap is later too, the last one up to the time may be in it.
            Some(gap) if is_before => return ControlFlow::Break(Found::Missing(gap)),
            _ => {}
        }
        // Entries up to then may still come.
        if self.newest.as_ref().is_some_and(|row| row.time < time) {
            self.later = true;
            return ControlFlow::Break(Found::Nowhere);
        }
        if is_before { ControlFlow::Break(Found::At(row.index)) } else { ControlFlow::Continue(()) }
    }

    fn see_height(&mut self, row: &Row, wanted: u64) -> ControlFlow<Found> {
        match row.kind {
            Kind::BlockCommitted if row.height == Some(wanted) => {
                if self.rolled_back_to.is_some_and(|to| to < wanted) {
                    self.gone = true;
                    return ControlFlow::Break(Found::Nowhere);
                }
                self.found_or_missing(row)
            }
            // After one before a gap it may have been committed again.
            Kind::RolledBack if self.passed.is_none() => {
                let lowest = self.rolled_back_to.into_iter().chain(row.height).min();
                self.rolled_back_to = lowest;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    /// The newest one, if none is missing after it.
    fn found_or_missing(&self, row: &Row) -> ControlFlow<Found> {
        match self.passed {
            Some(gap) => ControlFlow::Break(Found::Missing(gap)),
            None => self.found(row),
        }
    }

    fn found(&self, row: &Row) -> ControlFlow<Found> {
        ControlFlow::Break(Found::At(row.index - u64::from(self.exclusive)))
    }
}
