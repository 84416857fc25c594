//! The newest that anyone in the fleet has: the maximum of the primary's announcements and of every
//! receipt, never only what this process was sent.

use std::time::{Duration, Instant};

use tipline_log::Board;
use tipline_proto::{ConsumerName, Level, Receipt, Role, Tip};

use super::steps::Steps;

/// The newest that anyone in the fleet has, and how the others fare.
#[derive(Debug, Clone, Default)]
pub struct FleetTip {
    /// Index of the newest event that anyone has.
    tail: u64,
    /// Indices.
    pub(super) events: Steps,
    /// The newest block, by the index at which it was named.
    pub(super) tip: Option<(u64, Tip)>,
    pub(super) blocks: Steps,
    pub(super) proofs: Steps,
    /// When the newest announcement was sent, on this process's monotonic clock.
    pub(super) primary_heard: Option<Instant>,
    pub(super) primary_failure: Option<String>,
    pub(super) peers: Vec<Peer>,
}

/// Another consumer, by its newest receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: ConsumerName,
    /// What it is for.
    pub role: Role,
    /// Index of its newest event.
    pub index: u64,
    /// Height of its newest block.
    pub height: Option<u64>,
    /// Height up to which it has every block's proof.
    pub proof: Option<u64>,
    /// When it was heard of.
    pub heard: Instant,
    /// Whether it says that it has failed, or cannot go on.
    pub failed: bool,
}

impl FleetTip {
    /// Notes a board that has its ages by [`crate::Listener`], at this moment. `log_tail` is an index
    /// that the log itself is known to have reached: a receipt beyond the log is of another
    /// history, and does not count.
    pub fn hear(&mut self, board: &Board, log_tail: u64, at: Instant) {
        let counted = board.receipts.iter().filter(|receipt| index(receipt) <= log_tail);
        let counted: Vec<_> = counted.collect();
        let primary = board.primary.as_ref();
        // Of two that are equally new the primary's is the last, and so counts.
        let receipts = counted.iter().map(|r| (index(r), r.block_tip.as_ref()));
        let all: Vec<_> = receipts
            .chain(primary.map(|said| (said.tail.index, said.block_tip.as_ref())))
            .collect();
        let newest = all.iter().map(|(index, _)| *index).max().unwrap_or(0);
        self.reach(newest.max(log_tail), at);
        let tip = all.iter().filter_map(|(index, tip)| Some((*index, (*tip)?)));
        if let Some((index, tip)) = tip.max_by_key(|(index, _)| *index) {
            self.tip = Some((index, tip.clone()));
            self.blocks.reach(tip.height, at);
        }
        let proofs = counted.iter().filter_map(|receipt| receipt.proof_tip);
        let proven = proofs.chain(primary.and_then(|said| said.proof_tip)).max();
        // One of a branch that was rolled back is above the tip.
        let proven = proven.filter(|proven| self.height().is_none_or(|tip| *proven <= tip));
        if let Some(proven) = proven {
            self.proofs.reach(proven, at);
        }
        self.primary_heard = board.primary_heard.and_then(|age| at.checked_sub(age));
        self.primary_failure = primary.and_then(|said| said.failure.clone());
        let heard = |name| board.heard.get(name).and_then(|age: &Duration| at.checked_sub(*age));
        let peers = counted.iter().filter_map(|receipt| {
            Some(Peer {
                name: receipt.consumer.clone(),
                role: receipt.role,
                index: index(receipt),
                height: receipt.block_tip.as_ref().map(|tip| tip.height),
                proof: receipt.proof_tip,
                heard: heard(&receipt.consumer)?,
                failed: receipt.failure.is_some(),
            })
        });
        self.peers = peers.collect();
    }

    /// The log is known to have reached this index.
    pub(super) fn reach(&mut self, tail: u64, at: Instant) {
        self.tail = self.tail.max(tail);
        self.events.reach(self.tail, at);
    }

    /// Index of the newest event that is known to be in the log.
    pub(super) fn tail(&self) -> u64 {
        self.tail
    }

    /// Height of the newest block.
    pub(super) fn height(&self) -> Option<u64> {
        self.tip.as_ref().map(|(_, tip)| tip.height)
    }
}

/// Everything up to this event is in the consumer's store.
fn index(receipt: &Receipt) -> u64 {
    receipt.reached.at(Level::Applied).map_or(0, |position| position.index)
}
