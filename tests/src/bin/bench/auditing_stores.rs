//! Verifying a store, which is also what a checkpoint of one is, against reading its rows or files.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rocksdb::{DB, IteratorMode, Options};
use rusqlite::Connection;
use tipline_audit::verify_content;
use tipline_proto::{Entry, LogIdentity};
use tipline_store::StoreReader;
use tipline_tests::Medium;

use crate::Outcome;
use crate::applying::verified;
use crate::auditing::DURABLE;
use crate::load::Load;
use crate::table::Contest;

/// Files take their time to make.
const FILES: usize = 200_000;

pub(crate) fn measure(
    log: &LogIdentity,
    mut entries: Vec<Entry>,
    mut load: Load,
    rounds: usize,
) -> Outcome<()> {
    for medium in [Medium::Sqlite, Medium::RocksDb, Medium::Files] {
        if medium == Medium::Files {
            entries.truncate(FILES);
            load.events = entries.len();
        }
        let kept = tempfile::tempdir()?;
        fill(medium, kept.path(), log, &entries, load)?;
        contest(medium, kept.path(), log, load, rounds)?;
    }
    Ok(())
}

fn fill(
    medium: Medium,
    directory: &Path,
    log: &LogIdentity,
    entries: &[Entry],
    load: Load,
) -> Outcome<()> {
    let mut store = medium.open(directory)?;
    store.create(log)?;
    verified(log, entries.to_vec(), load.at_once)?
        .iter()
        .try_for_each(|batch| Ok(store.apply(batch)?))
}

fn contest(
    medium: Medium,
    directory: &Path,
    log: &LogIdentity,
    load: Load,
    rounds: usize,
) -> Outcome<()> {
    let [mut ours, mut reader, mut bare] = [vec![], vec![], vec![]];
    for round in 0..rounds {
        // Each goes first as often as the others.
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => ours.push(load.rate(audited(medium, directory, log, load)?)),
                1 => reader.push(load.rate(drained(medium, directory, load)?)),
                _ => bare.push(load.rate(read(medium, directory, load)?)),
            }
        }
    }
    let events = load.events;
    let what = format!("1 KiB, {events} in a store, {medium}: audit verify");
    let against = "the same blocks and proofs, read";
    Contest { what: &what, against, durable: DURABLE, ours: &ours, bare: &reader }.print();
    let what = "the same: blocks and proofs, read";
    let against = match medium {
        Medium::RocksDb => "its blocks, iterated",
        Medium::Files => "its files, read one by one",
        _ => "its blocks, selected by one statement",
    };
    Contest { what, against, durable: DURABLE, ours: &reader, bare: &bare }.print();
    Ok(())
}

fn audited(medium: Medium, directory: &Path, log: &LogIdentity, load: Load) -> Outcome<Duration> {
    let readers = medium.readers(directory)?;
    let reader: &dyn StoreReader = &**readers.first().ok_or("no reader")?;
    let start = Instant::now();
    let report = verify_content("store", reader, log.chain.proofs_from, None, || Ok(()))?;
    let took = start.elapsed();
    if report.ok && report.blocks + 1 == load.events as u64 {
        Ok(took)
    } else {
        Err(format!("{report:?}").into())
    }
}

/// The same as a library gives it, and nothing is looked at.
fn drained(medium: Medium, directory: &Path, load: Load) -> Outcome<Duration> {
    let readers = medium.readers(directory)?;
    let reader: &dyn StoreReader = &**readers.first().ok_or("no reader")?;
    let (start, mut count) = (Instant::now(), 0);
    for found in reader.blocks_with_proofs(0..=u64::MAX)? {
        found?;
        count += 1;
    }
    let took = start.elapsed();
    if count + 1 == load.events { Ok(took) } else { Err(format!("{count} blocks").into()) }
}

/// How long it takes to read every byte of the blocks as one would without Tipline.
fn read(medium: Medium, directory: &Path, load: Load) -> Outcome<Duration> {
    let start = Instant::now();
    let bytes = match medium {
        Medium::RocksDb => iterated(&directory.join("rocksdb"))?,
        Medium::Files => read_all(&directory.join("files").join("blocks"))?,
        _ => selected(&directory.join("store.db"))?,
    };
    let took = start.elapsed();
    if bytes >= (load.events - 1) * load.bytes { Ok(took) } else { Err("not all was read".into()) }
}

fn selected(path: &Path) -> Outcome<usize> {
    let connection = Connection::open(path)?;
    let mut statement = connection.prepare("SELECT * FROM blocks ORDER BY height")?;
    let columns = statement.column_count();
    let (mut rows, mut bytes) = (statement.query([])?, 0);
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            bytes += row.get_ref(column)?.as_bytes().map_or(8, <[u8]>::len);
        }
    }
    Ok(bytes)
}

fn iterated(path: &Path) -> Outcome<usize> {
    // As the store does. RocksDB 11 crashes where logs were tracked, and are not any more.
    let mut options = Options::default();
    options.set_track_and_verify_wals_in_manifest(true);
    let families = DB::list_cf(&options, path)?;
    let db = DB::open_cf_for_read_only(&options, path, families, false)?;
    let mut bytes = 0;
    for family in ["blocks", "block_payloads"] {
        let family = db.cf_handle(family).ok_or("a column family is missing")?;
        for row in db.iterator_cf(family, IteratorMode::Start) {
            let (key, row) = row?;
            bytes += key.len() + row.len();
        }
    }
    Ok(bytes)
}

fn read_all(directory: &Path) -> Outcome<usize> {
    let mut bytes = 0;
    for found in fs::read_dir(directory)? {
        let found = found?;
        bytes += match found.file_type()?.is_dir() {
            true => read_all(&found.path())?,
            false => fs::read(found.path())?.len(),
        };
    }
    Ok(bytes)
}
