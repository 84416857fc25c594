//! Putting as one would with rocksdb alone.

use std::path::Path;

use rocksdb::{ColumnFamilyDescriptor, DB, Options, WriteBatch, WriteOptions};
use tipline_proto::{Entry, Event};

use crate::Outcome;

/// A database whose writes are synced, everything else as RocksDB has it.
pub(crate) fn open(path: &Path) -> Outcome<DB> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let families = ["blocks", "hashes"];
    let families = families.map(|name| ColumnFamilyDescriptor::new(name, Options::default()));
    Ok(DB::open_cf_descriptors(&options, path, families)?)
}

/// Puts blocks, their heights by hash, and the cursor behind them in one synced batch.
pub(crate) fn store(db: &DB, batch: &[Entry]) -> Outcome<()> {
    let family = |name: &str| db.cf_handle(name).ok_or("a column family is missing");
    let (blocks, hashes) = (family("blocks")?, family("hashes")?);
    let mut writes = WriteBatch::default();
    for entry in batch {
        let Event::BlockCommitted { height, hash, parent_hash, payload } = &entry.event else {
            continue;
        };
        let header = [entry.index, entry.epoch, entry.time.as_micros()].map(u64::to_be_bytes);
        let header = header.concat();
        let row = [&header[..], hash.as_ref(), parent_hash.as_ref(), payload].concat();
        let key = height.to_be_bytes();
        writes.put_cf(blocks, key, row);
        writes.put_cf(hashes, hash.as_ref(), key);
    }
    if let Some(last) = batch.last() {
        writes.put(b"cursor", [&last.index.to_be_bytes()[..], last.digest.as_bytes()].concat());
    }
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    Ok(db.write_opt(writes, &synced)?)
}
