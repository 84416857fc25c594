//! Options of checkpoints that a consumer makes by itself.

use clap::builder::BoolishValueParser;
use tipline_backup::Keep;
use tipline_ops::{CheckpointMode, CheckpointOrder, CheckpointSchedule, Sealing};

use crate::address::{ByteRate, StoreAddress};
use crate::settings::Parsed;

/// How a RocksDB store is copied.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub(crate) enum Mode {
    /// By hard links; a full copy where the set is on another file system
    #[default]
    Links,
    /// By its backup engine: checkpoints of a set have files in common. It copies them at full
    /// speed, and a cancel ends it after the file under way
    Engine,
}

impl From<Mode> for CheckpointMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Links => CheckpointMode::Links,
            Mode::Engine => CheckpointMode::Engine,
        }
    }
}

/// Whether what is uploaded is encrypted.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SealingArgs {
    /// Encrypt what is uploaded to this age public key, age1…; separate several by commas
    /// [default: the recipients of the archive that is there, if there is one and it has some]
    #[arg(long, env = "TIPLINE_RECIPIENT", value_name = "KEY")]
    recipient: Option<String>,

    /// Upload in the clear, even beside an archive that is encrypted
    #[arg(long, env = "TIPLINE_PLAIN", value_parser = BoolishValueParser::new())]
    #[arg(conflicts_with = "recipient")]
    plain: bool,
}

impl From<SealingArgs> for Sealing {
    fn from(args: SealingArgs) -> Self {
        let given = args.recipient.iter().flat_map(|keys| keys.split(',')).map(str::trim);
        let given: Vec<String> = given.filter(|key| !key.is_empty()).map(str::to_owned).collect();
        match (args.plain, given.is_empty()) {
            (true, _) => Sealing::Plain,
            (false, true) => Sealing::AsArchive,
            (false, false) => Sealing::To(given),
        }
    }
}

/// Options of checkpoints that a consumer makes by itself.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Checkpoints")]
pub(crate) struct EveryArgs {
    /// Make a checkpoint of the store this often: 1h, 30min. By default none are made
    #[arg(long, env = "TIPLINE_CHECKPOINT_EVERY", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    checkpoint_every: Option<humantime::Duration>,

    /// The set of checkpoints: dir:PATH. Without it, beside the store, at PATH.checkpoints
    #[arg(long, env = "TIPLINE_CHECKPOINTS", value_name = "ADDRESS")]
    pub(crate) checkpoints: Option<String>,

    /// Copy each to the checkpoints of this backup location too, and read it back from there:
    /// dir:PATH, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX
    #[arg(long, env = "TIPLINE_UPLOAD", value_name = "ADDRESS")]
    pub(crate) upload: Option<String>,

    #[command(flatten)]
    sealing: SealingArgs,

    /// Move at most this many bytes per second: 50MiB
    #[arg(long, env = "TIPLINE_CHECKPOINT_RATE", value_name = "BYTES")]
    #[arg(value_parser = Parsed::<ByteRate>::new())]
    checkpoint_rate: Option<ByteRate>,

    /// How a RocksDB store is copied. What is uploaded is always whole by itself
    #[arg(long, env = "TIPLINE_CHECKPOINT_MODE", value_enum, default_value_t)]
    mode: Mode,

    /// After each, remove all but this many of the newest, and those that are kept. Uploaded ones
    /// stay
    #[arg(long, env = "TIPLINE_KEEP_LAST", value_name = "COUNT", default_value_t = 3)]
    keep_last: usize,

    /// Leave what is younger than this, too: 7d
    #[arg(long, env = "TIPLINE_KEEP_WITHIN", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    keep_within: Option<humantime::Duration>,
}

impl EveryArgs {
    fn order(&self, store: &StoreAddress) -> CheckpointOrder {
        let checkpoints = self.checkpoints.clone();
        CheckpointOrder {
            checkpoints: checkpoints.unwrap_or_else(|| default_set(store)),
            upload: self.upload.clone(),
            rate: self.checkpoint_rate.map(|rate| rate.0),
            mode: self.mode.into(),
            sealing: self.sealing.clone().into(),
        }
    }

    /// Where what it makes is in the end: the backup location, or else the set.
    pub(crate) fn place(&self, store: &StoreAddress) -> String {
        let order = self.order(store);
        order.upload.unwrap_or(order.checkpoints)
    }

    /// When it makes checkpoints; `None` if none are to be made.
    pub(crate) fn schedule(&self, store: &StoreAddress) -> Option<CheckpointSchedule> {
        Some(CheckpointSchedule {
            every: *self.checkpoint_every?,
            order: self.order(store),
            keep: Keep { last: self.keep_last, within: self.keep_within.map(|within| *within) },
        })
    }
}

/// Beside the store; for a composite beside its last part.
pub(crate) fn default_set(store: &StoreAddress) -> String {
    format!("dir:{}", store.beside("checkpoints").display())
}
