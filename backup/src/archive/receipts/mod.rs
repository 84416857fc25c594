//! The history of receipts beside the entries: what was acknowledged when.
//!
//! ```text
//! receipts/<day>/<from>-<to>-<run>-<number>.tipr            what was on the board from when to when
//! receipts/<day>/<from>-<to>-<run>-<number>-<last>.tipr     several of those, merged
//! ```
//! The board has the newest receipt of each consumer. An archiver notes what it sees there, and
//! writes an object a minute if something changed. What happens between two looks is not seen, and
//! what one object says is known without any other. How an object is written down is in
//! `format.rs`, and how several are in `parts.rs`; what is noted, and how often, in `record.rs`. What is
//! not there any more is told in `lost.rs`.

mod digests;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod lost;
mod merge;
mod name;
mod parts;
mod record;
mod seen;
#[cfg(test)]
mod tests;

use tipline_proto::Timestamp;

pub use digests::ArchiveDigests;
pub use merge::MergedReceipts;
pub use name::ReceiptSpan;
pub use parts::ReceiptPart;
pub use record::{ReceiptRecord, ReceiptRecording, ReceiptSaid, RecordedReceipts};
pub(crate) use seen::{MAX_RECORD_BYTES, newest_seen};

use self::format::{ReceiptObject, Sealed, Unreadable};
use super::{Archive, ArchiveError};
use crate::destination::DestinationError;

/// The folder of them.
pub(super) const FOLDER: &str = "receipts";
/// The newest format that this version knows.
const NEWEST_FORMAT: u32 = 2;

