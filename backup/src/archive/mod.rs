//! The archive: everything that was ever in a log, as immutable segments at a destination.
//!
//! ```text
//! archive.json                               its log, written once
//! segments/<first>-<last>-<digest>.tips      some entries in a row
//! from/<index>                               empty: segments that end before it do not count
//! merged/<index>                             empty: what ends up to it is merged; a help, no more
//! damaged/<first>-<last>-<digest>.tips       what was not as written when it was read back
//! receipts/<day>/…                           what was acknowledged when: `receipts/`
//! ```
//! Segments overlap: merged ones lie beside those they were made of, and two archivers may write
//! to one place. Nothing is ever written over. Every question is answered by the destination:
//! there is no list of segments beside the segments. Which part of them a question needs is in
//! `listing.rs`, so that it does not grow with the archive's age.
//!
//! How a segment is written down is in `format.rs`.

mod back;
mod collect;
mod coverage;
mod descriptor;
mod error;
mod expire;
mod expiry_plan;
pub(crate) mod format;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod head;
mod index;
mod join;
mod listing;
mod merge;
mod name;
mod old;
mod parts;
mod read_back;
mod reader;
mod receipts;
mod schema;
mod segment;
mod settled;
mod state;
mod store;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tipline_proto::{Cursor, Entry, LogIdentity, Trust};
use tipline_store::StoreIdentity;

use crate::destination::{Destination, DestinationError};

pub use back::SegmentsBack;
pub use error::ArchiveError;
pub use expire::ExpireError;
pub use expiry_plan::{ArchiveKeeper, ArchivePlan, ArchiveRange};
pub use index::{Row, SegmentIndex};
pub use merge::Merged;
pub use name::SegmentName;
pub use receipts::{
    ArchiveDigests, MergedReceipts, ReceiptPart, ReceiptRecord, ReceiptRecording, ReceiptSaid,
    ReceiptSpan, RecordedReceipts,
};
pub(crate) use receipts::{MAX_RECORD_BYTES, newest_seen};
pub use store::ArchiveStore;

use descriptor::Unreadable;
use format::Trailer;
use index::Outline;
use segment::{MAX_OBJECT, SegmentError};

use crate::keys::Keys;

/// Bytes at the end of a segment that are read for its index. Most indexes fit, so that one request
/// is enough: that of 1,000 blocks has about 110 KiB.
const TAIL: u64 = 128 << 10;

/// An archive of one log. Cheap to clone. Calls need a Tokio runtime.
#[derive(Clone, Debug)]
pub struct Archive {
    destination: Destination,
    /// `archive.json`, as it is there.
    document: Bytes,
    log: Arc<LogIdentity>,
    keys: Arc<Keys>,
    /// Segments that are large enough, as far as they were read.
    large: Arc<Mutex<HashSet<SegmentName>>>,
    /// Whose signatures a checkpoint must have that it is shortened to.
    trust: Trust,
}

impl Archive {
    /// Opens the archive at a destination, which reads its `archive.json`.
    ///
    /// `keys` hold what opens it, if it is encrypted; their recipients may be left out, because
    /// the archive names them.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] if there is none; [`ArchiveError::WrongRecipients`] if others
    /// are given than it names; [`KeyError::WithData`](crate::KeyError::WithData) if a key lies in it.
    pub async fn open(destination: Destination, keys: Keys) -> Result<Self, ArchiveError> {
        let place = destination.place().to_owned();
        check_apart(&destination, &keys)?;
        let read = || read_within(&destination, descriptor::NAME, descriptor::MAX_BYTES);
        let is_missing = |error: &ArchiveError| {
            matches!(error, ArchiveError::Destination(DestinationError::NotFound { .. }))
        };
        let bytes = match read().await {
            Err(error) if is_missing(&error) && !has_segments(&destination).await? => {
                return Err(ArchiveError::NotFound { place });
            }
            // It comes before the first segment: another process may just have made both.
            Err(error) if is_missing(&error) => match read().await {
                Err(error) if is_missing(&error) => return Err(undescribed(place)),
                read => read?,
            },
            read => read?,
        };
        let object = descriptor::NAME.to_owned();
        let (log, recipients) = match descriptor::take(&bytes) {
            Ok(found) => found,
            Err(Unreadable::Corrupt(what)) => {
                return Err(ArchiveError::Corrupt { place, object, what });
            }
            Err(Unreadable::Newer(found)) => {
                let known = descriptor::NEWEST_FORMAT;
                return Err(ArchiveError::Newer { place, object, found, known });
            }
        };
        let keys = keys.for_archive(&recipients).map_err(|given| {
            let (place, found) = (place.clone(), recipients.clone());
            ArchiveError::WrongRecipients { place, found, given }
        })?;
        Ok(Self {
            destination,
            document: bytes,
            log: Arc::new(log),
            keys: Arc::new(keys),
            large: Arc::default(),
            trust: Trust::default(),
        })
    }

