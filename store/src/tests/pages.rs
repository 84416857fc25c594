//! A row that is missing between others is named, wherever a page of rows begins and ends.

use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::spec::Store;
use crate::{FileStore, SqliteStore};

const BLOCKS: u64 = 1005;

fn filled(directory: &TempDir, open: fn(&Path) -> Result<Box<dyn Store>, StoreError>) -> Model {
    let mut store = open(directory.path()).unwrap();
    let mut model = Model::new(&log());
    store.create(&log()).unwrap();
    store.apply(&model.batch(&History::blocks(BLOCKS, 10).entries)).unwrap();
    model
}

/// How many blocks are read, and which one is missing.
fn read(
    directory: &TempDir,
    open: fn(&Path) -> Result<Box<dyn Store>, StoreError>,
) -> (usize, String) {
    let reader = open(directory.path()).unwrap().reader().unwrap();
    let mut blocks = reader.blocks_with_proofs(0..=u64::MAX).unwrap();
    let mut count = 0;
    let error = loop {
        match blocks.next().expect("an error at the end") {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(blocks.next().is_none(), "nothing after {error}");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    (count, error.to_string())
}

fn a_gap_is_named(open: fn(&Path) -> Result<Box<dyn Store>, StoreError>, index: &str) {
    // The second, one in the middle, the first of a page, the one before the last.
    for missing in [1, 500, 1000, BLOCKS - 2] {
        let directory = tempfile::tempdir().unwrap();
        let model = filled(&directory, open);
        let lowest = *model.blocks.keys().next().unwrap();
        let height = lowest + missing;
        let connection = Connection::open(directory.path().join(index)).unwrap();
        let sql = "DELETE FROM blocks WHERE height = ?";
        assert_eq!(connection.execute(sql, [height.cast_signed()]).unwrap(), 1);
        drop(connection);
        let (count, error) = read(&directory, open);
        assert_eq!(count as u64, missing, "those below it are read");
        assert!(error.contains(&format!("block {height}: it is missing")), "{error}");
    }
}

#[test]
fn of_a_store_in_sqlite() {
    a_gap_is_named(|path| Ok(Box::new(SqliteStore::open(path.join("store.db"))?)), "store.db");
}

#[test]
fn of_a_store_of_files() {
    a_gap_is_named(|path| Ok(Box::new(FileStore::open(path.join("files"))?)), "files/index.db");
}
