//! Reading what status and retention decide on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use tipline_proto::{
    Agreement, Digest, Entry, Event, Position, Receipt, Timestamp, Tip, agreement,
};

use crate::error::LogError;
use crate::spec::{Extent, Log};

/// The log's pace is measured over this many of its newest events.
const PACE_EVENTS: u64 = 10_000;

/// What was seen of a log. The board is read first, so what a receipt names is there by then.
#[derive(Debug, Clone)]
pub struct Survey {
    /// The log's tail.
    pub tail: Position,
    /// Which entries the log holds.
    pub held: Extent,
    /// The newest receipt of every consumer.
    pub receipts: Vec<Receipt>,
    /// The log's own digest at every index that was wanted or that a receipt names, where the
    /// log holds it.
    pub digests: BTreeMap<u64, Digest>,
    /// Index of the oldest entry that is young; after the newest if none is.
    pub young_from: u64,
    /// Time from one event to the next, on average of the newest; `None` if there are too few.
    pub per_event: Option<Duration>,
}

impl Survey {
    /// Reads the log. Entries that were committed less than `keep_for` before `now` are young.
    /// Reads some dozens of entries, each one that a receipt names, and those at the `wanted`
    /// indexes.
    ///
    /// # Errors
    /// The log's. Trimming meanwhile is no error.
    pub async fn read(
        log: &dyn Log,
        wanted: impl IntoIterator<Item = u64>,
        keep_for: Duration,
        now: Timestamp,
    ) -> Result<Self, LogError> {
        let receipts = log.board().await?.receipts;
        let tail = log.tail().await?;
        let extent = Extent { last: tail.position.index, ..log.extent().await? };
        let reported = receipts.iter().flat_map(|receipt: &Receipt| receipt.reached.positions());
        let wanted: BTreeSet<u64> = reported.map(|position| position.index).chain(wanted).collect();
        let mut digests = BTreeMap::from([(extent.last, tail.position.digest)]);
        for index in wanted.into_iter().filter(|index| (extent.first..=extent.last).contains(index))
        {
            if !digests.contains_key(&index)
                && let Some(head) = held(log.head(index).await)?
            {
                digests.insert(index, head.position.digest);
            }
        }
        let young_from = young_from(log, extent, keep_for, now).await?;
        let per_event = per_event(log, extent, tail.time).await?;
        Ok(Self { tail: tail.position, held: extent, receipts, digests, young_from, per_event })
    }

    /// Whether a receipt agrees with the log, as far as its digests are known.
    pub fn agreement(&self, receipt: &Receipt) -> Agreement {
        agreement(receipt, self.tail, |index| self.digests.get(&index).copied())
    }

    /// How long the log takes to grow by this many events; `None` if its pace is not known.
    pub fn time_for(&self, events: u64) -> Option<Duration> {
        if events == 0 {
            return Some(Duration::ZERO);
        }
        let micros = self.per_event?.as_micros().saturating_mul(u128::from(events));
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }
}

/// The block tip after the newest block or rollback among these entries; `None` if there is none
/// or they were trimmed away.
///
/// # Errors
/// The log's.
pub async fn newest_block(
    log: &dyn Log,
    among: RangeInclusive<u64>,
) -> Result<Option<Tip>, LogError> {
    let found = newest_entry(log, among, |event| event.block_tip().is_some()).await?;
    Ok(found.and_then(|entry| entry.event.block_tip()))
}

/// The newest of these entries whose event is `wanted`; `None` if there is none or they were
/// trimmed away. Reads them one by one, the newest first.
///
/// # Errors
/// The log's.
pub async fn newest_entry(
    log: &dyn Log,
    among: RangeInclusive<u64>,
    wanted: impl Fn(&Event) -> bool + Send,
) -> Result<Option<Entry>, LogError> {
    for index in among.rev() {
        match held(log.entry(index).await)? {
            Some(entry) if wanted(&entry.event) => return Ok(Some(entry)),
            Some(_) => {}
            // Trimmed away meanwhile, and everything before it too.
            None => break,
        }
    }
    Ok(None)
}

/// What was read, if it was not trimmed away meanwhile.
fn held<T>(read: Result<T, LogError>) -> Result<Option<T>, LogError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(LogError::OutOfRange { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Searched by halves. Where clocks went back it may be any entry with an older one before.
async fn young_from(
    log: &dyn Log,
    extent: Extent,
    keep_for: Duration,
    now: Timestamp,
) -> Result<u64, LogError> {
    if keep_for.is_zero() {
        return Ok(extent.last.saturating_add(1));
    }
    let (mut low, mut high) = (extent.first, extent.last.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        let is_young = match held(log.head(middle).await)? {
            Some(head) => now.since(head.time) < keep_for,
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
    extent: Extent,
    newest: Timestamp,
) -> Result<Option<Duration>, LogError> {
    let from = extent.first.max(extent.last.saturating_sub(PACE_EVENTS));
    if from >= extent.last {
        return Ok(None);
    }
    let Some(oldest) = held(log.head(from).await)? else { return Ok(None) };
    let micros = newest.since(oldest.time).as_micros() / u128::from(extent.last - from);
    let per_event = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
    Ok((!per_event.is_zero()).then_some(per_event))
}
