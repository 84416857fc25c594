//! Restoring for real, into a scratch place. Nothing else proves that it works, and how long it
//! takes.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tipline_log::{Log, LogError, Tail, error_chain};
use tipline_proto::Position;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::RestoreError;
use crate::restore::{
    RestoreProgress, RestoreReport, RestoreSettings, StorePlace, Target, Verification, restore,
};
use crate::sources::Sources;

/// What a drill measured.
#[derive(Debug, Clone, Serialize)]
pub struct DrillReport {
    /// The restore itself; its duration is the recovery time.
    pub restore: RestoreReport,
    /// The log has the same history up to the restored point; not, too, if it ends before that.
    /// None: there was no log to ask, or it no longer has that entry.
    pub agrees_with_log: Option<bool>,
    /// How many entries of the log would have been lost; none: there was no log to ask.
    pub entries_behind: Option<u64>,
    /// How much older the newest restored entry is than the log's newest: the recovery point, in
    /// seconds. At least this, if the log no longer has that entry.
    pub seconds_behind: Option<f64>,
    /// First and last entry of those that are lost already: the log has dropped them, and they were
    /// not restored.
    pub lost: Option<(u64, u64)>,
    /// The recovery point that was allowed, in seconds; none: any.
    pub max_seconds_behind: Option<f64>,
    /// Why it was not compared with the log: there was one, and it did not answer any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
}

impl DrillReport {
    /// Whether what was restored belongs to the log's history, nothing is lost already, and no more
    /// would be than is allowed.
    pub fn is_ok(&self) -> bool {
        self.agrees_with_log != Some(false) && self.lost.is_none() && !self.is_behind()
    }

    /// Whether more would be lost than is allowed.
    pub fn is_behind(&self) -> bool {
        self.max_seconds_behind.zip(self.seconds_behind).is_some_and(|(most, is)| is > most)
    }
}

/// Restores everything that the places have into a scratch place, reads all of it back, and
/// compares with the log. The log is only compared with: it is not restored from, because it is its
/// loss that is rehearsed. What was restored stays where it is; the caller removes it. It is not
/// well if the newest restored entry is older than the log's newest by more than `max_lag`.
///
/// # Errors
/// Those of a restore. A log that does not answer any more when all is restored is in the report.
pub async fn drill(
    sources: Arc<Sources>,
    log: Option<Arc<dyn Log>>,
    scratch: StorePlace,
    max_lag: Option<Duration>,
    progress: watch::Sender<RestoreProgress>,
    stop: CancellationToken,
) -> Result<DrillReport, RestoreError> {
    // First: what is appended meanwhile is not lost by what is kept.
    let tail = match &log {
        Some(log) => Some(log.tail().await?),
        None => None,
    };
    let settings = RestoreSettings {
        target: Target::Latest,
        exclusive: false,
        verification: Verification::Strict,
        force: true,
    };
    let restored = restore(sources, scratch, settings, progress, stop).await?;
    let mut report = DrillReport {
        restore: restored,
        agrees_with_log: None,
        entries_behind: None,
        seconds_behind: None,
        lost: None,
        max_seconds_behind: max_lag.map(|most| most.as_secs_f64()),
        not_compared: None,
    };
    if let (Some(log), Some(tail)) = (log, tail) {
        match report.compare(&*log, &tail).await {
            // It was restored all the same.
            Err(RestoreError::Log(error)) if error.is_retryable() => {
                report.not_compared = Some(error_chain(&error));
            }
            compared => compared?,
        }
    }
    Ok(report)
}

impl DrillReport {
    pub(super) async fn compare(&mut self, log: &dyn Log, tail: &Tail) -> Result<(), RestoreError> {
        let restored = Position::from(&self.restore.achieved);
        let index = restored.index;
        self.entries_behind = Some(tail.position.index.saturating_sub(index));
        let mut earlier = None;
        let entry = loop {
            let extent = log.extent().await?;
            if index > extent.last {
                // It lost entries, or is another.
                self.agrees_with_log = Some(false);
                return Ok(());
            }
            if extent.last < extent.first {
                self.lost = (index < extent.last).then_some((index + 1, extent.last));
                return Ok(());
            }
            // The newest entry that was restored; or else the first one that may follow.
            match log.entry(index.max(extent.first)).await {
                // Trimmed meanwhile: ask again.
                Err(LogError::OutOfRange { .. }) if earlier != Some(extent) => {
                    earlier = Some(extent);
                }
                entry => break entry?,
            }
        };
        if entry.index == index {
            self.agrees_with_log = Some(entry.digest == restored.digest);
        } else if entry.index == index + 1 {
            self.agrees_with_log = Some(entry.follows(&restored));
        } else {
            self.lost = Some((index + 1, entry.index - 1));
        }
        let is_newest = tail.position.index <= index;
        let lag = if is_newest { Duration::ZERO } else { tail.time.since(entry.time) };
        self.seconds_behind = Some(lag.as_secs_f64());
        Ok(())
    }
}
