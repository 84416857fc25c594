//! Restoring: what comes out is what was there, or it is refused by name.

mod any;
mod damage;
mod expired;
mod held;
mod interrupted;
mod live;
mod places;
mod sign_floor;
mod vouched;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tipline_consumer::StoreHandle;
use tipline_proto::{Entry, LogIdentity, Timestamp};
use tipline_store::conformance::history::{History, late_log, log};
use tipline_store::conformance::model::Model;
use tipline_store::{CompositeStore, FileStore, SqliteStore, Store, StoreError, StoredLinks};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    RestoreProgress, RestoreReport, RestoreSettings, StorePlace, Target, Verification, restore,
};
use crate::archive::{Archive, Row, SegmentIndex, SegmentName};
use crate::checkpoint::{Checkpoints, Job, Manifest};
use crate::checks::{Against, CheckedPlace, Sample, VerifyReport, verify};
use crate::destination::Destination;
use crate::error::RestoreError;
use crate::keys::Keys;
use crate::sources::Sources;
use crate::throttle::Throttle;

/// The kinds of stores, as the parts of each.
const KINDS: &[&[&str]] = &[
    &["sqlite"],
    &["files"],
    #[cfg(feature = "rocksdb")]
    &["rocksdb"],
    &["sqlite", "files"],
];

/// A history in which everything happens, every other one of a chain that began to prove late.
fn random_history(seed: u64, length: usize, max_payload: usize) -> History {
    let log = if seed.is_multiple_of(2) { log() } else { late_log(seed % 40 + 2) };
    History::random_in(&log, seed, length, max_payload)
}

/// A history with a place that has what was kept of it.
pub(crate) struct Kept {
    log: LogIdentity,
    directory: TempDir,
    history: History,
    pub(crate) archive: Archive,
    pub(crate) checkpoints: Checkpoints,
}

impl Kept {
    pub(crate) async fn of(history: History) -> Self {
        Self::encrypted(history, Keys::default()).await
    }

    /// With an archive for these recipients.
    pub(crate) async fn encrypted(history: History, keys: Keys) -> Self {
        Self::of_log(&history.log.clone(), history, keys).await
    }

    /// Of a history of this log.
    async fn of_log(log: &LogIdentity, history: History, keys: Keys) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = format!("dir:{}", directory.path().join("backup").display());
        let destination = Destination::open(&place).unwrap();
        destination.prepare().await.unwrap();
        let archive = Archive::create(destination.clone(), log, keys).await.unwrap();
        let checkpoints = Checkpoints::at(destination.folder("checkpoints"));
        Self { log: log.clone(), directory, history, archive, checkpoints }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.history.entries
    }

    pub(crate) fn backup(&self) -> PathBuf {
        self.directory.path().join("backup")
    }

    pub(crate) fn model(&self, index: u64) -> Model {
        Model::of(&self.log, &self.entries()[..index as usize])
    }

    /// Archives entries as one segment.
    pub(crate) async fn segment(&self, first: u64, last: u64) -> SegmentName {
        let entries = &self.entries()[first as usize - 1..last as usize];
        let (before, after) = (self.model(first - 1).cursor, self.model(last));
        let cursor = after.cursor.clone();
        let above = |height: &&u64| cursor.proof_tip.is_none_or(|tip| **height > tip);
        let proven_above = after.proofs.keys().filter(above).copied().collect();
        let earlier = self.entries()[..first as usize - 1].iter().map(|entry| entry.time);
        let index = SegmentIndex {
            log: (&self.log).into(),
            before: before.position,
            after: cursor.clone(),
            links: StoredLinks { base: after.base, proven_above },
            latest_before: earlier.max().unwrap_or_default(),
            rows: entries.iter().map(Row::from).collect(),
        };
        self.archive.write(&index, entries).await.unwrap()
    }

    /// Archives everything up to an entry in segments of about this many entries.
    pub(crate) async fn segments(&self, to: u64, of: u64) -> Vec<SegmentName> {
        let mut names = Vec::new();
        for first in (1..=to).step_by(of as usize) {
            names.push(self.segment(first, to.min(first + of - 1)).await);
        }
        names
    }

    /// Makes a checkpoint of a store of these kinds at an entry.
    pub(crate) async fn checkpoint(&self, kinds: &[&str], index: u64) -> Manifest {
        self.checkpoint_in(&self.checkpoints, kinds, index).await
    }

    /// One that shares files with others.
    async fn shared_checkpoint(&self, kinds: &[&str], index: u64) -> Manifest {
        self.checkpoint_in(&self.checkpoints.clone().sharing(), kinds, index).await
    }

    async fn checkpoint_in(&self, set: &Checkpoints, kinds: &[&str], index: u64) -> Manifest {
        let directory = tempfile::tempdir_in(self.directory.path()).unwrap();
        let place = place(kinds, directory.path());
        let paths: Vec<PathBuf> = place.parts.iter().map(|(_, path)| path.clone()).collect();
        let mut store = (place.open)(&paths).unwrap();
        store.create(&self.log).unwrap();
        let mut model = Model::new(&self.log);
        for entries in self.entries()[..index as usize].chunks(97) {
            store.apply(&model.batch(entries)).unwrap();
        }
        let handle = StoreHandle::new(store).unwrap();
        let created = Timestamp::from_micros(1_800_000_000_000_000 + index);
        let job = Arc::new(Job::new(CancellationToken::new(), None));
        set.create(&handle, created, &job).await.unwrap()
    }

    pub(crate) fn sources(&self) -> Arc<Sources> {
        let (archives, checkpoints) = (vec![self.archive.clone()], vec![self.checkpoints.clone()]);
        Arc::new(Sources { archives, checkpoints, ..Sources::default() })
    }

    pub(crate) fn destination(&self) -> Destination {
        Destination::open(&format!("dir:{}", self.backup().display())).unwrap()
    }

    /// Opens what is there now, with these keys.
    pub(crate) async fn opened(&self, keys: &Keys) -> CheckedPlace {
        let (destination, mut sources) = (self.destination(), Sources::default());
        sources.add_archive(&destination, keys.clone()).await.unwrap();
        if !self.checkpoints.list().await.unwrap().is_empty() {
            sources.checkpoints.push(self.checkpoints.clone());
        }
        CheckedPlace { destination, sources }
    }

    /// What verifying finds there now.
    pub(crate) async fn verified(&self, sample: Sample) -> VerifyReport {
        let places = [self.opened(&Keys::default()).await];
        let stop = CancellationToken::new();
        verify(&places, Against::default(), sample, &mut || 0.0, &stop).await.unwrap()
    }

    /// How much of the archive is kept so that what was committed since this entry is, and what a
    /// clock shows now.
    pub(crate) async fn kept_since(&self, index: u64) -> (Duration, Timestamp) {
        let time = |index: u64| self.entries()[index as usize - 1].time;
        let newest = self.archive.segments().await.unwrap().iter().map(|name| name.last).max();
        let newest = time(newest.unwrap_or(index));
        (newest.since(time(index)), newest)
    }

    /// Lets the archive forget what was committed before this entry.
    pub(crate) async fn shorten(&self, index: u64) {
        let (keep_for, now) = self.kept_since(index).await;
        assert!(self.archive.expire(keep_for, now, &Throttle::none()).await.unwrap().applied);
    }

    /// Restores into a new place.
    async fn restore(
        &self,
        kinds: &[&str],
        target: Target,
        exclusive: bool,
    ) -> Result<Restored, RestoreError> {
        let directory = tempfile::tempdir_in(self.directory.path()).unwrap();
        let place = place(kinds, directory.path());
        let report = run(self.sources(), place.clone(), settings(target, exclusive)).await?;
        Ok(Restored { directory, place, report })
    }
}

