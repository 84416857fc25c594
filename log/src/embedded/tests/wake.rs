//! Being told, and not being told.

use std::fs;

use tokio::time::{Instant, timeout};

use super::{small_log, unit};
use crate::embedded::files::with_suffix;
use crate::embedded::{EmbeddedLog, LOOK_AGAIN};
use crate::spec::{Appender, Reader};

/// A push that is lost delays, and loses nothing.
#[tokio::test]
async fn without_a_bell() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    let other = EmbeddedLog::open(&path).await.unwrap();
    let mut subscription = other.subscribe(None, 10).await.unwrap();
    // The writer goes on ringing a file that has no name any more.
    let tail = log.tail().await.unwrap();
    for bell in ["-bell-entries", "-bell-board"] {
        fs::remove_file(with_suffix(&path, bell)).unwrap();
        fs::write(with_suffix(&path, bell), "").unwrap();
    }
    let blind = EmbeddedLog::open(&path).await.unwrap();
    drop(log);
    blind.append(&tail, &unit(&tail, &[1])).await.unwrap();
    let start = Instant::now();
    let batch = timeout(2 * LOOK_AGAIN, subscription.next()).await.unwrap().unwrap();
    assert_eq!(batch[0].index, 11);
    assert!(start.elapsed() < LOOK_AGAIN + LOOK_AGAIN / 2, "{:?}", start.elapsed());
}

/// Subscriptions keep the log open that they came from.
#[tokio::test]
async fn handle_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    let mut subscription = log.subscribe(Some(&"replica-1".parse().unwrap()), 0).await.unwrap();
    let tail = log.tail().await.unwrap();
    drop(log);
    assert_eq!(subscription.next().await.unwrap().len(), 10);
    let other = EmbeddedLog::open(&path).await.unwrap();
    other.append(&tail, &unit(&tail, &[1])).await.unwrap();
    let start = Instant::now();
    assert_eq!(subscription.next().await.unwrap()[0].index, 11);
    assert!(start.elapsed() < LOOK_AGAIN / 2, "it was not told");
}
