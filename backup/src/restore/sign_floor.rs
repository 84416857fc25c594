//! A restored node that becomes the primary: the old one is fenced off, and what must never be
//! signed again is written down, before there is a store to start from.

use std::collections::BTreeMap;

use serde::Serialize;
use tipline_log::Claim;
use tipline_proto::{ChainName, Digest, Kind, Lineage};

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

impl Sources {
    /// The floor after a claim: the highest block that the log, any archive, any receipt, the
    /// primary's own announcement or any checkpoint has seen, rolled back or not.
    ///
    /// # Errors
    /// A place does not answer, or a segment is damaged that no other place has: the floor
    /// would be a guess.
    pub async fn sign_floor(&self, claim: &Claim) -> Result<SignFloor, RestoreError> {
        let mut inventory = self.inventory().await?;
        let mut seen = BTreeMap::new();
        let mut see = |witness: String, height: u64| {
            let highest: &mut u64 = seen.entry(witness).or_default();
            *highest = height.max(*highest);
        };
        if let Some(log) = &self.log {
            let board = log.board().await?;
            for receipt in board.receipts {
                if let Some(tip) = receipt.block_tip {
                    see(format!("receipt of {}", receipt.consumer), tip.height);
                }
            }
            if let Some((primary, tip)) =
                board.primary.and_then(|a| Some((a.primary, a.block_tip?)))
            {
                see(format!("announcement of {}", primary.as_str()), tip.height);
            }
        }
        for (_, manifest) in &inventory.checkpoints {
            if let Some(tip) = &manifest.cursor.block_tip {
                see("checkpoints".to_owned(), tip.height);
            }
        }
        let mut highest = None;
        let each = |row: Row| {
            if row.kind == Kind::BlockCommitted {
                highest = highest.max(row.height);
            }
        };
        self.each_row(&mut inventory, each).await?;
        highest.into_iter().for_each(|height| see("entries".to_owned(), height));
        Ok(SignFloor {
            chain: inventory.identity.chain.name,
            lineage: inventory.identity.lineage,
            height: seen.values().max().copied(),
            epoch: claim.epoch,
            continue_at: ClaimedAt { index: claim.position.index, digest: claim.position.digest },
            seen,
            time_us: claim.time_us,
        })
    }
}
