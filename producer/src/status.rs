//! Backup status. What is safe, where, and up to which event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tipline_log::{Board, Log, LogError, Shortfall};
use tipline_proto::{Agreement, Digest, Policy, Position, Receipt, agreement};

use crate::digests::Digests;

/// So many entries are read from the log at once, to compare receipts with them.
const AT_ONCE: usize = 8;

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

    /// The highest proof tip of a consumer that agrees and is at `index` or further. One above `newest`,
    /// the height of the log's newest block, is of no block: such a receipt says nothing.
    pub(crate) fn proof_tip_after(&self, index: u64, newest: u64) -> Option<u64> {
        let counted = self.consumers.iter().filter(|consumer| {
            let reached = consumer.receipt.reached.highest();
            consumer.agreement == Agreement::Agrees
                && reached.is_some_and(|(_, position)| position.index >= index)
        });
        let tips = counted.filter_map(|consumer| consumer.receipt.proof_tip);
        tips.filter(|tip| *tip <= newest).max()
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
    let before = |receipt: &Receipt| {
        let same = known.iter().find(|c| {
            c.receipt.consumer == receipt.consumer && c.receipt.reached == receipt.reached
        });
        same.map(|c| c.agreement).filter(|agreement| *agreement != Agreement::Ahead)
    };
    let new = board.receipts.iter().filter(|receipt| before(receipt).is_none());
    let named = new.flat_map(|receipt| receipt.reached.positions()).map(|named| named.index);
    let named: BTreeSet<u64> = named.filter(|index| *index < tail.index).collect();
    let found = digests_at(log, digests, named).await?;
    let consumers = board.receipts.into_iter().map(|receipt| {
        let compare = || agreement(&receipt, tail, |index| found.get(&index).copied().flatten());
        let agreement = before(&receipt).unwrap_or_else(compare);
        ConsumerStatus { receipt, agreement }
    });
    Ok(consumers.collect())
}

/// Each entry once, however many consumers are there, and several at a time: the primary of a slow
/// link would not know for minutes what is backed up.
async fn digests_at(
    log: &Arc<dyn Log>,
    digests: &Digests,
    indices: BTreeSet<u64>,
) -> Result<BTreeMap<u64, Option<Digest>>, LogError> {
    let look = |index| async move {
        let digest = digest_at(log, digests, index).await;
        digest.map(|digest| (index, digest))
    };
    let looks: Vec<_> = indices.into_iter().map(look).collect();
    stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await
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
