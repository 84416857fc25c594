//! Checkpoints of a running consumer, on a timer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tipline_backup::{CheckpointError, Checkpoints, Keep, Listed, Throttle};
use tipline_log::{Clock, error_chain};
use tokio::time::sleep;

use super::board::JobKind;
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
    /// Makes checkpoints for ever. A failure is logged, and tried again: also the upload of the
    /// newest one, at the start and until it is there.
    pub async fn run(self, maker: &Arc<CheckpointMaker>, clock: &Clock) -> Infallible {
        let Self { every, order, keep } = self;
        let again = AGAIN.min(every);
        maker.board().expect(JobKind::Checkpoint, every);
        if order.upload.is_some() {
            maker.board().expect(JobKind::Upload, every);
        }
        let mut is_sent = order.upload.is_none();
        loop {
            if !is_sent {
                let sent = send_newest(&order, maker).await;
                is_sent = sent.is_ok();
                sent.unwrap_or_else(|error| tell(&order, &error, again));
            }
            let made = match checkpoint_set(&order.checkpoints) {
                Ok(set) => {
                    let wait = due(&set, every, maker, clock).await;
                    if !is_sent && wait > again {
                        sleep(again).await;
                        continue;
                    }
                    sleep(wait).await;
                    once(&set, &order, &keep, maker, clock).await
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = made {
                is_sent = is_sent && !is_unsent(&error);
                tell(&order, &error, again);
                sleep(again).await;
            }
        }
    }
}

fn tell(order: &CheckpointOrder, error: &CheckpointFailure, again: Duration) {
    let (set, again, chain) = (&order.checkpoints, again.as_secs(), error_chain(error));
    match error {
        // Somebody asked for one.
        CheckpointFailure::Checkpoint(CheckpointError::InUse { .. }) => {}
        error if is_unsent(error) => {
            tracing::error!(set, error = chain, "not uploaded; trying again in {again} s");
        }
        _ => {
            tracing::error!(set, error = chain, "no checkpoint was made; trying again in {again} s")
        }
    }
}

/// Whether it was made, and is not uploaded.
fn is_unsent(error: &CheckpointFailure) -> bool {
    matches!(error, CheckpointFailure::NotUploaded { .. } | CheckpointFailure::NotSealed { .. })
}

/// Uploads the newest checkpoint, unless it is there.
pub(super) async fn send_newest(
    order: &CheckpointOrder,
    maker: &Arc<CheckpointMaker>,
) -> Result<(), CheckpointFailure> {
    match maker.begin(order.clone()) {
        Ok(begun) => begun.upload_newest().await,
        Err(error) => Err(error.into()),
    }
}

/// How long until the next one. A set that cannot be listed fails again when a checkpoint is made.
async fn due(
    set: &Checkpoints,
    every: Duration,
    maker: &CheckpointMaker,
    clock: &Clock,
) -> Duration {
    let (listed, now) = (set.list().await.unwrap_or_default(), clock());
    let created = listed.iter().filter_map(|listed| match listed {
        // One of a time to come says nothing of when the next is due.
        Listed::Whole(manifest) => Some(manifest.created).filter(|created| *created <= now),
        Listed::Corrupt { .. } => None,
    });
    let newest = created.max();
    if let Some(newest) = newest {
        maker.board().succeeded(JobKind::Checkpoint, newest);
    }
    let age = newest.map(|newest| now.since(newest));
    age.map_or(Duration::ZERO, |age| every.saturating_sub(age))
}

pub(super) async fn once(
    set: &Checkpoints,
    order: &CheckpointOrder,
    keep: &Keep,
    maker: &Arc<CheckpointMaker>,
    clock: &Clock,
) -> Result<(), CheckpointFailure> {
    let made = match maker.begin(order.clone()) {
        Ok(begun) => begun.run().await,
        // Somebody asked for one: then there is one.
        Err(CheckpointError::InUse { .. }) => {
            sleep(Duration::from_secs(1)).await;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let id = match &made {
        Ok(made) => {
            tracing::info!(
                checkpoint = %made.id, set = order.checkpoints, bytes = made.bytes(),
                "made a checkpoint at {}", made.cursor.position
            );
            &made.id
        }
        // It was made. Older ones expire, whatever becomes of its copy.
        Err(
            CheckpointFailure::NotUploaded { id, .. } | CheckpointFailure::NotSealed { id, .. },
        ) => id,
        Err(_) => return made.map(drop),
    };
    let expired = set.expire(keep, clock(), Some(id), &Throttle::none()).await;
    made?;
    expired?;
    Ok(())
}
