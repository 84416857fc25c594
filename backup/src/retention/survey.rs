//! Looking at the log: what the decision is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use tipline_log::{Extent, Log, LogError};
use tipline_proto::{Digest, Entry, Level, Position, Receipt, Timestamp};

use super::proven::Proven;
use super::reservation::Reserved;

/// The log's pace is measured over so many of its newest events.
const PACE_EVENTS: u64 = 10_000;

/// What was seen of a log. The board is read first: what a receipt speaks of is then there.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Which entries the log holds.
    pub held: Extent,
    /// The newest receipt of every consumer.
    pub receipts: Vec<Receipt>,
    /// The log's own digest at every index that a receipt or a proof names, where it holds it.
    pub digests: BTreeMap<u64, Digest>,
    /// Index of the oldest entry that is to be kept for its age; behind the newest if none is.
    pub young_from: u64,
    /// Time from one event to the next, on average of the newest; `None` if there are too few.
    pub per_event: Option<Duration>,
}

impl Survey {
    /// Looks at the log. Entries that were committed less than `keep_for` before `now` are
    /// young. Reads some dozens of entries, and each one that a receipt or a proof names.
    ///
    /// # Errors
    /// As of the log. Trimming meanwhile is no error.
    pub async fn of(
        log: &dyn Log,
        proven: &[Proven],
        keep_for: Duration,
        now: Timestamp,
    ) -> Result<Self, LogError> {
        let receipts = log.board().await?.receipts;
        let tail = log.tail().await?;
        let held = Extent { last: tail.position.index, ..log.extent().await? };
        let said = receipts.iter().flat_map(said).map(|position| position.index);
        let covered = proven.iter().filter_map(|proven| proven.covered.as_ref().ok());
        let wanted = said.chain(covered.map(|position| position.index));
        let mut digests = BTreeMap::from([(held.last, tail.position.digest)]);
        for index in wanted.filter(|index| (held.first..=held.last).contains(index)) {
            if !digests.contains_key(&index)
                && let Some(entry) = entry(log, index).await?
            {
                digests.insert(index, entry.digest);
            }
        }
        let young_from = young_from(log, held, keep_for, now).await?;
        let per_event = per_event(log, held, tail.time).await?;
        Ok(Self { held, receipts, digests, young_from, per_event })
    }

    /// What every consumer may expect of a log that waits for those that are at most `reserve`
    /// events behind, if nothing else keeps it. [`super::plan`] knows what else does.
    pub fn reservations(&self, reserve: u64) -> Vec<Reserved> {
        self.judge(reserve, u64::MAX)
    }

    pub(super) fn judge(&self, reserve: u64, others: u64) -> Vec<Reserved> {
        let receipts = self.receipts.iter();
        receipts.map(|receipt| Reserved::judge(self, receipt, reserve, others)).collect()
    }

    /// Whether a receipt speaks of another history than the log's, or of more than it has.
    pub(super) fn is_apart(&self, receipt: &Receipt) -> bool {
        said(receipt).any(|Position { index, digest }| {
            let differs = self.digests.get(&index).is_some_and(|own| *own != digest);
            differs || index > self.held.last
        })
    }

    /// How long the log takes to grow by so many events.
    pub(super) fn time_for(&self, events: u64) -> Option<Duration> {
        if events == 0 {
            return Some(Duration::ZERO);
        }
        let micros = self.per_event?.as_micros().saturating_mul(u128::from(events));
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }
}

fn said(receipt: &Receipt) -> impl Iterator<Item = Position> {
    Level::ALL.into_iter().filter_map(|level| receipt.reached.reported(level))
}

/// An entry, if it was not trimmed away meanwhile.
async fn entry(log: &dyn Log, index: u64) -> Result<Option<Entry>, LogError> {
    match log.entry(index).await {
        Ok(entry) => Ok(Some(entry)),
        Err(LogError::OutOfRange { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Searched by halves. Where clocks went back it may be any entry with an older one before.
async fn young_from(
    log: &dyn Log,
    held: Extent,
    keep_for: Duration,
    now: Timestamp,
) -> Result<u64, LogError> {
    if keep_for.is_zero() {
        return Ok(held.last.saturating_add(1));
    }
    let (mut low, mut high) = (held.first, held.last.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        let is_young = match entry(log, middle).await? {
            Some(entry) => now.since(entry.time) < keep_for,
            None => false,
        };
        if is_young {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

async fn per_event(
    log: &dyn Log,
    held: Extent,
    newest: Timestamp,
) -> Result<Option<Duration>, LogError> {
    let from = held.first.max(held.last.saturating_sub(PACE_EVENTS));
    if from >= held.last {
        return Ok(None);
    }
    let Some(oldest) = entry(log, from).await? else { return Ok(None) };
    let micros = newest.since(oldest.time).as_micros() / u128::from(held.last - from);
    let per_event = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
    Ok((!per_event.is_zero()).then_some(per_event))
}
