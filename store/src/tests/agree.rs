//! Every medium holds the same, whatever happened.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::composite::CompositeStore;
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::content::content_digest;
use crate::error::StoreError;
use crate::files::FileStore;
use crate::rocksdb::RocksDbStore;
use crate::spec::Store;
use crate::sqlite::SqliteStore;

/// How many histories; `TIPLINE_HISTORIES` says otherwise.
const HISTORIES: u64 = 200;

/// What a node keeps: a database, block files and a key-value store, in step.
fn open(directory: &Path) -> Result<Box<dyn Store>, StoreError> {
    let parts: Vec<Box<dyn Store>> = vec![
        Box::new(SqliteStore::open(directory.join("part.db"))?),
        Box::new(FileStore::open(directory.join("part-files"))?),
        Box::new(RocksDbStore::open(directory.join("part-rocksdb"))?),
    ];
    Ok(Box::new(CompositeStore::new(parts)?))
}

crate::store_conformance!(open, crate::conformance::Appends::InOrder);

fn stores(directory: &Path) -> Vec<Box<dyn Store>> {
    let sqlite = SqliteStore::open(directory.join("store.db")).unwrap();
    let rocksdb = RocksDbStore::open(directory.join("rocksdb")).unwrap();
    let files = FileStore::open(directory.join("files")).unwrap();
    vec![Box::new(sqlite), Box::new(rocksdb), Box::new(files), open(directory).unwrap()]
}

#[test]
fn all_media_have_equal_content_digests_at_equal_positions_through_random_histories() {
    let histories = std::env::var("TIPLINE_HISTORIES").map_or(HISTORIES, |n| n.parse().unwrap());
    let first: u64 = rand::random::<u32>().into();
    println!("seeds {first} to {}", first + histories - 1);
    for seed in first..first + histories {
        // It is about what is held, not about what is durable: in memory, where there is such a place.
        let directory = if Path::new("/dev/shm").is_dir() {
            tempfile::tempdir_in("/dev/shm").unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let mut rng = StdRng::seed_from_u64(seed);
        let count = rng.random_range(20..120);
        let entries = History::random(seed, count).entries;
        let mut model = Model::new(&log());
        let mut stores = stores(directory.path());
        for store in &mut stores {
            store.create(&log()).unwrap();
        }
        let readers: Vec<_> = stores.iter().map(|store| store.reader().unwrap()).collect();
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rng.random_range(1..=rest.len().min(40)));
            rest = later;
            let batch = model.batch(now);
            for store in &mut stores {
                store.apply(&batch).unwrap();
            }
            let digests: Vec<_> =
                readers.iter().map(|reader| content_digest(&**reader).unwrap()).collect();
            let at = batch.cursor.position;
            assert!(
                digests.windows(2).all(|two| two[0] == two[1]),
                "seed {seed}, at {at}: {digests:?}"
            );
        }
        for reader in &readers {
            model.assert_is(&**reader, &format!("seed {seed}, {}", reader.place()));
        }
    }
}
