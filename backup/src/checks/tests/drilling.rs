//! What a drill says of how far behind the log it is.

use std::sync::Arc;
use std::time::Duration;

use tipline_log::memory::rigged::RiggedLog;
use tipline_log::{Appender, Log, Trimmer};
use tipline_store::conformance::history::{History, log};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::checks::{DrillReport, drill};
use crate::restore::tests::{Kept, place};
use crate::restore::{RestoreProgress, StorePlace};

/// Of an archive of 50 entries and a log of 100, a millisecond each, that begins with `first`.
async fn drilled(first: u64, max_lag: Option<Duration>) -> DrillReport {
    let entries = History::blocks(99, 10).entries;
    against(RiggedLog::new(log(), &entries).await.trimmed(first), max_lag).await
}

async fn against(log: RiggedLog, max_lag: Option<Duration>) -> DrillReport {
    let kept = Kept::of(History::blocks(99, 10)).await;
    kept.segments(50, 10).await;
    let log: Arc<dyn Log> = Arc::new(log);
    let scratch = tempfile::tempdir().unwrap();
    let (progress, _) = watch::channel(RestoreProgress::default());
    let into = place(&["sqlite"], scratch.path());
    let stop = CancellationToken::new();
    drill(kept.sources(), Some(log), into, max_lag, progress, stop).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_is_too_far_behind_is_not_well() {
    let report = drilled(1, None).await;
    assert!(report.is_ok(), "{report:?}");
    assert_eq!((report.agrees_with_log, report.entries_behind), (Some(true), Some(50)));
    assert_eq!(report.seconds_behind, Some(0.05));
    assert!(drilled(1, Some(Duration::from_millis(50))).await.is_ok());
    let report = drilled(1, Some(Duration::from_millis(49))).await;
    assert!(!report.is_ok() && report.is_behind(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_has_dropped_and_the_archive_never_had_is_lost() {
    // The log continues from it.
    let report = drilled(51, None).await;
    assert_eq!((report.agrees_with_log, report.lost), (Some(true), None));
    assert!(report.is_ok(), "{report:?}");
    let report = drilled(61, None).await;
    assert_eq!((report.agrees_with_log, report.lost), (None, Some((51, 60))));
    assert!(!report.is_ok(), "{report:?}");
    assert!(!drilled(100, Some(Duration::from_secs(9))).await.is_ok());
    assert_eq!(drilled(101, None).await.lost, Some((51, 100)), "it holds nothing any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_less_than_was_restored_is_not_well() {
    let entries = History::blocks(99, 10).entries;
    for last in [0, 49] {
        let report = against(RiggedLog::new(log(), &entries[..last]).await, None).await;
        assert_eq!(report.agrees_with_log, Some(false), "{last}");
        assert!(!report.is_ok(), "{report:?}");
    }
    assert!(against(RiggedLog::new(log(), &entries[..50]).await, None).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_drops_while_it_is_compared_is_lost() {
    let RiggedLog { inner: log, .. } =
        RiggedLog::new(log(), &History::blocks(99, 10).entries).await;
    let tail = log.tail().await.unwrap();
    let mut report = drilled(1, None).await;
    log.delay_reads(Duration::from_millis(10));
    // It is dropped between the two questions.
    let (compared, trimmed) = tokio::join!(biased; report.compare(&log, &tail), log.trim(61));
    compared.unwrap();
    trimmed.unwrap();
    assert_eq!(report.lost, Some((51, 60)));
    assert!(report.seconds_behind.is_some() && !report.is_ok(), "{report:?}");
}

/// It took hours, and says that what is kept can be restored.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_goes_away_meanwhile_does_not_undo_a_drill() {
    let kept = Kept::of(History::blocks(99, 10)).await;
    kept.segments(50, 10).await;
    let RiggedLog { inner, .. } = RiggedLog::new(log(), &History::blocks(99, 10).entries).await;
    let log = Arc::new(inner);
    let scratch = tempfile::tempdir().unwrap();
    let into = place(&["sqlite"], scratch.path());
    let (open, away) = (Arc::clone(&into.open), Arc::clone(&log));
    let going_away = move |paths: &[std::path::PathBuf]| {
        away.set_available(false);
        open(paths)
    };
    let into = StorePlace { open: Arc::new(going_away), ..into };
    let (progress, _) = watch::channel(RestoreProgress::default());
    let stop = CancellationToken::new();
    let report = drill(kept.sources(), Some(log), into, None, progress, stop).await.unwrap();
    assert_eq!((report.restore.achieved.index, report.agrees_with_log), (50, None));
    assert!(report.is_ok() && report.not_compared.is_some(), "{report:?}");
}