/// A store that was restored.
struct Restored {
    directory: TempDir,
    place: StorePlace,
    report: RestoreReport,
}

impl Restored {
    fn open(&self) -> Box<dyn Store> {
        open(&self.place)
    }

    /// It is what the model is, and continues to the end of the history.
    fn assert_is(&self, kept: &Kept, index: u64, context: &str) {
        assert_eq!(self.report.achieved.index, index, "{context}");
        let mut store = self.open();
        assert_eq!(store.identity().unwrap(), Some((&kept.history.log).into()), "{context}");
        let mut model = kept.model(index);
        model.assert_is(&*store.reader().unwrap(), context);
        for entries in kept.entries()[index as usize..].chunks(50) {
            store.apply(&model.batch(entries)).unwrap();
        }
        model.assert_is(&*store.reader().unwrap(), &format!("{context}, continued"));
    }
}

fn settings(target: Target, exclusive: bool) -> RestoreSettings {
    RestoreSettings { target, exclusive, verification: Verification::Strict, force: false }
}

async fn run(
    sources: Arc<Sources>,
    place: StorePlace,
    settings: RestoreSettings,
) -> Result<RestoreReport, RestoreError> {
    let (progress, _) = watch::channel(RestoreProgress::default());
    restore(sources, place, settings, progress, CancellationToken::new()).await
}

/// A store of these kinds in a directory.
pub(crate) fn place(kinds: &[&str], directory: &Path) -> StorePlace {
    let part =
        |(at, kind): (usize, &&str)| (kind.to_string(), directory.join(format!("store-{at}")));
    let parts: Vec<(String, PathBuf)> = kinds.iter().enumerate().map(part).collect();
    let kinds: Vec<String> = parts.iter().map(|(kind, _)| kind.clone()).collect();
    let open = move |paths: &[PathBuf]| {
        let mut stores = kinds.iter().zip(paths).map(|(kind, path)| open_part(kind, path));
        if kinds.len() == 1 {
            return stores.next().unwrap();
        }
        let store = CompositeStore::new(stores.collect::<Result<_, _>>()?)?;
        Ok(Box::new(store) as Box<dyn Store>)
    };
    StorePlace { parts, open: Arc::new(open) }
}

fn open_part(kind: &str, path: &Path) -> Result<Box<dyn Store>, StoreError> {
    match kind {
        "sqlite" => Ok(Box::new(SqliteStore::open(path)?)),
        "files" => Ok(Box::new(FileStore::open(path)?)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Ok(Box::new(tipline_store::RocksDbStore::open(path)?)),
        other => panic!("{other}"),
    }
}

fn open(place: &StorePlace) -> Box<dyn Store> {
    let paths: Vec<PathBuf> = place.parts.iter().map(|(_, path)| path.clone()).collect();
    (place.open)(&paths).unwrap()
}

fn names_in(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
