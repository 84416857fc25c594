//! Signatures of manifests: who vouches for a checkpoint.
//!
//! The signature of a consumer is a file beside the manifest, written before it, and named by the BLAKE3
//! of the manifest: `ID/BLAKE3.sig`. So one that an upload left that was ended is of nothing.

use bytes::Bytes;
use futures_util::TryStreamExt;
use tipline_log::error_chain;
use tipline_proto::{Signature, Trust};

use super::error::CheckpointError;
use super::manifest::Manifest;
use super::set::{Checkpoints, Listed};
use crate::destination::DestinationError;

/// Longest signature. Whoever else writes there may make one huge.
const MAX_SIGNATURE: u64 = 64 << 10;

impl Manifest {
    /// The name of its signature, below the checkpoint.
    pub(super) fn signature_name(text: &str) -> String {
        format!("{}.sig", blake3::hash(text.as_bytes()))
    }
}

impl Checkpoints {
    /// The signature of a manifest with this text, if there is a key to sign with.
    pub(super) fn sign(&self, manifest: &Manifest, text: &str) -> Option<Bytes> {
        let over = blake3::hash(text.as_bytes());
        let lineage = manifest.log.lineage;
        self.key().map(|key| key.sign_checkpoint(lineage, over.as_bytes()).encode())
    }

    /// Puts the signature beside a manifest that is not written yet.
    pub(super) async fn put_signature(
        &self,
        manifest: &Manifest,
        text: &str,
    ) -> Result<(), CheckpointError> {
        let Some(signature) = self.sign(manifest, text) else { return Ok(()) };
        let name = format!("{}/{}", manifest.id, Manifest::signature_name(text));
        match self.destination().create(&name, signature).await {
            Ok(()) => Ok(()),
            // Of an earlier attempt: of the same manifest there is one signature by a key.
            Err(DestinationError::Exists { .. }) => {
                Ok(self.destination().sync_existing(&name).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Which checkpoints no trusted consumer vouches for, and why, if they must be signed.
    ///
    /// # Errors
    /// [`CheckpointError::Destination`].
    pub(crate) async fn unvouched(&self, trust: &Trust) -> Result<Vec<String>, CheckpointError> {
        let mut unvouched = Vec::new();
        if !trust.requires_checkpoints() {
            return Ok(unvouched);
        }
        let mut each = self.each().await?;
        while let Some(listed) = each.try_next().await? {
            // One that is corrupt is named without this.
            let Listed::Whole(manifest) = listed else { continue };
            match self.check_signature(&manifest, trust).await {
                Ok(()) => {}
                Err(error) if error.is_about_it() => unvouched.push(error_chain(&error)),
                Err(error) => return Err(error),
            }
        }
        Ok(unvouched)
    }

    /// Whether a trusted consumer vouches for a checkpoint, if the history must be signed: for its
    /// manifest, and so for the bytes of every file.
    ///
    /// # Errors
    /// [`CheckpointError::NotVouched`] if nobody does; [`CheckpointError::Destination`].
    pub async fn check_signature(
        &self,
        manifest: &Manifest,
        trust: &Trust,
    ) -> Result<(), CheckpointError> {
        if !trust.requires_history() {
            return Ok(());
        }
        let (place, id) = (self.place().to_owned(), manifest.id.clone());
        let text = manifest.to_text()?;
        let name = format!("{id}/{}", Manifest::signature_name(&text));
        let signature = match self.destination().read_at_most(&name, MAX_SIGNATURE).await {
            Ok(bytes) => match Signature::decode(&bytes) {
                Ok(signature) => Some(signature),
                Err(error) => {
                    let what = format!("its signature {name} is none: {error}");
                    return Err(CheckpointError::Corrupt { place, id, what });
                }
            },
            Err(DestinationError::NotFound { .. }) => None,
            Err(error @ DestinationError::TooLong { .. }) => {
                let what = format!("its signature is none: {error}");
                return Err(CheckpointError::Corrupt { place, id, what });
            }
            Err(error) => return Err(error.into()),
        };
        let over = *blake3::hash(text.as_bytes()).as_bytes();
        let lineage = manifest.log.lineage;
        let checked = trust.check_checkpoint(lineage, manifest.created, &over, signature.as_ref());
        checked.map_err(|e| CheckpointError::NotVouched { place, id, source: Box::new(e) })
    }
}
