//! The store of block files, on real files.

mod crash;
mod damage;
#[cfg(target_os = "linux")]
mod full;
mod odd;
mod opening;
mod replaced;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::content::content_digest;
use crate::error::StoreError;
use crate::files::{FileStore, Key, Layout};
use crate::spec::{Sink, Store};
use crate::sqlite::SqliteStore;

fn open(directory: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(FileStore::open(directory.join("store"))?))
}

crate::store_conformance!(open);

/// Where a flush of the whole file system is used, whatever the file system of the tests is.
#[cfg(target_os = "linux")]
mod flushing_all {
    use super::{FileStore, Path, Store, StoreError};
    use crate::conformance::run_flushing_all;

    fn open(directory: &Path) -> Result<Box<dyn Store>, StoreError> {
        let mut store = FileStore::open(directory.join("store"))?;
        store.flush_all()?;
        Ok(Box::new(store))
    }

    #[test]
    fn power_cut() {
        run_flushing_all(concat!(module_path!(), "::power_cut"), "power_cut", open);
    }

    #[test]
    fn failing_writes() {
        run_flushing_all(concat!(module_path!(), "::failing_writes"), "failing_writes", open);
    }
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    (directory, root)
}

fn created(root: &Path) -> FileStore {
    let mut store = FileStore::open(root).unwrap();
    store.create(&log()).unwrap();
    store
}

fn layout(root: &Path) -> Layout {
    Layout::new(root.to_owned())
}

/// Every file below the directory but those of the index, with its content.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut directories) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        for file in fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                directories.push(path);
            } else if !name.starts_with("index.db") {
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// The files of all that the model has, and no other, are in place.
#[track_caller]
fn assert_files(root: &Path, model: &Model, context: &str) {
    let path =
        |key: Key| layout(root).file(key).strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let blocks = model.blocks.values().map(|b| (path(Key::block(b.height)), b.payload.to_vec()));
    let proofs = model.proofs.values().map(|p| (path(Key::proof(p.height)), p.payload.to_vec()));
    let expected: BTreeMap<_, _> = blocks.chain(proofs).collect();
    let found = files(root);
    let names = |files: &BTreeMap<String, _>| files.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&found), names(&expected), "{context}");
    assert!(found == expected, "a file has another content: {context}");
}

#[test]
fn files_are_where_a_node_has_them_and_hold_the_payloads_and_nothing_else() {
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    let mut history = History::new(1);
    history.claim();
    history.block_at(65534);
    (0..2).for_each(|_| history.block_of(10));
    (65534..=65536).for_each(|height| history.proof_of(height, 5));
    history.proof_of(65535, 0);
    store.apply(&model.batch(&history.entries)).unwrap();
    assert_files(&root, &model, "applied");
    let names: Vec<_> = files(&root).into_keys().collect();
    assert_eq!(
        names,
        [
            "blocks/0000/block_0000fffe.dat",
            "blocks/0000/block_0000ffff.dat",
            "blocks/0000/proof_0000fffe.dat",
            "blocks/0000/proof_0000ffff.dat",
            "blocks/0001/block_00010000.dat",
            "blocks/0001/proof_00010000.dat",
        ]
    );
    // Rolled back over the border and beyond.
    let behind = history.entries.len();
    history.roll_back_to(65534);
    history.block_of(20);
    store.apply(&model.batch(&history.entries[behind..])).unwrap();
    assert_files(&root, &model, "rolled back");
}

#[test]
fn heights_above_32_bits_have_longer_names() {
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    let mut history = History::new(1);
    history.claim();
    history.block_at((1 << 32) - 1);
    history.block_of(10);
    store.apply(&model.batch(&history.entries)).unwrap();
    let names: Vec<_> = files(&root).into_keys().collect();
    assert_eq!(names, ["blocks/10000/block_100000000.dat", "blocks/ffff/block_ffffffff.dat"]);
    drop(store);
    model.assert_is(&*FileStore::open(&root).unwrap().reader().unwrap(), "opened again");
}

#[test]
fn its_content_is_that_of_the_other_stores() {
    for seed in 100..108 {
        println!("seed {seed}");
        let (directory, root) = place();
        let (mut store, mut model) = (created(&root), Model::new(&log()));
        let mut sqlite = SqliteStore::open(directory.path().join("store.db")).unwrap();
        sqlite.create(&log()).unwrap();
        let entries = History::random(seed, 400).entries;
        for (number, entries) in entries.chunks(1 + seed as usize % 37).enumerate() {
            let batch = model.batch(entries);
            store.apply(&batch).unwrap();
            sqlite.apply(&batch).unwrap();
            if number % 5 == 0 {
                let digest = |store: &dyn Store| content_digest(&*store.reader().unwrap()).unwrap();
                assert_eq!(digest(&store), digest(&sqlite), "seed {seed}, batch {number}");
                assert_files(&root, &model, &format!("seed {seed}, batch {number}"));
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn everything_is_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(9, 10).entries)).unwrap();
    let (mut left, mut directories) = (vec![root], 0);
    while let Some(path) = left.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{path:?}");
            directories += 1;
            left.extend(fs::read_dir(path).unwrap().map(|file| file.unwrap().path()));
        } else {
            assert_eq!(mode, 0o600, "{path:?}");
        }
    }
    assert_eq!(directories, 4, "the store, blocks, an epoch, staging");
}
