//! A copy of a checkpoint elsewhere.

use bytes::Bytes;

use super::error::CheckpointError;
use super::manifest::{MANIFEST, Manifest, ManifestFile};
use super::set::Checkpoints;
use crate::destination::DestinationError;
use crate::throttle::Throttle;

impl Checkpoints {
    /// Copies a checkpoint of this set, a directory, to another set, and reads every byte back from
    /// there. On return it is whole there, and listed. `Ok` too if it was there already, as its
    /// manifest says.
    ///
    /// If it fails or is cancelled, what was uploaded is never listed. It is removed if that is
    /// allowed there; otherwise the next attempt overwrites it.
    ///
    /// # Errors
    /// [`CheckpointError::Corrupt`] names a file that is not what was written, here or there;
    /// [`CheckpointError::Cancelled`] if `throttle` ends it.
    pub async fn upload(
        &self,
        manifest: &Manifest,
        to: &Checkpoints,
        throttle: &Throttle,
    ) -> Result<(), CheckpointError> {
        // Elsewhere it shares nothing: removing shared files takes a lock that is not there.
        let there = &manifest.alone();
        match to.get(&manifest.id).await {
            Ok(found) if found == *there => return Ok(()),
            Ok(_) => {
                return Err(to.corrupt(&manifest.id, "a different checkpoint has this name".into()));
            }
            Err(CheckpointError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let uploaded = self.upload_new(manifest, to, throttle).await;
        if uploaded.is_err() {
            to.abandon(there).await;
        }
        uploaded
    }

    async fn upload_new(
        &self,
        manifest: &Manifest,
        to: &Checkpoints,
        throttle: &Throttle,
    ) -> Result<(), CheckpointError> {
        let (directory, there) = (self.directory()?, &manifest.alone());
        for file in &manifest.files {
            let (object, from) = (
                there.object(&ManifestFile { shared: None, ..file.clone() }),
                directory.join(manifest.object(file)),
            );
            let sent = to.destination().upload(&object, &from, throttle).await;
            self.compare(manifest, file, sent, None)?;
        }
        to.verify(there, throttle).await?;
        let (name, text) = (format!("{}/{MANIFEST}", there.id), there.to_text()?);
        match to.destination().create(&name, Bytes::from(text)).await {
            // Only the same one has this name. Reading it back shows whether it is whole.
            Ok(()) | Err(DestinationError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match to.get(&manifest.id).await? {
            found if found == *there => Ok(()),
            _ => Err(to.corrupt(&manifest.id, format!("{MANIFEST} is not what was written"))),
        }
    }

    /// Removes the remains of an unfinished upload, as far as it can.
    async fn abandon(&self, manifest: &Manifest) {
        if self.destination().read(&format!("{}/{MANIFEST}", manifest.id)).await.is_ok() {
            return;
        }
        for file in manifest.files.iter().filter(|file| file.shared.is_none()) {
            if self.destination().remove(&manifest.object(file)).await.is_err() {
                return;
            }
        }
    }
}
