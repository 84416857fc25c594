//! Opening what is at a destination, to restore from it or to check it.

use std::path::PathBuf;

use tipline_backup::{
    ArchiveError, CheckpointError, Checkpoints, Destination, DestinationError, KeyError, Keys,
    RestoreError, Sources,
};

/// Why what is at a destination cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourcesError {
    /// A file of keys cannot be used. Its error says why.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// There is an archive, and nothing is known of it. Its error says why.
    #[error(transparent)]
    Archive(ArchiveError),
    /// There are checkpoints, and they cannot be listed. Its error says why.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// The destination does not answer, or refuses. Its error says whether to try again.
    #[error(transparent)]
    Destination(#[from] DestinationError),
}

impl From<SourcesError> for RestoreError {
    fn from(error: SourcesError) -> Self {
        match error {
            SourcesError::Keys(error) => Self::Archive(error.into()),
            SourcesError::Archive(error) => Self::Archive(error),
            SourcesError::Checkpoint(error) => error.into(),
            SourcesError::Destination(error) => error.into(),
        }
    }
}

/// What is at a destination: an archive, checkpoints, both, or nothing. `identity` are files of
/// age identities that open it; they are read at once. An archive that is damaged is among
/// [`Sources::damaged`], and does not keep the rest from being used.
///
/// # Errors
/// See [`SourcesError`].
pub async fn open_sources(
    destination: &Destination,
    identity: &[PathBuf],
) -> Result<Sources, SourcesError> {
    let keys = identity.iter().try_fold(Keys::default(), |keys, file| keys.identity_file(file))?;
    let mut sources = Sources::default();
    match sources.add_archive(destination, keys.clone()).await {
        Ok(()) => {}
        Err(ArchiveError::Destination(error)) => return Err(error.into()),
        Err(error) => return Err(SourcesError::Archive(error)),
    }
    // A backup location has them in a folder; a set of checkpoints may be named itself.
    for set in [destination.folder("checkpoints"), destination.clone()] {
        let set = Checkpoints::at(set).with_keys(keys.clone());
        if !set.is_empty().await.map_err(SourcesError::Checkpoint)? {
            sources.checkpoints.push(set);
        }
    }
    Ok(sources)
}
