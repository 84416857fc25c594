//! At object storage: whoever writes or removes there ends between any two calls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tipline_consumer::StoreHandle;
use tipline_proto::Timestamp;
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tipline_store::{Sink, SqliteStore, StoreError};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{apply, everything, runtime};
use crate::destination::tests::{answering, until};
use crate::throttle::Throttle;
use crate::{Archive, ArchiveStore, Checkpoints, Destination, Job, Keys};

/// The last entry of the checkpoint.
const START: usize = 70;

fn whole(there: &Arc<InMemory>) -> Destination {
    answering(there, |_, _| None)
}

fn store(runtime: &Runtime, at: Destination) -> ArchiveStore {
    let _within = runtime.enter();
    ArchiveStore::new(at, Keys::default(), 0)
}

async fn open(at: Destination) -> Archive {
    Archive::open(at, Keys::default()).await.unwrap()
}

/// Merged segments, those that they were made of, small ones after them, and a checkpoint.
fn filled(runtime: &Runtime, history: &History) -> Arc<InMemory> {
    let there = Arc::<InMemory>::default();
    let mut archiver = store(runtime, whole(&there));
    assert_eq!(archiver.identity().unwrap(), None);
    archiver.create(&log()).unwrap();
    let mut model = Model::new(&log());
    apply(&mut archiver, &mut model, &history.entries[..60], 12, 1);
    let merged = runtime.block_on(async { open(whole(&there)).await.merge(false).await.unwrap() });
    assert!(!merged.written.is_empty());
    apply(&mut archiver, &mut model, &history.entries, 12, 1);
    runtime.block_on(checkpoint(&whole(&there), history));
    there
}

async fn checkpoint(there: &Destination, history: &History) {
    let within = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(within.path().join("store.db")).unwrap();
    store.create(&log()).unwrap();
    store.apply(&Model::new(&log()).batch(&history.entries[..START])).unwrap();
    let handle = StoreHandle::new(Box::new(store)).unwrap();
    let job = Arc::new(Job::new(CancellationToken::new(), None));
    let created = Timestamp::from_micros(1_800_000_000_000_000);
    let local = format!("dir:{}", within.path().join("set").display());
    let local = Checkpoints::at(Destination::open(&local).unwrap());
    let made = local.create(&handle, created, &job).await.unwrap();
    let to = Checkpoints::at(there.folder("checkpoints"));
    local.upload(&made, &to, &Throttle::none()).await.unwrap();
}

async fn names(there: &Arc<InMemory>) -> BTreeSet<String> {
    let listed: Vec<_> = there.list(None).try_collect().await.unwrap();
    listed.into_iter().map(|object| object.location.to_string()).collect()
}

/// Ends it before each of its calls in turn: every entry from `from` on is there then, the next run does
/// the rest, and what is there is what one that nobody ended leaves.
fn ended_anywhere(
    runtime: &Runtime,
    history: &History,
    there: &Arc<InMemory>,
    from: u64,
    run: impl AsyncFn(Destination) -> bool,
) {
    let undisturbed = Arc::new(there.fork());
    assert!(runtime.block_on(run(whole(&undisturbed))));
    let expected = runtime.block_on(names(&undisturbed));
    assert!(expected.len() < runtime.block_on(names(there)).len(), "nothing was removed");
    for number in 0.. {
        let left = Arc::new(there.fork());
        let is_whole = runtime.block_on(run(until(&left, number)));
        runtime.block_on(async {
            let archive = open(whole(&left)).await;
            check(&archive, history, from, &format!("ended before call {number}")).await;
            assert!(run(whole(&left)).await, "{number}");
            check(&archive, history, from, &format!("once more after call {number}")).await;
            assert_eq!(names(&left).await, expected, "{number}");
        });
        if is_whole {
            assert!(number > 10, "{number}");
            return;
        }
    }
}

async fn check(archive: &Archive, history: &History, from: u64, context: &str) {
    let first = archive.segments().await.unwrap()[0].first;
    assert!(first <= from, "{context}: {first} is the first that is left");
    let mut found = Vec::new();
    for name in archive.segments().await.unwrap() {
        let (_, entries) = archive.entries(&name).await.expect(context);
        let next = first + found.len() as u64;
        assert!(name.first <= next, "{context}: a gap before {name}");
        found.extend(entries.into_iter().filter(|entry| entry.index >= next));
    }
    assert!(found == history.entries[first as usize - 1..], "{context}: not what was archived");
}

#[test]
fn merging_ends_between_any_two_calls() {
    let (runtime, history) = (runtime(), History::blocks(85, 20_000));
    let there = filled(&runtime, &history);
    ended_anywhere(&runtime, &history, &there, 1, async |at| {
        let Ok(archive) = Archive::open(at, Keys::default()).await else { return false };
        archive.merge(true).await.is_ok()
    });
}

#[test]
fn expiry_ends_between_any_two_calls() {
    let (runtime, history) = (runtime(), History::blocks(85, 20_000));
    let there = filled(&runtime, &history);
    let later = Timestamp::from_micros(1_900_000_000_000_000);
    ended_anywhere(&runtime, &history, &there, START as u64, async |at| {
        let Ok(archive) = Archive::open(at, Keys::default()).await else { return false };
        let expired = archive.expire(Duration::ZERO, later, &Throttle::none()).await;
        expired.is_ok_and(|plan| plan.start.is_some())
    });
}

#[test]
fn an_archiver_ends_between_any_two_calls() {
    let (runtime, history) = (runtime(), History::blocks(20, 100));
    for number in 0.. {
        let there = Arc::<InMemory>::default();
        let applied = archived(&runtime, &history, until(&there, number));
        let acknowledged = *applied.as_ref().unwrap_or_else(|(applied, _)| applied);
        if acknowledged > 0 {
            let archive = runtime.block_on(open(whole(&there)));
            let found = runtime.block_on(everything(&archive)).unwrap();
            assert!(found.len() >= acknowledged, "{number}: {} of {acknowledged}", found.len());
        }
        let next = archived(&runtime, &history, whole(&there));
        assert_eq!(next.expect("the next run goes on"), history.entries.len(), "{number}");
        let archive = runtime.block_on(open(whole(&there)));
        assert_eq!(runtime.block_on(everything(&archive)).unwrap(), history.entries, "{number}");
        if applied.is_ok() {
            assert!(number > 10, "{number}");
            return;
        }
    }
}

/// Archives what is not there yet, until that fails; gives up to which entry it was acknowledged.
fn archived(
    runtime: &Runtime,
    history: &History,
    at: Destination,
) -> Result<usize, (usize, StoreError)> {
    let mut archiver = store(runtime, at);
    let mut applied = 0;
    let mut archive = || -> Result<(), StoreError> {
        if archiver.identity()?.is_none() {
            archiver.create(&log())?;
        }
        let cursor = archiver.view()?.cursor()?;
        applied = cursor.map_or(0, |cursor| cursor.position.index as usize);
        let mut model = Model::of(&log(), &history.entries[..applied]);
        for entries in history.entries[applied..].chunks(7) {
            archiver.apply(&model.batch(entries))?;
            applied = model.cursor.position.index as usize;
        }
        Ok(())
    };
    match archive() {
        Ok(()) => Ok(applied),
        Err(error) => Err((applied, error)),
    }
}
