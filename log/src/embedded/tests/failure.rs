//! What the machine does to a log: full disks, locks, files that disappear.

use std::fs;

use super::{identity, other_program, small_log, text, unit};
use crate::embedded::EmbeddedLog;
use crate::error::{AppendError, LogError};
use crate::spec::{Appender, Reader, Receipts};

/// A file that was removed would still take entries, and keep none of them.
#[tokio::test]
async fn removed_while_open() {
    for replaced in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        let log = small_log(&path).await;
        let tail = log.tail().await.unwrap();
        let mut running = log.subscribe(None, 10).await.unwrap();
        fs::rename(&path, directory.path().join("away.db")).unwrap();
        if replaced {
            fs::write(&path, "something else").unwrap();
        }
        let error = log.append(&tail, &unit(&tail, &[1])).await.unwrap_err();
        let AppendError::Doubt(error) = error else { panic!("{error:?}") };
        let expected = if replaced { "was replaced" } else { "was removed" };
        assert!(text(&error).contains(expected), "{}", text(&error));
        // For good, and for everything that this handle can do.
        if replaced {
            fs::remove_file(&path).unwrap();
        }
        fs::rename(directory.path().join("away.db"), &path).unwrap();
        let errors = [
            log.tail().await.map(drop).unwrap_err(),
            log.extent().await.map(drop).unwrap_err(),
            log.entry(1).await.map(drop).unwrap_err(),
            log.board().await.map(drop).unwrap_err(),
            log.subscribe(None, 0).await.map(drop).unwrap_err(),
            log.follow_board().await.map(drop).unwrap_err(),
            running.next().await.map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, LogError::Failed { .. }), "{error:?}");
            assert!(!error.is_retryable());
        }
        let again = EmbeddedLog::open(&path).await.unwrap();
        again.append(&tail, &unit(&tail, &[1])).await.unwrap();
    }
}

/// No space: nothing of the unit is written, the answer may be tried again, and with space the
/// log continues.
#[tokio::test]
async fn no_space() {
    let directory = tempfile::tempdir().unwrap();
    let log = small_log(&directory.path().join("log.db")).await;
    let tail = log.tail().await.unwrap();
    let limit = |pages| {
        log.inner.writer.call(move |connections| {
            connections.entries.limit_pages(pages);
            Ok(())
        })
    };
    limit(100).await.unwrap();
    let large = unit(&tail, &[100, 2 << 20, 100]);
    for _ in 0..3 {
        let error = log.append(&tail, &large).await.unwrap_err();
        let AppendError::Doubt(error) = error else { panic!("{error:?}") };
        assert!(error.is_retryable(), "{error:?}");
        assert!(text(&error).contains("no space left"), "{}", text(&error));
        assert_eq!(log.tail().await.unwrap(), tail);
    }
    limit(i64::from(u32::MAX - 1)).await.unwrap();
    let tail = log.append(&tail, &large).await.unwrap();
    assert_eq!(log.tail().await.unwrap(), tail);
    assert_eq!(log.entry(12).await.unwrap(), large[1]);
}

/// Another program holds the lock for too long: nothing is written, and it may be tried again.
#[tokio::test]
async fn locked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    let tail = log.tail().await.unwrap();
    let other = other_program(&path);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = log.append(&tail, &unit(&tail, &[1])).await.unwrap_err();
    let AppendError::Doubt(error) = error else { panic!("{error:?}") };
    assert!(error.is_retryable(), "{error:?}");
    assert!(text(&error).contains("another process held its lock"), "{}", text(&error));
    // Reading is not stopped by it.
    assert_eq!(log.extent().await.unwrap().last, 10);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(log.tail().await.unwrap(), tail);
    log.append(&tail, &unit(&tail, &[1])).await.unwrap();
}

/// A log that lost its newest entry, and got another one in its place, is not taken for the
/// one that was appended to.
#[tokio::test]
async fn another_history() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    let lost = log.tail().await.unwrap();
    other_program(&path).execute("DELETE FROM entry WHERE number = 10", []).unwrap();
    let before = log.tail().await.unwrap();
    assert_eq!(before.position.index, 9);
    let tail = log.append(&before, &unit(&before, &[11])).await.unwrap();
    let answer = log.append(&lost, &unit(&lost, &[1])).await;
    assert!(matches!(answer, Err(AppendError::Conflict)), "{answer:?}");
    assert_eq!(log.tail().await.unwrap(), tail);
}

/// An append whose caller stopped waiting is done or not done, whole, and the tail that is
/// read next shows which, for good.
#[tokio::test]
async fn cancelled_append() {
    let directory = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::create(directory.path().join("log.db"), &identity()).await.unwrap();
    let mut tail = log.tail().await.unwrap();
    for round in 0..50 {
        let unit = unit(&tail, &[100; 20]);
        tokio::select! {
            biased;
            _ = log.append(&tail, &unit) => {}
            () = tokio::task::yield_now() => {}
        }
        let read = log.tail().await.unwrap();
        let whole = [tail.position, unit[19].position()];
        assert!(whole.contains(&read.position), "round {round}: {}", read.position);
        assert_eq!(log.tail().await.unwrap(), read, "round {round}: it came later");
        tail = read;
    }
}
