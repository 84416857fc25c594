//! Checkpoints of a running consumer, on a timer.

use std::sync::Arc;
use std::time::Duration;

use tipline_backup::{CheckpointError, Checkpoints, Keep, Listed, Manifest, Throttle};
use tipline_log::{Clock, error_chain};
use tokio::time::sleep;

use super::maker::{CheckpointFailure, CheckpointMaker, CheckpointOrder, checkpoint_set};

/// After a failure it is tried again after this, or after the interval if that is shorter.
const AGAIN: Duration = Duration::from_secs(60);

/// When checkpoints are made, how, and which stay.
#[derive(Debug, Clone)]
pub struct CheckpointSchedule {
    /// Time from one checkpoint to the next. It is measured from the newest in the set, whoever
    /// made that.
    pub every: Duration,
    /// What is made.
    pub order: CheckpointOrder,
    /// Which stay in the set. Uploaded ones all stay.
    pub keep: Keep,
}

impl CheckpointSchedule {
    /// Makes checkpoints for ever. A failure is logged, and tried again.
    pub async fn run(self, maker: &Arc<CheckpointMaker>, clock: &Clock) {
        let Self { every, order, keep } = self;
        loop {
            let made = match checkpoint_set(&order.checkpoints) {
                Ok(set) => {
                    sleep(due(&set, every, clock).await).await;
                    once(&set, &order, &keep, maker, clock).await
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = made {
                let again = AGAIN.min(every);
                tracing::error!(
                    set = order.checkpoints,
                    error = error_chain(&error),
                    "no checkpoint was made; trying again in {} s",
                    again.as_secs()
                );
                sleep(again).await;
            }
        }
    }
}

/// How long until the next one. A set that cannot be listed fails again when a checkpoint is made.
async fn due(set: &Checkpoints, every: Duration, clock: &Clock) -> Duration {
    let (listed, now) = (set.list().await.unwrap_or_default(), clock());
    let created = listed.iter().filter_map(|listed| match listed {
        // One of a time to come says nothing of when the next is due.
        Listed::Whole(manifest) => Some(manifest.created).filter(|created| *created <= now),
        Listed::Corrupt { .. } => None,
    });
    let age = created.max().map(|newest| now.since(newest));
    age.map_or(Duration::ZERO, |age| every.saturating_sub(age))
}

async fn once(
    set: &Checkpoints,
    order: &CheckpointOrder,
    keep: &Keep,
    maker: &Arc<CheckpointMaker>,
    clock: &Clock,
) -> Result<(), CheckpointFailure> {
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
    set.expire(keep, clock(), Some(&made.id), &Throttle::none()).await?;
    Ok(())
}
