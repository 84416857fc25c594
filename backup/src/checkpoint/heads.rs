//! What is in a set, without the files of each checkpoint: there may be millions.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, future, stream};

use super::error::CheckpointError;
use super::id::CheckpointId;
use super::set::{AT_ONCE, Checkpoints, Listed};

/// What is in a set under the name of a checkpoint, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedHead {
    /// The checkpoint, without its files.
    pub listed: Listed,
    /// Length of all its files together, in bytes, as they are in the store; 0 if it is corrupt.
    pub bytes: u64,
}

/// Checkpoints of one set that were listed before. A manifest never changes, so none is read twice.
#[derive(Debug, Clone, Default)]
pub struct KnownHeads {
    whole: BTreeMap<CheckpointId, ListedHead>,
}

impl Checkpoints {
    /// All checkpoints, the newest position first, and of the same the newest. Of those that are known
    /// it is only asked whether they are still there.
    ///
    /// # Errors
    /// [`CheckpointError::Destination`] if the set cannot be listed or a manifest not be read.
    pub async fn list_heads(
        &self,
        known: &mut KnownHeads,
    ) -> Result<Vec<ListedHead>, CheckpointError> {
        let ids = self.ids().await?;
        let found = ids.iter().rev().map(|id| {
            let before = known.whole.get(id).cloned();
            async move {
                Ok::<_, CheckpointError>(match before {
                    // The manifest is the first to go.
                    Some(before) => self.is_finished(id).await?.then_some(before),
                    None => self.inspect(id.clone()).await?.map(head),
                })
            }
        });
        // Boxed: as in `fetch.rs`.
        let found = stream::iter(found).buffered(AT_ONCE).try_filter_map(future::ok).boxed();
        let heads: Vec<ListedHead> = found.try_collect().await?;
        let whole = heads.iter().filter(|head| matches!(head.listed, Listed::Whole(_)));
        known.whole = whole.map(|head| (head.listed.id().clone(), head.clone())).collect();
        Ok(heads)
    }

    /// Whether there is no checkpoint, not even one that is corrupt. No manifest is read but for a byte.
    ///
    /// # Errors
    /// [`CheckpointError::Destination`].
    pub async fn is_empty(&self) -> Result<bool, CheckpointError> {
        for id in self.ids().await?.iter().rev() {
            if self.is_finished(id).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn ids(&self) -> Result<BTreeSet<CheckpointId>, CheckpointError> {
        let names = self.destination().folders("").await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

fn head(listed: Listed) -> ListedHead {
    match listed {
        Listed::Whole(manifest) => {
            let bytes = manifest.bytes();
            ListedHead { listed: Listed::Whole(manifest.head()), bytes }
        }
        corrupt => ListedHead { listed: corrupt, bytes: 0 },
    }
}
