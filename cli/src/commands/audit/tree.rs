//! An archive, and the signed tree beside it.

use std::path::PathBuf;
use std::sync::Arc;

use tipline_audit::AuditError;
use tipline_audit::tree::{TreeError, TreePlace};
use tipline_backup::{Archive, Destination, Keys, Sources};

use crate::output::report::Failure;

/// Which archive.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct TreeArgs {
    /// The archive: dir:PATH, s3://BUCKET/PREFIX, gs://… or az://…
    #[arg(long, value_name = "ADDRESS")]
    archive: String,

    /// File with the age identity (secret key) that an encrypted archive is read with
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    identity: Vec<PathBuf>,
}

/// An open archive.
pub(super) struct OpenTree {
    pub(super) archive: Archive,
    pub(super) sources: Arc<Sources>,
    pub(super) place: TreePlace,
    /// Where the archive is.
    pub(super) destination: Destination,
}

impl TreeArgs {
    /// Of this archive, with these files of identities.
    pub(super) fn new(archive: String, identity: Vec<PathBuf>) -> Self {
        Self { archive, identity }
    }

    /// The keys of an encrypted archive.
    pub(super) fn keys(&self) -> Result<Keys, Failure> {
        let mut files = self.identity.iter();
        Ok(files.try_fold(Keys::default(), |keys, file| keys.identity_file(file))?)
    }

    /// Opens it.
    pub(super) async fn open(&self, keys: Keys) -> Result<OpenTree, AuditError> {
        let destination = Destination::open(&self.archive).map_err(TreeError::from)?;
        let archive = Archive::open(destination.clone(), keys).await?;
        let place = TreePlace::new(&destination, archive.identity());
        let archives = vec![archive.clone()];
        let sources = Arc::new(Sources { archives, ..Sources::default() });
        Ok(OpenTree { archive, sources, place, destination })
    }
}
