//! Creating: whole or not at all, and never over something.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;

use tipline_proto::{Lineage, LogIdentity};

use super::{identity, small_log, text};
use crate::embedded::EmbeddedLog;
use crate::error::LogError;
use crate::spec::{Appender, Reader};

fn names(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| name(entry).unwrap()).collect();
    names.sort();
    names
}

async fn refused(path: &Path) -> LogError {
    EmbeddedLog::create(path, &identity()).await.unwrap_err()
}

/// A log is never replaced, and the answer says which log is there.
#[tokio::test]
async fn existing_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    let tail = log.tail().await.unwrap();
    let other = LogIdentity { lineage: Lineage::from_bytes([9; 16]), ..identity() };
    let error = EmbeddedLog::create(&path, &other).await.unwrap_err();
    assert!(matches!(error, LogError::AlreadyExists { .. }), "{error:?}");
    assert!(text(&error).contains(&identity().lineage.to_string()), "{error}");
    assert_eq!(log.tail().await.unwrap(), tail);
    assert_eq!(EmbeddedLog::open(&path).await.unwrap().identity(), &identity());
}

/// Nor is anything else: a file, an empty file, a directory, a link to nowhere.
#[tokio::test]
async fn existing_file() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("text"), "dear diary").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink(at("nowhere"), at("link")).unwrap();
    let before = names(directory.path());
    for name in ["text", "empty", "directory", "link"] {
        let error = refused(&at(name)).await;
        assert!(matches!(error, LogError::AlreadyExists { .. }), "{name}: {error:?}");
    }
    assert_eq!(fs::read(at("text")).unwrap(), b"dear diary");
    assert_eq!(fs::metadata(at("empty")).unwrap().len(), 0);
    assert_eq!(names(directory.path()), before, "something was left behind");
}

/// A write-ahead log without its log may hold the newest entries of a lost one, and SQLite
/// would play it into the new one.
#[tokio::test]
async fn orphaned_write_ahead_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let orphan = directory.path().join("log.db-wal");
    fs::write(&orphan, "frames").unwrap();
    let error = refused(&path).await;
    assert!(matches!(error, LogError::Unusable { .. }), "{error:?}");
    assert!(text(&error).contains("log.db-wal"), "{error}");
    assert_eq!(names(directory.path()), ["log.db-wal"]);
    fs::remove_file(orphan).unwrap();
    EmbeddedLog::create(&path, &identity()).await.unwrap();
}

/// Of many that create at the same time one wins, and what it made is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_creators() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let create = |number: u8| {
        let log = LogIdentity { lineage: Lineage::from_bytes([number; 16]), ..identity() };
        let path = path.clone();
        tokio::spawn(async move { EmbeddedLog::create(path, &log).await })
    };
    let tasks: Vec<_> = (0..8).map(create).collect();
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(log) => winners.push(log),
            Err(LogError::AlreadyExists { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(winners.len(), 1);
    let opened = EmbeddedLog::open(&path).await.unwrap();
    assert_eq!(opened.identity(), winners[0].identity());
    let left: Vec<_> = names(directory.path()).into_iter().filter(|n| n.contains("init")).collect();
    assert_eq!(left, Vec::<String>::new());
}

/// What a crash in the middle leaves is not taken for a log, and is gone after the next try.
#[tokio::test]
async fn after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let staged = directory.path().join(".log.db.init-07070707-1-0");
    let journal = directory.path().join(".log.db.init-07070707-1-0-journal");
    let other = directory.path().join(".log.db2.init-07070707-1-0");
    for path in [&staged, &journal, &other] {
        fs::write(path, "half a log").unwrap();
    }
    let error = EmbeddedLog::open(&path).await.unwrap_err();
    assert!(matches!(error, LogError::NotFound { .. }), "{error:?}");
    EmbeddedLog::create(&path, &identity()).await.unwrap();
    assert!(!staged.exists() && !journal.exists() && other.exists());
}

/// A store in RocksDB has its directory locked for as long as it is open.
#[tokio::test]
async fn in_a_directory_that_somebody_has_locked() {
    let directory = tempfile::tempdir().unwrap();
    let locked = fs::File::open(directory.path()).unwrap();
    locked.lock().unwrap();
    let (path, identity) = (directory.path().join("log.db"), identity());
    let created = EmbeddedLog::create(&path, &identity);
    let created = tokio::time::timeout(Duration::from_secs(30), created).await;
    // Whoever waits for it any longer is to end too.
    drop(locked);
    created.expect("it does not hang").unwrap();
}

/// Nobody else may read a log, whatever the mask of the process lets through.
#[tokio::test]
async fn permissions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    let found = names(directory.path());
    assert_eq!(
        found,
        ["log.db", "log.db-bell-board", "log.db-bell-entries", "log.db-shm", "log.db-wal"]
    );
    for name in found {
        let mode = fs::metadata(directory.path().join(&name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    drop(log);
}

/// Where nothing can be made, the answer says so.
#[tokio::test]
async fn no_directory() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().join("missing/log.db"), "/".into(), "/proc/log.db".into()] {
        let error = refused(&path).await;
        let sorts = matches!(error, LogError::Unusable { .. } | LogError::AlreadyExists { .. });
        assert!(sorts, "{}: {error:?}", path.display());
    }
    let error = refused(&directory.path().join("missing/log.db")).await;
    assert!(text(&error).contains("no file can be created in"), "{}", text(&error));
}
