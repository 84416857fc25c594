//! Archives whose description is lost: what they held is known by the names of their segments, and
//! not at hand.

use crate::archive::{Archive, ArchiveError, SegmentName};
use crate::destination::Destination;
use crate::keys::Keys;

use super::Sources;
use super::spans::Span;

/// An archive that cannot be opened, because its description is not what was written. Its entries
/// are as if they were damaged one by one: taken from elsewhere, or missed by name.
#[derive(Debug, Clone)]
pub struct DamagedArchive {
    place: String,
    object: String,
    what: String,
    /// Found and newest known format, if that is what is wrong.
    newer: Option<(u32, u32)>,
    pub(super) segments: Vec<SegmentName>,
}

impl DamagedArchive {
    /// The destination's address, human-readable.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong with it.
    pub fn error(&self) -> ArchiveError {
        let (place, object) = (self.place.clone(), self.object.clone());
        match self.newer {
            Some((found, known)) => ArchiveError::Newer { place, object, found, known },
            None => ArchiveError::Corrupt { place, object, what: self.what.clone() },
        }
    }

    /// What it held, by the names of its segments.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> {
        self.segments.iter().map(|name| Span {
            first: name.first,
            last: name.last,
            // No source gives it.
            source: usize::MAX,
            name: format!("{name} of {}", self.place),
            bytes: 0,
        })
    }
}

impl Sources {
    /// Adds the archive at a destination, if there is one. One that is damaged is added as such.
    ///
    /// # Errors
    /// Those of [`Archive::open`] that say nothing about the archive: the destination is
    /// unavailable, or a key cannot be used.
    pub async fn add_archive(
        &mut self,
        destination: &Destination,
        keys: Keys,
    ) -> Result<(), ArchiveError> {
        let (object, what, newer) = match Archive::open(destination.clone(), keys).await {
            Ok(archive) => {
                self.archives.push(archive);
                return Ok(());
            }
            Err(ArchiveError::NotFound { .. }) => return Ok(()),
            Err(ArchiveError::Corrupt { object, what, .. }) => (object, what, None),
            Err(ArchiveError::Newer { object, found, known, .. }) => {
                (object, String::new(), Some((found, known)))
            }
            Err(error) => return Err(error),
        };
        let segments = SegmentName::list(destination).await?;
        let place = destination.place().to_owned();
        self.damaged.push(DamagedArchive { place, object, what, newer, segments });
        Ok(())
    }

    /// Adds what others have. The log stays what it is.
    pub fn extend(&mut self, others: Sources) {
        self.archives.extend(others.archives);
        self.checkpoints.extend(others.checkpoints);
        self.damaged.extend(others.damaged);
    }

    /// Whether there is nothing to restore from; what is damaged does not count.
    pub fn is_empty(&self) -> bool {
        self.archives.is_empty() && self.checkpoints.is_empty() && self.log.is_none()
    }
}
