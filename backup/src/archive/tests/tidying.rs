//! Removing what killed writers left.

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use tipline_proto::Timestamp;
use tipline_store::conformance::history::History;

use super::{everything, filled, open, runtime};

const HOUR: Duration = Duration::from_secs(3600);

/// So long after a file was written.
fn after(file: &Path, time: Duration) -> Timestamp {
    let written = fs::metadata(file).unwrap().modified().unwrap();
    let since = written.duration_since(UNIX_EPOCH).unwrap() + time;
    Timestamp::from_micros(since.as_micros() as u64)
}

#[test]
fn what_has_no_name_after_a_day_is_removed_and_nothing_of_others() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let history = History::random(1, 60);
    filled(&runtime, directory.path(), &history.entries, 20, 1);
    let at = |name: &str| directory.path().join(name);
    for folder in ["from", "damaged", "checks", "elsewhere", "checkpoints/kept"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    let left = [
        ".tipline-a1b2c3",
        "segments/.tipline-a1b2c3",
        "segments/00000000000000000061-00000000000000000070-0123456789abcdef.tips#1",
        "from/.tipline-a1b2c3",
        "damaged/.tipline-a1b2c3",
        "checks/.tipline-a1b2c3",
    ];
    // A set of checkpoints tidies itself.
    let others = ["notes#1", "elsewhere/notes#2", "elsewhere/.tipline-1", "checkpoints/kept/x#1"];
    for name in left.iter().chain(&others) {
        fs::write(at(name), "half").unwrap();
    }
    runtime.block_on(async {
        let archive = open(directory.path()).await;
        let last = at(others[3]);
        assert_eq!(archive.collect(after(&last, 23 * HOUR)).await.unwrap(), 0, "it may be written");
        let removed = archive.collect(after(&last, 25 * HOUR)).await.unwrap();
        assert_eq!(removed, left.len() as u64);
        assert!(left.iter().all(|name| !at(name).exists()));
        assert!(others.iter().all(|name| at(name).exists()));
        assert_eq!(everything(&archive).await.unwrap(), history.entries);
        // Of a directory in which nothing is mounted nothing is removed.
        fs::write(at("segments/.tipline-d4"), "half").unwrap();
        fs::remove_file(at("archive.json")).unwrap();
        let error = archive.collect(after(&last, 50 * HOUR)).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(at("segments/.tipline-d4").exists());
    });
}
