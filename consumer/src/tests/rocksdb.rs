use crate::rocksdb::RocksDbStore;
use crate::store::{Store, StoreError};
use std::path::Path;

fn open(directory: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(RocksDbStore::open(directory.join("store"))?))
}

crate::store_conformance!(open);
