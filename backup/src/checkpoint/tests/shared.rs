//! Checkpoints of a RocksDB store that have files in common.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use tipline_consumer::{StoreHandle, StoreThread};
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;
use tipline_store::{CompositeStore, Copied, Store};
use tokio_util::sync::CancellationToken;

use super::{at, check, job, rocksdb, set, sqlite};
use crate::throttle::Throttle;
use crate::{
    CheckpointError, CheckpointRetention, Checkpoints, Destination, Job, Keep, Listed, Manifest,
};

fn composite(directory: &Path) -> Box<dyn Store> {
    let parts = vec![sqlite(directory), rocksdb(directory)];
    Box::new(CompositeStore::new(parts).unwrap())
}

/// The files of a checkpoint that are shared, below the set.
fn objects(manifest: &Manifest) -> BTreeSet<String> {
    manifest.files.iter().filter_map(|file| file.shared.clone()).collect()
}

/// The shared files that are there, below the set.
fn there(directory: &Path) -> BTreeSet<String> {
    let mut there = BTreeSet::new();
    for part in fs::read_dir(directory.join("set/shared")).unwrap() {
        let part = part.unwrap().path();
        for file in fs::read_dir(part.join("shared_checksum")).unwrap() {
            let path = file.unwrap().path();
            let below = path.strip_prefix(directory.join("set")).unwrap();
            there.insert(below.to_str().unwrap().to_owned());
        }
    }
    there
}

async fn whole(set: &Checkpoints) -> Vec<Manifest> {
    let listed = set.list().await.unwrap().into_iter();
    let whole = listed.map(|listed| match listed {
        Listed::Whole(manifest) => manifest,
        Listed::Corrupt { id, why } => panic!("{id}: {why}"),
    });
    whole.collect()
}

