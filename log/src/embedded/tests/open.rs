//! Opening what is not a log, and preflight.

use std::fs;
use std::path::{Path, PathBuf};

use tipline_proto::{Entry, Event, ProofsFrom};

use super::{identity, other_program, small_log, text};
use crate::conformance::receipt;
use crate::embedded::EmbeddedLog;
use crate::embedded::sqlite::{Database, Purpose};
use crate::error::LogError;
use crate::spec::{Appender, Reader, Receipts};

async fn refused(path: &Path) -> LogError {
    EmbeddedLog::open(path).await.unwrap_err()
}

/// Never created by opening.
#[tokio::test]
async fn missing() {
    let directory = tempfile::tempdir().unwrap();
    let error = refused(&directory.path().join("log.db")).await;
    assert!(matches!(error, LogError::NotFound { .. }), "{error:?}");
    assert!(text(&error).contains("tipline init"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// Each thing that is not a log is named for what it is, and left as it was.
#[tokio::test]
async fn not_a_log() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("text"), "dear diary, ".repeat(1000)).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("short"), "SQLite format 3\0").unwrap();
    other_program(&at("foreign.db")).execute_batch("CREATE TABLE t (x)").unwrap();
    let cases: [(PathBuf, &str); 6] = [
        (directory.path().to_owned(), "it is a directory"),
        (at("text"), "not an SQLite file"),
        (at("empty"), "not a log"),
        (at("short"), "not an SQLite file"),
        (at("foreign.db"), "not a log"),
        ("/dev/null".into(), "it is not a file"),
    ];
    for (path, expected) in cases {
        let before = fs::read(&path).ok();
        let error = refused(&path).await;
        assert!(matches!(error, LogError::Unusable { .. }), "{}: {error:?}", path.display());
        assert!(text(&error).contains(expected), "{}: {}", path.display(), text(&error));
        assert!(text(&error).contains(&path.display().to_string()), "{error}");
        assert_eq!(fs::read(&path).ok(), before);
    }
}

/// A log of a newer program is refused, not misread.
#[tokio::test]
async fn newer_version() {
    for change in ["PRAGMA user_version = 3", "UPDATE log SET contract = '3'"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        drop(small_log(&path).await);
        other_program(&path).execute_batch(change).unwrap();
        let error = refused(&path).await;
        assert!(matches!(error, LogError::Unusable { .. }), "{change}: {error:?}");
        assert!(text(&error).contains("newer"), "{change}: {}", text(&error));
    }
}

/// A log that says from which height on proofs are expected follows a newer contract, which older
/// programs refuse; the two are never apart. Any other log is as it always was.
#[tokio::test]
async fn proofs_that_begin_late() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let mut late = identity();
    late.chain.proofs_from = ProofsFrom::new(5_000_000).unwrap();
    let log = EmbeddedLog::create(&path, &late).await.unwrap();
    assert_eq!(log.identity(), &late);
    drop(log);
    assert_eq!(EmbeddedLog::open(&path).await.unwrap().identity(), &late);
    let error = EmbeddedLog::create(&path, &identity()).await.unwrap_err();
    assert!(text(&error).contains("proofs from block 5000000 on"), "{error}");
    for (change, says) in [
        ("UPDATE log SET contract = '1'", "from block 5000000 on: it was altered"),
        ("UPDATE log SET contract = '2', proofs_from = NULL", "does not say from which block on"),
        ("UPDATE log SET proofs_from = 0", "block 0 is the genesis"),
    ] {
        other_program(&path).execute_batch(change).unwrap();
        let error = refused(&path).await;
        assert!(matches!(error, LogError::Unusable { .. }), "{change}: {error:?}");
        assert!(text(&error).contains(says), "{change}: {}", text(&error));
    }
    let path = directory.path().join("plain.db");
    drop(small_log(&path).await);
    let columns = "SELECT contract || ' ' || count(*) FROM log, pragma_table_info('log')";
    let found: String = other_program(&path).query_row(columns, [], |row| row.get(0)).unwrap();
    assert_eq!(found, "1 6");
}

/// Through a link, from another directory: it is the same log, with the same bells.
#[tokio::test]
async fn by_another_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let linked = EmbeddedLog::open(&link).await.unwrap();
    assert_eq!(linked.path(), log.path());
    assert_eq!(linked.tail().await.unwrap(), log.tail().await.unwrap());
    assert_eq!(linked.extent().await.unwrap().last, 10);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

/// What an operator sees about where the log is.
#[tokio::test]
async fn preflight() {
    let directory = tempfile::tempdir().unwrap();
    let log = small_log(&directory.path().join("log.db")).await;
    let found = log.preflight().await.unwrap();
    let shortfalls = found.shortfalls.iter().map(|shortfall| &shortfall.found);
    let mut lines = found.good.iter().chain(shortfalls);
    // What is found depends on the machine, except for what this log sets itself.
    assert!(lines.any(|line| line.starts_with("SQLite: 3.")), "{found:?}");
    for expected in ["copies: 1", "journal_mode: wal", "synchronous: full"] {
        let mut lines = found.good.iter();
        assert!(lines.any(|line| line.starts_with(expected)), "{expected}: {found:?}");
    }
}

/// A file that was made before receipts had times gets them, and keeps what it has.
#[tokio::test]
async fn made_without_times() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let log = small_log(&path).await;
    let put = receipt(&identity(), "replica-1", 1);
    log.put_receipt(&put).await.unwrap();
    drop(log);
    let before = "ALTER TABLE receipt DROP COLUMN put_ms;
                  ALTER TABLE announcement DROP COLUMN put_ms;";
    other_program(&path).execute_batch(before).unwrap();
    let log = EmbeddedLog::open(&path).await.unwrap();
    let board = log.board().await.unwrap();
    assert_eq!(board.receipts, std::slice::from_ref(&put));
    assert!(board.heard.is_empty(), "nobody knows since when it is there: {board:?}");
    log.put_receipt(&put).await.unwrap();
    assert_eq!(log.board().await.unwrap().heard.len(), 1);
}

/// A file that was made before entries had headers can be read, and gets them when somebody writes.
#[tokio::test]
async fn made_without_headers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    drop(small_log(&path).await);
    other_program(&path).execute_batch("ALTER TABLE entry DROP COLUMN headers").unwrap();
    let reader = Database::open(&path, "test", Purpose::Reading).unwrap();
    assert!(reader.entry(1).unwrap().unwrap().headers.is_empty());
    let log = EmbeddedLog::open(&path).await.unwrap();
    let tail = log.tail().await.unwrap();
    let event = Event::Marked { name: "m".parse().unwrap() };
    let mut entry = Entry::seal(&tail.position, tail.epoch, tail.time, 99, event);
    entry.headers.set("traceparent", "00-1").unwrap();
    log.append(&tail, std::slice::from_ref(&entry)).await.unwrap();
    assert_eq!(reader.entry(entry.index).unwrap().unwrap(), entry);
}
