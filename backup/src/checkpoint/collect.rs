//! Removing what uploads left that did not come to their end.

use std::time::Duration;

use tipline_proto::Timestamp;

use super::error::CheckpointError;
use super::id::CheckpointId;
use super::manifest::MANIFEST;
use super::set::Checkpoints;
use crate::destination::{Depth, DestinationError, Object};

/// What nobody has added to for so long is given up. An upload that is cut off is tried again within
/// minutes.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

impl Checkpoints {
    /// What time it is by the clock that dates what is written here, which may not be ours, if ours says
    /// `here`: for [`Checkpoints::collect`].
    ///
    /// # Errors
    /// [`CheckpointError::Destination`].
    pub async fn now(&self, here: Timestamp) -> Result<Timestamp, CheckpointError> {
        Ok(self.destination().now(here).await?)
    }

    /// Removes the files of checkpoints that have no manifest, and of which none was written within
    /// a day before `now`, by [the clock of the place](Checkpoints::now): their uploads were ended, and nobody has continued them. Removes shared
    /// objects, too, that no manifest refers to: on the first day it is written down which, and a day
    /// later they go. Gives how many files it removed.
    ///
    /// Pieces of a file whose upload was never completed are not listed. Of those a bucket is rid
    /// by a lifecycle rule, `AbortIncompleteMultipartUpload`.
    ///
    /// # Errors
    /// [`CheckpointError::Destination`]; removing needs the permission to.
    pub async fn collect(&self, now: Timestamp) -> Result<u64, CheckpointError> {
        let mut removed = 0;
        let names = self.destination().folders("").await?;
        for id in names.iter().filter_map(|name| name.parse::<CheckpointId>().ok()) {
            if self.is_finished(&id).await? {
                continue;
            }
            let objects = self.destination().list(id.as_str(), None).await?;
            let newest = objects.iter().map(|object| object.modified).max();
            let is_young = |time: Timestamp| now.since(time) <= GRACE;
            if newest.is_none_or(is_young) || is_young(id.created()) {
                continue;
            }
            let (checkpoint, place) = (id.to_string(), self.place());
            tracing::info!(checkpoint, place, "removing what an upload left that was given up");
            removed += self.remove_unfinished(&id, objects).await?;
        }
        removed += self.sweep(now).await?;
        removed += self.destination().remove_staged(now, GRACE, Depth::All).await?;
        Ok(removed)
    }

    /// Removes at once what an upload has sent of a checkpoint, unless it came to its end, but for
    /// shared objects: [`Checkpoints::collect`] finds those. Gives how many files it removed. Nobody
    /// else may be uploading it.
    ///
    /// # Errors
    /// Those of [`Checkpoints::collect`].
    pub async fn abandon(&self, id: &CheckpointId) -> Result<u64, CheckpointError> {
        let sent = self.destination().list(id.as_str(), None).await?;
        self.remove_unfinished(id, sent).await
    }

    async fn remove_unfinished(
        &self,
        id: &CheckpointId,
        objects: Vec<Object>,
    ) -> Result<u64, CheckpointError> {
        let mut removed = 0;
        for object in objects {
            // It may be finished by now.
            if self.is_finished(id).await? {
                break;
            }
            self.destination().remove(&object.name).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Whether it has a manifest, of which a byte is enough.
    pub(super) async fn is_finished(&self, id: &CheckpointId) -> Result<bool, CheckpointError> {
        match self.destination().read_range(&format!("{id}/{MANIFEST}"), 0..1).await {
            Err(DestinationError::NotFound { .. }) => Ok(false),
            // There is one that is empty.
            Ok(_) | Err(DestinationError::Short { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}
