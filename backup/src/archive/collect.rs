//! Removing what writers left that were killed.

use std::time::Duration;

use tipline_proto::Timestamp;

use super::expire::FROM;
use super::name::FOLDER;
use super::read_back::DAMAGED;
use super::receipts;
use super::settled::SETTLED;
use super::{Archive, ArchiveError};
use crate::destination::Depth;

/// The folder of the records of checks at the place of an archive.
const CHECKS: &str = "checks";
/// What is being written has its name, or is given up, within minutes.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

impl Archive {
    /// What time it is by the clock that dates what is written here, which may not be ours, if ours says
    /// `here`: for [`Archive::collect`].
    ///
    /// # Errors
    /// Those of the destination.
    pub async fn now(&self, here: Timestamp) -> Result<Timestamp, ArchiveError> {
        Ok(self.destination.now(here).await?)
    }

    /// Removes files that have no name yet, and were written more than a day before `now`, by [the
    /// clock of the place](Archive::now): whoever wrote them was killed. Gives how many. Of a directory
    /// only; object storage has none, but for pieces of what was never completed: see
    /// [`Checkpoints::collect`](crate::Checkpoints::collect).
    ///
    /// # Errors
    /// Those of the destination, which is unavailable if the archive is not there any more.
    pub async fn collect(&self, now: Timestamp) -> Result<u64, ArchiveError> {
        self.present().await?;
        // The directory itself may have more in it than an archive.
        let mut removed = self.destination.remove_staged(now, GRACE, Depth::Folder).await?;
        for folder in [FOLDER, FROM, SETTLED, DAMAGED, CHECKS, receipts::FOLDER] {
            let folder = self.destination.folder(folder);
            removed += folder.remove_staged(now, GRACE, Depth::All).await?;
        }
        Ok(removed)
    }
}
