//! What the verdict is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use tipline_log::{Board, DropLimit, Shortfall, Tail};
use tipline_proto::{Agreement, Digest, Level, LogIdentity, Receipt, Timestamp, Tip, agreement};

/// What was seen of a log.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The log's address, without a password.
    pub address: String,
    /// What the log is for.
    pub identity: LogIdentity,
    /// Index of the oldest entry that the log holds.
    pub first: u64,
    /// Read after the board, so what a receipt names is there by then.
    pub tail: Tail,
    /// The newest block in the log, where it is known.
    pub tail_block: Option<Tip>,
    /// The log's own digest at every index that somebody names, where the log holds it.
    pub digests: BTreeMap<u64, Digest>,
    /// Commit times of the entries that come next after those, by the primary's clock.
    pub times: BTreeMap<u64, Timestamp>,
    /// Where the newest rollbacks are in the log, and to which heights they went.
    pub rollbacks: BTreeMap<u64, u64>,
    /// What of those entries cannot be read, and why.
    pub corrupt: BTreeMap<u64, String>,
    /// Time from one event to the next, on average of the newest.
    pub per_event: Option<Duration>,
    /// In which ways the log can lose what it acknowledges.
    pub shortfalls: Vec<Shortfall>,
    /// What makes the log drop its oldest entries by itself: by age, or when there are so many
    /// newer events.
    pub drops: Vec<DropLimit>,
    /// The newest announcement and receipts.
    pub board: Board,
}

impl Seen {
    /// For how long the oldest event has been there that comes after `index`.
    pub(super) fn waits_after(&self, index: u64, clock: Timestamp) -> Option<Duration> {
        let next = index.saturating_add(1);
        Some(clock.since(*self.times.get(&next)?))
    }

    /// Whether a receipt agrees with the log, as far as its digests are known.
    pub(super) fn agreement(&self, receipt: &Receipt) -> Agreement {
        agreement(receipt, self.tail.position, |index| self.digests.get(&index).copied())
    }
}

/// Everything up to this event is in the consumer's store.
pub(super) fn index(receipt: &Receipt) -> u64 {
    receipt.reached.at(Level::Applied).map_or(0, |position| position.index)
}
