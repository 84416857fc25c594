//! Applying into the SQLite store.

use std::path::Path;
use std::time::{Duration, Instant};

use tipline_consumer::{Batch, SqliteStore, Store, StoredLinks, Verifier};
use tipline_proto::{Cursor, Entry, LogIdentity};

use crate::load::{self, Load};
use crate::table::Contest;
use crate::{Outcome, bare_sqlite};

const LOADS: [Load; 3] = [
    Load { bytes: 1 << 10, events: 30_000, at_once: 1000 },
    Load { bytes: 64 << 10, events: 2_000, at_once: 100 },
    Load { bytes: 1 << 10, events: 5_000, at_once: 10 },
];

pub(crate) fn measure(rounds: usize) -> Outcome<()> {
    for load in LOADS {
        let log = load::identity("bench");
        let batches = verified(&log, load::entries(&log, load)?, load.at_once)?;
        let (mut ours, mut bare) = (vec![], vec![]);
        for _ in 0..rounds {
            let dir = tempfile::tempdir()?;
            ours.push(load.rate(store(&dir.path().join("ours.db"), &log, &batches)?));
            bare.push(load.rate(plain(&dir.path().join("plain.db"), &batches)?));
        }
        let what = format!("{}: apply, batches of {}", load.size(), load.at_once);
        let against = &format!("inserts, {} per transaction", load.at_once);
        let durable = "every block and the cursor, fsynced";
        Contest { what: &what, against, durable, ours: &ours, bare: &bare }.print();
    }
    Ok(())
}

/// The entries as the replicate loop hands them to a store.
fn verified(log: &LogIdentity, entries: Vec<Entry>, at_once: usize) -> Outcome<Vec<Batch>> {
    let (genesis, origin) = (log.chain.genesis.clone(), Cursor::origin(log));
    let mut verifier = Verifier::new(genesis, &origin, StoredLinks::default());
    let mut batches = vec![];
    for entries in entries.chunks(at_once) {
        for entry in entries {
            verifier.judge(entry, &|_| Ok(None))?;
        }
        batches.push(verifier.batch(entries.to_vec()));
    }
    Ok(batches)
}

fn store(path: &Path, log: &LogIdentity, batches: &[Batch]) -> Outcome<Duration> {
    let mut store = SqliteStore::open(path)?;
    store.create(log)?;
    let start = Instant::now();
    for batch in batches {
        store.apply(batch)?;
    }
    Ok(start.elapsed())
}

fn plain(path: &Path, batches: &[Batch]) -> Outcome<Duration> {
    let mut connection = bare_sqlite::synced(path, bare_sqlite::STORE)?;
    let start = Instant::now();
    for batch in batches {
        bare_sqlite::store(&mut connection, &batch.entries)?;
    }
    Ok(start.elapsed())
}
