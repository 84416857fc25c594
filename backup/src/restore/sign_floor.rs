//! A restored node that becomes the primary: the old one is fenced off, and what must never be
//! signed again is written down, before there is a store to start from.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tipline_log::{Claim, error_chain};
use tipline_proto::{ChainName, Digest, Kind, Lineage};
use tipline_store::StoreIdentity;

use crate::archive::Row;
use crate::checkpoint::{Checkpoints, Manifest};
use crate::error::RestoreError;
use crate::sources::{Inventory, Sources};
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

    /// Who has seen a block above every entry that is kept, with its height. Nothing but their word
    /// shows that it was there, so somebody may want to refuse it.
    pub fn beyond_entries(&self) -> Vec<(&str, u64)> {
        beyond_entries(&self.seen)
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

impl SignFloor {
    /// As [`SeenHeights::beyond_entries`].
    pub fn beyond_entries(&self) -> Vec<(&str, u64)> {
        beyond_entries(&self.seen)
    }
}

/// The witness that all entries are together.
const ENTRIES: &str = "entries";

fn beyond_entries(seen: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let entries = seen.get(ENTRIES).copied();
    let beyond = seen.iter().filter(|(_, height)| entries.is_none_or(|entries| **height > entries));
    beyond.map(|(witness, height)| (witness.as_str(), *height)).collect()
}

impl Sources {
    /// The highest block that the log, any archive, any receipt, the primary's own announcement or
    /// any checkpoint has seen, rolled back or not. Where signatures are required, a receipt, an
    /// announcement or a checkpoint counts only if a trusted key vouches for it. Where they are not,
    /// everything counts: a floor that is too low is worse than one that is too high.
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
                let Some(tip) = &receipt.block_tip else { continue };
                let witness = format!("receipt of {}", receipt.consumer);
                match self.trust.check_receipt(&receipt) {
                    Ok(()) => seen.see(witness, tip.height),
                    Err(why) => not_counted(&witness, tip.height, &why),
                }
            }
            if let Some(said) = board.primary
                && let Some(tip) = &said.block_tip
            {
                let witness = format!("announcement of {}", said.primary.as_str());
                match self.trust.check_announcement(&said) {
                    Ok(()) => seen.see(witness, tip.height),
                    Err(why) => not_counted(&witness, tip.height, &why),
                }
            }
        }
        self.see_checkpoints(&inventory, &mut seen).await?;
        let mut highest = None;
        let each = |row: Row| {
            if row.kind == Kind::BlockCommitted {
                highest = highest.max(row.height);
            }
        };
        self.each_row(&mut inventory, each).await?;
        highest.into_iter().for_each(|height| seen.see(ENTRIES.to_owned(), height));
        Ok(seen)
    }

    /// The highest checkpoint of each set. A signature is read of those alone that could be it.
    async fn see_checkpoints(
        &self,
        inventory: &Inventory,
        seen: &mut SeenHeights,
    ) -> Result<(), RestoreError> {
        let height = |manifest: &Manifest| Some(manifest.cursor.block_tip.as_ref()?.height);
        let each = inventory.checkpoints.iter();
        let each = each.filter_map(|(set, manifest, _)| Some((height(manifest)?, *set, manifest)));
        let mut highest: Vec<_> = each.collect();
        highest.sort_by_key(|(height, ..)| Reverse(*height));
        let mut counted = BTreeSet::new();
        for (height, set, manifest) in highest {
            if counted.contains(&set) {
                continue;
            }
            let place = self.checkpoints.get(set).map_or("its set", Checkpoints::place);
            let witness = format!("checkpoint {} at {place}", manifest.id);
            if self.trust.requires_checkpoints() {
                match self.signed_checkpoint(set, manifest).await {
                    Ok(_) => {}
                    Err(why) if why.is_about_it() => {
                        not_counted(&witness, height, &why);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            counted.insert(set);
            seen.see(witness, height);
        }
        Ok(())
    }
}

/// Whoever restores must know: if it was true, the floor is too low.
fn not_counted(witness: &str, height: u64, why: &dyn std::error::Error) {
    let why = error_chain(why);
    tracing::warn!(
        witness,
        height,
        why,
        "it counts for no sign floor: signatures are required, and nobody vouches for it"
    );
}
