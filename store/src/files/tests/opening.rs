//! What is opened, and what is refused and left as it is.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::{created, files, place};
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::files::{FileReader, FileStore};
use crate::spec::{Sink, Store};
use crate::sqlite::{SqliteReader, SqliteStore};

/// Neither opens it, both name it, the message says so, and nothing has changed.
#[track_caller]
fn refused(path: &Path, says: &str) {
    let content = || if path.is_dir() { files(path) } else { Default::default() };
    let index = || fs::read(path.join("index.db")).ok();
    let before = (content(), index(), fs::read(path).ok());
    let error = FileStore::open(path).unwrap_err();
    for error in [&error, &FileReader::open(path).unwrap_err()] {
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("files:{}", path.display())), "{error}");
    }
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!((content(), index(), fs::read(path).ok()), before);
}

#[test]
fn what_is_not_a_store_is_refused_and_left_as_it_is() {
    let (directory, root) = place();
    let file = directory.path().join("file");
    fs::write(&file, "text").unwrap();
    refused(&file, "it is a file: give a directory");
    refused(&directory.path().join("no").join("store"), "make the one above it");

    // A node's own block store.
    fs::create_dir_all(root.join("blocks/0000")).unwrap();
    fs::write(root.join("blocks/0000/block_00000001.dat"), "block").unwrap();
    refused(&root, "blocks is in it: give an empty directory");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1, "nothing was made in it");
    fs::write(root.join("index.db"), "not a database ".repeat(100)).unwrap();
    refused(&root, "it is not an SQLite file");
    fs::remove_file(root.join("index.db")).unwrap();
    let foreign = Connection::open(root.join("index.db")).unwrap();
    foreign.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(foreign);
    refused(&root, "not a store of Tipline");
}

#[test]
fn the_index_is_not_a_store_and_a_store_is_not_an_index() {
    let (directory, root) = place();
    drop(created(&root));
    let index = root.join("index.db");
    for error in [SqliteStore::open(&index).unwrap_err(), SqliteReader::open(&index).unwrap_err()] {
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains("the index of a store of block files"), "{error}");
    }
    Connection::open(&index).unwrap().pragma_update(None, "user_version", 7).unwrap();
    refused(&root, "version 7");

    let other = directory.path().join("other");
    fs::create_dir(&other).unwrap();
    drop(SqliteStore::open(other.join("index.db")).unwrap());
    refused(&other, "it is a store in one SQLite file");
}

#[test]
fn an_empty_directory_becomes_a_store_and_so_does_what_is_left_of_making_one() {
    let (_directory, root) = place();
    fs::create_dir(&root).unwrap();
    // A new file system has it; a crash before the first table leaves the rest.
    fs::create_dir(root.join("lost+found")).unwrap();
    for left in ["index.db.lock", "index.db"] {
        drop(FileStore::open(&root).unwrap());
        for made in ["blocks", "staging"] {
            fs::remove_dir(root.join(made)).unwrap();
        }
        fs::remove_file(root.join("index.db")).unwrap();
        fs::write(root.join(left), "").unwrap();
    }
    drop(FileStore::open(&root).unwrap());
    for made in ["blocks", "staging"] {
        fs::remove_dir(root.join(made)).unwrap();
    }
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(9, 10).entries)).unwrap();
    drop(store);
    let reader = FileReader::open(&root).unwrap();
    model.assert_is(&reader, "made");
    assert_eq!(reader.identity().unwrap(), Some((&log()).into()));
}

#[test]
fn a_store_that_lost_its_blocks_is_not_taken_for_a_new_one() {
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(9, 10).entries)).unwrap();
    drop(store);
    fs::rename(root.join("blocks"), root.join("elsewhere")).unwrap();
    let error = FileStore::open(&root).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { at, .. } if at == "blocks"), "{error:?}");
    assert!(!root.join("blocks").exists());
    fs::rename(root.join("elsewhere"), root.join("blocks")).unwrap();
    // An empty directory is often not copied.
    fs::remove_dir(root.join("staging")).unwrap();
    model.assert_is(&*FileStore::open(&root).unwrap().reader().unwrap(), "it is back");
}

#[test]
fn there_is_one_writer_by_whatever_name() {
    let (directory, root) = place();
    let store = created(&root);
    assert!(matches!(FileStore::open(&root), Err(StoreError::InUse { .. })));
    #[cfg(unix)]
    {
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&root, &link).unwrap();
        assert!(matches!(FileStore::open(link), Err(StoreError::InUse { .. })));
    }
    assert!(matches!(
        FileStore::open(directory.path().join(".").join("store")),
        Err(StoreError::InUse { .. })
    ));
    drop(store);
    FileStore::open(&root).unwrap();
}

#[test]
fn reading_what_is_not_there_makes_nothing() {
    let (directory, root) = place();
    let message = FileReader::open(&root).unwrap_err().to_string();
    assert!(message.contains("no such directory"), "{message}");
    let message = FileReader::open(directory.path()).unwrap_err().to_string();
    assert!(message.contains("no index.db"), "{message}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
