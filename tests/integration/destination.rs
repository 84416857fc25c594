//! Destinations of archives and checkpoints: a directory and an S3 server keep the same promises.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tipline_backup::{Destination, DestinationError, Throttle};
use tipline_tests::{Rng, S3};
use tokio_util::sync::CancellationToken;

use crate::full_disk::{NAMESPACES, has_namespaces};

/// An outage is told within this.
const SECONDS: Duration = Duration::from_secs(10);

/// A destination of each kind, and what must live as long.
async fn places() -> (Vec<Destination>, TempDir, S3) {
    let dir = TempDir::new().unwrap();
    // What means something in an address, a URL or a name of an object is only a letter here.
    let path = dir.path().join("a b%41é#1");
    let directory = Destination::open(&format!("dir:{}", path.display())).unwrap();
    directory.prepare().await.unwrap();
    let s3 = S3::start();
    let bucket = s3.destination("fleet/testnet").unwrap();
    bucket.prepare().await.unwrap();
    (vec![directory, bucket], dir, s3)
}

fn names(objects: Vec<tipline_backup::Object>) -> Vec<String> {
    objects.into_iter().map(|object| object.name).collect()
}

#[tokio::test]
async fn what_was_written_is_read_whole_or_in_part_and_replaced_and_removed() {
    let (places, _dir, _s3) = places().await;
    for at in places {
        assert!(matches!(at.read("a/b").await, Err(DestinationError::NotFound { .. })), "{at:?}");
        at.create("a/b", "first".into()).await.unwrap();
        assert_eq!(at.read("a/b").await.unwrap(), "first");
        assert_eq!(at.folder("a").read("b").await.unwrap(), "first");
        assert_eq!(at.read_range("a/b", 1..3).await.unwrap(), "ir");
        at.replace("a/b", "second".into()).await.unwrap();
        assert_eq!(at.read("a/b").await.unwrap(), "second");
        at.create("a/empty", Bytes::new()).await.unwrap();
        assert_eq!(at.read("a/empty").await.unwrap(), "");
        at.remove("a/b").await.unwrap();
        at.remove("a/b").await.unwrap();
        assert!(matches!(at.read("a/b").await, Err(DestinationError::NotFound { .. })));
        assert!(at.read_range("a/b", 0..1).await.is_err());
    }
}

#[tokio::test]
async fn a_range_behind_the_end_is_an_error_and_never_fewer_bytes() {
    let (places, _dir, _s3) = places().await;
    for at in places {
        at.create("ten", "0123456789".into()).await.unwrap();
        for range in [5..11, 10..12, 20..30] {
            let read = at.read_range("ten", range.clone()).await;
            let is_short = matches!(read, Err(DestinationError::Short { .. }));
            assert!(is_short, "{}: {range:?} gave {read:?}", at.place());
        }
    }
}

