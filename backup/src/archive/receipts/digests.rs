//! The digests of an archive's entries, to compare receipts with.

use tipline_proto::{Digest, Position};

use crate::archive::listing::{REACH, holding};
use crate::archive::{Archive, ArchiveError};

/// Digests of entries by their index. It keeps those of the segment that was read last: who asks in
/// the order of the log reads each segment once.
#[derive(Debug)]
pub struct ArchiveDigests {
    archive: Archive,
    /// Where the archive ends.
    end: Position,
    read: Vec<Position>,
}

impl ArchiveDigests {
    /// Of this archive, as far as it goes now.
    ///
    /// # Errors
    /// Those of [`Archive::cursor`].
    pub async fn new(archive: &Archive) -> Result<Self, ArchiveError> {
        let end = archive.cursor().await?.position;
        Ok(Self { archive: archive.clone(), end, read: Vec::new() })
    }

    /// The position of the newest entry.
    pub fn end(&self) -> Position {
        self.end
    }

    /// The digest of the entry of this index, and for 0 that of the log's origin. `None` if the archive
    /// does not hold the entry.
    ///
    /// # Errors
    /// Those of [`Archive::entries`].
    pub async fn at(&mut self, index: u64) -> Result<Option<Digest>, ArchiveError> {
        if index == 0 {
            return Ok(Some(Digest::origin(self.archive.identity())));
        }
        if index >= self.end.index {
            return Ok((index == self.end.index).then_some(self.end.digest));
        }
        if self.find(index).is_none() {
            let names = self.archive.around(index, REACH).await?;
            let Some(name) = holding(&names, index) else { return Ok(None) };
            let (_, entries) = self.archive.entries(name).await?;
            self.read = entries.iter().map(|entry| entry.position()).collect();
        }
        Ok(self.find(index))
    }

    fn find(&self, index: u64) -> Option<Digest> {
        let found = self.read.binary_search_by_key(&index, |position| position.index).ok()?;
        self.read.get(found).map(|position| position.digest)
    }
}
