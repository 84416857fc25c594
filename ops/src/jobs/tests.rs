//! Jobs while a place does not answer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tipline_backup::{Checkpoints, Keep};
use tipline_consumer::StoreHandle;
use tipline_log::Clock;
use tipline_proto::{Chain, Hash, Lineage, LogIdentity, Timestamp};
use tipline_store::{Sink, SqliteStore};
use tokio_util::sync::CancellationToken;

use super::maker::checkpoint_set;
use super::schedule::{once, send_newest};
use super::{
    CheckpointFailure, CheckpointMaker, CheckpointMode, CheckpointOrder, CheckpointSchedule,
    JobBoard, JobKind, JobView, Sealing,
};

fn maker(directory: &Path, clock: Clock) -> Arc<CheckpointMaker> {
    let chain = Chain::new("test".parse().unwrap(), Hash::new([1; 32]).unwrap());
    let name = "test".parse().unwrap();
    let log = LogIdentity { name, chain, lineage: Lineage::from_bytes([7; 16]) };
    let mut store = SqliteStore::open(directory.join("store.db")).unwrap();
    store.create(&log).unwrap();
    let handle = StoreHandle::new(Box::new(store)).unwrap();
    Arc::new(CheckpointMaker::new(handle, clock, CancellationToken::new()))
}

fn place(directory: &Path, name: &str) -> String {
    format!("dir:{}", directory.join(name).display())
}

fn order(directory: &Path, upload: Option<&str>) -> CheckpointOrder {
    CheckpointOrder {
        checkpoints: place(directory, "set"),
        upload: upload.map(|name| place(directory, name)),
        rate: None,
        mode: CheckpointMode::Links,
        sealing: Sealing::default(),
    }
}

/// An outage of the second copy must not fill the disk of the first.
#[tokio::test(flavor = "multi_thread")]
async fn while_uploading_fails_checkpoints_expire_and_the_newest_is_sent_later() {
    let directory = tempfile::tempdir().unwrap();
    let order = order(directory.path(), Some("away"));
    let now = Arc::new(std::sync::atomic::AtomicU64::new(1_800_000_000_000_000));
    let hand = Arc::clone(&now);
    let clock: Clock = Arc::new(move || {
        Timestamp::from_micros(hand.fetch_add(1_000_000, std::sync::atomic::Ordering::Relaxed))
    });
    let maker = maker(directory.path(), Arc::clone(&clock));
    let keep = Keep { last: 2, within: None::<Duration> };
    let set = checkpoint_set(&order.checkpoints).unwrap();
    for made in 1..=5 {
        let failed = once(&set, &order, &keep, &maker, &clock).await;
        let named = matches!(&failed, Err(CheckpointFailure::NotUploaded { .. }));
        assert!(named, "{failed:?}");
        assert_eq!(set.list().await.unwrap().len(), made.min(2));
        let again = send_newest(&order, &maker).await;
        assert!(matches!(again, Err(CheckpointFailure::NotUploaded { .. })), "{again:?}");
    }
    std::fs::create_dir(directory.path().join("away")).unwrap();
    send_newest(&order, &maker).await.unwrap();
    let newest = |listed: Vec<tipline_backup::Listed>| listed[0].id().clone();
    let sent: Checkpoints = checkpoint_set(&place(directory.path(), "away/checkpoints")).unwrap();
    let sent = sent.list().await.unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(newest(sent), newest(set.list().await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_and_uploaded_is_noted_with_its_interval() {
    let directory = tempfile::tempdir().unwrap();
    let order = order(directory.path(), Some("away"));
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let clock: Clock = Arc::new(move || now);
    let board = JobBoard::default();
    let maker = Arc::into_inner(maker(directory.path(), Arc::clone(&clock))).unwrap();
    let maker = Arc::new(maker.noting(board.clone()));
    let hour = Duration::from_secs(3600);
    let keep = Keep { last: 2, within: None };
    let schedule = CheckpointSchedule { every: hour, order: order.clone(), keep };
    let known = |job| board.jobs_known().get(&job).copied().unwrap_or_default();
    // The place for uploads is not there: the checkpoint was made, the upload was not.
    _ = maker.begin(order.clone()).unwrap().run().await.unwrap_err();
    let made = JobView { success: Some(now), every: None };
    assert_eq!(known(JobKind::Checkpoint), made);
    assert_eq!(known(JobKind::Upload), JobView::default());
    std::fs::create_dir(directory.path().join("away")).unwrap();
    send_newest(&order, &maker).await.unwrap();
    assert_eq!(known(JobKind::Upload), made);
    // Another process knows the newest from the set, and the upload from sending it again.
    let other = JobBoard::default();
    let maker = Arc::new(Arc::into_inner(maker).unwrap().noting(other.clone()));
    let all = async || {
        let is_known = || other.jobs_known().values().filter(|job| job.success.is_some()).count();
        while is_known() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        never = schedule.run(&maker, &clock) => match never {},
        () = all() => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => {}
    }
    let expected = JobView { success: Some(now), every: Some(hour) };
    for job in [JobKind::Checkpoint, JobKind::Upload] {
        assert_eq!(other.jobs_known().get(&job), Some(&expected), "{job:?}");
    }
}

/// Or what was given up would stay for ever, if no other succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_removes_what_earlier_ones_left() {
    let directory = tempfile::tempdir().unwrap();
    let order = order(directory.path(), None);
    // In the year 2096: that is our clock, and not the one that dates files.
    let clock: Clock = Arc::new(|| Timestamp::from_micros(4_000_000_000_000_000));
    let maker = maker(directory.path(), clock);
    let made = maker.begin(order.clone()).unwrap().run().await.unwrap();
    let file = directory.path().join("set").join(made.id.as_str()).join("part-0/store.db");
    std::fs::remove_file(file).unwrap();
    let left = directory.path().join("away/checkpoints/00000000000000000001-1700000000000000");
    std::fs::create_dir_all(left.join("part-0")).unwrap();
    std::fs::write(left.join("part-0/store.db"), "half").unwrap();
    let order = CheckpointOrder { upload: Some(place(directory.path(), "away")), ..order };
    let is_left = async || {
        let failed = send_newest(&order, &maker).await;
        assert!(matches!(failed, Err(CheckpointFailure::NotUploaded { .. })), "{failed:?}");
        left.join("part-0/store.db").exists()
    };
    assert!(is_left().await, "it may be under way, whatever our clock shows");
    let file = std::fs::File::options().write(true).open(left.join("part-0/store.db")).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written - Duration::from_secs(25 * 60 * 60)).unwrap();
    assert!(!is_left().await);
}