#[tokio::test]
async fn of_many_who_create_one_object_one_does() {
    let (places, _dir, _s3) = places().await;
    for at in places {
        for round in 0..10 {
            let name = format!("race/{round}");
            let all = (0..8).map(|who| {
                let (at, name) = (at.clone(), name.clone());
                tokio::spawn(async move { at.create(&name, format!("by {who}").into()).await })
            });
            let mut winners = Vec::new();
            for (who, task) in all.collect::<Vec<_>>().into_iter().enumerate() {
                match task.await.unwrap() {
                    Ok(()) => winners.push(who),
                    Err(DestinationError::Exists { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            assert_eq!(winners.len(), 1, "{}: {winners:?}", at.place());
            assert_eq!(at.read(&name).await.unwrap(), format!("by {}", winners[0]));
        }
    }
}

#[tokio::test]
async fn a_listing_has_all_objects_of_a_folder_in_order_those_behind_a_name_on_request() {
    let (places, _dir, _s3) = places().await;
    let mut rng = Rng::from_env();
    for at in places {
        assert_eq!(at.list("segments", None).await.unwrap(), []);
        // More than one page of a listing of S3.
        let mut expected: BTreeSet<String> = BTreeSet::new();
        while expected.len() < 1_050 {
            expected.insert(format!("segments/{:020}-x.tips", rng.within(0..=999_999)));
        }
        for name in &expected {
            at.create(name, "x".into()).await.unwrap();
        }
        for beside in ["segments-old/a", "segmentz", "a", "other/segments/b"] {
            at.create(beside, "yy".into()).await.unwrap();
        }
        let expected: Vec<String> = expected.into_iter().collect();
        assert_eq!(names(at.list("segments", None).await.unwrap()), expected);
        let after = names(at.list("segments", Some(&expected[700])).await.unwrap());
        assert_eq!(after, expected[701..], "{}", at.place());
        let last = names(at.list("segments", expected.last().map(|x| &**x)).await.unwrap());
        assert!(last.is_empty());
        let nested = at.folder("other").list("", None).await.unwrap();
        assert_eq!((nested[0].name.as_str(), nested[0].bytes, nested.len()), ("segments/b", 2, 1));
        assert_eq!(at.list("", None).await.unwrap().len(), expected.len() + 4);
    }
}

#[tokio::test]
async fn a_listed_name_can_be_read_whatever_is_in_it() {
    let (places, _dir, _s3) = places().await;
    for at in places {
        let all = ["CURRENT", "MANIFEST-000005", "a b", "a%20b", "ä~{x}", "x.sst", "20261121T15:4"];
        for name in all {
            at.create(&format!("odd/{name}"), name.into()).await.unwrap();
        }
        let listed = names(at.list("odd", None).await.unwrap());
        assert_eq!(listed.len(), all.len(), "{listed:?}");
        for name in listed {
            let text = at.read(&name).await.unwrap();
            assert_eq!(name.as_bytes(), [b"odd/", &text[..]].concat(), "{}", at.place());
        }
    }
}

#[tokio::test]
async fn a_large_file_comes_back_as_it_was_with_its_hash() {
    let (places, dir, _s3) = places().await;
    let mut rng = Rng::from_env();
    for (number, at) in places.into_iter().enumerate() {
        for length in [0, 1, 8 << 20, 100 << 20] {
            let bytes = rng.bytes(length);
            let (from, to) =
                (dir.path().join("from"), dir.path().join(format!("{number}-{length}")));
            std::fs::write(&from, &bytes).unwrap();
            let (up, down) = (Throttle::none(), Throttle::none());
            let name = format!("files/{length}");
            let sent = at.upload(&name, &from, &up).await.unwrap();
            assert_eq!(up.bytes(), length as u64);
            assert_eq!(sent, blake3::hash(&bytes));
            let came = at.download(&name, &to, &down).await.unwrap();
            assert_eq!(down.bytes(), length as u64);
            assert_eq!(came, sent);
            assert!(std::fs::read(&to).unwrap() == bytes, "{}: {length}", at.place());
            let listed = at.list("files", None).await.unwrap();
            assert_eq!((listed.len(), listed[0].bytes), (1, length as u64));
            at.remove(&name).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_upload_that_is_cancelled_leaves_nothing() {
    let (places, dir, s3) = places().await;
    let from = dir.path().join("from");
    std::fs::write(&from, vec![7; 40 << 20]).unwrap();
    for at in places {
        let sent = at.upload("a/file", &from, &up_to(20 << 20)).await;
        assert!(matches!(sent, Err(DestinationError::Cancelled { .. })), "{sent:?}");
        assert_eq!(at.list("", None).await.unwrap(), []);
    }
    // Neither parts nor a temporary file.
    let left = walk(dir.path()).into_iter().chain(walk(s3.root()));
    let left: u64 = left.filter(|(path, _)| *path != from).map(|(_, bytes)| bytes).sum();
    assert!(left < 1 << 20, "{left} bytes are left");
}

#[tokio::test]
async fn wrong_credentials_are_told_at_once_and_right_ones_work_again() {
    let s3 = S3::start();
    let wrong = s3.environment_with("a-secret-that-is-wrong");
    let wrong = Destination::open_with(&s3.address("a"), wrong).unwrap();
    refused(&wrong, |e| matches!(e, DestinationError::Denied { .. })).await;
    let right = s3.destination("a").unwrap();
    right.create("x", "x".into()).await.unwrap();
    s3.refuse(true);
    refused(&right, |e| matches!(e, DestinationError::Denied { .. })).await;
    s3.refuse(false);
    assert_eq!(names(right.list("", None).await.unwrap()), ["x"]);
}

#[tokio::test]
async fn no_credentials_at_all_are_told_within_seconds() {
    let s3 = S3::start();
    let none = s3.environment().into_iter().filter(|(name, _)| !name.contains("KEY"));
    let none = Destination::open_with(&s3.address("a"), none).unwrap();
    refused(&none, DestinationError::is_retryable).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_told_within_seconds_and_used_again_when_it_is_back() {
    let mut s3 = S3::start();
    let at = s3.destination("a").unwrap();
    at.create("x", "x".into()).await.unwrap();
    s3.stop();
    refused(&at, |e| matches!(e, DestinationError::Unavailable { .. })).await;
    s3.start_again();
    assert_eq!(names(at.list("", None).await.unwrap()), ["x"]);
    at.create("y", "y".into()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_told_within_seconds() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut environment = S3::start().environment();
    environment.iter_mut().find(|(name, _)| name == "AWS_ENDPOINT_URL").unwrap().1 = endpoint;
    let at = Destination::open_with("s3://backups/a", environment).unwrap();
    let dir = TempDir::new().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::write(&from, "x").unwrap();
    let throttle = Throttle::none();
    let calls = tokio::join!(
        timed("list", at.list("", None)),
        timed("read", at.read("x")),
        timed("read_range", at.read_range("x", 0..1)),
        timed("create", at.create("new", "x".into())),
        timed("remove", at.remove("x")),
        timed("upload", at.upload("file", &from, &throttle)),
        timed("download", at.download("x", &to, &throttle)),
    );
    let calls = [calls.0, calls.1, calls.2, calls.3, calls.4, calls.5, calls.6];
    for (call, error, took) in calls {
        assert!(matches!(error, DestinationError::Unavailable { .. }), "{call}: {error:?}");
        assert!(took < SECONDS, "{call} took {took:?}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_not_an_empty_one() {
    let s3 = S3::start();
    let address = "s3://no-such-bucket/a";
    let at = Destination::open_with(address, s3.environment()).unwrap();
    refused(&at, |e| matches!(e, DestinationError::Unavailable { .. })).await;
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_not_an_empty_one() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mount");
    let at = Destination::open(&format!("dir:{}", path.display())).unwrap();
    refused(&at, |e| matches!(e, DestinationError::Unavailable { .. })).await;
    at.prepare().await.unwrap();
    at.create("x", "x".into()).await.unwrap();
    std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
    refused(&at, |e| matches!(e, DestinationError::Unavailable { .. })).await;
    assert!(!path.exists(), "it was made anew");
}

#[tokio::test]
async fn an_address_with_a_password_is_refused_without_repeating_it() {
    for address in
        ["s3://key:s3cret@bucket/a", "s3://bucket/a?token=s3cret", "ftp://h/a", "x", "dir:"]
    {
        let error = Destination::open(address).unwrap_err();
        assert!(matches!(error, DestinationError::BadAddress { .. }), "{error:?}");
        let told = format!("{error} {error:?}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}

#[tokio::test]
async fn no_room_is_told_as_such_and_nothing_is_there_under_the_name() {
    if !has_namespaces() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let within = "destination::within_a_small_disk";
    let ran = Command::new("unshare")
        .args(NAMESPACES)
        .args(["sh", "-c", "mount -t tmpfs -o size=4m none \"$TIPLINE_SMALL_DISK\" && exec \"$@\""])
        .arg("sh")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", within, "--ignored", "--nocapture"])
        .env("TIPLINE_SMALL_DISK", dir.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    println!("{told}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && told.contains("1 passed"), "{within} failed");
}

#[tokio::test]
#[ignore = "run by the test above it, within a disk of its own"]
async fn within_a_small_disk() {
    let disk = std::env::var("TIPLINE_SMALL_DISK").unwrap();
    let dir = TempDir::new().unwrap();
    let from = dir.path().join("from");
    std::fs::write(&from, vec![7; 8 << 20]).unwrap();
    let at = Destination::open(&format!("dir:{disk}")).unwrap();
    at.create("before", vec![1; 1 << 20].into()).await.unwrap();
    let full = |error: DestinationError| {
        assert!(matches!(error, DestinationError::NoSpace { .. }), "{error:?}")
    };
    full(at.create("new", vec![2; 8 << 20].into()).await.unwrap_err());
    full(at.replace("before", vec![3; 8 << 20].into()).await.unwrap_err());
    full(at.upload("file", &from, &Throttle::none()).await.unwrap_err());
    assert_eq!(names(at.list("", None).await.unwrap()), ["before"]);
    assert_eq!(at.read("before").await.unwrap(), vec![1; 1 << 20]);
    // With room again it goes on, because what failed left nothing in the way.
    at.create("new", vec![2; 2 << 20].into()).await.unwrap();
}

/// Every call is refused, in time, with the same kind of error.
async fn refused(at: &Destination, is_right: impl Fn(&DestinationError) -> bool) {
    let dir = TempDir::new().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::write(&from, "x").unwrap();
    let calls: Vec<(&str, DestinationError, Duration)> = vec![
        timed("list", at.list("", None)).await,
        timed("read", at.read("x")).await,
        timed("read_range", at.read_range("x", 0..1)).await,
        timed("create", at.create("new", "x".into())).await,
        timed("replace", at.replace("x", "x".into())).await,
        timed("remove", at.remove("x")).await,
        timed("upload", at.upload("file", &from, &Throttle::none())).await,
        timed("download", at.download("x", &to, &Throttle::none())).await,
    ];
    for (call, error, took) in calls {
        assert!(is_right(&error), "{call}: {error:?}");
        assert!(took < SECONDS, "{call} took {took:?}");
        assert!(error.to_string().contains(at.place()), "{error}");
    }
}

async fn timed<T: std::fmt::Debug>(
    call: &'static str,
    work: impl Future<Output = Result<T, DestinationError>>,
) -> (&'static str, DestinationError, Duration) {
    let start = Instant::now();
    let error = work.await.expect_err(call);
    (call, error, start.elapsed())
}

/// Stops after a limit.
fn up_to(limit: u64) -> Throttle {
    let (cancel, moved) = (CancellationToken::new(), AtomicU64::new(0));
    Throttle::new(cancel.clone()).observed(move |bytes| {
        if moved.fetch_add(bytes, Ordering::SeqCst) + bytes > limit {
            cancel.cancel();
        }
    })
}

fn walk(dir: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.metadata().unwrap() {
            meta if meta.is_dir() => found.extend(walk(&entry.path())),
            meta => found.push((entry.path(), meta.len())),
        }
    }
    found
}
