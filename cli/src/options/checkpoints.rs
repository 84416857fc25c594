//! Checkpoints of a running consumer, time and again.

use std::sync::Arc;
use std::time::Duration;

use tipline_backup::{CheckpointError, Checkpoints, Keep, Listed, Manifest};
use tipline_log::Clock;
use tokio::time::sleep;

use super::checkpoint::{Maker, Mode, Order, Unmade, open_set};
use crate::address::{ByteRate, StoreAddress};
use crate::output::report::chain;
use crate::settings::Parsed;

/// After a failure it is tried again after this, or after the interval if that is shorter.
const AGAIN: Duration = Duration::from_secs(60);

/// Options of checkpoints that a consumer makes by itself.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Checkpoints")]
pub(crate) struct EveryArgs {
    /// Make a checkpoint of the store this often: 1h, 30min; none if it is not given
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

    /// Move at most so many bytes per second: 50MiB
    #[arg(long, env = "TIPLINE_CHECKPOINT_RATE", value_name = "BYTES")]
    #[arg(value_parser = Parsed::<ByteRate>::new())]
    checkpoint_rate: Option<ByteRate>,

    /// How a RocksDB is copied. What is uploaded is whole by itself in any case
    #[arg(long, env = "TIPLINE_CHECKPOINT_MODE", value_enum, default_value_t)]
    mode: Mode,

    /// After each, remove all but so many of the newest, and those that are kept. Uploaded ones
    /// stay
    #[arg(long, env = "TIPLINE_KEEP_LAST", value_name = "COUNT", default_value_t = 3)]
    keep_last: usize,

    /// Of those, leave what is younger than this: 7d
    #[arg(long, env = "TIPLINE_KEEP_WITHIN", value_name = "TIME")]
    #[arg(value_parser = Parsed::<humantime::Duration>::new())]
    keep_within: Option<humantime::Duration>,
}

impl EveryArgs {
    fn order(&self, store: &StoreAddress) -> Order {
        let checkpoints = self.checkpoints.clone();
        Order {
            checkpoints: checkpoints.unwrap_or_else(|| default_set(store)),
            upload: self.upload.clone(),
            rate: self.checkpoint_rate.map(|rate| rate.0),
            mode: self.mode,
        }
    }

    /// Where what it makes is in the end: the backup location, or else the set.
    pub(crate) fn place(&self, store: &StoreAddress) -> String {
        let order = self.order(store);
        order.upload.unwrap_or(order.checkpoints)
    }

    /// Makes checkpoints for ever; waits for ever if none are to be made.
    pub(crate) async fn run(self, store: &StoreAddress, maker: &Arc<Maker>, clock: &Clock) {
        let Some(every) = self.checkpoint_every else { return std::future::pending().await };
        let order = self.order(store);
        let keep = Keep { last: self.keep_last, within: self.keep_within.map(|within| *within) };
        loop {
            let made = match open_set(&order.checkpoints) {
                Ok(set) => {
                    sleep(due(&set, *every, clock).await).await;
                    once(&set, &order, &keep, maker, clock).await
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = made {
                let again = AGAIN.min(*every);
                let error = chain(&error);
                tracing::error!(
                    set = order.checkpoints,
                    error,
                    "no checkpoint was made; trying again in {} s",
                    again.as_secs()
                );
                sleep(again).await;
            }
        }
    }
}

/// How long until the next one. A set that cannot be listed is asked again by making one.
async fn due(set: &Checkpoints, every: Duration, clock: &Clock) -> Duration {
    let listed = set.list().await.unwrap_or_default();
    let created = listed.iter().filter_map(|listed| match listed {
        Listed::Whole(manifest) => Some(manifest.created),
        Listed::Corrupt { .. } => None,
    });
    let age = created.max().map(|newest| clock().since(newest));
    age.map_or(Duration::ZERO, |age| every.saturating_sub(age))
}

async fn once(
    set: &Checkpoints,
    order: &Order,
    keep: &Keep,
    maker: &Arc<Maker>,
    clock: &Clock,
) -> Result<(), Unmade> {
    let made: Manifest = match maker.begin(order.clone()) {
        Ok(begun) => begun.run().await?,
        // Somebody asked for one: then there is one.
        Err(CheckpointError::InUse { .. }) => {
            sleep(Duration::from_secs(1)).await;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    tracing::info!(
        checkpoint = %made.id, set = order.checkpoints, bytes = made.bytes(),
        "made a checkpoint at {}", made.cursor.position
    );
    set.expire(keep, clock(), Some(&made.id), &()).await?;
    Ok(())
}

/// Beside the store; for a composite beside its last part.
pub(crate) fn default_set(store: &StoreAddress) -> String {
    format!("dir:{}", store.beside("checkpoints").display())
}
