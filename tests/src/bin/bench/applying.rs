//! Applying into the stores.

use std::path::Path;
use std::time::{Duration, Instant};

use tipline_consumer::Verifier;
use tipline_proto::{Cursor, Entry, LogIdentity};
use tipline_store::{Batch, StoredLinks};
use tipline_tests::Medium;

use crate::load::{self, Load};
use crate::table::Contest;
use crate::{Outcome, bare_files, bare_rocksdb, bare_sqlite};

const LOADS: [Load; 4] = [
    Load { bytes: 1 << 10, events: 30_000, at_once: 1000 },
    Load { bytes: 64 << 10, events: 2_000, at_once: 100 },
    Load { bytes: 1 << 20, events: 256, at_once: 16 },
    Load { bytes: 1 << 10, events: 5_000, at_once: 10 },
];

pub(crate) fn measure(rounds: usize) -> Outcome<()> {
    for medium in [Medium::Sqlite, Medium::RocksDb, Medium::Files] {
        for load in LOADS {
            contest(medium, load, rounds)?;
        }
    }
    Ok(())
}

fn contest(medium: Medium, load: Load, rounds: usize) -> Outcome<()> {
    let log = load::identity("bench");
    let batches = verified(&log, load::entries(&log, load)?, load.at_once)?;
    let (mut ours, mut bare) = (vec![], vec![]);
    for round in 0..rounds {
        // Each goes first as often as the other.
        let turns = if round % 2 == 0 { [true, false] } else { [false, true] };
        for is_ours in turns {
            let dir = tempfile::tempdir()?;
            // What the one before left to write, its removal too, is not for the next to pay.
            rustix::fs::sync();
            match is_ours {
                true => ours.push(load.rate(store(medium, dir.path(), &log, &batches)?)),
                false => bare.push(load.rate(plain(medium, dir.path(), &batches)?)),
            }
        }
    }
    let what = format!("{}: apply to {medium}, batches of {}", load.size(), load.at_once);
    let against = match medium {
        Medium::RocksDb => "puts, one synced write",
        Medium::Files => "files, one syncfs, renames, cursor file",
        _ => "inserts, one transaction",
    };
    let durable = "every block and the cursor, fsynced";
    Contest { what: &what, against, durable, ours: &ours, bare: &bare }.print();
    Ok(())
}

/// The entries as the replicate loop hands them to a store.
pub(crate) fn verified(
    log: &LogIdentity,
    entries: Vec<Entry>,
    at_once: usize,
) -> Outcome<Vec<Batch>> {
    let mut verifier = Verifier::new(&log.chain, &Cursor::origin(log), StoredLinks::default());
    let mut batches = vec![];
    for entries in entries.chunks(at_once) {
        for entry in entries {
            verifier.classify(entry, &|_| Ok(None))?;
        }
        batches.push(verifier.batch(entries.to_vec()));
    }
    Ok(batches)
}

fn store(
    medium: Medium,
    directory: &Path,
    log: &LogIdentity,
    batches: &[Batch],
) -> Outcome<Duration> {
    let mut store = medium.open(directory)?;
    store.create(log)?;
    let start = Instant::now();
    for batch in batches {
        store.apply(batch)?;
    }
    Ok(start.elapsed())
}

fn plain(medium: Medium, directory: &Path, batches: &[Batch]) -> Outcome<Duration> {
    match medium {
        Medium::RocksDb => {
            let db = bare_rocksdb::open(directory)?;
            timed(batches, |batch| bare_rocksdb::store(&db, batch))
        }
        Medium::Files => {
            let files = bare_files::Directory::new(directory)?;
            timed(batches, |batch| files.store(batch))
        }
        _ => {
            let path = directory.join("plain.db");
            let mut connection = bare_sqlite::synced(&path, bare_sqlite::STORE)?;
            timed(batches, |batch| bare_sqlite::store(&mut connection, batch))
        }
    }
}

fn timed(batches: &[Batch], mut write: impl FnMut(&[Entry]) -> Outcome<()>) -> Outcome<Duration> {
    let start = Instant::now();
    for batch in batches {
        write(&batch.entries)?;
    }
    Ok(start.elapsed())
}
