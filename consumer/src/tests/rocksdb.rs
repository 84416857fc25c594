//! The store in a RocksDB directory, on real files.

use std::fs;
use std::path::Path;

use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::content::content_digest;
use crate::rocksdb::{RocksDbReader, RocksDbStore};
use crate::store::{Store, StoreError, StoreReader};

fn open(directory: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(RocksDbStore::open(directory.join("store"))?))
}

crate::store_conformance!(open);

fn created(path: &Path) -> RocksDbStore {
    let mut store = RocksDbStore::open(path).unwrap();
    store.create(&log()).unwrap();
    store
}

#[test]
fn a_reader_of_its_own_follows_the_writer_and_leaves_nothing_in_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut store = created(&path);
    let reader = RocksDbReader::open(&path).unwrap();
    assert_eq!(reader.identity().unwrap(), Some((&log()).into()));
    let mut model = Model::new(&log());
    for (at, chunk) in History::random(41, 600).entries.chunks(40).enumerate() {
        store.apply(&model.batch(chunk)).unwrap();
        model.assert_is(&reader, &format!("behind batch {at}"));
    }
    // Files come and go under the reader when the writer's buffers are emptied.
    let large = History::blocks(40, 4 << 20);
    let path = directory.path().join("large");
    let mut store = created(&path);
    let reader = RocksDbReader::open(&path).unwrap();
    let mut model = Model::new(&log());
    for chunk in large.entries.chunks(3) {
        store.apply(&model.batch(chunk)).unwrap();
        let tip = model.cursor.block_tip.clone();
        assert_eq!(reader.cursor().unwrap().unwrap().block_tip, tip);
        if let Some(tip) = tip {
            assert_eq!(reader.block(tip.height).unwrap().unwrap(), model.blocks[&tip.height]);
        }
    }
    let names = |path: &Path| -> Vec<_> {
        fs::read_dir(path).unwrap().map(|file| file.unwrap().file_name()).collect()
    };
    let mut before = names(&path);
    drop(reader);
    drop(RocksDbReader::open(&path).unwrap());
    let mut after = names(&path);
    before.sort();
    after.sort();
    assert_eq!(before, after);
    drop(store);
    model.assert_is(&RocksDbReader::open(&path).unwrap(), "with nobody writing");
}

#[test]
fn what_is_not_a_store_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dir");
    let refused = |path: &Path, says: &str| {
        for error in [RocksDbStore::open(path).unwrap_err(), RocksDbReader::open(path).unwrap_err()]
        {
            assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
        let message = RocksDbStore::open(path).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    };
    refused(&directory.path().join("none").join("store"), "make it first");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("somebody's"), "file").unwrap();
    refused(&path, "something else in it");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    refused(&path.join("somebody's"), "it is a file");

    let foreign = directory.path().join("foreign");
    drop(rocksdb::DB::open_default(&foreign).unwrap());
    let before = fs::read_dir(&foreign).unwrap().count();
    refused(&foreign, "something else in it");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), before);

    let newer = directory.path().join("newer");
    drop(created(&newer));
    fs::write(newer.join("TIPLINE"), "tipline store, version 2\n").unwrap();
    refused(&newer, "version 2");
    fs::write(newer.join("TIPLINE"), "something\n").unwrap();
    refused(&newer, "not one of Tipline");
}

#[test]
fn reading_what_is_not_there_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let message = RocksDbReader::open(directory.path().join("store")).unwrap_err().to_string();
    assert!(message.contains("no such directory"), "{message}");
    let message = RocksDbReader::open(directory.path()).unwrap_err().to_string();
    assert!(message.contains("it is empty"), "{message}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_second_writer_by_another_name_is_refused_and_the_directory_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = created(&path);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(RocksDbStore::open(link), Err(StoreError::InUse { .. })));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let reader = store.reader().unwrap();
    drop(store);
    // A reader that is left keeps the database open, and so the store in use.
    assert!(matches!(RocksDbStore::open(&path), Err(StoreError::InUse { .. })));
    drop(reader);
    RocksDbStore::open(&path).unwrap();
}

#[test]
fn a_store_whose_making_was_cut_off_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("TIPLINE.tmp"), "tipl").unwrap();
    drop(created(&path));
    let only_marked = directory.path().join("marked");
    fs::create_dir(&only_marked).unwrap();
    fs::write(only_marked.join("TIPLINE"), "tipline store, version 1\n").unwrap();
    drop(created(&only_marked));
}

#[test]
fn damage_is_an_error_that_names_what_was_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut store = created(&path);
    let mut model = Model::new(&log());
    store.apply(&model.batch(&History::blocks(99, 20_000).entries)).unwrap();
    drop(store);
    // Opened again it has carried what was in its log into files.
    drop(RocksDbStore::open(&path).unwrap());
    let files = fs::read_dir(&path).unwrap().map(|file| file.unwrap().path());
    let blobs: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "blob")).collect();
    assert!(!blobs.is_empty(), "payloads are in blob files");
    for blob in blobs {
        let mut bytes = fs::read(&blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&blob, bytes).unwrap();
    }
    let store = RocksDbStore::open(&path).unwrap();
    let reader = store.reader().unwrap();
    let (lowest, highest) = reader.heights().unwrap().unwrap();
    let damaged = (lowest..=highest).find_map(|height| Some((height, reader.block(height).err()?)));
    let (height, error) = damaged.expect("some block is damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("block {height}")), "{error}");
    let error = content_digest(&*reader).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}
