//! Restoring a gigabyte, against copying the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tipline_backup::{
    Archive, ArchiveStore, Checkpoints, Destination, Job, Keys, RestoreProgress, RestoreSettings,
    Sources, StorePlace, Target, Verification, restore,
};
use tipline_consumer::StoreHandle;
use tipline_proto::Timestamp;
use tipline_store::{Batch, FileStore, Sink, SqliteStore, Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Outcome;
use crate::applying::verified;
use crate::load::{self, Load};
use crate::table::Contest;

const LOAD: Load = Load { bytes: 1 << 20, events: 1025, at_once: 32 };
const DURABLE: &str = "the whole store, verified, in its place";

pub(crate) async fn measure(rounds: usize) -> Outcome<()> {
    let kept = tempfile::tempdir()?;
    let (archived, backup) = (kept.path().join("archive"), kept.path().join("checkpoints"));
    let sources = fill(&archived, &backup).await?;
    let from_archive = Arc::new(Sources { checkpoints: vec![], ..sources.clone() });
    let from_checkpoint = Arc::new(sources);
    let archive = (&from_archive, archived.join("segments"));
    let checkpoint = (&from_checkpoint, backup);
    for (what, kind, (sources, bytes)) in [
        ("1 GiB: restore SQLite from a checkpoint", "sqlite", &checkpoint),
        ("1 GiB: restore SQLite from an archive", "sqlite", &archive),
        ("1 GiB: restore block files from an archive", "files", &archive),
    ] {
        let (mut ours, mut bare) = (vec![], vec![]);
        for _ in 0..rounds {
            ours.push(micros(restored(kind, sources).await?));
            bare.push(micros(copied(bytes)?));
        }
        let against = "cp -r of the same bytes, sync";
        Contest { what, against, durable: DURABLE, ours: &ours, bare: &bare }.print();
    }
    Ok(())
}

/// An archive and a checkpoint of the same blocks.
async fn fill(archived: &Path, backup: &Path) -> Outcome<Sources> {
    let log = load::identity("bench");
    let batches: Vec<Batch> = verified(&log, load::entries(&log, LOAD)?, LOAD.at_once)?;
    let place = Destination::open(&format!("dir:{}", archived.display()))?;
    let scratch = tempfile::tempdir()?;
    let (path, destination) = (scratch.path().join("store.db"), place.clone());
    let mut archive = ArchiveStore::new(destination, Keys::default(), 0);
    let store = tokio::task::spawn_blocking(move || -> Result<_, StoreError> {
        let mut store = SqliteStore::open(path)?;
        archive.identity()?;
        for store in [&mut archive as &mut dyn Sink, &mut store] {
            store.create(&log)?;
            batches.iter().try_for_each(|batch| store.apply(batch))?;
        }
        Ok(store)
    });
    let handle = StoreHandle::new(Box::new(store.await??))?;
    let checkpoints = Checkpoints::at(Destination::open(&format!("dir:{}", backup.display()))?);
    let job = Arc::new(Job::new(CancellationToken::new(), None));
    checkpoints.create(&handle, Timestamp::from_micros(1_800_000_000_000_000), &job).await?;
    let archive = Archive::open(place, Keys::default()).await?;
    Ok(Sources { archives: vec![archive], checkpoints: vec![checkpoints], ..Sources::default() })
}

async fn restored(kind: &'static str, sources: &Arc<Sources>) -> Outcome<Duration> {
    let directory = tempfile::tempdir()?;
    let open = move |paths: &[PathBuf]| -> Result<Box<dyn Store>, StoreError> {
        Ok(match kind {
            "files" => Box::new(FileStore::open(&paths[0])?),
            _ => Box::new(SqliteStore::open(&paths[0])?),
        })
    };
    let parts = vec![(kind.to_owned(), directory.path().join("store"))];
    let place = StorePlace { parts, open: Arc::new(open) };
    let settings = RestoreSettings {
        target: Target::Latest,
        exclusive: false,
        verification: Verification::Normal,
        force: false,
    };
    let (progress, _) = watch::channel(RestoreProgress::default());
    let stop = CancellationToken::new();
    // What the one before left to write, its removal too, is not for the next to pay.
    rustix::fs::sync();
    let start = Instant::now();
    restore(Arc::clone(sources), place, settings, progress, stop).await?;
    Ok(start.elapsed())
}

fn copied(from: &Path) -> Outcome<Duration> {
    let directory = tempfile::tempdir()?;
    rustix::fs::sync();
    let start = Instant::now();
    let copied = Command::new("cp").arg("-r").arg(from).arg(directory.path()).status()?;
    rustix::fs::sync();
    if copied.success() { Ok(start.elapsed()) } else { Err(format!("cp: {copied}").into()) }
}

fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}
