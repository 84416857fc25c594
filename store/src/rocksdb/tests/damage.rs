//! What is damaged is named, or left out whole.

use std::fs;
use std::path::Path;

use super::{copy, created, files, place};
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::content::content_digest;
use crate::error::StoreError;
use crate::reader::{ChainView, StoreReader};
use crate::rocksdb::{RocksDbReader, RocksDbStore};
use crate::spec::{Sink, Store};

fn alter(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

#[test]
fn one_flipped_bit_in_a_payload_is_an_error_that_names_it() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(99, 10_000).entries)).unwrap();
    drop(store);
    // Opening carries the log into files.
    drop(RocksDbStore::open(&path).unwrap());
    let blobs = files(&path, ".blob");
    assert_eq!(blobs.len(), 1);
    alter(&blobs[0], |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let reader = RocksDbReader::open(&path).unwrap();
    let (lowest, highest) = reader.heights().unwrap().unwrap();
    let damaged: Vec<_> = (lowest..=highest)
        .filter_map(|height| Some((height, reader.block(height).err()?)))
        .collect();
    let [(height, error)] = &damaged[..] else { panic!("one is damaged: {damaged:?}") };
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("block {height}")), "{error}");
    // What stands beside the payload is whole.
    assert_eq!(reader.block_hash(*height).unwrap(), model.block_hash(*height));
    let error = content_digest(&reader).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_file_that_is_missing_or_altered_is_noticed_when_it_is_opened_or_read() {
    let (directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    for entries in History::random(2, 200).entries.chunks(50) {
        store.apply(&model.batch(entries)).unwrap();
    }
    drop(store);
    drop(RocksDbStore::open(&path).unwrap());
    let tables = files(&path, ".sst");
    assert!(tables.len() > 5, "{tables:?}");
    let mut noticed = [0, 0];
    for (at, table) in tables.iter().enumerate() {
        for missing in [false, true] {
            let broken = directory.path().join(format!("broken-{at}-{missing}"));
            copy(&path, &broken);
            let table = broken.join(table.file_name().unwrap());
            if missing {
                fs::remove_file(&table).unwrap();
            } else {
                alter(&table, |bytes| bytes.iter_mut().take(60).for_each(|byte| *byte ^= 0x5a));
            }
            let found = RocksDbReader::open(&broken).and_then(|reader| {
                content_digest(&reader)?;
                reader.links().map(|_| ())?;
                model.blocks.values().try_for_each(|b| reader.block_by_hash(&b.hash).map(|_| ()))
            });
            // What only a rollback reads is not read here.
            let error = match found {
                Ok(()) => continue,
                Err(error) => error,
            };
            assert!(
                matches!(error, StoreError::Corrupt { .. } | StoreError::Failed { .. }),
                "{error:?}"
            );
            noticed[usize::from(missing)] += 1;
        }
    }
    assert!(noticed[0] > tables.len() / 2, "{noticed:?}");
    assert_eq!(noticed[1], tables.len(), "each that is missing");
}

/// A bit of the log that flipped after it was written looks as a write that a crash cut off. The
/// store is then as after an earlier batch, and never in between; the log gives it the rest again.
#[test]
fn a_torn_log_is_left_out_from_where_it_is_torn() {
    let (directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    let mut models = vec![model.clone()];
    let entries = History::random(5, 300).entries;
    for entries in entries.chunks(30) {
        store.apply(&model.batch(entries)).unwrap();
        models.push(model.clone());
    }
    let log = files(&path, ".log").pop().unwrap();
    let bytes = fs::metadata(&log).unwrap().len();
    let mut found = vec![];
    for (at, cut) in (0..=20).flat_map(|at| [(at, true), (at, false)]) {
        let torn = directory.path().join(format!("torn-{at}-{cut}"));
        copy(&path, &torn);
        alter(&torn.join(log.file_name().unwrap()), |log| {
            let at = (bytes * at / 20) as usize;
            if cut {
                log.truncate(at);
            } else if let Some(byte) = log.get_mut(at) {
                *byte ^= 0x10;
            }
        });
        let store = RocksDbStore::open(&torn).unwrap();
        let reader = store.reader().unwrap();
        let cursor = reader.cursor().unwrap();
        let Some(cursor) = cursor else { continue };
        let is = models.iter().position(|model| model.cursor == cursor).expect("after a batch");
        models[is].assert_is(&*reader, "torn");
        found.push(is);
    }
    assert!(found.contains(&10) && found.contains(&3), "{found:?}");
}

#[test]
fn a_row_that_cannot_be_is_damage() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    // Some payloads are in their rows, some are apart from them.
    let mut history = History::blocks(5, 10);
    let small = history.model.cursor.block_tip.clone().unwrap().height;
    history.proof_of(small, 10);
    history.block_of(5000);
    let tip = history.model.cursor.block_tip.clone().unwrap();
    history.proof_of(tip.height, 5000);
    history.transaction_of(1);
    history.record_of(1, Some(vec![1; 10].into()));
    history.mark();
    store.apply(&model.batch(&history.entries)).unwrap();
    let put = |family: &str, key: &[u8], row: &[u8]| {
        store.with_db(|db| db.put_cf(db.cf_handle(family).unwrap(), key, row).unwrap());
    };
    let reader = &store.reader().unwrap();
    let (id, key) = (model.transactions.keys().next(), model.records.keys().next());
    let (id, key, mark) = (id.unwrap(), key.unwrap(), model.marks.keys().next().unwrap());
    let height = tip.height.to_be_bytes();
    let below = small.to_be_bytes();
    type Case<'a> = (&'a str, &'a [u8], &'a dyn Fn() -> Result<(), StoreError>, String);
    let block = |height| move || reader.block(height).map(drop);
    let proof = |height| move || reader.proof(height).map(drop);
    let cases: [Case<'_>; 11] = [
        ("blocks", &height, &block(tip.height), format!("block {}", tip.height)),
        ("blocks", &below, &block(small), format!("block {small}")),
        ("block_payloads", &height, &block(tip.height), format!("block {}", tip.height)),
        (
            "block_hashes",
            tip.hash.as_ref(),
            &|| reader.block_by_hash(&tip.hash).map(drop),
            format!("block {}", tip.hash),
        ),
        ("proofs", &height, &proof(tip.height), format!("proof of block {}", tip.height)),
        ("proofs", &below, &proof(small), format!("proof of block {small}")),
        ("proof_payloads", &height, &proof(tip.height), format!("proof of block {}", tip.height)),
        (
            "transactions",
            id.as_ref(),
            &|| reader.transaction(id).map(drop),
            format!("transaction {id}"),
        ),
        ("records", key.as_ref(), &|| reader.record(key).map(drop), format!("record {key}")),
        (
            "marks",
            mark.as_str().as_bytes(),
            &|| reader.mark(mark).map(drop),
            format!("mark {mark}"),
        ),
        ("tipline.store.v1", b"cursor", &|| reader.cursor().map(drop), "the cursor".to_owned()),
    ];
    for (family, key, read, says) in cases {
        let right = store.with_db(|db| db.get_cf(db.cf_handle(family).unwrap(), key));
        let right = right.unwrap().unwrap();
        read().unwrap();
        let longer = [&right[..], &[7]].concat();
        for wrong in [&right[..right.len() - 1], &longer, b"", &[0xff; 40]] {
            put(family, key, wrong);
            let error = read().unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
            assert!(error.to_string().contains(&says), "{error}");
            assert!(std::error::Error::source(&error).is_some());
        }
        put(family, key, &right);
    }
    store.with_db(|db| db.delete_cf(db.cf_handle("block_payloads").unwrap(), height).unwrap());
    assert!(matches!(reader.block(tip.height), Err(StoreError::Corrupt { .. })));
    assert_eq!(reader.block_hash(tip.height).unwrap(), Some(tip.hash.clone()));
}

/// It is written whole, so this is rot.
#[test]
fn a_list_of_files_whose_end_is_not_its_content_is_refused() {
    let (directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.apply(&model.batch(&History::random(4, 50).entries)).unwrap();
    drop(store);
    let torn = directory.path().join("torn");
    copy(&path, &torn);
    let lists: Vec<_> =
        files(&torn, "").into_iter().filter(|f| f.to_string_lossy().contains("MANIFEST")).collect();
    alter(lists.last().unwrap(), |bytes| {
        let from = bytes.len() - 10;
        bytes[from..].fill(0);
    });
    let refused = RocksDbStore::open(&torn).unwrap_err();
    let source = std::error::Error::source(&refused).unwrap();
    let text = format!("{refused}: {source}");
    assert!(text.contains("Corruption") && text.contains("MANIFEST"), "{text}");
}
