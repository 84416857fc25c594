//! A medium that is removed or replaced while it is open is noticed.

use std::fs;
use std::path::Path;

use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::spec::Store;

/// Moves `name` away from under the store, and puts an empty file or nothing in its place.
fn notices(open: fn(&Path) -> Result<Box<dyn Store>, StoreError>, name: &str) {
    for replaced in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (path, aside) = (directory.path().join("store"), directory.path().join("aside"));
        let mut store = open(&path).unwrap();
        store.create(&log()).unwrap();
        let (mut model, entries) = (Model::new(&log()), History::random(1, 40).entries);
        store.apply(&model.batch(&entries[..20])).unwrap();
        store.probe().unwrap();
        let lost = path.join(name);
        let lost = if name.is_empty() { path.clone() } else { lost };
        fs::rename(&lost, &aside).unwrap();
        if replaced && aside.is_dir() {
            fs::create_dir(&lost).unwrap();
        } else if replaced {
            fs::write(&lost, "").unwrap();
        }
        let next = model.batch(&entries[20..]);
        let refused = store.apply(&next).unwrap_err();
        assert!(matches!(refused, StoreError::Failed { .. }), "{refused:?}");
        assert!(refused.to_string().contains("while it was open"), "{refused}");
        let poisoned = store.probe().unwrap_err();
        assert!(poisoned.to_string().contains("stopped earlier"), "{poisoned}");
        // Back under its name, it is the store that it was.
        drop(store);
        if replaced && aside.is_dir() {
            fs::remove_dir_all(&lost).unwrap();
        }
        fs::rename(&aside, &lost).unwrap();
        let mut store = open(&path).unwrap();
        store.apply(&next).unwrap();
        model.assert_is(&*store.reader().unwrap(), "put back");
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn the_file_of_sqlite() {
    notices(|path| Ok(Box::new(crate::SqliteStore::open(path)?)), "");
}

#[cfg(feature = "files")]
#[test]
fn the_directories_and_the_index_of_files() {
    for name in ["", "blocks", "staging", "index.db"] {
        notices(|path| Ok(Box::new(crate::FileStore::open(path)?)), name);
    }
}

#[cfg(feature = "rocksdb")]
#[test]
fn the_directory_of_rocksdb() {
    notices(|path| Ok(Box::new(crate::RocksDbStore::open(path)?)), "");
}

/// A composite asks all of its parts.
#[cfg(feature = "files")]
#[test]
fn a_part_of_a_composite() {
    let open = |path: &Path| -> Result<Box<dyn Store>, StoreError> {
        fs::create_dir_all(path).unwrap();
        let first = crate::FileStore::open(path.join("files"))?;
        let last = crate::SqliteStore::open(path.join("store.db"))?;
        Ok(Box::new(crate::CompositeStore::new(vec![Box::new(first), Box::new(last)])?))
    };
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    store.create(&log()).unwrap();
    store.probe().unwrap();
    fs::rename(directory.path().join("files"), directory.path().join("aside")).unwrap();
    let error = store.probe().unwrap_err();
    assert!(error.to_string().contains("was removed while it was open"), "{error}");
}
