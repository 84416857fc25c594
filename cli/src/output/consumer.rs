//! A consumer while it runs: its progress, and how it ended.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tipline_consumer::{Consumer, ConsumerError, Phase, Progress};
use tipline_log::Clock;
use tipline_ops::text::{age, count, number};
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, consumer_exit};
use crate::output::progress;
use crate::output::progress::Rate;
use crate::output::report::Failure;

/// Time to apply what has arrived.
const DRAIN: Duration = Duration::from_secs(10);

/// Shows the progress of a consumer until it ends, or drains it when it is told to stop.
pub(crate) async fn follow(
    consumer: Consumer,
    clock: &Clock,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let progress = consumer.progress();
    let mut rate = Rate::default();
    let ended = tokio::select! {
        ended = consumer.finished() => Some(ended),
        () = stop.cancelled() => None,
        never = progress::show(|| line(&progress.borrow(), clock, &mut rate)) => match never {},
    };
    progress::done();
    match ended {
        Some(ended) => ended.map_err(stopped)?,
        None => drain(consumer).await?,
    }
    Ok(Exit::Ok)
}

/// Whether the log no longer has what the store needs.
pub(crate) fn is_trimmed(failure: &Failure) -> bool {
    let stopped = failure.error().downcast_ref::<Stopped>();
    stopped.is_some_and(|stopped| matches!(*stopped.0, ConsumerError::OutOfRange { .. }))
}

async fn drain(consumer: Consumer) -> Result<(), Failure> {
    tracing::info!("stopping: applying what has arrived, at most for {} s", DRAIN.as_secs());
    let progress = consumer.progress();
    match tokio::time::timeout(DRAIN, consumer.shutdown()).await {
        Ok(ended) => ended.map_err(stopped)?,
        // What is under way is atomic, with the cursor: the next start does it again.
        Err(_) => tracing::warn!("stopped before everything that has arrived was applied"),
    }
    let cursor = progress.borrow().cursor.clone();
    if let Some(cursor) = cursor {
        tracing::info!("stopped at {}: the store is durable up to there", cursor.position);
    }
    Ok(())
}

fn line(progress: &Progress, clock: &Clock, rate: &mut Rate) -> String {
    let rate = rate.note(progress.applied);
    let phase = match &progress.phase {
        Phase::Joining => "comparing the store with the log",
        Phase::Following => "following",
        Phase::LogUnavailable(_) => "waiting for the log",
        Phase::StoreStalled(_) => "waiting for the store",
        Phase::StoreAhead(_) => "waiting for the log to reach the store again",
        _ => "stopped",
    };
    let Some(cursor) = &progress.cursor else {
        return phase.to_owned();
    };
    let block = cursor.block_tip.as_ref();
    let block =
        block.map_or("no block yet".to_owned(), |tip| format!("block {}", number(tip.height)));
    let proof = cursor.proof_tip.filter(|height| *height > 0);
    let proof = proof.map_or(String::new(), |height| format!(", proven to {}", number(height)));
    let behind = match progress.behind() {
        None => "how far behind is not known".to_owned(),
        Some(0) => "caught up".to_owned(),
        Some(events) => {
            let lag = progress.lag(clock()).map(|lag| format!(", {}", age(lag)));
            format!("{} behind{}", count(events, "event"), lag.unwrap_or_default())
        }
    };
    format!("{phase} · {block} durable{proof} · {behind} · {rate:.0} events/s")
}

fn stopped(error: Arc<ConsumerError>) -> Failure {
    let exit = consumer_exit(&error);
    Failure::from(Stopped(error)).ending(exit)
}

/// A consumer's end, which several may hold.
#[derive(Debug)]
struct Stopped(Arc<ConsumerError>);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Stopped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
