//! The history of receipts beside the entries: what was acknowledged when.
//!
//! ```text
//! receipts/<day>/<from>-<to>-<run>-<number>.tipr     what was on the board from when to when
//! ```
//! The board has the newest receipt of each consumer. An archiver notes what it sees there, and
//! writes an object a minute if something changed. What happens between two looks is not seen, and
//! what one object says is known without any other. How an object is written down is in
//! `format.rs`; what is noted, and how often, in `record.rs`.

mod digests;
mod format;
mod name;
mod record;
#[cfg(test)]
mod tests;

use tipline_proto::Timestamp;

pub use digests::ArchiveDigests;
pub use name::ReceiptSpan;
pub use record::{ReceiptRecord, ReceiptRecording, ReceiptSaid, RecordedReceipts};

use self::format::Unreadable;
use super::{Archive, ArchiveError};
use crate::destination::DestinationError;

/// The folder of them.
pub(super) const FOLDER: &str = "receipts";
/// The newest format that this version knows.
const NEWEST_FORMAT: u32 = 1;

impl Archive {
    /// Writes an object of the history of receipts. Durable on return. The same may be written again.
    ///
    /// # Errors
    /// Those of the destination.
    pub async fn write_receipts(&self, recorded: &RecordedReceipts) -> Result<(), ArchiveError> {
        self.present().await?;
        let (lineage, object) = (self.identity().lineage, recorded.span.to_string());
        let (keys, written) = (std::sync::Arc::clone(&self.keys), recorded.clone());
        let encoded =
            self.compute(move || format::encode(lineage, &written.span, &written.records, &keys));
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
    /// object by its name is left out.
    ///
    /// # Errors
    /// Those of the destination.
    pub async fn receipt_spans(&self, day: &str) -> Result<Vec<ReceiptSpan>, ArchiveError> {
        let listed = self.destination.list(&format!("{FOLDER}/{day}"), None).await?;
        let spans = listed.iter().filter_map(|object| ReceiptSpan::parse(&object.name));
        let mut spans: Vec<ReceiptSpan> = spans.collect();
        spans.sort();
        Ok(spans)
    }

    /// Reads an object of the history of receipts: what was on the board when it begins, and then what
    /// changed, in order. Signatures are not checked.
    ///
    /// # Errors
    /// [`ArchiveError::Corrupt`], also if it is gone; [`ArchiveError::NeedsKey`],
    /// [`ArchiveError::Newer`].
    pub async fn receipt_records(
        &self,
        span: &ReceiptSpan,
    ) -> Result<Vec<ReceiptRecord>, ArchiveError> {
        let (place, object) = (self.place().to_owned(), span.to_string());
        let bytes = match self.destination.read(&object).await {
            Err(DestinationError::NotFound { .. }) => {
                self.present().await?;
                let what = "it was listed, and is not there".to_owned();
                return Err(ArchiveError::Corrupt { place, object, what });
            }
            read => read?,
        };
        let (lineage, keys) = (self.identity().lineage, std::sync::Arc::clone(&self.keys));
        let wanted = span.clone();
        let decoded = self.compute(move || format::decode(&bytes, lineage, &wanted, &keys));
        decoded.await?.map_err(|unreadable| match unreadable {
            Unreadable::Corrupt(what) => ArchiveError::Corrupt { place, object, what },
            Unreadable::NeedsKey => ArchiveError::NeedsKey { place, object },
            Unreadable::Newer(found) => {
                ArchiveError::Newer { place, object, found, known: NEWEST_FORMAT }
            }
        })
    }
}
