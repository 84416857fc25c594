//! Reading checkpoints back where they are.

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

use super::error::CheckpointError;
use super::manifest::Manifest;
use super::set::{AT_ONCE, Checkpoints};
use super::unpack::PACKS_AT_ONCE;
use crate::destination::Budget;
use crate::throttle::Throttle;

impl Checkpoints {
    /// Reads every file of a checkpoint where it is, and compares every byte. Files of a pack are read
    /// together.
    ///
    /// # Errors
    /// [`CheckpointError::Corrupt`] names a file that is not what was written, or those of a pack;
    /// [`CheckpointError::Cancelled`] if `throttle` ends it.
    pub async fn verify(
        &self,
        manifest: &Manifest,
        throttle: &Throttle,
    ) -> Result<(), CheckpointError> {
        let packs = manifest.packs.iter().zip(manifest.members());
        let verified = packs.map(|(pack, members)| async move {
            self.verify_pack(manifest, pack, members, &Budget::new(throttle)).await
        });
        // Boxed: as in `fetch.rs`.
        stream::iter(verified).buffered(PACKS_AT_ONCE).try_collect::<()>().boxed().await?;
        let alone = manifest.files.iter().filter(|file| file.packed.is_none());
        let verified = alone.map(|file| async move {
            self.verify_file(manifest, file, &Budget::new(throttle)).await
        });
        stream::iter(verified).buffered(AT_ONCE).try_collect::<()>().boxed().await
    }
}
