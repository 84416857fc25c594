//! Up to which height the log has every proof.

use std::collections::BTreeSet;

use tipline_proto::{Event, ProofsFrom};

/// Most heights that are remembered above a block without proof. Proofs further up are taken in when
/// a consumer reports them.
const REMEMBERED: usize = 100_000;

/// What is published tells it from the first block of the log on. A primary that was started later
/// does not know which proofs came before; the receipts of its consumers do.
#[derive(Debug)]
pub(super) struct Proofs {
    from: ProofsFrom,
    tip: Option<u64>,
    above: BTreeSet<u64>,
    /// Index of the newest rollback that was seen: what is older says nothing of now.
    pub(super) rolled_back: u64,
}

impl Proofs {
    /// Of a log of which nothing is known yet.
    pub(super) fn new(from: ProofsFrom) -> Self {
        Self { from, tip: None, above: BTreeSet::new(), rolled_back: 0 }
    }

    /// Takes in an entry of the log. `is_first`: no block is below this one.
    pub(super) fn admit(&mut self, index: u64, event: &Event, is_first: bool) {
        match event {
            Event::BlockCommitted { height, .. } => {
                if is_first {
                    self.tip = height.checked_sub(1);
                }
                self.raise(self.from.free_up_to(*height));
            }
            Event::BlockProven { height, .. } => {
                if self.tip.is_none_or(|tip| *height > tip) {
                    self.above.insert(*height);
                }
                if self.above.len() > REMEMBERED {
                    self.above.pop_last();
                }
                self.absorb();
            }
            Event::RolledBack { to_height, .. } => {
                self.tip = self.tip.map(|tip| tip.min(*to_height));
                self.above.split_off(&(to_height + 1));
                self.rolled_back = index;
            }
            _ => {}
        }
    }

    /// Everything up to `height` is proven, as a consumer of this history says, or needs no proof.
    pub(super) fn raise(&mut self, height: u64) {
        if self.tip.is_none_or(|tip| height > tip) {
            self.tip = Some(height);
            self.above = self.above.split_off(&(height + 1));
            self.absorb();
        }
    }

    pub(super) fn tip(&self) -> Option<u64> {
        self.tip
    }

    fn absorb(&mut self) {
        // Of a history that is not known from its start nothing follows but from what was reported.
        while let (Some(tip), Some(next)) = (self.tip, self.above.first().copied()) {
            if tip.checked_add(1) != Some(next) {
                break;
            }
            self.above.pop_first();
            self.tip = Some(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::conformance::{block, proof, rollback};

    #[test]
    fn it_is_the_highest_below_which_every_block_is_proven() {
        let mut proofs = Proofs::new(ProofsFrom::default());
        let mut at = |event: Event, index| {
            proofs.admit(index, &event, index == 1);
            proofs.tip()
        };
        assert_eq!(
            at(block(5, 0, 0), 1),
            Some(4),
            "what is below the first block is not asked for"
        );
        assert_eq!(at(proof(6, 0), 2), Some(4));
        assert_eq!(at(proof(5, 0), 3), Some(6));
        assert_eq!(at(proof(9, 0), 4), Some(6));
        assert_eq!(at(rollback(5, 0), 5), Some(5));
        assert_eq!(at(proof(6, 1), 6), Some(6));
        proofs.admit(7, &proof(9, 1), false);
        proofs.raise(8);
        assert_eq!((proofs.tip(), proofs.rolled_back), (Some(9), 5));
        proofs.raise(3);
        assert_eq!(proofs.tip(), Some(9));
    }

    /// Also of a primary that has not seen the log from its first block on.
    #[test]
    fn what_needs_no_proof_is_not_waited_for() {
        let mut proofs = Proofs::new(ProofsFrom::new(8).unwrap());
        let mut at = |event: Event, index| {
            proofs.admit(index, &event, false);
            proofs.tip()
        };
        assert_eq!(at(block(6, 0, 0), 1), Some(6));
        assert_eq!(at(proof(6, 0), 2), Some(6));
        assert_eq!(at(block(7, 0, 0), 3), Some(7));
        assert_eq!(at(block(8, 0, 0), 4), Some(7));
        assert_eq!(at(proof(8, 0), 5), Some(8));
        assert_eq!(at(rollback(5, 0), 6), Some(5));
        assert_eq!(at(block(6, 1, 0), 7), Some(6));
        let mut genesis = Proofs::new(ProofsFrom::default());
        genesis.admit(1, &block(0, 0, 0), true);
        genesis.admit(2, &block(1, 0, 0), false);
        genesis.admit(3, &proof(1, 0), false);
        assert_eq!(genesis.tip(), Some(1));
    }
}
