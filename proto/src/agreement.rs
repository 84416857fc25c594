//! Whether a receipt agrees with the log: one rule, for the primary, for retention and for the
//! verdict on a fleet.

use crate::digest::Digest;
use crate::position::Position;
use crate::receipt::Receipt;

/// Whether a receipt agrees with the log's own history. Only one that does may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// Every position that it names is the log's own.
    Agrees,
    /// It names a position after the tail. Either the tail is read too early, or the log lost
    /// data that this consumer has.
    Ahead,
    /// It names another history from this index on, or from an earlier one. An alarm: the
    /// consumer holds something that was never in this log, or its store is damaged.
    Diverged {
        /// First index at which the receipt's digest is not the log's.
        index: u64,
    },
    /// Nothing contradicts it, but a digest to compare it with is not known. Usually the log no
    /// longer holds the entry.
    Unknown,
}

/// Compares every position that a receipt names with a log that ends at `tail`. `digest_at` gives
/// the log's own digest at an index, as far as it is known. It is asked about indexes before the
/// tail only, and needs to know 0 (the origin) if receipts of an empty store are to agree.
///
/// What is certain comes first: a receipt that diverges at one level diverges, whatever else is
/// not known of it.
pub fn agreement(
    receipt: &Receipt,
    tail: Position,
    digest_at: impl Fn(u64) -> Option<Digest>,
) -> Agreement {
    let mut found = Agreement::Agrees;
    let mut diverged: Option<u64> = None;
    for Position { index, digest } in receipt.reached.positions() {
        let own = if index == tail.index { Some(tail.digest) } else { digest_at(index) };
        match own {
            _ if index > tail.index => found = Agreement::Ahead,
            Some(own) if own == digest => {}
            Some(_) => diverged = Some(diverged.map_or(index, |first| first.min(index))),
            None if found == Agreement::Agrees => found = Agreement::Unknown,
            None => {}
        }
    }
    diverged.map_or(found, |index| Agreement::Diverged { index })
}
