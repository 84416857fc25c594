//! What is signed with, and whose signatures are required.

use std::path::PathBuf;
use std::sync::Arc;

use tipline_audit::tree::TreeError;
use tipline_audit::{AuditError, SignerKey, read_trust};
use tipline_proto::{SigningKey, Trust};

use crate::output::report::Failure;

/// Options for signatures.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Signatures")]
pub(crate) struct SigningArgs {
    /// File of the key that signs what this process says: entries and announcements, or receipts.
    /// `tipline keys new --name` makes one
    #[arg(long, global = true, env = "TIPLINE_SIGNING_KEY", value_name = "FILE")]
    #[arg(hide_short_help = true)]
    signing_key: Option<PathBuf>,

    /// File with the keys whose signatures are required, a line each: `primary KEY` or
    /// `consumer NAME KEY`. What is not signed by them is refused
    #[arg(long, global = true, env = "TIPLINE_TRUSTED_KEYS", value_name = "FILE")]
    #[arg(hide_short_help = true)]
    trusted_keys: Option<PathBuf>,
}

impl SigningArgs {
    /// Whose signatures are required.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(crate) fn trust(&self) -> Result<Trust, Failure> {
        Ok(self.trusted_keys.as_deref().map(read_trust).transpose()?.unwrap_or_default())
    }

    /// What this process signs with.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(crate) fn key(&self) -> Result<Option<Arc<SigningKey>>, Failure> {
        let key = self.signing_key.as_deref().map(SignerKey::read).transpose();
        let key = key.map_err(|error| AuditError::from(TreeError::from(error)))?;
        Ok(key.map(|key| Arc::new(key.signing())))
    }
}
