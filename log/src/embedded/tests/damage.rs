//! Bytes that changed on the disk are noticed, and named.

use std::fs;
use std::path::Path;

use super::{identity, other_program, small_log, text, unit};
use crate::embedded::EmbeddedLog;
use crate::error::LogError;
use crate::spec::{Appender, Reader};

async fn damaged(path: &Path, change: &str) -> EmbeddedLog {
    let log = small_log(path).await;
    assert_eq!(other_program(path).execute(change, []).unwrap(), 1, "{change}");
    log
}

/// One byte of the 7th entry, anywhere in it, and the entry missing altogether.
#[tokio::test]
async fn one_entry() {
    let flip = |at: &str| {
        format!(
            "UPDATE entry SET bytes = CAST(substr(bytes, 1, {at} - 1) || x'5B' || substr(bytes, {at} + 1) AS BLOB) WHERE number = 7"
        )
    };
    let changes = [
        flip("60"),
        flip("length(bytes)"),
        flip("1"),
        "UPDATE entry SET bytes = substr(bytes, 1, 50) WHERE number = 7".to_owned(),
        "UPDATE entry SET bytes = (SELECT bytes FROM entry WHERE number = 6) WHERE number = 7"
            .to_owned(),
        "UPDATE entry SET digest = CAST(x'00' || substr(digest, 2) AS BLOB) WHERE number = 7"
            .to_owned(),
        "UPDATE entry SET digest = x'00' WHERE number = 7".to_owned(),
        "DELETE FROM entry WHERE number = 7".to_owned(),
    ];
    for change in changes {
        let directory = tempfile::tempdir().unwrap();
        let log = damaged(&directory.path().join("log.db"), &change).await;
        // What is before the damage still comes, what is after it does not.
        let mut subscription = log.subscribe(None, 0).await.unwrap();
        let error = loop {
            match subscription.next().await {
                Ok(batch) => assert!(batch.iter().all(|entry| entry.index < 7), "{change}"),
                Err(error) => break error,
            }
        };
        assert_names_7(&error, &change);
        if !change.starts_with("DELETE") {
            assert_names_7(&log.entry(7).await.unwrap_err(), &change);
        }
        assert_eq!(log.entry(6).await.unwrap().index, 6, "{change}");
        assert_eq!(log.entry(10).await.unwrap().index, 10, "{change}");
    }
}

fn assert_names_7(error: &LogError, change: &str) {
    assert!(matches!(error, LogError::Corrupt { .. }), "{change}: {error:?}");
    assert!(text(error).contains("entry 7"), "{change}: {}", text(error));
}

/// A primary does not continue after a newest entry that is not what was written.
#[tokio::test]
async fn newest_entry() {
    for change in [
        "UPDATE entry SET bytes = CAST(x'FF' || substr(bytes, 2) AS BLOB) WHERE number = 10",
        "UPDATE entry SET digest = zeroblob(32) WHERE number = 10",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let log = damaged(&directory.path().join("log.db"), change).await;
        let error = log.tail().await.unwrap_err();
        assert!(matches!(error, LogError::Corrupt { .. }), "{change}: {error:?}");
        assert!(text(&error).contains("entry 10"), "{change}: {}", text(&error));
    }
}

/// Pages of the file overwritten: an error that says damaged, wherever it is met.
#[tokio::test]
async fn pages() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = EmbeddedLog::create(&path, &identity()).await.unwrap();
    let tail = log.tail().await.unwrap();
    log.append(&tail, &unit(&tail, &[3000; 300])).await.unwrap();
    let copy = directory.path().join("copy.db");
    other_program(&path).execute("VACUUM INTO ?", [copy.to_str().unwrap()]).unwrap();
    other_program(&copy).pragma_update(None, "journal_mode", "wal").unwrap();
    let whole = fs::read(&copy).unwrap();
    let mut noticed = 0;
    for page in 1..whole.len() / 4096 {
        // A new name each time: SQLite may still have the one before open.
        let path = directory.path().join(format!("{page}.db"));
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0xA5);
        fs::write(&path, bytes).unwrap();
        let Err(error) = read_all(&path).await else { continue };
        assert!(matches!(error, LogError::Corrupt { .. }), "page {page}: {error:?}");
        noticed += 1;
    }
    // Only pages of the small tables beside the entries may go unnoticed.
    assert!(noticed + 4 >= whole.len() / 4096 - 1, "{noticed} of {} pages", whole.len() / 4096);
}

async fn read_all(path: &Path) -> Result<(), LogError> {
    let log = EmbeddedLog::open(path).await?;
    log.tail().await?;
    let mut subscription = log.subscribe(None, 0).await?;
    let mut count = 0;
    while count < 300 {
        count += subscription.next().await?.len();
    }
    Ok(())
}

/// A file that was cut off.
#[tokio::test]
async fn cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = EmbeddedLog::create(&path, &identity()).await.unwrap();
    let tail = log.tail().await.unwrap();
    log.append(&tail, &unit(&tail, &[3000; 300])).await.unwrap();
    let copy = directory.path().join("copy.db");
    other_program(&path).execute("VACUUM INTO ?", [copy.to_str().unwrap()]).unwrap();
    other_program(&copy).pragma_update(None, "journal_mode", "wal").unwrap();
    let whole = fs::read(&copy).unwrap();
    for keep in [20 * 4096, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        let path = directory.path().join(format!("{keep}.db"));
        fs::write(&path, &whole[..keep]).unwrap();
        let error = read_all(&path).await.unwrap_err();
        assert!(matches!(error, LogError::Corrupt { .. }), "{keep} bytes: {error:?}");
    }
}
