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

/// A board, compared with the primary's history.
#[derive(Debug)]
pub(crate) struct Assessed {
    pub(crate) consumers: Vec<ConsumerStatus>,
    /// Entries of the log that cannot be read, with the reason. Receipts at them are
    /// [`Agreement::Unknown`].
    pub(crate) unreadable: Vec<(u64, LogError)>,
}

/// Compares a board with the primary's history, up to `tail`. What was compared before
/// (`known`) is not compared again.
///
/// # Errors
/// The log's. Only an entry that is trimmed or damaged is none: it concerns the receipts at it, and
/// no others.
pub(crate) async fn assess(
    log: &Arc<dyn Log>,
    digests: &Digests,
    tail: Position,
    known: &[ConsumerStatus],
    board: Board,
) -> Result<Assessed, LogError> {
    let before = |receipt: &Receipt| {
        let same = known.iter().find(|c| {
            c.receipt.consumer == receipt.consumer && c.receipt.reached == receipt.reached
        });
        same.map(|c| c.agreement).filter(|agreement| *agreement != Agreement::Ahead)
    };
    let new = board.receipts.iter().filter(|receipt| before(receipt).is_none());
    let named = new.flat_map(|receipt| receipt.reached.positions()).map(|named| named.index);
    let named: BTreeSet<u64> = named.filter(|index| *index < tail.index).collect();
    let (mut found, mut unreadable) = (BTreeMap::new(), Vec::new());
    for (index, digest) in digests_at(log, digests, named).await? {
        match digest {
            Ok(digest) => _ = found.insert(index, digest),
            Err(LogError::OutOfRange { .. }) => {}
            Err(error) => unreadable.push((index, error)),
        }
    }
    let consumers = board.receipts.into_iter().map(|receipt| {
        let compare = || agreement(&receipt, tail, |index| found.get(&index).copied());
        let agreement = before(&receipt).unwrap_or_else(compare);
        ConsumerStatus { receipt, agreement }
    });
    Ok(Assessed { consumers: consumers.collect(), unreadable })
}

/// What is known of one entry, or why nothing is.
type Looked = (u64, Result<Digest, LogError>);

/// Each entry once, however many consumers are there, and several at a time: the primary of a slow
/// link would not know for minutes what is backed up.
async fn digests_at(
    log: &Arc<dyn Log>,
    digests: &Digests,
    indices: BTreeSet<u64>,
) -> Result<Vec<Looked>, LogError> {
    let look = |index| async move {
        match digest_at(log, digests, index).await {
            // The log has become shorter since its tail was read. What is ahead of it is known again
            // when the publisher knows, too.
            Err(LogError::OutOfRange { asked, first, last }) if asked >= first => {
                let what = format!("it ends at entry {last}, before entry {asked}");
                let place = log.identity().name.to_string();
                Err(LogError::Unavailable { place, what, source: None })
            }
            Err(error) if !concerns_an_entry(&error) => Err(error),
            digest => Ok((index, digest)),
        }
    };
    let looks: Vec<_> = indices.into_iter().map(look).collect();
    stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await
}

/// Whether it says something of this entry alone. All others say it of the log.
fn concerns_an_entry(error: &LogError) -> bool {
    matches!(error, LogError::OutOfRange { .. } | LogError::Corrupt { .. })
}

async fn digest_at(log: &Arc<dyn Log>, digests: &Digests, index: u64) -> Result<Digest, LogError> {
    if index == 0 {
        return Ok(Digest::origin(log.identity()));
    }
    match digests.at(index) {
        Some(digest) => Ok(digest),
        None => Ok(log.head(index).await?.position.digest),
    }
}
