//! Options of everything that is audited.

use std::path::PathBuf;

/// How it is opened.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AuditedArgs {
    /// File with the age identity (secret key) that an encrypted archive is read with
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,

    /// Where a checkpoint is copied to while it is read; the directory of temporary files by default
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}
