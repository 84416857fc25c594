//! Checkpoints of every kind of store, taken while batches are applied.

mod cancelling;
mod expiring;
mod golden;
mod histories;
mod incremental;
mod killed;
mod made_up;
mod packs;
mod sealed;
#[cfg(feature = "rocksdb")]
mod shared;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tipline_consumer::{StoreHandle, StoreThread};
use tipline_proto::{Cursor, Entry, Timestamp};
use tipline_store::conformance::history::{History, late_log, log};
use tipline_store::conformance::model::Model;
use tipline_store::{
    Batch, ChainView, CompositeStore, Copied, Sink, Snapshot, SqliteStore, Store, StoreError,
    StoreIdentity, StoreReader,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::throttle::Throttle;
use crate::{CheckpointError, CheckpointId, Checkpoints, Destination, Job, Listed, Manifest};

/// Makes a store in a directory.
pub(super) type Open = fn(&Path) -> Box<dyn Store>;

pub(super) fn sqlite(directory: &Path) -> Box<dyn Store> {
    Box::new(SqliteStore::open(directory.join("store.db")).unwrap())
}

pub(super) fn files(directory: &Path) -> Box<dyn Store> {
    Box::new(tipline_store::FileStore::open(directory.join("files")).unwrap())
}

#[cfg(feature = "rocksdb")]
pub(super) fn rocksdb(directory: &Path) -> Box<dyn Store> {
    Box::new(tipline_store::RocksDbStore::open(directory.join("rocksdb")).unwrap())
}

pub(super) fn composite(directory: &Path) -> Box<dyn Store> {
    let parts = vec![files(directory), sqlite(directory)];
    Box::new(CompositeStore::new(parts).unwrap())
}

/// Opens the parts of a fetched checkpoint as the stores that they are.
fn open_parts(manifest: &Manifest, at: &Path) -> Vec<Box<dyn Store>> {
    let part = |(number, kind): (usize, &String)| -> Box<dyn Store> {
        let part = at.join(format!("part-{number}"));
        match kind.as_str() {
            "sqlite" => Box::new(SqliteStore::open(part.join("store.db")).unwrap()),
            "files" => Box::new(tipline_store::FileStore::open(part).unwrap()),
            #[cfg(feature = "rocksdb")]
            "rocksdb" => Box::new(tipline_store::RocksDbStore::open(part).unwrap()),
            other => panic!("{other}"),
        }
    };
    manifest.parts.iter().enumerate().map(part).collect()
}

pub(super) fn set(directory: &Path) -> Checkpoints {
    let address = format!("dir:{}", directory.join("set").display());
    Checkpoints::at(Destination::open(&address).unwrap())
}

pub(super) fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

pub(super) fn job() -> Arc<Job> {
    Arc::new(Job::new(CancellationToken::new(), None))
}

/// Entries in batches of any size, as they are applied.
fn batches(entries: &[Entry], seed: u64) -> Vec<Batch> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut model, mut rest, mut batches) = (Model::new(&log()), entries, vec![]);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rng.random_range(1..=20).min(rest.len()));
        batches.push(model.batch(now));
        rest = later;
    }
    batches
}

/// Writes a checkpoint of no files to a set that need not be a directory.
pub(crate) async fn without_files(set: &Checkpoints, cursor: &Cursor) {
    let id: CheckpointId =
        format!("{:020}-{:016}", cursor.position.index, at(0).as_micros()).parse().unwrap();
    let manifest = Manifest {
        id,
        created: at(0),
        parts: vec!["sqlite".to_owned()],
        log: StoreIdentity::from(&log()),
        cursor: cursor.clone(),
        versions: BTreeMap::new(),
        files: vec![],
        packs: vec![],
    };
    let (name, text) = (format!("{}/manifest.json", manifest.id), manifest.to_text().unwrap());
    set.destination().create(&name, text.into()).await.unwrap();
}

/// Ends a test that hangs.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("it takes too long")
}

