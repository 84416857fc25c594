//! When nobody recorded receipts, or what they recorded is not there: pure.

use serde::Serialize;
use tipline_backup::ReceiptSpan;
use tipline_proto::Timestamp;

/// A time of which nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ReceiptGap {
    /// From when on, in microseconds since 1970.
    pub from_us: u64,
    /// Until when.
    pub to_us: u64,
    /// Why.
    pub why: Why,
}

/// Why nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// No archiver recorded: none ran, it was cut off from the log, or it was killed before it wrote
    /// the last minute.
    NotRecorded,
    /// It was recorded, and the object is not there any more.
    Lost,
}

/// What spans leave out, one after the other in the order of their beginning.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    newest: Option<ReceiptSpan>,
}

impl Gaps {
    /// Whether nothing is known of a time yet, after something that is.
    pub(super) fn is_open(&self, at: Timestamp) -> bool {
        self.newest.as_ref().is_some_and(|newest| newest.to < at)
    }

    /// The gap before this one, if there is one. `follows` is what it says that it follows.
    pub(super) fn before(
        &mut self,
        next: &ReceiptSpan,
        follows: Option<&ReceiptSpan>,
    ) -> Option<ReceiptGap> {
        let gap = self.newest.as_ref().filter(|newest| newest.to < next.from);
        let gap = gap.map(|newest| between(newest, next, follows));
        if self.newest.as_ref().is_none_or(|newest| newest.to <= next.to) {
            self.newest = Some(next.clone());
        }
        gap
    }
}

/// Between two that do not continue each other. `follows` is what the later one says that it follows.
pub(super) fn between(
    before: &ReceiptSpan,
    after: &ReceiptSpan,
    follows: Option<&ReceiptSpan>,
) -> ReceiptGap {
    // A run numbers its objects from 0 on, and its first one says how far the history went then.
    let is_lost = after.number > 0 || follows.is_some_and(|seen| seen.to > before.to);
    ReceiptGap {
        from_us: before.to.as_micros(),
        to_us: after.from.as_micros(),
        why: if is_lost { Why::Lost } else { Why::NotRecorded },
    }
}
