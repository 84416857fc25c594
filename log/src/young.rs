//! Which entries of a log are young: those that `--keep-for` keeps.
//!
//! An entry whose time is ahead of the moment that ages are counted from was committed before the
//! next one that is not, so it is as old as that; where there is none, it is young.

use std::ops::Range;
use std::time::Duration;

use tipline_proto::Entry;

use crate::ages::Ages;
use crate::error::LogError;
use crate::spec::{Extent, Log};

/// So many entries in a row whose times are ahead are passed over to find one that tells its age.
const PASSED_OVER: usize = 16;

/// Index of the oldest entry that is young, searched by halves; after the newest if none is. Where
/// clocks went back it may be any entry with an older one before, and younger ones may be before it.
pub(crate) async fn search(
    log: &dyn Log,
    extent: Extent,
    keep_for: Duration,
    ages: &Ages,
) -> Result<u64, LogError> {
    if keep_for.is_zero() {
        return Ok(extent.last.saturating_add(1));
    }
    let (mut low, mut high) = (extent.first, extent.last.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        if is_young(log, middle..high, keep_for, ages).await? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

/// Index of the oldest young entry among these, each of which is read; after the last of them if
/// none is.
///
/// # Errors
/// The log's. Trimming meanwhile is no error: what is gone is not among them.
pub(crate) async fn read(
    log: &dyn Log,
    among: Extent,
    keep_for: Duration,
    ages: &Ages,
) -> Result<u64, LogError> {
    let end = among.last.saturating_add(1);
    if keep_for.is_zero() {
        return Ok(end);
    }
    let first = among.first.max(1);
    let mut reading = Reading { keep_for, ages, next: first, old_to: first - 1 };
    let mut asked_for = None;
    while reading.next <= among.last {
        let from = reading.next;
        match reading.run(log, among.last).await {
            Ok(Some(young)) => return Ok(young),
            Ok(None) if reading.next > from => {}
            // It may have been lost on the way only.
            Ok(None) if asked_for.replace(from) == Some(from) => return Err(missing(log, from)),
            Ok(None) => {}
            Err(LogError::OutOfRange { first, .. }) if first > from => {
                reading.next = reading.next.max(first);
                reading.old_to = reading.old_to.max(first - 1);
            }
            Err(error) => return Err(error),
        }
    }
    // The times of the last ones may be ahead. Then the next one after them tells.
    let is_old = reading.old_to >= among.last || {
        let after = end..log.extent().await?.last.saturating_add(1);
        !is_young(log, after, keep_for, ages).await?
    };
    Ok(if is_old { end } else { reading.old_to + 1 })
}

/// Reading entries in their order.
struct Reading<'a> {
    keep_for: Duration,
    ages: &'a Ages,
    /// Index of the next one to be read.
    next: u64,
    /// Everything up to this index is known to be old.
    old_to: u64,
}

impl Reading<'_> {
    /// Reads up to `last`. Gives the first that is young; `None` if none is, or if entries are
    /// missing from `next` on.
    async fn run(&mut self, log: &dyn Log, last: u64) -> Result<Option<u64>, LogError> {
        let mut arriving = log.subscribe(None, self.next - 1).await?;
        while self.next <= last {
            for entry in arriving.next().await?.iter().take_while(|entry| entry.index <= last) {
                if entry.index > self.next {
                    return Ok(None);
                }
                if let Some(young) = self.push(entry) {
                    return Ok(Some(young));
                }
            }
        }
        Ok(None)
    }

    /// One that came twice, or is void, is classified too: that can only keep more.
    fn push(&mut self, entry: &Entry) -> Option<u64> {
        self.next = self.next.max(entry.index + 1);
        if entry.time > self.ages.from {
            return None;
        }
        if self.ages.from.since(entry.time) < self.keep_for {
            return Some(entry.index.min(self.old_to + 1));
        }
        self.old_to = self.old_to.max(entry.index);
        None
    }
}

fn missing(log: &dyn Log, index: u64) -> LogError {
    LogError::Unavailable {
        place: log.identity().name.to_string(),
        what: format!("read what is to go: entry {index} does not come"),
        source: None,
    }
}

/// Whether the first of these entries is young; what has none that is not ahead after it is.
async fn is_young(
    log: &dyn Log,
    entries: Range<u64>,
    keep_for: Duration,
    ages: &Ages,
) -> Result<bool, LogError> {
    for index in entries.take(PASSED_OVER) {
        match log.head(index).await {
            Ok(head) if head.time > ages.from => {}
            Ok(head) => return Ok(ages.from.since(head.time) < keep_for),
            // Trimmed away meanwhile.
            Err(LogError::OutOfRange { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
