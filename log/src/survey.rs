//! Reading what status and retention decide on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use tipline_proto::{
    Agreement, Digest, Entry, Event, Position, Receipt, Timestamp, Tip, agreement,
};

use crate::ages::Ages;
use crate::error::LogError;
use crate::spec::{Extent, Log};
use crate::young;

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
    /// The moment that ages are counted from.
    pub ages: Ages,
    /// Index of the oldest entry that is young; after the newest if none is. It is searched by
    /// halves, and may be too high where clocks went back: see [`Survey::read_ages`].
    pub young_from: u64,
    /// Time from one event to the next, on average of the newest; `None` if there are too few.
    pub per_event: Option<Duration>,
}

impl Survey {
    /// Reads the log. Entries that were committed less than `keep_for` before the moment that
    /// [`Ages`] gives are young; `now` is what the clock of this machine shows. Reads some dozens of
    /// entries, each one that a receipt names, and those at the `wanted` indexes.
    ///
    /// # Errors
    /// The log's. Trimming meanwhile is no error.
    pub async fn read(
        log: &dyn Log,
        wanted: impl IntoIterator<Item = u64>,
        keep_for: Duration,
        now: Timestamp,
    ) -> Result<Self, LogError> {
        let board = log.board().await?;
        let tail = log.tail().await?;
        let ages = Ages::with_board(now, tail.time, &board);
        let receipts = board.receipts;
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
        let young_from = young::search(log, extent, keep_for, &ages).await?;
        let per_event = per_event(log, extent, tail.time).await?;
        let (tail, held) = (tail.position, extent);
        Ok(Self { tail, held, receipts, digests, ages, young_from, per_event })
    }

    /// Reads the time of each of these entries, which are about to be removed. If one of them is
    /// young, `young_from` is at most that. Only then is it certain that none of them is:
    /// the search by halves can pass over young entries with an older one after them. `keep_for` is
    /// the same as for [`Survey::read`].
    ///
    /// # Errors
    /// The log's, and nothing is certain then. Trimming meanwhile is no error.
    pub async fn read_ages(
        &mut self,
        log: &dyn Log,
        going: Extent,
        keep_for: Duration,
    ) -> Result<(), LogError> {
        let young = young::read(log, going, keep_for, &self.ages).await?;
        if young <= going.last {
            self.young_from = self.young_from.min(young);
        }
        Ok(())
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
