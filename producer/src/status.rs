//! Backup status: what is safe, where, and up to which event.

use std::sync::Arc;

use tipline_log::{Board, Log, LogError, Shortfall};
use tipline_proto::{Digest, Policy, Position, Receipt};

use crate::digests::Digests;

/// What is backed up, where, and up to which event: the newest receipt of every consumer,
/// compared with this primary's own digests. It is pushed, never asked for.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct BackupStatus {
    /// Whether the receipts have been read since the start. Until then nothing is known.
    pub known: bool,
    /// Every consumer, sorted by name.
    pub consumers: Vec<ConsumerStatus>,
    /// In which ways the log itself can lose data; empty for a log that is as it should be.
    pub shortfalls: Vec<Shortfall>,
}

/// A consumer as the primary knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// Its newest receipt.
    pub receipt: Receipt,
    /// Whether it counts.
    pub standing: Standing,
}

/// Whether a receipt agrees with the primary's history. Only one that does counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Every position it names is the primary's own.
    Agrees,
    /// It names a position that this primary does not know to be in the log yet: the log is
    /// read behind it, or the log lost data that this consumer has.
    Ahead,
    /// It names another history from this index on, or from an earlier one. An alarm: the
    /// consumer holds something that this primary never wrote, or its store is damaged.
    Diverged {
        /// First index at which the receipt's digest is not the primary's.
        index: u64,
    },
    /// The log no longer holds the entry to compare it with.
    TooOld,
}

impl BackupStatus {
    /// Index up to which every event is backed up under a policy; 0 if nothing is.
    pub fn backed_up(&self, policy: &Policy) -> u64 {
        let counted = self.consumers.iter().filter(|c| c.standing == Standing::Agrees);
        policy.backed_up(counted.map(|c| (&c.receipt.consumer, &c.receipt.reached)))
    }

    /// A consumer by its name.
    pub fn consumer(&self, name: &str) -> Option<&ConsumerStatus> {
        self.consumers.iter().find(|c| c.receipt.consumer.as_str() == name)
    }
}

/// Compares a board with the primary's history, up to `tail`. What was compared before
/// (`known`) is not compared again.
pub(crate) async fn assess(
    log: &Arc<dyn Log>,
    digests: &Digests,
    tail: Position,
    known: &[ConsumerStatus],
    board: Board,
) -> Result<Vec<ConsumerStatus>, LogError> {
    let mut consumers = Vec::with_capacity(board.receipts.len());
    for receipt in board.receipts {
        let before = known.iter().find(|c| {
            c.receipt.consumer == receipt.consumer && c.receipt.reached == receipt.reached
        });
        let standing = match before.map(|c| c.standing) {
            Some(standing) if standing != Standing::Ahead => standing,
            _ => compare(log, digests, tail, &receipt).await?,
        };
        consumers.push(ConsumerStatus { receipt, standing });
    }
    Ok(consumers)
}

async fn compare(
    log: &Arc<dyn Log>,
    digests: &Digests,
    tail: Position,
    receipt: &Receipt,
) -> Result<Standing, LogError> {
    let levels = tipline_proto::Level::ALL;
    let mut positions: Vec<Position> =
        levels.into_iter().filter_map(|level| receipt.reached.said(level)).collect();
    positions.sort_unstable_by_key(|position| position.index);
    positions.dedup();
    for position in positions {
        if position.index > tail.index {
            return Ok(Standing::Ahead);
        }
        match digest_at(log, digests, position.index).await? {
            None => return Ok(Standing::TooOld),
            Some(digest) if digest != position.digest => {
                return Ok(Standing::Diverged { index: position.index });
            }
            Some(_) => {}
        }
    }
    Ok(Standing::Agrees)
}

async fn digest_at(
    log: &Arc<dyn Log>,
    digests: &Digests,
    index: u64,
) -> Result<Option<Digest>, LogError> {
    if index == 0 {
        return Ok(Some(Digest::origin(log.identity())));
    }
    if let Some(digest) = digests.at(index) {
        return Ok(Some(digest));
    }
    match log.entry(index).await {
        Ok(entry) => Ok(Some(entry.digest)),
        Err(LogError::OutOfRange { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
