//! Up to which height the log has every proof.

use std::collections::BTreeSet;

use tipline_proto::Event;

/// Most heights that are remembered above a block without proof. Proofs further up are taken in when
/// a consumer reports them.
const REMEMBERED: usize = 100_000;

/// What is published tells it from the first block of the log on. A primary that was started later
/// does not know which proofs came before; the receipts of its consumers do.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    tip: Option<u64>,
    above: BTreeSet<u64>,
    /// Index of the newest rollback that was seen: what is older says nothing of now.
    pub(super) rolled_back: u64,
}

impl Proofs {
    /// Takes in an entry of the log. `is_first`: no block is below this one.
    pub(super) fn admit(&mut self, index: u64, event: &Event, is_first: bool) {
        match event {
            Event::BlockCommitted { height, .. } if is_first => self.tip = height.checked_sub(1),
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

    /// A consumer of this history has every proof up to `height`.
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
        while let Some(next) = self.above.first().copied() {
            if self.tip.map_or(0, |tip| tip + 1) != next {
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
        let mut proofs = Proofs::default();
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
}
