//! What an earlier writer left is written again before it is built upon.

use std::fs;
use std::time::Duration;

use super::{identity, small_log, unit};
use crate::embedded::EmbeddedLog;
use crate::embedded::files::with_suffix;
use crate::embedded::sqlite::{Database, Purpose};
use crate::error::AppendError;
use crate::spec::{Appender, Reader, Trimmer};

/// The bytes stay the same, and the system has to write them once more.
#[tokio::test]
async fn written_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    let tail = log.tail().await.unwrap();
    // More than one chunk of it.
    log.append(&tail, &unit(&tail, &[2 << 20])).await.unwrap();
    let wal = with_suffix(&path, "-wal");
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    fs::OpenOptions::new().write(true).open(&wal).unwrap().set_modified(old).unwrap();
    let before = fs::read(&wal).unwrap();
    let database = Database::open(&path, "test", Purpose::Entries).unwrap();
    database.make_durable(&wal).unwrap();
    assert!(fs::read(&wal).unwrap() == before);
    assert_ne!(fs::metadata(&wal).unwrap().modified().unwrap(), old);
    assert_eq!(log.tail().await.unwrap().position.index, 11);
}

/// Whoever opens the log does that before its first append or trim, even one that changes nothing.
#[tokio::test]
async fn before_anything_is_built_upon_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = EmbeddedLog::create(&path, &identity()).await.unwrap();
    let empty = log.tail().await.unwrap();
    log.append(&empty, &unit(&empty, &[100; 10])).await.unwrap();
    let wal = with_suffix(&path, "-wal");
    let before = fs::read(&wal).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for trims in [false, true] {
        let next = EmbeddedLog::open(&path).await.unwrap();
        fs::OpenOptions::new().write(true).open(&wal).unwrap().set_modified(old).unwrap();
        // Neither of them writes anything of its own.
        if trims {
            assert_eq!(next.trim(1).await.unwrap().first, 1);
        } else {
            let appended = next.append(&empty, &unit(&empty, &[1])).await;
            assert!(matches!(appended, Err(AppendError::Conflict)), "{appended:?}");
        }
        assert!(fs::read(&wal).unwrap() == before, "trims: {trims}");
        assert_ne!(fs::metadata(&wal).unwrap().modified().unwrap(), old, "trims: {trims}");
    }
}

/// On macOS an fsync alone leaves it in the disk's memory.
#[tokio::test]
async fn synced_to_the_medium() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let _log = small_log(&path).await;
    let entries = Database::open(&path, "test", Purpose::Entries).unwrap();
    for (name, value) in [("synchronous", "2"), ("fullfsync", "1"), ("checkpoint_fullfsync", "1")] {
        assert_eq!(entries.setting(name).unwrap(), value, "{name}");
    }
}

/// Others append and bring the write-ahead log home meanwhile, and nothing of theirs is harmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_another_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    let writing = tokio::spawn({
        let path = path.clone();
        async move {
            for _ in 0..20 {
                // Each handle writes again what it finds, before its first append.
                let other = EmbeddedLog::open(&path).await.unwrap();
                append(&other, 100).await;
            }
        }
    });
    for _ in 0..20 {
        append(&log, 300_000).await;
    }
    writing.await.unwrap();
    let last = log.extent().await.unwrap().last;
    assert_eq!(last, 50);
    let mut subscription =
        EmbeddedLog::open(&path).await.unwrap().subscribe(None, 0).await.unwrap();
    let mut read = 0;
    while read < last {
        // Each is checked against the one before.
        read += subscription.next().await.unwrap().len() as u64;
    }
}

/// Appends one entry, after whatever is there by then.
async fn append(log: &EmbeddedLog, bytes: usize) {
    loop {
        let tail = log.tail().await.unwrap();
        match log.append(&tail, &unit(&tail, &[bytes])).await {
            Ok(_) => return,
            Err(AppendError::Conflict) => {}
            Err(AppendError::Doubt(error)) if error.is_retryable() => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}
