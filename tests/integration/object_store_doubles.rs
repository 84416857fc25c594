//! Servers that speak S3 and do not do what S3 does: each is got along with, or named.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tipline_backup::{Destination, DestinationError, Throttle};
use tipline_tests::{Quirk, S3};

fn with(quirk: Quirk) -> (S3, Destination) {
    let s3 = S3::start();
    s3.behave(quirk);
    let at = s3.destination("fleet/main").unwrap();
    (s3, at)
}

fn unsupported(error: &DestinationError, words: &str) {
    let is = matches!(error, DestinationError::Unsupported { .. }) && !error.is_retryable();
    let text = error.to_string();
    assert!(is && text.contains(words) && text.contains("s3://backups/fleet/main"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_does_all_of_it_is_found_to_and_keeps_nothing_of_the_trial() {
    let s3 = S3::start();
    let at = s3.destination("fleet/main").unwrap();
    let probe = at.probe().await.unwrap();
    assert!(probe.removes && !probe.needs_checksums, "{probe:?}");
    assert_eq!(at.list("", None).await.unwrap(), []);
    let requests = s3.requests();
    assert_eq!(requests.get("PutObject"), Some(&4), "{requests:?}");
    assert!(requests.values().sum::<u64>() <= 14, "{requests:?}");
    let dir = TempDir::new().unwrap();
    let at = Destination::open(&format!("dir:{}", dir.path().display())).unwrap();
    let probe = at.probe().await.unwrap();
    assert!(probe.removes && !probe.needs_checksums, "{probe:?}");
}

#[tokio::test]
async fn one_that_ignores_conditional_writes_is_refused() {
    let (_s3, at) = with(Quirk::IgnoresConditions);
    unsupported(&at.probe().await.unwrap_err(), "ignores conditional writes");
}

#[tokio::test]
async fn one_without_conditional_writes_is_refused_for_good() {
    let (_s3, at) = with(Quirk::LacksConditions);
    unsupported(&at.probe().await.unwrap_err(), "does not support");
    unsupported(&at.create("x", "x".into()).await.unwrap_err(), "does not support");
}

#[tokio::test]
async fn one_that_lists_what_was_written_only_later_is_refused() {
    let (_s3, at) = with(Quirk::ListsLate);
    unsupported(&at.probe().await.unwrap_err(), "does not list");
}

#[tokio::test]
async fn a_bucket_with_object_lock_is_written_with_checksums_without_being_told() {
    let (s3, at) = with(Quirk::NeedsChecksums);
    let probe = at.probe().await.unwrap();
    assert!(probe.needs_checksums, "{probe:?}");
    at.create("x", "x".into()).await.unwrap();
    // Also where the first write is a file in pieces, by another process.
    let dir = TempDir::new().unwrap();
    let from = dir.path().join("from");
    std::fs::write(&from, vec![7; 20 << 20]).unwrap();
    let other = s3.destination("fleet/main").unwrap();
    let sent = other.upload("file", &from, &Throttle::none()).await.unwrap();
    assert_eq!(at.hash("file", &Throttle::none()).await.unwrap(), (sent, 20 << 20));
}

#[tokio::test]
async fn a_bucket_from_which_nothing_may_be_removed_is_used_and_said_to_be_so() {
    let (_s3, at) = with(Quirk::NeverRemoves);
    let probe = at.probe().await.unwrap();
    assert!(!probe.removes, "{probe:?}");
    assert_eq!(at.list("", None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_wrong_clock_is_named_and_not_the_credentials() {
    let (s3, at) = with(Quirk::ClockSkew);
    let calls = [
        at.create("x", "x".into()).await.unwrap_err(),
        at.read("x").await.unwrap_err(),
        at.list("", None).await.unwrap_err(),
        at.remove("x").await.unwrap_err(),
    ];
    for error in calls {
        assert!(matches!(error, DestinationError::ClockSkew { .. }), "{error:?}");
        let text = error.to_string();
        assert!(error.is_retryable() && text.contains("clock"), "{text}");
        assert!(!text.contains("credentials"), "{text}");
    }
    s3.behave(None);
    at.create("x", "x".into()).await.unwrap();
}

#[tokio::test]
async fn a_conflict_is_tried_again_and_only_a_lasting_one_is_told() {
    let (s3, at) = with(Quirk::Conflicts(3));
    at.create("x", "x".into()).await.unwrap();
    s3.behave(Quirk::Conflicts(100));
    let lasting = at.create("y", "y".into()).await.unwrap_err();
    let is = matches!(lasting, DestinationError::Unavailable { .. }) && lasting.is_retryable();
    assert!(is, "{lasting:?}");
    let taken = at.create("x", "y".into()).await.unwrap_err();
    assert!(matches!(taken, DestinationError::Exists { .. }), "{taken:?}");
}

#[tokio::test]
async fn a_busy_server_is_given_time_and_an_overloaded_one_is_told_within_seconds() {
    let (s3, at) = with(Quirk::IsBusy(2));
    at.create("x", "x".into()).await.unwrap();
    s3.behave(Quirk::IsBusy(u32::MAX));
    let begun = Instant::now();
    let busy = at.create("y", "y".into()).await.unwrap_err();
    assert!(matches!(busy, DestinationError::Unavailable { .. }), "{busy:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    // It was not hammered.
    let asked = s3.requests().get("PutObject").copied().unwrap_or(0);
    assert!(asked < 12, "{asked} requests");
}

#[tokio::test]
async fn a_piece_that_is_lost_is_sent_again_and_not_the_whole_file() {
    // More often than the client itself tries again.
    let (s3, at) = with(Quirk::LosesPieces(6));
    let dir = TempDir::new().unwrap();
    let from = dir.path().join("from");
    let bytes: Vec<u8> = (0..30_u32 << 20).map(|n| (n >> 12) as u8).collect();
    std::fs::write(&from, &bytes).unwrap();
    let sent = at.upload("file", &from, &Throttle::none()).await.unwrap();
    assert_eq!(sent, blake3::hash(&bytes));
    assert_eq!(at.read("file").await.unwrap(), bytes);
    let requests = s3.requests();
    assert_eq!(requests.get("CreateMultipartUpload"), Some(&1), "{requests:?}");
    assert_eq!(requests.get("UploadPart"), Some(&(4 + 6)), "{requests:?}");
}
