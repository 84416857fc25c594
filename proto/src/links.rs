//! How blocks, proofs and rollbacks link: a pure rule, the same for those who write events and
//! those who apply them.

use crate::event::Event;
use crate::hash::Hash;
use crate::limits::{MAX_HEIGHT, MAX_PROOF_RANGES};
use crate::proofs_from::ProofsFrom;
use crate::ranges::HeightRanges;
use crate::tip::Tip;

/// The chain as far as it is known: what the next event must link to.
///
/// It knows no block but the tip, so it is small. The caller looks up the one block that
/// an event refers to ([`Links::refers_to`]) and hands its hash in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    genesis: Hash,
    proofs_from: ProofsFrom,
    base: Option<Tip>,
    tip: Option<Tip>,
    proof_tip: Option<u64>,
    proven_above: HeightRanges,
}

/// What a store or an outbox remembers of its links, to continue after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinksState {
    /// The parent of the first block; `None` before it, and if it has height 0.
    pub base: Option<Tip>,
    /// The newest block, as in the cursor.
    pub tip: Option<Tip>,
    /// As in the cursor.
    pub proof_tip: Option<u64>,
    /// Heights above the proof tip that have their proof.
    pub proven_above: HeightRanges,
}

/// An event that does not link to the chain. It must not be written, and if it was, it must
/// not be applied. The primary's history is wrong at this place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The first block is not of this chain.
    #[error(
        "block {height} belongs to another chain: it starts from genesis {found}, this chain's is {genesis}"
    )]
    WrongGenesis {
        /// Height of the block, 0 or 1.
        height: u64,
        /// The genesis it has, or names as its parent.
        found: Hash,
        /// The genesis of this chain.
        genesis: Hash,
    },
    /// The number is damaged, or is no height at all.
    #[error("block {height} is above the largest height there can be, {MAX_HEIGHT}")]
    HeightTooLarge {
        /// Height of the block.
        height: u64,
    },
    /// Heights are missing, or come again without a rollback.
    #[error("block {height} does not follow the tip at height {tip}: the next block is {}; to replace blocks, roll back first", tip.saturating_add(1))]
    WrongHeight {
        /// Height of the block.
        height: u64,
        /// Height of the tip.
        tip: u64,
    },
    /// The block builds on another history.
    #[error("block {height} names parent {parent}, but the block at height {} is {tip_hash}; to replace blocks, roll back first", height.saturating_sub(1))]
    WrongParent {
        /// Height of the block.
        height: u64,
        /// The parent it names.
        parent: Hash,
        /// The hash of the tip.
        tip_hash: Hash,
    },
    /// A proof for a block that is not there, or no more.
    #[error("the proof names block {height} ({block_hash}), which is not in the chain: {}", found_text(found.as_ref()))]
    UnknownBlock {
        /// Height the proof is for.
        height: u64,
        /// Hash the proof is for.
        block_hash: Hash,
        /// The block that is at this height.
        found: Option<Hash>,
    },
    /// Too many proofs are missing between those that are there.
    #[error(
        "the proof of block {height} would be the {}th run of proven blocks that nothing joins, over {MAX_PROOF_RANGES}: prove the blocks in between first, the lowest is block {lowest}", MAX_PROOF_RANGES + 1
    )]
    TooManyGaps {
        /// Height the proof is for.
        height: u64,
        /// The lowest height without a proof.
        lowest: u64,
    },
    /// A rollback to a block that is not there, or that leaves the tip where it is.
    #[error("cannot roll back to block {to_height} ({to_hash}): {}", found_text(found.as_ref()))]
    WrongRollback {
        /// Height that should remain.
        to_height: u64,
        /// Hash that should remain.
        to_hash: Hash,
        /// The block that is at this height.
        found: Option<Hash>,
    },
}

fn found_text(found: Option<&Hash>) -> String {
    match found {
        Some(hash) => format!("the block at this height is {hash}"),
        None => "there is no such height below the tip".to_owned(),
    }
}

impl Links {
    /// Nothing known yet: the first block may have any height; at height 0 it must be the
    /// genesis, at height 1 its parent must be.
    ///
    /// Which events link does not depend on `proofs_from`. Whoever does not ask for the proof tip,
    /// as an outbox, may leave it at its default.
    pub fn new(genesis: Hash, proofs_from: ProofsFrom) -> Self {
        Self::resume(genesis, proofs_from, LinksState::default())
    }

    /// Goes on from what a store or an outbox remembers.
    pub fn resume(genesis: Hash, proofs_from: ProofsFrom, state: LinksState) -> Self {
        let LinksState { base, tip, proof_tip, proven_above } = state;
        let mut links = Self { genesis, proofs_from, base, tip, proof_tip, proven_above };
        // A version that expected a proof of the genesis may have left it below.
        links.raise_proof_tip();
        links
    }

    /// The newest block; `None` before the first.
    pub fn tip(&self) -> Option<&Tip> {
        self.tip.as_ref()
    }

    /// The parent of the first block; `None` before it, and if it has height 0.
    pub fn base(&self) -> Option<&Tip> {
        self.base.as_ref()
    }

    /// Highest height at or below which every block that needs a proof has it. Never above the
    /// newest block.
    pub fn proof_tip(&self) -> Option<u64> {
        self.proof_tip
    }

