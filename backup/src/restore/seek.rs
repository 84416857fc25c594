//! Finding a target, from the newest entry back. Pure: a row at a time.

use std::ops::ControlFlow;

use tipline_proto::Kind;

use super::target::Target;
use crate::archive::Row;

/// Looks for a target among rows, the newest first.
#[derive(Debug)]
pub(crate) struct Seek<'a> {
    target: &'a Target,
    exclusive: bool,
    /// The lowest height that any later entry rolled back to.
    rolled_back_to: Option<u64>,
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
    pub(crate) fn new(target: &'a Target, exclusive: bool) -> Self {
        Self {
            target,
            exclusive,
            rolled_back_to: None,
            heights: None,
            newest: None,
            oldest: None,
            gone: false,
            later: false,
        }
    }

    /// Sees the next older row. Breaks with the index to restore to, once it is known; with
    /// `None` if it is certain that there is none.
    pub(crate) fn see(&mut self, row: &Row) -> ControlFlow<Option<u64>> {
        if self.newest.is_none() {
            self.newest = Some(row.clone());
        }
        self.oldest = Some(row.clone());
        let is_block = row.kind == Kind::BlockCommitted;
        if let (true, Some(height)) = (is_block, row.height) {
            let (low, high) = self.heights.unwrap_or((height, height));
            self.heights = Some((low.min(height), high.max(height)));
        }
        let found = match self.target {
            Target::Latest | Target::Index(_) => false,
            // Entries up to then may still come.
            Target::Time(time) if self.newest.as_ref().is_some_and(|row| row.time < *time) => {
                self.later = true;
                return ControlFlow::Break(None);
            }
            Target::Time(time) if self.exclusive => return self.at(row.time < *time, row.index),
            Target::Time(time) => return self.at(row.time <= *time, row.index),
            // As Bitcoin's explorers print it, too.
            Target::Hash(hash) => {
                is_block && (row.label == hash.as_ref() || row.label.iter().rev().eq(hash.as_ref()))
            }
            Target::Mark(name) => row.kind == Kind::Marked && row.label == name.as_str().as_bytes(),
            Target::Height(wanted) if is_block && row.height == Some(*wanted) => {
                if self.rolled_back_to.is_some_and(|to| to < *wanted) {
                    self.gone = true;
                    return ControlFlow::Break(None);
                }
                true
            }
            Target::Height(_) => false,
        };
        if let (Kind::RolledBack, Some(to)) = (row.kind, row.height) {
            self.rolled_back_to = Some(self.rolled_back_to.map_or(to, |before| before.min(to)));
        }
        self.at(found, row.index - u64::from(self.exclusive))
    }

    fn at(&self, found: bool, index: u64) -> ControlFlow<Option<u64>> {
        if found { ControlFlow::Break(Some(index)) } else { ControlFlow::Continue(()) }
    }
}
