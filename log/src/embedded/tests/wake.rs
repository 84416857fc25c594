//! Being notified, and not being notified.

use std::fs;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{small_log, unit};
use crate::embedded::files::with_suffix;
use crate::embedded::{EmbeddedLog, LOOK_AGAIN};
use crate::spec::{Appender, Reader, Receipts};

/// A push that is lost delays, and loses nothing.
#[tokio::test]
async fn without_a_bell() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    let other = EmbeddedLog::open(&path).await.unwrap();
    let mut subscription = other.subscribe(None, 10).await.unwrap();
    drop(log);
    // The reader watches a file that has no name any more, the writer rings the new one.
    for bell in ["-bell-entries", "-bell-board"] {
        fs::remove_file(with_suffix(&path, bell)).unwrap();
    }
    let writer = EmbeddedLog::open(&path).await.unwrap();
    let tail = writer.tail().await.unwrap();
    let unit = unit(&tail, &[1]);
    let append = async {
        // If the reader does not wait yet by then, this test shows less, but still the truth.
        sleep(Duration::from_millis(100)).await;
        writer.append(&tail, &unit).await.unwrap();
        Instant::now()
    };
    let following = timeout(2 * LOOK_AGAIN, subscription.next());
    let (batch, appended) = tokio::join!(following, append);
    assert_eq!(batch.unwrap().unwrap()[0].index, 11);
    assert!(appended.elapsed() <= LOOK_AGAIN + Duration::from_secs(1), "{:?}", appended.elapsed());
}

/// Where the system gives no notification, as when its inotify instances are used up, readers look
/// again by themselves.
#[tokio::test]
async fn without_notification() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    for bell in ["-bell-entries", "-bell-board"] {
        fs::remove_file(with_suffix(&path, bell)).unwrap();
    }
    let tail = log.tail().await.unwrap();
    let mut subscription = log.subscribe(None, 10).await.unwrap();
    let mut feed = log.follow_board().await.unwrap();
    feed.next().await.unwrap();
    log.append(&tail, &unit(&tail, &[1])).await.unwrap();
    let following = timeout(10 * LOOK_AGAIN, subscription.next()).await;
    assert_eq!(following.unwrap().unwrap()[0].index, 11);
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
    let unit = unit(&tail, &[1]);
    let append = async {
        sleep(Duration::from_millis(100)).await;
        other.append(&tail, &unit).await.unwrap();
        Instant::now()
    };
    let (batch, appended) = tokio::join!(subscription.next(), append);
    assert_eq!(batch.unwrap()[0].index, 11);
    assert!(appended.elapsed() < LOOK_AGAIN / 2, "it was not notified");
}
