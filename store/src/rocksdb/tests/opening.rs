//! What is opened, what is refused, and what is left of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rocksdb::{DB, Options, WriteOptions};

use super::{created, files, place};
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::reader::ChainView;
use crate::rocksdb::{RocksDbReader, RocksDbStore};
use crate::spec::{Sink, Store};

/// All of a directory, or file.
fn contents(path: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let Ok(files) = fs::read_dir(path) else {
        return BTreeMap::from([(String::new(), fs::read(path).ok())]);
    };
    let files = files.map(|file| file.unwrap());
    files
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).ok()))
        .collect()
}

#[track_caller]
fn refused(path: &Path, says: &str) {
    let before = contents(path);
    for error in [RocksDbStore::open(path).unwrap_err(), RocksDbReader::open(path).unwrap_err()] {
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    let message = RocksDbStore::open(path).unwrap_err().to_string();
    assert!(message.contains(says), "{message}");
    assert_eq!(contents(path), before);
}

#[test]
fn what_is_not_a_store_is_refused_and_left_as_it_is() {
    let (directory, path) = place();
    refused(&directory.path().join("none").join("store"), "make it first");
    fs::write(&path, "a file").unwrap();
    refused(&path, "it is a file");

    let other = directory.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("photo.jpg"), "x").unwrap();
    refused(&other, "not empty");
    fs::write(other.join("CURRENT"), "MANIFEST-000001\n").unwrap();
    refused(&other, "not a RocksDB directory");

    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let foreign = directory.path().join("foreign");
    let db = DB::open(&options, &foreign).unwrap();
    db.put(b"k", b"v").unwrap();
    refused(&foreign, "not a store of Tipline");
    drop(db);
    refused(&foreign, "not a store of Tipline");

    let foreign = directory.path().join("families");
    drop(DB::open_cf(&options, &foreign, ["blocks", "accounts"]).unwrap());
    refused(&foreign, "not a store of Tipline");

    let newer = directory.path().join("newer");
    drop(DB::open_cf(&options, &newer, ["blocks", "tipline.store.v2"]).unwrap());
    refused(&newer, "version 2");

    let more = directory.path().join("more");
    drop(created(&more));
    let families = DB::list_cf(&options, &more).unwrap();
    drop(DB::open_cf(&options, &more, families.iter().map(String::as_str).chain(["mine"])));
    refused(&more, "not of a store");

    // One whose list of files names a log that is closed, and needed yet.
    options.set_track_and_verify_wals_in_manifest(true);
    let tracked = directory.path().join("tracked");
    let db = DB::open_cf(&options, &tracked, ["blocks"]).unwrap();
    let mut durable = WriteOptions::default();
    durable.set_sync(true);
    db.put_cf_opt(db.cf_handle("blocks").unwrap(), b"k", b"v", &durable).unwrap();
    db.put_opt(b"k", b"v", &durable).unwrap();
    db.flush().unwrap();
    db.put_opt(b"k", b"w", &durable).unwrap();
    drop(db);
    refused(&tracked, "not a store of Tipline");
}

