//! A restored node that becomes the primary: the old one is fenced off, and what must never be
//! signed again is written down, before there is a store to start from.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tipline_log::{AppendError, Clock, Log, LogError};
use tipline_proto::{Announcement, Entry, Event, Kind, Label, OutboxId, Position};
use tokio::time::Instant;

use crate::archive::Row;
use crate::error::RestoreError;
use crate::sources::Sources;

/// For so long the claim is tried while others append. A busy primary leaves short gaps: it may
/// take more than a hundred attempts, and on a slow disk each of them takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Heights at or below which a validator must not sign again: somebody has seen a block there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignFloor {
    /// Name of the chain.
    pub chain: String,
    /// Lineage of the log.
    pub lineage: String,
    /// The highest height that anybody has seen; none if nobody has seen a block.
    pub height: Option<u64>,
    /// The epoch that was started: primaries of lower ones are fenced.
    pub epoch: u64,
    /// The log's end behind the claim: where the new primary continues.
    pub continue_at: ClaimedAt,
    /// The highest height that each of them has seen.
    pub seen: BTreeMap<String, u64>,
    /// When the claim was made, in microseconds since 1970.
    pub time_us: u64,
}

/// A position, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClaimedAt {
    /// Index of the claim.
    pub index: u64,
    /// Digest there.
    pub digest: String,
}

/// A log that was claimed for a primary that is not running yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The log's end behind the claim.
    pub position: Position,
    /// The epoch that was started.
    pub epoch: u64,
    /// When, by the clock of this machine.
    pub time_us: u64,
}

/// Claims a log for a new primary of this name: starts the next epoch. On return the claim is as
/// durable as the log, and whatever an older primary appends is refused: it ends as fenced.
///
/// # Errors
/// The log's; [`LogError::Unavailable`] too if others append without end.
pub async fn claim(log: &dyn Log, primary: Label, clock: &Clock) -> Result<Claim, RestoreError> {
    let outbox = OutboxId::from_bytes(first_half(blake3::hash(
        format!("{} {}", primary.as_str(), clock().as_micros()).as_bytes(),
    )));
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let tail = log.tail().await?;
        let (epoch, time) = (tail.epoch + 1, clock());
        let event = Event::EpochStarted { primary: primary.clone(), outbox };
        // Nothing of the new outbox is in the log.
        let entry = Entry::seal(&tail.position, epoch, time, 0, event);
        match log.append(&tail, std::slice::from_ref(&entry)).await {
            Ok(_) => return claimed(log, &primary, &entry).await,
            Err(AppendError::Conflict) => {}
            Err(AppendError::Doubt(error)) if error.is_retryable() => {
                // The tail tells: ours is known by its digest.
                if log.tail().await?.position == entry.position() {
                    return claimed(log, &primary, &entry).await;
                }
            }
            Err(AppendError::Doubt(error) | AppendError::Refused(error)) => {
                return Err(error.into());
            }
            Err(error) => {
                return Err(RestoreError::internal("the claim was not appended", error));
            }
        }
    }
    Err(RestoreError::Log(LogError::Unavailable {
        place: log.identity().name.to_string(),
        what: format!(
            "others append to it without end, so it was not claimed within {} s: try again",
            PATIENCE.as_secs()
        ),
        source: None,
    }))
}

/// Says so to everybody: a primary that has nothing to publish learns from it that it is fenced.
async fn claimed(log: &dyn Log, primary: &Label, entry: &Entry) -> Result<Claim, RestoreError> {
    let before = log.board().await?.primary;
    let (block_tip, proof_tip) =
        before.map_or((None, None), |before| (before.block_tip, before.proof_tip));
    log.announce(&Announcement {
        lineage: log.identity().lineage,
        primary: primary.clone(),
        epoch: entry.epoch,
        tail: entry.position(),
        block_tip,
        proof_tip,
        outbox_events: 0,
        outbox_bytes: 0,
        time: entry.time,
        failure: Some("it was restored, and has not been started yet".to_owned()),
    })
    .await?;
    Ok(Claim { position: entry.position(), epoch: entry.epoch, time_us: entry.time.as_micros() })
}

fn first_half(hash: blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

impl Sources {
    /// The floor behind a claim: the highest block that the log, any archive, any receipt, the
    /// primary's own announcement or any checkpoint has seen, rolled back or not.
    ///
    /// # Errors
    /// A place does not answer, or a segment is damaged that nobody else has: then the floor
    /// would be a guess.
    pub async fn sign_floor(&self, claim: &Claim) -> Result<SignFloor, RestoreError> {
        let mut found = self.look().await?;
        let mut seen = BTreeMap::new();
        let mut see = |who: String, height: u64| {
            let highest: &mut u64 = seen.entry(who).or_default();
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
        for (_, manifest) in &found.checkpoints {
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
        self.each_row(&mut found, each).await?;
        highest.into_iter().for_each(|height| see("entries".to_owned(), height));
        Ok(SignFloor {
            chain: found.identity.chain.name.to_string(),
            lineage: found.identity.lineage.to_string(),
            height: seen.values().max().copied(),
            epoch: claim.epoch,
            continue_at: ClaimedAt {
                index: claim.position.index,
                digest: claim.position.digest.to_string(),
            },
            seen,
            time_us: claim.time_us,
        })
    }
}