impl Archive {
    /// Writes an object of the history of receipts. Durable on return. The same may be written again.
    /// The first of a run says what the newest was before it.
    ///
    /// # Errors
    /// Those of the destination.
    pub async fn write_receipts(&self, recorded: &RecordedReceipts) -> Result<(), ArchiveError> {
        self.present().await?;
        let RecordedReceipts { span, records } = recorded.clone();
        let follows = if span.number == 0 { self.newest_receipts(&span.run).await? } else { None };
        let (lineage, object) = (self.identity().lineage, span.to_string());
        let keys = std::sync::Arc::clone(&self.keys);
        let written = ReceiptObject { lineage, span, follows, records };
        let encoded = self.compute(move || format::encode(&written, &keys));
        let bytes = encoded.await?.map_err(|e| ArchiveError::BadSegment { what: e.to_string() })?;
        match self.destination.create(&object, bytes.into()).await {
            Ok(()) => Ok(()),
            // Its answer was lost: of another run nothing has that name.
            Err(DestinationError::Exists { .. }) => {
                Ok(self.destination.sync_existing(&object).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The newest object of all runs but this one, also if only a verification saw it.
    async fn newest_receipts(&self, but: &str) -> Result<Option<ReceiptSpan>, ArchiveError> {
        let there = seen::newest_there(&self.destination, but).await?;
        let recorded = seen::recorded(&self.destination).await?;
        Ok(seen::later(there, recorded.filter(|span| span.run != but)))
    }

    /// The days, in UTC, on which objects of the history of receipts begin, in order.
    ///
    /// # Errors
    /// Those of the destination.
    pub async fn receipt_days(&self) -> Result<Vec<String>, ArchiveError> {
        let mut days = self.destination.folders(FOLDER).await?;
        days.retain(|day| name::is_day(day));
        Ok(days)
    }

    /// The day that a time is on, as [`Archive::receipt_days`] has it.
    pub fn receipt_day(time: Timestamp) -> String {
        name::day_of(time)
    }

    /// The objects of the history of receipts that begin on a day, by their beginning. What is no such
    /// object by its name is left out, and what a merged one holds as well.
    ///
    /// # Errors
    /// Those of the destination.
    pub async fn receipt_spans(&self, day: &str) -> Result<Vec<ReceiptSpan>, ArchiveError> {
        Ok(seen::list(&self.destination, day).await?)
    }

    /// Reads an object of the history of receipts, which may be one that was merged of several: those, in
    /// order. What is damaged of it is found out when it is opened. As long as what it was merged of is
    /// there, that is read in place of what is damaged.
    ///
    /// # Errors
    /// [`ArchiveError::Corrupt`], also if it is gone; [`ArchiveError::Newer`].
    pub async fn receipt_parts(
        &self,
        span: &ReceiptSpan,
    ) -> Result<Vec<ReceiptPart>, ArchiveError> {
        let (parts, corrupt) = match self.stored_receipts(span).await {
            Ok(parts) if !span.is_merged() || parts.iter().all(ReceiptPart::is_readable) => {
                return Ok(parts);
            }
            Ok(parts) => (parts, None),
            Err(ArchiveError::Corrupt { place, object, what }) if span.is_merged() => {
                let parts = parts::unreadable(span, &what);
                (parts, Some(ArchiveError::Corrupt { place, object, what }))
            }
            Err(error) => return Err(error),
        };
        let is_wanted = |one: &ReceiptSpan| {
            let first = parts.partition_point(|part| part.span.last < one.number);
            let mut within = parts[first..].iter().take_while(|part| part.span.number <= one.last);
            span.holds(one) && within.any(|part| !part.is_readable())
        };
        let mut held = seen::all(&self.destination, &name::day_of(span.from)).await?;
        held.retain(is_wanted);
        let sound = self.sound_parts(&held).await?;
        match corrupt.filter(|_| sound.is_empty()) {
            Some(error) => Err(error),
            None => Ok(parts::mend(parts, sound, span)),
        }
    }

    /// As [`Archive::receipt_parts`], from where it is alone.
    async fn stored_receipts(&self, span: &ReceiptSpan) -> Result<Vec<ReceiptPart>, ArchiveError> {
        match self.split_receipts(span).await {
            Err(ArchiveError::Destination(DestinationError::NotFound { .. })) => {}
            parts => return parts,
        }
        self.present().await?;
        // It may have been merged meanwhile.
        let spans = self.receipt_spans(&name::day_of(span.from)).await?;
        if let Some(holder) = spans.iter().find(|one| one.holds(span)) {
            let parts = self.split_receipts(holder).await?.into_iter();
            let within =
                |part: &ReceiptPart| span.number <= part.span.number && part.span.last <= span.last;
            return Ok(parts.filter(within).collect());
        }
        let what = "it was listed, and is not there".to_owned();
        let (place, object) = (self.place().to_owned(), span.to_string());
        Err(ArchiveError::Corrupt { place, object, what })
    }

    async fn split_receipts(&self, span: &ReceiptSpan) -> Result<Vec<ReceiptPart>, ArchiveError> {
        let bytes = self.whole(&span.to_string()).await?;
        let whole = span.clone();
        let parts = self.compute(move || parts::split(bytes, &whole)).await?;
        parts.map_err(|unreadable| self.unreadable(span.to_string(), unreadable))
    }

    /// What a part says: what was on the board when it begins, and then what changed, in order.
    /// Signatures are not checked.
    ///
    /// # Errors
    /// [`ArchiveError::Corrupt`], [`ArchiveError::NeedsKey`], [`ArchiveError::Newer`].
    pub async fn part_records(
        &self,
        part: ReceiptPart,
    ) -> Result<Vec<ReceiptRecord>, ArchiveError> {
        let ReceiptPart { span, object, bytes } = part;
        let (lineage, keys) = (self.identity().lineage, std::sync::Arc::clone(&self.keys));
        let at = object.clone();
        let opened = self.compute(move || {
            let bytes = bytes?;
            let sealed = Sealed::read(&bytes)?;
            sealed.check(lineage, &span)?;
            sealed.open(&keys).map(|opened| opened.records)
        });
        opened.await?.map_err(|unreadable| self.unreadable(at, unreadable))
    }

    /// All that an object of the history of receipts says, as [`Archive::part_records`].
    ///
    /// # Errors
    /// Those of [`Archive::receipt_parts`] and [`Archive::part_records`].
    pub async fn receipt_records(
        &self,
        span: &ReceiptSpan,
    ) -> Result<Vec<ReceiptRecord>, ArchiveError> {
        let mut records = Vec::new();
        for part in self.receipt_parts(span).await? {
            records.append(&mut self.part_records(part).await?);
        }
        Ok(records)
    }

    fn unreadable(&self, object: String, unreadable: Unreadable) -> ArchiveError {
        let place = self.place().to_owned();
        match unreadable {
            Unreadable::Corrupt(what) => ArchiveError::Corrupt { place, object, what },
            Unreadable::NeedsKey => ArchiveError::NeedsKey { place, object },
            Unreadable::Newer(found) => {
                ArchiveError::Newer { place, object, found, known: NEWEST_FORMAT }
            }
        }
    }
}