/// A checkpoint taken at any moment is the store as it was at its cursor, continues from there to
/// the end, and can be taken time and again while batches are applied.
async fn equals_the_reference(open: Open, seed: u64) {
    println!("seed {seed}");
    let directory = tempfile::tempdir().unwrap();
    let history = History::random_of(seed, 1500, 5000);
    let mut store = open(directory.path());
    store.create(&log()).unwrap();
    let thread = StoreThread::start(store).unwrap();
    let handle = StoreHandle::unattached(thread.place().to_owned());
    handle.attach(&thread);
    let set = set(directory.path());
    let (count, mut counted) = watch::channel(0);
    let batches = batches(&history.entries, seed);
    let half = batches.len() / 2;
    let applying = async {
        for (number, batch) in batches.into_iter().enumerate() {
            // However slow the machine is, some are taken in the middle.
            if number == half {
                counted.wait_for(|taken| *taken >= 2).await.unwrap();
            }
            let applied = thread.call(move |store| store.apply(&batch)).get().await;
            applied.unwrap().unwrap();
        }
    };
    let taking = async {
        let mut taken = vec![];
        while taken.last().is_none_or(|last: &Manifest| last.cursor != history.model.cursor) {
            let manifest = set.create(&handle, at(taken.len() as u64), &job()).await;
            taken.push(manifest.unwrap());
            count.send_replace(taken.len());
        }
        taken
    };
    let ((), taken) = soon(async { tokio::join!(applying, taking) }).await;
    assert!(taken.len() > 2, "{} were taken: it was not while batches were applied", taken.len());

    let listed: BTreeSet<_> = set.list().await.unwrap().into_iter().map(whole).collect();
    assert_eq!(listed, taken.iter().map(|manifest| manifest.id.clone()).collect());
    let mut rng = StdRng::seed_from_u64(seed);
    for (number, manifest) in taken.iter().enumerate() {
        if number + 1 < taken.len() && taken.len() > 8 && rng.random_bool(0.7) {
            continue;
        }
        set.verify(manifest, &Throttle::none()).await.unwrap();
        let into = directory.path().join(format!("fetched-{number}"));
        set.fetch(manifest, &into, &Throttle::none()).await.unwrap();
        check(manifest, &into, &history.entries);
    }
}

fn whole(listed: Listed) -> CheckpointId {
    match listed {
        Listed::Whole(manifest) => manifest.id,
        Listed::Corrupt { id, why } => panic!("{id}: {why}"),
    }
}

/// What was fetched is what the entries came to, and takes the rest of them.
fn check(manifest: &Manifest, fetched: &Path, entries: &[Entry]) {
    let at = usize::try_from(manifest.cursor.position.index).unwrap();
    let (before, rest) = entries.split_at(at);
    for mut store in open_parts(manifest, fetched) {
        let mut model = Model::of(&log(), before);
        let place = store.place();
        model.assert_is(&*store.reader().unwrap(), &place);
        if !rest.is_empty() {
            store.apply(&model.batch(&rest[..rest.len().min(500)])).unwrap();
            model.assert_is(&*store.reader().unwrap(), &place);
        }
    }
}