#[test]
fn reading_what_is_not_there_makes_nothing() {
    let (directory, path) = place();
    let message = RocksDbReader::open(&path).unwrap_err().to_string();
    assert!(message.contains("no such directory"), "{message}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    fs::create_dir(&path).unwrap();
    let message = RocksDbReader::open(&path).unwrap_err().to_string();
    assert!(message.contains("it is empty"), "{message}");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn an_empty_directory_becomes_a_store_and_so_does_one_that_was_begun() {
    let (directory, path) = place();
    let is_a_store = |path: &Path| {
        let (mut store, mut model) = (created(path), Model::new(&log()));
        store.apply(&model.batch(&History::random(1, 50).entries)).unwrap();
        drop(store);
        let store = RocksDbStore::open(path).unwrap();
        model.assert_is(&*store.reader().unwrap(), "made to the end");
    };
    // The root of a volume.
    fs::create_dir_all(path.join("lost+found")).unwrap();
    is_a_store(&path);

    // What a crash leaves before RocksDB has made its directory.
    let begun = directory.path().join("begun");
    fs::create_dir(&begun).unwrap();
    for name in ["LOCK", "LOG", "LOG.old.17", "IDENTITY", "MANIFEST-000001", "000001.dbtmp"] {
        fs::write(begun.join(name), "").unwrap();
    }
    is_a_store(&begun);

    // And what it leaves before the last of the families is there.
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let half = directory.path().join("half");
    drop(DB::open_cf(&options, &half, ["blocks", "block_payloads", "marks"]).unwrap());
    is_a_store(&half);

    // And by a power cut, where a length may be durable without what it covers.
    let torn = directory.path().join("torn");
    drop(DB::open_cf(&options, &torn, ["blocks", "block_payloads", "marks"]).unwrap());
    let list = torn.join(fs::read_to_string(torn.join("CURRENT")).unwrap().trim());
    let mut bytes = fs::read(&list).unwrap();
    let from = bytes.len() - 10;
    bytes[from..].fill(0);
    fs::write(&list, bytes).unwrap();
    assert!(DB::list_cf(&options, &torn).is_err());
    is_a_store(&torn);
}

/// What is in force is never added to: a power cut, or a failed fsync, leaves all of it.
#[test]
fn the_list_of_files_is_written_whole_each_time() {
    let (_directory, path) = place();
    let mut store = RocksDbStore::open_with(&path, 64 << 10).unwrap();
    store.create(&log()).unwrap();
    let (mut model, mut lists) = (Model::new(&log()), BTreeMap::new());
    for entries in History::random_of(6, 300, 3000).entries.chunks(12) {
        store.apply(&model.batch(entries)).unwrap();
        let list = fs::read_to_string(path.join("CURRENT")).unwrap();
        // Another one may have taken its place meanwhile.
        let Ok(found) = fs::metadata(path.join(list.trim())) else { continue };
        let bytes = lists.entry(list).or_insert(found.len());
        assert_eq!(found.len(), *bytes, "a list that was in force has grown");
    }
    assert!(lists.len() > 1, "files were written: {lists:?}");
}

#[test]
fn there_is_one_writer_and_its_lock_ends_with_it() {
    let (directory, path) = place();
    let store = created(&path);
    let info = fs::read(path.join("LOG")).unwrap().len();
    let in_use = |path: &Path| {
        let error = RocksDbStore::open(path).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    };
    in_use(&path);
    in_use(&directory.path().join(".").join("store"));
    #[cfg(unix)]
    {
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        in_use(&link);
    }
    assert!(fs::read(path.join("LOG")).unwrap().len() >= info, "it continues in its own file");
    assert_eq!(files(&path, "").iter().filter(|file| file.ends_with("LOG.old")).count(), 0);
    // A reader of it keeps it open.
    let reader = store.reader().unwrap();
    drop(store);
    in_use(&path);
    drop(reader);
    drop(RocksDbStore::open(&path).unwrap());

    // Somebody else's, who does not know of the lock in front.
    let families = DB::list_cf(&Options::default(), &path).unwrap();
    let other = DB::open_cf(&Options::default(), &path, families).unwrap();
    in_use(&path);
    drop(other);
    RocksDbStore::open(&path).unwrap();
}

#[cfg(unix)]
#[test]
fn its_files_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, path) = place();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    drop(created(&path));
    assert_eq!(mode(&path), 0o700);
    let made = directory.path().join("made");
    fs::create_dir(&made).unwrap();
    fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
    drop(created(&made));
    assert_eq!(mode(&made), 0o700);
    // What its owner allows later is for the owner to know.
    fs::set_permissions(&made, fs::Permissions::from_mode(0o750)).unwrap();
    drop(RocksDbStore::open(&made).unwrap());
    assert_eq!(mode(&made), 0o750);
}

#[test]
fn a_reader_from_outside_writes_nothing() {
    let (_directory, path) = place();
    let (mut store, mut model) = (created(&path), Model::new(&log()));
    store.apply(&model.batch(&History::random(3, 100).entries)).unwrap();
    drop(store);
    let before = contents(&path);
    let reader = RocksDbReader::open(&path).unwrap();
    model.assert_is(&reader, "at rest");
    assert_eq!(reader.identity().unwrap(), Some((&log()).into()));
    assert!(reader.place().starts_with("rocksdb:"));
    drop(reader);
    assert_eq!(contents(&path), before);
}

/// Its name is written down, because an older program may have left it.
#[test]
fn what_a_killed_checkpoint_left_is_removed_by_the_next_writer() {
    let (_directory, path) = place();
    drop(created(&path));
    let left = path.join("pinned-1-0");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("000001.sst"), "x").unwrap();
    drop(RocksDbReader::open(&path).unwrap());
    assert!(left.exists(), "a reader may run beside the checkpoint");
    drop(RocksDbStore::open(&path).unwrap());
    assert!(!left.exists());
}