    /// The height of the block that `event` refers to, if the answer of [`Links::admit`]
    /// depends on its hash.
    pub fn refers_to(&self, event: &Event) -> Option<u64> {
        let tip = self.tip.as_ref()?.height;
        let (height, there) = match event {
            Event::BlockProven { height, .. } => (*height, *height <= tip),
            Event::RolledBack { to_height, .. } => (*to_height, *to_height < tip),
            _ => return None,
        };
        let above_base = self.base.as_ref().is_none_or(|base| height > base.height);
        (above_base && there).then_some(height)
    }

    /// Takes the event in, if it links. `referred` is the hash of the block at the height
    /// that [`Links::refers_to`] gave, `None` if there is no such block. It is not read
    /// if `refers_to` gave none. A block that a rollback left behind somewhere is void.
    ///
    /// # Errors
    /// The event does not link; nothing has changed.
    pub fn admit(&mut self, event: &Event, referred: Option<&Hash>) -> Result<(), LinkError> {
        let referred = self.refers_to(event).and(referred);
        match event {
            Event::BlockCommitted { height, hash, parent_hash, .. } => {
                self.admit_block(*height, hash, parent_hash)
            }
            Event::BlockProven { height, block_hash, .. } => {
                self.admit_proof(*height, block_hash, referred)
            }
            Event::RolledBack { to_height, to_hash } => {
                self.admit_rollback(*to_height, to_hash, referred)
            }
            Event::EpochStarted { .. }
            | Event::TransactionValidated { .. }
            | Event::StateRecorded { .. }
            | Event::Marked { .. } => Ok(()),
        }
    }

    fn admit_block(&mut self, height: u64, hash: &Hash, parent: &Hash) -> Result<(), LinkError> {
        if height > MAX_HEIGHT {
            return Err(LinkError::HeightTooLarge { height });
        }
        match &self.tip {
            None => self.admit_first(height, hash, parent)?,
            Some(tip) if tip.height.checked_add(1) != Some(height) => {
                return Err(LinkError::WrongHeight { height, tip: tip.height });
            }
            Some(tip) if tip.hash != *parent => {
                let (parent, tip_hash) = (parent.clone(), tip.hash.clone());
                return Err(LinkError::WrongParent { height, parent, tip_hash });
            }
            Some(_) => {}
        }
        self.tip = Some(Tip { height, hash: hash.clone() });
        self.raise_proof_tip();
        Ok(())
    }

    fn admit_first(&mut self, height: u64, hash: &Hash, parent: &Hash) -> Result<(), LinkError> {
        let names_genesis = match height {
            0 => Some(hash),
            1 => Some(parent),
            _ => None,
        };
        if let Some(found) = names_genesis.filter(|found| **found != self.genesis) {
            let (found, genesis) = (found.clone(), self.genesis.clone());
            return Err(LinkError::WrongGenesis { height, found, genesis });
        }
        self.base = height.checked_sub(1).map(|height| Tip { height, hash: parent.clone() });
        self.proof_tip = height.checked_sub(1);
        Ok(())
    }

    fn admit_proof(
        &mut self,
        height: u64,
        block_hash: &Hash,
        referred: Option<&Hash>,
    ) -> Result<(), LinkError> {
        if referred != Some(block_hash) {
            let (block_hash, found) = (block_hash.clone(), referred.cloned());
            return Err(LinkError::UnknownBlock { height, block_hash, found });
        }
        if self.proof_tip.is_some_and(|proven| height <= proven) {
            return Ok(());
        }
        let lowest = self.lowest_unproven();
        let is_joined = lowest == Some(height) || !self.proven_above.is_apart(height);
        if let Some(lowest) = lowest
            && !is_joined
            && self.proven_above.count() >= MAX_PROOF_RANGES
        {
            return Err(LinkError::TooManyGaps { height, lowest });
        }
        self.proven_above.insert(height);
        self.advance_proof_tip();
        Ok(())
    }

    /// The lowest height that may have no proof; none if the largest one has it.
    fn lowest_unproven(&self) -> Option<u64> {
        self.proof_tip.map_or(Some(0), |proven| proven.checked_add(1))
    }

    /// Moves the proof tip past what needs no proof, up to the newest block.
    fn raise_proof_tip(&mut self) {
        let Some(tip) = &self.tip else { return };
        let free = self.proofs_from.free_up_to(tip.height);
        if self.proof_tip < Some(free) {
            self.proof_tip = Some(free);
            self.proven_above.remove_up_to(free);
            self.advance_proof_tip();
        }
    }

    /// Moves the proof tip past what is proven right above it.
    fn advance_proof_tip(&mut self) {
        let (Some(next), Some(lowest)) = (self.lowest_unproven(), self.proven_above.lowest())
        else {
            return;
        };
        if *lowest.start() <= next {
            self.proof_tip = self.proof_tip.max(Some(*lowest.end()));
            self.proven_above.remove_up_to(*lowest.end());
        }
    }

    fn admit_rollback(
        &mut self,
        to_height: u64,
        to_hash: &Hash,
        referred: Option<&Hash>,
    ) -> Result<(), LinkError> {
        let remaining = match &self.base {
            Some(base) if base.height == to_height => Some(&base.hash),
            _ => referred,
        };
        let below_tip = self.tip.as_ref().is_some_and(|tip| to_height < tip.height);
        if !below_tip || remaining != Some(to_hash) {
            let (to_hash, found) = (to_hash.clone(), remaining.cloned());
            return Err(LinkError::WrongRollback { to_height, to_hash, found });
        }
        self.tip = Some(Tip { height: to_height, hash: to_hash.clone() });
        self.proof_tip = self.proof_tip.map(|proven| proven.min(to_height));
        self.proven_above.remove_above(to_height);
        Ok(())
    }
}
