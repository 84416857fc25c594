//! Options that name places to restore from.

use std::path::PathBuf;

/// Options that name places.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SourceArgs {
    /// Where archives and checkpoints are: dir:PATH, s3://BUCKET/PREFIX, gs://…, az://…; or log,
    /// for the log of --log itself. May be repeated; the first has precedence
    #[arg(
        long,
        env = "TIPLINE_FROM",
        value_name = "ADDRESS",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) from: Vec<String>,

    /// File with the age identity (secret key) that an encrypted archive is read with
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
}