    /// Makes a new archive of this log, encrypted to the recipients among the keys if there are
    /// any; opens the one that is there if it is of this log. Durable on return.
    ///
    /// Before it makes a new one it tries the destination: see [`Destination::probe`].
    ///
    /// # Errors
    /// [`ArchiveError::WrongLog`] if there is one of another log; otherwise those of
    /// [`Archive::open`] and [`Destination::probe`].
    pub async fn create(
        destination: Destination,
        log: &LogIdentity,
        keys: Keys,
    ) -> Result<Self, ArchiveError> {
        check_apart(&destination, &keys)?;
        destination.prepare().await?;
        match Self::open(destination.clone(), keys.clone()).await {
            Ok(_) => {}
            // It is new: before anything is kept there, it shows that it keeps things.
            Err(ArchiveError::NotFound { .. }) => destination.probe_once().await?,
            Err(error) => return Err(error),
        }
        let bytes = descriptor::put(log, &keys.recipients())
            .map_err(|e| ArchiveError::BadSegment { what: e.to_string() })?;
        match destination.create(descriptor::NAME, bytes.into()).await {
            Ok(()) | Err(DestinationError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let archive = Self::open(destination, keys).await?;
        if StoreIdentity::from(archive.identity()) == StoreIdentity::from(log) {
            return Ok(archive);
        }
        Err(ArchiveError::WrongLog {
            place: archive.place().to_owned(),
            found: Box::new(archive.identity().clone()),
            expected: Box::new(log.clone()),
        })
    }

    /// Its log.
    pub fn identity(&self) -> &LogIdentity {
        &self.log
    }

    /// The destination's address, human-readable.
    pub fn place(&self) -> &str {
        self.destination.place()
    }

    /// The recipients of its segments, as text; none if they are not encrypted.
    pub fn recipients(&self) -> Vec<String> {
        self.keys.recipients()
    }

    /// How far the archive goes: the cursor after its newest entry, as the destination says. The
    /// origin if there are no segments.
    ///
    /// # Errors
    /// [`ArchiveError::Gap`] or [`ArchiveError::Fork`] if the names of its segments tell one, of more
    /// than about a thousand those of the newest; those of [`Archive::index`] of the newest segment.
    pub async fn cursor(&self) -> Result<Cursor, ArchiveError> {
        Ok(self.head(0).await?.cursor)
    }

    /// Whether the archive is still there. A directory that is empty because it is no longer
    /// mounted is unavailable: nothing may be written into it.
    async fn present(&self) -> Result<(), ArchiveError> {
        let place = self.place().to_owned();
        let length = self.document.len() as u64;
        match self.destination.read_at_most(descriptor::NAME, length).await {
            Ok(found) if found == self.document => Ok(()),
            Ok(_) | Err(DestinationError::TooLong { .. }) => {
                let what = "it is not what it was when the archive was opened".to_owned();
                Err(ArchiveError::Corrupt { place, object: descriptor::NAME.to_owned(), what })
            }
            Err(DestinationError::NotFound { .. }) => {
                let what = format!("{} is not there: is it mounted?", descriptor::NAME);
                Err(DestinationError::Unavailable { place, what, source: None }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the destination still refuses to give a name twice. It is asked with the one that is
    /// taken for certain, so that nothing is left of it, nor changed if it does not refuse.
    async fn check_conditions(&self) -> Result<(), ArchiveError> {
        if self.destination.directory().is_some() {
            return Ok(());
        }
        match self.destination.create(descriptor::NAME, self.document.clone()).await {
            Err(DestinationError::Exists { .. }) => Ok(()),
            Ok(()) => Err(self.destination.ignores_conditions(descriptor::NAME).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists the segments, by their first entry, of the same first the longest first. They
    /// overlap as a rule; the caller must check for gaps. Objects that are
    /// no segments by their names are left out, and what retention removes.
    ///
    /// # Errors
    /// Those of the destination.
    pub async fn segments(&self) -> Result<Vec<SegmentName>, ArchiveError> {
        let mut names = SegmentName::list(&self.destination).await?;
        listing::sort(&mut names);
        // Last: a listing comes page by page, and whatever was removed meanwhile does not count now.
        let from = self.from().await?;
        names.retain(|name| name.last >= from);
        Ok(names)
    }

    /// Reads the index of a segment, and not its entries. It is compared with its checksums, with
    /// the archive's log and with its name.
    ///
    /// # Errors
    /// [`ArchiveError::Corrupt`], [`ArchiveError::NeedsKey`].
    pub async fn index(&self, name: &SegmentName) -> Result<SegmentIndex, ArchiveError> {
        let (trailer, tail) = self.tail(name).await?;
        let index = trailer.index(&tail, &self.keys).map_err(|bad| self.bad(name, bad))?;
        self.check_name(name, &index.outline())?;
        Ok(index)
    }

    /// What is readable of a segment without a key.
    async fn outline(&self, name: &SegmentName) -> Result<Outline, ArchiveError> {
        let (trailer, tail) = self.tail(name).await?;
        let outline = trailer.outline(&tail).map_err(|bad| self.bad(name, bad))?;
        self.check_name(name, &outline)?;
        Ok(outline)
    }

    /// The trailer, and the end of the segment from its index on, or from before it.
    async fn tail(&self, name: &SegmentName) -> Result<(Trailer, Bytes), ArchiveError> {
        let object = name.to_string();
        let start = name.bytes.saturating_sub(TAIL);
        if start == name.bytes {
            return Err(self.bad(name, SegmentError::Corrupt("it is empty".to_owned())));
        }
        let tail = self.destination.read_range(&object, start..name.bytes).await?;
        let trailer = Trailer::read(&tail, name.bytes).map_err(|bad| self.bad(name, bad))?;
        let from = name.bytes.saturating_sub(trailer.tail());
        if from >= start {
            return Ok((trailer, tail));
        }
        if trailer.tail() > MAX_OBJECT {
            let what = format!("its index and outline have {} bytes", trailer.tail());
            return Err(self.bad(name, SegmentError::Corrupt(what)));
        }
        let tail = self.destination.read_range(&object, from..name.bytes).await?;
        Ok((trailer, tail))
    }

    /// The bytes of an object that an archiver wrote.
    async fn whole(&self, object: &str) -> Result<Bytes, ArchiveError> {
        read_within(&self.destination, object, MAX_OBJECT).await
    }

    /// Reads a whole segment, 128 MiB at most. Everything is compared: checksums, the
    /// archive's log, the name, and every entry with its row and with the digest before it.
    ///
    /// # Errors
    /// [`ArchiveError::Corrupt`], [`ArchiveError::NeedsKey`].
    pub async fn entries(
        &self,
        name: &SegmentName,
    ) -> Result<(SegmentIndex, Vec<Entry>), ArchiveError> {
        let bytes = self.whole(&name.to_string()).await?;
        let keys = Arc::clone(&self.keys);
        let decoded = self.compute(move || format::decode(&bytes, &keys)).await?;
        let (index, entries) = decoded.map_err(|bad| self.bad(name, bad))?;
        self.check_name(name, &index.outline())?;
        Ok((index, entries))
    }

    /// Writes a segment of these entries, reads it back from the destination, and compares it.
    /// On return it is durable there and correct. If it was there already, that one was read and
    /// compared. What is not as written is moved to `damaged/`, so that the entries can be
    /// written again.
    ///
    /// The object appears under its name as a whole, and never in the place of another.
    ///
    /// # Errors
    /// [`ArchiveError::BadSegment`] if the entries do not chain, are not those of the index, or
    /// are too many; [`ArchiveError::Corrupt`] if what comes back is not what was written.
    pub async fn write(
        &self,
        index: &SegmentIndex,
        entries: &[Entry],
    ) -> Result<SegmentName, ArchiveError> {
        let bad = |what| ArchiveError::BadSegment { what };
        if index.log != StoreIdentity::from(self.identity()) {
            return Err(bad("they are of another log than the archive".to_owned()));
        }
        let (written, keys) = (index.clone(), Arc::clone(&self.keys));
        let entries = entries.to_vec();
        let encoded = self.compute(move || {
            format::check_size(&entries)?;
            schema::check_ranges(written.links.proven_above.count())?;
            format::check_entries(&written, &entries)?;
            format::encode(&written, &entries, &keys).map_err(|e| e.to_string())
        });
        self.write_bytes(encoded.await?.map_err(bad)?.into(), &index.outline()).await
    }

    /// The same with the bytes of a segment, which say this of themselves.
    async fn write_bytes(
        &self,
        bytes: Bytes,
        outline: &Outline,
    ) -> Result<SegmentName, ArchiveError> {
        let first = outline.before.index.saturating_add(1);
        let name = SegmentName::new(first, &outline.after.position, bytes.len() as u64);
        match self.destination.create(&name.to_string(), bytes.clone()).await {
            Ok(()) => self.read_back(name, Some(bytes), outline).await,
            Err(DestinationError::Exists { .. }) => {
                self.destination.sync_existing(&name.to_string()).await?;
                self.read_back(name, None, outline).await
            }
            Err(error) => Err(error.into()),
        }
    }

    fn check_name(&self, name: &SegmentName, outline: &Outline) -> Result<(), ArchiveError> {
        let what = if outline.log != StoreIdentity::from(self.identity()) {
            format!("it belongs to another log, {}", outline.log)
        } else if outline.before.index.checked_add(1) != Some(name.first)
            || !name.ends_at(&outline.after.position)
        {
            format!("it holds what comes after {} up to {}", outline.before, outline.after.position)
        } else {
            return Ok(());
        };
        Err(self.bad(name, SegmentError::Corrupt(what)))
    }

    fn bad(&self, name: &SegmentName, bad: SegmentError) -> ArchiveError {
        let (place, object) = (self.place().to_owned(), name.to_string());
        match bad {
            SegmentError::Corrupt(what) => ArchiveError::Corrupt { place, object, what },
            SegmentError::NeedsKey => ArchiveError::NeedsKey { place, object },
        }
    }

    /// Compresses, encrypts, hashes and the reverse, away from the tasks that wait for the
    /// network.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let ended = match tokio::task::spawn_blocking(work).await {
            Ok(done) => return Ok(done),
            Err(ended) => ended,
        };
        match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ArchiveError::Destination(DestinationError::Cancelled {
                place: self.place().to_owned(),
                what: "the program is ending".to_owned(),
            })),
        }
    }
}

async fn has_segments(destination: &Destination) -> Result<bool, DestinationError> {
    let has_folder = destination.folders("").await?.iter().any(|folder| folder == name::FOLDER);
    Ok(has_folder && !destination.list_some(name::FOLDER, "", 1).await?.objects.is_empty())
}

/// An object of at most so many bytes: whoever else writes there may have made it huge.
async fn read_within(
    destination: &Destination,
    object: &str,
    most: u64,
) -> Result<Bytes, ArchiveError> {
    match destination.read_at_most(object, most).await {
        Err(DestinationError::TooLong { place, name, bytes, most }) => {
            let what = format!("it has {bytes} bytes, and should have {most} at most");
            Err(ArchiveError::Corrupt { place, object: name, what })
        }
        read => Ok(read?),
    }
}

/// The description was lost, and what it describes is there.
fn undescribed(place: String) -> ArchiveError {
    let what = "it is not there, but segments are: bring it back from another copy".to_owned();
    ArchiveError::Corrupt { place, object: descriptor::NAME.to_owned(), what }
}

/// Refuses keys that lie in the destination.
fn check_apart(destination: &Destination, keys: &Keys) -> Result<(), crate::keys::KeyError> {
    match destination.directory() {
        Some(directory) => keys.check_apart(&directory, destination.place()),
        None => Ok(()),
    }
}