macro_rules! of_every_store {
    ($($(#[$when:meta])* $name:ident: $seed:literal;)*) => {
        mod equals_the_reference {
            $(
                $(#[$when])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::equals_the_reference(super::$name, $seed).await;
                }
            )*
        }
    };
}

of_every_store! {
    sqlite: 1;
    files: 2;
    composite: 3;
    #[cfg(feature = "rocksdb")]
    rocksdb: 4;
}

/// A store of some blocks, nothing applying to it, and a checkpoint of it.
async fn taken(directory: &Path, open: Open, blocks: u64, bytes: usize) -> (StoreHandle, Manifest) {
    let mut store = open(directory);
    store.create(&log()).unwrap();
    store.apply(&Model::new(&log()).batch(&History::blocks(blocks, bytes).entries)).unwrap();
    let handle = StoreHandle::new(store).unwrap();
    let manifest = set(directory).create(&handle, at(0), &job()).await.unwrap();
    (handle, manifest)
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        names.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    // A new file: the store's own may be the same one by another name.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_flipped_byte_in_any_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), composite, 5, 300).await;
    let set = set(directory.path());
    assert_eq!(manifest.parts, ["files", "sqlite"]);
    assert_eq!(manifest.files.len(), 7, "{manifest:?}");
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for (number, file) in manifest.files.iter().enumerate() {
        let path = directory.path().join("set").join(manifest.id.as_str()).join(&file.path);
        let at = rng.random_range(0..usize::try_from(file.bytes).unwrap());
        flip(&path, at);
        let into = directory.path().join(format!("into-{number}"));
        for found in [
            set.verify(&manifest, &Throttle::none()).await,
            set.fetch(&manifest, &into, &Throttle::none()).await,
        ] {
            let Err(CheckpointError::Corrupt { id, what, .. }) = found else {
                panic!("{found:?}: {}", file.path);
            };
            assert_eq!(id, manifest.id);
            assert!(what.starts_with(&file.path), "{what}");
        }
        flip(&path, at);
        set.verify(&manifest, &Throttle::none()).await.unwrap();
    }
}

/// Older programs refuse what they would count wrongly, by its format, and read everything else.
#[tokio::test]
async fn only_a_manifest_of_proofs_that_begin_late_has_the_newer_format() {
    for (log, format, other) in [(log(), 1, 2), (late_log(5_000_000), 2, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = sqlite(directory.path());
        store.create(&log).unwrap();
        let (handle, set) = (StoreHandle::new(store).unwrap(), set(directory.path()));
        let manifest = set.create(&handle, at(0), &job()).await.unwrap();
        assert_eq!(manifest.log, (&log).into());
        assert_eq!(set.get(&manifest.id).await.unwrap(), manifest);
        let path = directory.path().join("set").join(manifest.id.as_str()).join("manifest.json");
        let text = fs::read_to_string(&path).unwrap();
        let written = format!("\"format\": {format},");
        assert!(text.contains(&written), "{text}");
        assert_eq!(text.contains("\"proofs_from\": 5000000"), format == 2, "{text}");
        // The two are never apart.
        let (body, _) = text.rsplit_once(",\n").unwrap();
        let altered = body.replace(&written, &format!("\"format\": {other},"));
        fs::write(&path, super::manifest::seal(&altered)).unwrap();
        let listed = set.list().await.unwrap();
        let [Listed::Corrupt { why, .. }] = &listed[..] else { panic!("{listed:?}") };
        assert!(why.contains("does not go with"), "{why}");
    }
}

#[tokio::test]
async fn a_flipped_byte_in_a_manifest_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), sqlite, 1, 30).await;
    let set = set(directory.path());
    let path = directory.path().join("set").join(manifest.id.as_str()).join("manifest.json");
    let written = fs::read(&path).unwrap();
    for at in 0..written.len() {
        let mut flipped = written.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        let listed = set.list().await.unwrap();
        let [Listed::Corrupt { id, .. }] = &listed[..] else { panic!("byte {at}: {listed:?}") };
        assert_eq!(*id, manifest.id);
        let found = set.get(&manifest.id).await;
        assert!(matches!(found, Err(CheckpointError::Corrupt { .. })), "byte {at}: {found:?}");
    }
    fs::write(&path, &written[..written.len() / 2]).unwrap();
    assert!(matches!(&set.list().await.unwrap()[..], [Listed::Corrupt { .. }]));
    fs::write(&path, &written).unwrap();
    assert_eq!(set.get(&manifest.id).await.unwrap(), manifest);
}

#[tokio::test]
async fn a_missing_or_shorter_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), sqlite, 1, 30).await;
    let path = directory.path().join("set").join(manifest.id.as_str()).join("part-0/store.db");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error =
        set(directory.path()).verify(&manifest, &Throttle::none()).await.unwrap_err().to_string();
    let expected = format!("part-0/store.db has {} bytes, not {}", bytes.len() - 1, bytes.len());
    assert!(error.contains(&expected), "{error}");
    fs::remove_file(&path).unwrap();
    let error =
        set(directory.path()).verify(&manifest, &Throttle::none()).await.unwrap_err().to_string();
    assert!(error.contains("part-0/store.db is missing"), "{error}");
}

