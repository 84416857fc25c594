//! `--bootstrap`: a consumer starts from the newest checkpoint and archive, and joins the log.

use std::path::PathBuf;
use std::sync::Arc;

use tipline_backup::{Destination, RestoreError};
use tipline_log::Log;
use tipline_ops::Bootstrap;

/// Options of a consumer that may start from what is kept elsewhere.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Bootstrap")]
pub(crate) struct BootstrapArgs {
    /// Where archives and checkpoints are. A new store is filled from there, and one that lags
    /// what the log still has is brought forward, before it joins the log
    #[arg(long, env = "TIPLINE_BOOTSTRAP", value_name = "ADDRESS", value_delimiter = ',')]
    bootstrap: Vec<String>,

    /// File with the age identity (secret key) that an encrypted archive is read with
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
}

impl BootstrapArgs {
    /// Whether there is a place to start from.
    pub(crate) fn is_given(&self) -> bool {
        !self.bootstrap.is_empty()
    }

    /// Where to start from.
    ///
    /// # Errors
    /// An address cannot be used.
    pub(crate) fn of(&self, log: &Arc<dyn Log>) -> Result<Bootstrap, RestoreError> {
        let addresses = self.bootstrap.iter().filter(|address| *address != super::LOG);
        Ok(Bootstrap {
            destinations: addresses.map(|at| Destination::open(at)).collect::<Result<_, _>>()?,
            identity: self.identity.clone(),
            log: Arc::clone(log),
        })
    }
}
