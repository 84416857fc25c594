//! Restoring for real, into a scratch place. Nothing else proves that it works, and how long it
//! takes.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tipline_log::Log;
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
    /// The log has the same history up to the restored point; none: there was no log to ask, or
    /// it no longer has that entry.
    pub agrees_with_log: Option<bool>,
    /// How many entries of the log would have been lost; none: there was no log to ask.
    pub entries_behind: Option<u64>,
    /// How much older the newest restored entry is than the log's newest: the recovery point, in
    /// seconds.
    pub seconds_behind: Option<f64>,
}

impl DrillReport {
    /// Whether what was restored belongs to the log's history.
    pub fn is_ok(&self) -> bool {
        self.agrees_with_log != Some(false)
    }
}

/// Restores everything that the places have into a scratch place, reads all of it back, and
/// compares with the log. The log is only compared with: it is not restored from, because it is its
/// loss that is rehearsed. What was restored stays where it is; the caller removes it.
///
/// # Errors
/// Those of a restore.
pub async fn drill(
    sources: Arc<Sources>,
    log: Option<Arc<dyn Log>>,
    scratch: StorePlace,
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
    };
    let (Some(log), Some(tail)) = (log, tail) else { return Ok(report) };
    let index = report.restore.achieved.index;
    report.entries_behind = Some(tail.position.index.saturating_sub(index));
    let extent = log.extent().await?;
    if index == 0 || index < extent.first || index > extent.last {
        return Ok(report);
    }
    let entry = log.entry(index).await?;
    report.agrees_with_log = Some(entry.digest == report.restore.achieved.digest);
    let lag =
        if tail.position.index > index { tail.time.since(entry.time) } else { Duration::ZERO };
    report.seconds_behind = Some(lag.as_secs_f64());
    Ok(report)
}
