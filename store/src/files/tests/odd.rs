//! What may be in a store's directory that no store has put there.

use std::fs;
use std::process::Command;

use super::{FileStore, History, Key, Model, Sink, Store, StoreError, created, layout, log, place};

/// Opening would go through every height that the name says, and not come to an end.
#[test]
fn a_marker_of_all_heights_costs_no_more_than_the_files_that_are_there() {
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(9, 10).entries)).unwrap();
    drop(store);
    let marker = layout(&root).staging().join("rollback_00000000-ffffffffffffffff");
    fs::write(&marker, "").unwrap();
    // Nobody's, in an epoch that the index has nothing of: what was rolled back.
    let orphan = layout(&root).file(Key::proof(1 << 40));
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, "left").unwrap();
    let store = FileStore::open(&root).unwrap();
    assert!(!marker.exists() && !orphan.exists());
    model.assert_is(&*store.reader().unwrap(), "all that counts is there");
}

#[test]
fn a_pipe_in_the_place_of_a_block_is_named_and_not_waited_for() {
    let (directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(3, 10).entries)).unwrap();
    let tip = model.cursor.block_tip.unwrap().height;
    let path = layout(&root).file(Key::block(tip));
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = store.reader().unwrap().block(tip).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("a pipe"), "{error:?}");
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let mut snapshot = store.snapshot().unwrap();
    let error = snapshot[0].copy(&copy, &Freely).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

struct Freely;

impl crate::Throttle for Freely {
    fn moved(&self, _bytes: u64) -> std::ops::ControlFlow<()> {
        std::ops::ControlFlow::Continue(())
    }
}

#[test]
fn a_store_on_two_file_systems_is_refused_before_anything_is_committed() {
    use std::os::unix::fs::MetadataExt;
    let (directory, root) = place();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let device = |path: &std::path::Path| fs::metadata(path).unwrap().dev();
    if device(directory.path()) == device(elsewhere.path()) {
        println!("skipped: there is one file system only");
        return;
    }
    drop(created(&root));
    let blocks = layout(&root).staging().with_file_name("blocks");
    fs::remove_dir_all(&blocks).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), &blocks).unwrap();
    let error = FileStore::open(&root).unwrap_err();
    assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains("two file systems"), "{error}");
}

/// The last batch is durable and its files are not in place: an idle consumer learns of it.
#[test]
fn a_probe_puts_into_place_what_the_last_batch_could_not_and_says_if_it_cannot_either() {
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    let entries = History::blocks(9, 100).entries;
    store.apply(&model.batch(&entries[..5])).unwrap();
    let batch = model.batch(&entries[5..]);
    let before = store.reader().unwrap().cursor().unwrap().unwrap();
    store.commit(&batch, &before).unwrap();
    let tip = model.cursor.block_tip.clone().unwrap().height;
    let path = layout(&root).file(Key::block(tip));
    assert!(!path.exists());
    store.probe().unwrap();
    assert!(path.exists());
    // Something is in the way of the next one.
    let mut history = History::blocks(9, 100);
    history.block();
    let batch = model.batch(&history.entries[entries.len()..]);
    let before = store.reader().unwrap().cursor().unwrap().unwrap();
    fs::create_dir_all(layout(&root).file(Key::block(tip + 1))).unwrap();
    store.commit(&batch, &before).unwrap();
    let error = store.probe().unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
    assert!(store.probe().unwrap_err().to_string().contains("stopped earlier"));
}