/// Checkpoints are made while batches are applied, some without sharing; then old ones expire.
#[tokio::test(flavor = "multi_thread")]
async fn shared_files_stay_for_as_long_as_a_checkpoint_has_them() {
    for (seed, open) in [(71, rocksdb as super::Open), (72, composite)] {
        let directory = tempfile::tempdir().unwrap();
        let history = History::random_of(seed, 900, 3000);
        let mut store = open(directory.path());
        store.create(&log()).unwrap();
        let thread = StoreThread::start(store).unwrap();
        let handle = StoreHandle::unattached(thread.place().to_owned());
        handle.attach(&thread);
        let (links, engine) = (set(directory.path()), set(directory.path()).sharing());
        let (mut model, mut made) = (Model::new(&log()), Vec::new());
        for (round, entries) in history.entries.chunks(150).enumerate() {
            let batch = model.batch(entries);
            thread.call(move |store| store.apply(&batch)).get().await.unwrap().unwrap();
            let set = if round == 3 { &links } else { &engine };
            made.push(set.create(&handle, at(round as u64), &job()).await.unwrap());
        }
        assert!(objects(&made[3]).is_empty(), "seed {seed}");
        let common: Vec<_> = objects(&made[4]).intersection(&objects(&made[5])).cloned().collect();
        assert!(!common.is_empty(), "seed {seed}: nothing is shared");
        let all: BTreeSet<_> = made.iter().flat_map(objects).collect();
        assert_eq!(there(directory.path()), all, "seed {seed}");
        for (number, manifest) in made.iter().enumerate() {
            links.verify(manifest, &Throttle::none()).await.unwrap();
            let into = directory.path().join(format!("fetched-{number}"));
            links.fetch(manifest, &into, &Throttle::none()).await.unwrap();
            check(manifest, &into, &history.entries);
        }

        links.pin(&made[1].id).await.unwrap();
        let keep = Keep { last: 2, within: None };
        let planned = links.expire(&keep, at(9), None, &Throttle::none()).await.unwrap();
        assert_eq!(
            planned
                .iter()
                .filter(|(_, retention)| *retention == CheckpointRetention::Expired)
                .count(),
            3
        );
        let left = whole(&links).await;
        assert_eq!(left.len(), 3);
        let used: BTreeSet<_> = left.iter().flat_map(objects).collect();
        assert_eq!(there(directory.path()), used, "seed {seed}");
        assert!(used.len() < all.len(), "seed {seed}: nothing was removed");
        for manifest in &left {
            links.verify(manifest, &Throttle::none()).await.unwrap();
        }
        // The engine knows what is left of its files, and continues with them.
        let inode = |object: &String| {
            let file = directory.path().join("set").join(object);
            std::os::unix::fs::MetadataExt::ino(&fs::metadata(file).unwrap())
        };
        let before: Vec<u64> = used.iter().map(inode).collect();
        let again = engine.create(&handle, at(10), &job()).await.unwrap();
        // The store may have compacted files since.
        let both = used.union(&objects(&again)).cloned().collect();
        assert_eq!(there(directory.path()), both, "seed {seed}");
        let after: Vec<u64> = used.iter().map(inode).collect();
        assert_eq!(after, before, "seed {seed}: a file was rewritten that checkpoints have");
        links.verify(&made[5], &Throttle::none()).await.unwrap();

        // Elsewhere none of the engine's files are referred to.
        let elsewhere = format!("dir:{}", directory.path().join("elsewhere").display());
        fs::create_dir(directory.path().join("elsewhere")).unwrap();
        let elsewhere = Checkpoints::at(Destination::open(&elsewhere).unwrap());
        links.upload(&again, &elsewhere, &Throttle::none()).await.unwrap();
        links.upload(&again, &elsewhere, &Throttle::none()).await.unwrap();
        let uploaded = whole(&elsewhere).await;
        assert!(objects(&uploaded[0]).iter().all(|object| object.starts_with("objects/")));
        let into = directory.path().join("from-elsewhere");
        elsewhere.fetch(&uploaded[0], &into, &Throttle::none()).await.unwrap();
        check(&uploaded[0], &into, &history.entries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_while_nobody_knows_what_a_manifest_refers_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = rocksdb(directory.path());
    store.create(&log()).unwrap();
    let mut model = Model::new(&log());
    store.apply(&model.batch(&History::random(5, 100).entries)).unwrap();
    let handle = StoreHandle::new(store).unwrap();
    let set = set(directory.path()).sharing();
    let damaged = set.create(&handle, at(0), &job()).await.unwrap();
    let path = directory.path().join("set").join(damaged.id.as_str()).join("manifest.json");
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 9]).unwrap();
    let newer = set.create(&handle, at(1), &job()).await.unwrap();
    assert!(objects(&damaged).is_subset(&there(directory.path())));
    fs::write(&path, text).unwrap();
    set.verify(&damaged, &Throttle::none()).await.unwrap();
    set.verify(&newer, &Throttle::none()).await.unwrap();
    // One that is cancelled leaves nothing that the next one does not clear away.
    let stop = CancellationToken::new();
    stop.cancel();
    let cancelled = set.create(&handle, at(2), &Arc::new(Job::new(stop, None))).await;
    assert!(matches!(cancelled, Err(CheckpointError::Cancelled)), "{cancelled:?}");
    let stray = directory.path().join("set/shared/part-0/shared_checksum/000999_sX_1.sst");
    fs::write(&stray, b"of a copy that was cut off").unwrap();
    set.create(&handle, at(3), &job()).await.unwrap();
    assert!(!stray.exists());
    assert_eq!(whole(&set).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_a_medium_that_shares_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = sqlite(directory.path());
    store.create(&log()).unwrap();
    let handle = StoreHandle::new(store).unwrap();
    let refused = set(directory.path()).sharing().create(&handle, at(0), &job()).await;
    assert!(matches!(refused, Err(CheckpointError::NotShared { .. })), "{refused:?}");
    assert!(set(directory.path()).list().await.unwrap().is_empty());
}

/// Ends the work once something was moved.
struct Begun;

impl tipline_store::Throttle for Begun {
    fn moved(&self, bytes: u64) -> ControlFlow<()> {
        if bytes > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn the_engine_stops_between_files() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = rocksdb(directory.path());
    store.create(&log()).unwrap();
    let (mut model, history) = (Model::new(&log()), History::blocks(300, 64 << 10));
    for entry in &history.entries {
        store.apply(&model.batch(std::slice::from_ref(entry))).unwrap();
        // Which writes what is in memory into files of its own.
        drop(store.snapshot().unwrap());
    }
    let count = |path: &Path| fs::read_dir(path).map_or(0, Iterator::count);
    let (engine, into) = (directory.path().join("engine"), directory.path().join("into"));
    fs::create_dir(&into).unwrap();
    let mut pin = store.snapshot().unwrap().remove(0);
    let shared = pin.share(&engine, &into, &Begun).unwrap().unwrap();
    assert_eq!(shared.copied, Copied::Cancelled);
    // All it had copied it has removed again, instead of copying the rest.
    assert_eq!(count(&engine.join("shared_checksum")), 0);
    drop(pin);

    // The store has all of its files, and the engine continues from what it has.
    let mut pin = store.snapshot().unwrap().remove(0);
    let shared = pin.share(&engine, &into, job().throttle()).unwrap().unwrap();
    assert_eq!(shared.copied, Copied::Whole);
    assert!(shared.files.len() >= 300, "{}", shared.files.len());
    assert_eq!(pin.open(&into).unwrap().cursor().unwrap(), Some(model.cursor.clone()));
    drop(pin);
    drop(store);
    assert_eq!(rocksdb(directory.path()).reader().unwrap().cursor().unwrap(), Some(model.cursor));
}