/// A store whose copy is said to be larger than any disk.
#[derive(Debug)]
struct Huge(Box<dyn Store>);

#[derive(Debug)]
struct HugeSnapshot(Box<dyn Snapshot>);

impl Sink for Huge {
    fn place(&self) -> String {
        self.0.place()
    }
    fn identity(&self) -> Result<Option<StoreIdentity>, StoreError> {
        self.0.identity()
    }
    fn create(&mut self, log: &tipline_proto::LogIdentity) -> Result<(), StoreError> {
        self.0.create(log)
    }
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.0.apply(batch)
    }
    fn probe(&mut self) -> Result<(), StoreError> {
        self.0.probe()
    }
    fn view(&self) -> Result<Box<dyn ChainView>, StoreError> {
        self.0.view()
    }
    fn snapshot(&self) -> Result<Vec<Box<dyn Snapshot>>, StoreError> {
        Ok(self.0.snapshot()?.into_iter().map(|part| Box::new(HugeSnapshot(part)) as _).collect())
    }
}

impl Snapshot for HugeSnapshot {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }
    fn identity(&self) -> &StoreIdentity {
        self.0.identity()
    }
    fn cursor(&self) -> &Cursor {
        self.0.cursor()
    }
    fn bytes(&self, _into: &Path) -> Result<u64, StoreError> {
        Ok(1 << 60)
    }
    fn copy(
        &mut self,
        into: &Path,
        _pace: &dyn tipline_store::Throttle,
    ) -> Result<Copied, StoreError> {
        panic!("it began to copy into {}", into.display());
    }
    fn open(&self, copy: &Path) -> Result<Box<dyn StoreReader>, StoreError> {
        self.0.open(copy)
    }
}

#[tokio::test]
async fn no_room_is_refused_before_it_starts() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Huge(sqlite(directory.path()));
    store.create(&log()).unwrap();
    let handle = StoreHandle::new(Box::new(store)).unwrap();
    let refused = set(directory.path()).create(&handle, at(0), &job()).await;
    let Err(CheckpointError::NoSpace { needed, free, .. }) = refused else { panic!("{refused:?}") };
    assert!(needed >= 1 << 60 && free < needed, "{needed} {free}");
    assert_eq!(names(&directory.path().join("set")), ["lock"]);
}

#[tokio::test]
async fn a_store_that_is_held_still_applies_nothing_until_it_is_thawed() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = sqlite(directory.path());
    store.create(&log()).unwrap();
    let thread = StoreThread::start(store).unwrap();
    let handle = StoreHandle::unattached(thread.place().to_owned());
    handle.attach(&thread);
    let (history, mut model) = (History::blocks(30, 10).entries, Model::new(&log()));
    let reader = tipline_store::SqliteReader::open(directory.path().join("store.db")).unwrap();
    let at = || reader.cursor().unwrap().unwrap().position.index;
    for (round, most) in [(0, Duration::from_secs(600)), (1, Duration::from_millis(1))] {
        let frozen = handle.freeze(most).await.unwrap();
        assert_eq!(frozen.cursor.as_ref().unwrap().position.index, round * 10);
        let batch = model.batch(&history[round as usize * 10..][..10]);
        let mut applied = thread.call(move |store| store.apply(&batch));
        if round == 0 {
            assert_eq!(at(), 0, "it was held still");
            assert!(frozen.thaw(), "it was, until now");
            applied.get().await.unwrap().unwrap();
        } else {
            // It continues by itself.
            applied.get().await.unwrap().unwrap();
            assert!(!frozen.thaw());
        }
        assert_eq!(at(), (round + 1) * 10);
    }
    thread.close().await;
    assert!(handle.freeze(Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn a_store_that_is_closed_is_not_pinned() {
    let directory: TempDir = tempfile::tempdir().unwrap();
    let handle = StoreHandle::unattached("sqlite:x".to_owned());
    let error = handle.snapshot().await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    let mut store = sqlite(directory.path());
    store.create(&log()).unwrap();
    let thread = StoreThread::start(store).unwrap();
    handle.attach(&thread);
    handle.snapshot().await.unwrap();
    thread.close().await;
    let error = handle.snapshot().await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
}
