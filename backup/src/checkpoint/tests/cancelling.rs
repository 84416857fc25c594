//! Checkpoints that are cancelled, or that nobody waits for any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

#[cfg(feature = "rocksdb")]
use super::rocksdb;
use super::{Open, at, composite, job, names, set, soon, sqlite, taken};
use crate::throttle::Throttle;
use crate::{CheckpointError, Job, Keep};

async fn cancels(open: Open) {
    let directory = tempfile::tempdir().unwrap();
    let (handle, manifest) = taken(directory.path(), open, 30, 1 << 20).await;
    let (set, cancel) = (set(directory.path()), CancellationToken::new());
    // At this rate it would take minutes.
    let slow = Arc::new(Job::new(cancel.clone(), Some(100 << 10)));
    let making = tokio::spawn({
        let (set, handle, slow) = (set.clone(), handle.clone(), Arc::clone(&slow));
        async move { set.create(&handle, at(1), &slow).await }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while slow.moved() == 0 {
        assert!(Instant::now() < deadline, "it does not begin");
        tokio::task::yield_now().await;
    }
    let busy = set.create(&handle, at(2), &job()).await;
    assert!(matches!(busy, Err(CheckpointError::InUse { .. })), "{busy:?}");
    let cancelled = Instant::now();
    slow.cancel();
    let ended = making.await.unwrap();
    assert!(matches!(ended, Err(CheckpointError::Cancelled)), "{ended:?}");
    assert!(cancelled.elapsed() < Duration::from_secs(1), "{:?}", cancelled.elapsed());
    let left = names(&directory.path().join("set"));
    assert_eq!(left, [manifest.id.as_str(), "lock"], "something is left of it");
    set.create(&handle, at(3), &job()).await.unwrap();
}

/// Whoever comes next would remove what is being written, or list it in part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_is_held_for_as_long_as_anything_is_written_though_nobody_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let (handle, manifest) = taken(directory.path(), sqlite, 30, 1 << 20).await;
    let set = set(directory.path());
    // At this rate it would take minutes.
    let cancel = CancellationToken::new();
    let _ends = cancel.clone().drop_guard();
    let slow = Arc::new(Job::new(cancel, Some(100 << 10)));
    let begun = async {
        while slow.moved() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        made = set.create(&handle, at(1), &slow) => panic!("{made:?}"),
        () = soon(begun) => {}
    }
    let expired = set.expire(&Keep::default(), at(2), None, &Throttle::none()).await;
    assert!(matches!(expired, Err(CheckpointError::InUse { .. })), "{expired:?}");
    let made = set.create(&handle, at(2), &job()).await;
    assert!(matches!(made, Err(CheckpointError::InUse { .. })), "{made:?}");
    slow.cancel();
    let made = soon(async {
        loop {
            match set.create(&handle, at(3), &job()).await {
                Err(CheckpointError::InUse { .. }) => tokio::task::yield_now().await,
                made => return made.unwrap(),
            }
        }
    });
    let made = made.await;
    let left = names(&directory.path().join("set"));
    assert_eq!(left, [manifest.id.as_str(), made.id.as_str(), "lock"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_leaves_nothing_of_sqlite() {
    cancels(sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_leaves_nothing_of_a_composite() {
    cancels(composite).await;
}

#[cfg(feature = "rocksdb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_leaves_nothing_of_rocksdb() {
    cancels(rocksdb).await;
}
