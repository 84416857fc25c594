//! A restored node that becomes the primary: the old one is fenced off, and what must never be
//! signed again is written down, before there is a store to start from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tipline_log::Claim;
use tipline_proto::{ChainName, Digest, Kind, Lineage};
use tipline_store::StoreIdentity;

use crate::archive::Row;
use crate::error::RestoreError;
use crate::sources::Sources;
use crate::text::display;

/// Heights at or below which a validator must not sign again, because a block was seen there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignFloor {
    /// Name of the chain.
    #[serde(serialize_with = "display")]
    pub chain: ChainName,
    /// Lineage of the log.
    #[serde(serialize_with = "display")]
    pub lineage: Lineage,
    /// The highest height that was seen anywhere; none if no block was.
    pub height: Option<u64>,
    /// The epoch that was started: primaries of lower ones are fenced.
    pub epoch: u64,
    /// The log's end after the claim: where the new primary continues.
    pub continue_at: ClaimedAt,
    /// The highest height that each of them has seen.
    pub seen: BTreeMap<String, u64>,
    /// When the claim was made, in microseconds since 1970.
    pub time_us: u64,
}

/// A position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClaimedAt {
    /// Index of the claim.
    pub index: u64,
    /// Digest there.
    #[serde(serialize_with = "display")]
    pub digest: Digest,
}

/// The highest height that each witness has seen, rolled back or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenHeights {
    /// Name of the chain.
    #[serde(serialize_with = "display")]
    pub chain: ChainName,
    /// Lineage of the log.
    #[serde(serialize_with = "display")]
    pub lineage: Lineage,
    /// The highest height of each.
    pub seen: BTreeMap<String, u64>,
}

/// What a sign floor that was written down earlier says.
#[derive(Debug, Deserialize)]
struct Earlier {
    chain: String,
    height: Option<u64>,
}

/// Why a sign floor that was written down earlier cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadSignFloor {
    /// It is no sign floor.
    #[error("it is no sign floor: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It is of another chain.
    #[error("it is of chain {found:?}, not of {:?}", expected.as_str())]
    OtherChain {
        /// The chain it is of.
        found: String,
        /// The chain of the log.
        expected: ChainName,
    },
}

impl SeenHeights {
    /// The highest height that was seen anywhere; none if no block was.
    pub fn height(&self) -> Option<u64> {
        self.seen.values().max().copied()
    }

    /// Adds what others have seen of the same log.
    pub fn add(&mut self, others: SeenHeights) {
        others.seen.into_iter().for_each(|(witness, height)| self.see(witness, height));
    }

    /// Adds a sign floor that was written down earlier, as JSON: a floor never falls.
    ///
    /// # Errors
    /// It is no sign floor, or one of another chain.
    pub fn add_earlier(&mut self, json: &str) -> Result<(), BadSignFloor> {
        let earlier: Earlier = serde_json::from_str(json)?;
        if earlier.chain != self.chain.as_str() {
            let (found, expected) = (earlier.chain, self.chain.clone());
            return Err(BadSignFloor::OtherChain { found, expected });
        }
        earlier
            .height
            .into_iter()
            .for_each(|height| self.see("earlier sign floor".to_owned(), height));
        Ok(())
    }

    /// The sign floor of a primary with this claim.
    pub fn floor(self, claim: &Claim) -> SignFloor {
        SignFloor {
            height: self.height(),
            chain: self.chain,
            lineage: self.lineage,
            epoch: claim.epoch,
            continue_at: ClaimedAt { index: claim.position.index, digest: claim.position.digest },
            seen: self.seen,
            time_us: claim.time_us,
        }
    }

    fn see(&mut self, witness: String, height: u64) {
        let highest: &mut u64 = self.seen.entry(witness).or_default();
        *highest = height.max(*highest);
    }
}

impl Sources {
    /// The highest block that the log, any archive, any receipt, the primary's own announcement or
    /// any checkpoint has seen, rolled back or not.
    ///
    /// Of the log alone it is what came after an earlier answer: a floor needs all places before
    /// the claim, so that it fails before, and the log again after it.
    ///
    /// # Errors
    /// A place does not answer, or a segment is damaged that no other place has: the floor
    /// would be a guess.
    pub async fn seen_heights(&self) -> Result<SeenHeights, RestoreError> {
        let mut inventory = self.inventory().await?;
        let StoreIdentity { chain, lineage, .. } = inventory.identity.clone();
        let mut seen = SeenHeights { chain: chain.name, lineage, seen: BTreeMap::new() };
        if let Some(log) = &self.log {
            let board = log.board().await?;
            for receipt in board.receipts {
                if let Some(tip) = receipt.block_tip {
                    seen.see(format!("receipt of {}", receipt.consumer), tip.height);
                }
            }
            if let Some((primary, tip)) =
                board.primary.and_then(|a| Some((a.primary, a.block_tip?)))
            {
                seen.see(format!("announcement of {}", primary.as_str()), tip.height);
            }
        }
        for (_, manifest, _) in &inventory.checkpoints {
            if let Some(tip) = &manifest.cursor.block_tip {
                seen.see("checkpoints".to_owned(), tip.height);
            }
        }
        let mut highest = None;
        let each = |row: Row| {
            if row.kind == Kind::BlockCommitted {
                highest = highest.max(row.height);
            }
        };
        self.each_row(&mut inventory, each).await?;
        highest.into_iter().for_each(|height| seen.see("entries".to_owned(), height));
        Ok(seen)
    }
}
