//! Backup status. What is safe, where, and up to which event.

use std::collections::BTreeMap;
use std::sync::Arc;

use tipline_log::{Board, Log, LogError, Shortfall};
use tipline_proto::{Agreement, Digest, Policy, Position, Receipt, agreement};

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
    /// In which ways the log itself can lose data; empty for a log that is as it should be. Asked for
    /// at the start, after each time that the log was away, and every 10 min.
    pub shortfalls: Vec<Shortfall>,
    /// Those of them that [`crate::ProducerSettings::accept_shortfalls`] does not have: the log came
    /// to them while it was published to. Correct the log, or accept them. Until then the next start
    /// will be refused.
    pub unaccepted: Vec<Shortfall>,
}

/// A consumer as the primary knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// Its newest receipt.
    pub receipt: Receipt,
    /// Whether it agrees with the primary's history. It counts only if it does.
    pub agreement: Agreement,
}

impl BackupStatus {
    /// Index up to which every event is backed up under a policy; 0 if nothing is.
    pub fn backed_up(&self, policy: &Policy) -> u64 {
        let counted = self.consumers.iter().filter(|c| c.agreement == Agreement::Agrees);
        policy.backed_up(counted.map(|c| (&c.receipt.consumer, &c.receipt.reached)))
    }

    /// The highest proof tip of a consumer that agrees and is at `index` or further.
    pub(crate) fn proof_tip_after(&self, index: u64) -> Option<u64> {
        let counted = self.consumers.iter().filter(|consumer| {
            let reached = consumer.receipt.reached.highest();
            consumer.agreement == Agreement::Agrees
                && reached.is_some_and(|(_, position)| position.index >= index)
        });
        counted.filter_map(|consumer| consumer.receipt.proof_tip).max()
    }

    /// The log lost everything after this index. What a consumer has of that agrees with nothing, until
    /// it is compared with what is published in its place.
    pub(crate) fn lost_after(&mut self, index: u64) {
        for consumer in &mut self.consumers {
            let reached = consumer.receipt.reached.positions();
            if reached.into_iter().any(|position| position.index > index) {
                consumer.agreement = Agreement::Ahead;
            }
        }
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
        let agreement = match before.map(|c| c.agreement) {
            Some(agreement) if agreement != Agreement::Ahead => agreement,
            _ => compare(log, digests, tail, &receipt).await?,
        };
        consumers.push(ConsumerStatus { receipt, agreement });
    }
    Ok(consumers)
}

async fn compare(
    log: &Arc<dyn Log>,
    digests: &Digests,
    tail: Position,
    receipt: &Receipt,
) -> Result<Agreement, LogError> {
    let mut known = BTreeMap::new();
    for Position { index, .. } in receipt.reached.positions() {
        if index < tail.index && !known.contains_key(&index) {
            known.insert(index, digest_at(log, digests, index).await?);
        }
    }
    Ok(agreement(receipt, tail, |index| known.get(&index).copied().flatten()))
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
    match log.head(index).await {
        Ok(head) => Ok(Some(head.position.digest)),
        Err(error) if error.is_retryable() => Err(error),
        // Trimmed away, or unreadable: that concerns this receipt, and no other.
        Err(_) => Ok(None),
    }
}
