//! The newest that anyone in the fleet has, never only what this process was sent: what the primary
//! announced, what the log is known to have reached, and the receipts that agree with the log. A
//! receipt that is not compared yet makes nobody seem to be behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tipline_log::Board;
use tipline_proto::{
    Agreement, Announcement, ConsumerName, Digest, Level, Position, Receipt, Role, Tip, agreement,
};

use super::steps::Steps;

/// So many digests of the log are remembered: those of its newest entries that somebody named.
const KNOWN: usize = 256;

/// The newest that anyone in the fleet has, and how the others fare.
#[derive(Debug, Clone, Default)]
pub struct FleetTip {
    /// Index of the newest event that anyone has.
    tail: u64,
    /// The log's own digests, as far as they are known.
    known: BTreeMap<u64, Digest>,
    /// Indices.
    pub(super) events: Steps,
    /// The newest announcement that was heard.
    announced: Option<Announcement>,
    /// The newest block, by the index at which it was named.
    pub(super) tip: Option<(u64, Tip)>,
    pub(super) blocks: Steps,
    pub(super) proofs: Steps,
    /// When the newest announcement was sent, on this process's monotonic clock.
    pub(super) primary_heard: Option<Instant>,
    pub(super) primary_failure: Option<String>,
    pub(super) peers: Vec<Peer>,
}

/// A consumer, by its newest receipt that was found to agree with the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: ConsumerName,
    /// What it is for.
    pub role: Role,
    /// Index of its newest event.
    pub index: u64,
    /// Its newest block.
    pub block: Option<Tip>,
    /// Height up to which it has every block's proof.
    pub proof: Option<u64>,
    /// When it was heard of.
    pub heard: Instant,
    /// Whether it says that it has failed, or cannot go on.
    pub failed: bool,
}

impl FleetTip {
    /// Notes a board that has its ages by [`crate::Listener`], at this moment. `log_tail` is an index
    /// that the log itself is known to have reached.
    pub fn hear(&mut self, board: &Board, log_tail: u64, at: Instant) {
        self.primary_heard = board.primary_heard.and_then(|age| at.checked_sub(age));
        self.primary_failure = board.primary.as_ref().and_then(|said| said.failure.clone());
        if let Some(said) = &board.primary {
            self.knows(said.tail);
            self.announced = Some(said.clone());
        }
        let announced = self.announced.as_ref().map_or(0, |said| said.tail.index);
        self.reach(log_tail.max(announced), at);
        let peers = board.receipts.iter().filter_map(|receipt| self.peer(receipt, board, at));
        self.peers = peers.collect();
        self.note_tips(at);
    }

    /// The consumer of a receipt that agrees with the log. While that is not known it stays what it
    /// was.
    fn peer(&self, receipt: &Receipt, board: &Board, at: Instant) -> Option<Peer> {
        let name = &receipt.consumer;
        match self.agreement(receipt) {
            Agreement::Agrees => Some(Peer {
                name: name.clone(),
                role: receipt.role,
                index: index(receipt),
                block: receipt.block_tip.clone(),
                proof: receipt.proof_tip,
                heard: at.checked_sub(*board.heard.get(name)?)?,
                failed: receipt.failure.is_some(),
            }),
            Agreement::Diverged { .. } => None,
            Agreement::Ahead | Agreement::Unknown => {
                self.peers.iter().find(|peer| peer.name == *name).cloned()
            }
        }
    }

    /// The primary knows the newest block and proof: what it says counts alone. Where it does not
    /// say, its consumers do. Whatever was said before and is not any more counts no longer.
    fn note_tips(&mut self, at: Instant) {
        let said = self.announced.as_ref();
        let announced = said.and_then(|said| Some((said.tail.index, said.block_tip.clone()?)));
        let received = self.peers.iter().filter_map(|peer| Some((peer.index, peer.block.clone()?)));
        self.tip = announced.or_else(|| received.max_by_key(|(index, _)| *index));
        let height = self.height();
        match height {
            Some(height) => self.blocks.reach(height, at),
            None => self.blocks = Steps::default(),
        }
        // One of a branch that was rolled back is above the tip.
        let is_possible = |proven: &u64| height.is_none_or(|tip| *proven <= tip);
        let announced = said.and_then(|said| said.proof_tip);
        let received = self.peers.iter().filter_map(|peer| peer.proof);
        let proven = announced.filter(is_possible).or_else(|| received.filter(is_possible).max());
        match proven {
            Some(proven) => self.proofs.reach(proven, at),
            None => self.proofs = Steps::default(),
        }
    }

    /// This is the log's own.
    pub(super) fn knows(&mut self, position: Position) {
        self.known.insert(position.index, position.digest);
        while self.known.len() > KNOWN {
            self.known.pop_first();
        }
    }

    /// The log was silent, and may have lost its end meanwhile: what was known of it is void.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Whether a receipt agrees with the log, as far as that is known here.
    fn agreement(&self, receipt: &Receipt) -> Agreement {
        let Some((&index, &digest)) = self.known.last_key_value() else {
            return Agreement::Unknown;
        };
        agreement(receipt, Position { index, digest }, |index| self.known.get(&index).copied())
    }

    /// Which digests of the log must be known to compare the receipt with it; none if that is
    /// decided.
    pub(super) fn wants(&self, receipt: &Receipt) -> BTreeSet<u64> {
        match self.agreement(receipt) {
            Agreement::Agrees | Agreement::Diverged { .. } => BTreeSet::new(),
            Agreement::Ahead | Agreement::Unknown => {
                let named = receipt.reached.positions().map(|position| position.index);
                named.filter(|index| !self.known.contains_key(index)).collect()
            }
        }
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
pub(super) fn index(receipt: &Receipt) -> u64 {
    receipt.reached.at(Level::Applied).map_or(0, |position| position.index)
}
