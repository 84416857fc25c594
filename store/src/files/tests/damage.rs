//! A file that is not what was written is named. What cannot be written stops the store.

use std::error::Error;
use std::fs;

use super::{assert_files, created, layout, place};
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::content::content_digest;
use crate::error::StoreError;
use crate::files::{FileReader, FileStore, Key};
use crate::reader::{ChainView, StoreReader};
use crate::spec::{Sink, Store};

#[test]
fn a_file_that_is_not_what_was_written_is_named_and_the_others_are_read() {
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    let mut history = History::blocks(9, 3000);
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    history.proof_of(tip - 1, 2000);
    store.apply(&model.batch(&history.entries)).unwrap();
    let reader = FileReader::open(&root).unwrap();
    let block = layout(&root).file(Key::block(tip - 3));
    let proof = layout(&root).file(Key::proof(tip - 1));
    for path in [&block, &proof] {
        let read = |path| {
            if path == &block {
                reader.block(tip - 3).map(|found| found.is_some())
            } else {
                reader.proof(tip - 1).map(|found| found.is_some())
            }
        };
        let whole = fs::read(path).unwrap();
        let mut flipped = whole.clone();
        flipped[777] ^= 0x10;
        let longer = [&whole[..], b"x"].concat();
        let other = fs::read(layout(&root).file(Key::block(tip))).unwrap()[..whole.len()].to_vec();
        for (bytes, why) in [
            (Some(&flipped[..]), "BLAKE3"),
            (Some(&other), "BLAKE3"),
            (Some(&whole[..whole.len() - 1]), "99 bytes"),
            (Some(&longer), "01 bytes"),
            (Some(b""), "0 bytes"),
            (None, "missing"),
        ] {
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            let error = read(path).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.source().unwrap().to_string().contains(why), "{error:?}");
            assert!(content_digest(&reader).unwrap_err().to_string().contains(name));
            assert!(reader.block(tip).unwrap().is_some(), "the others are read");
            assert!(reader.block_hash(tip - 3).unwrap().is_some(), "it needs no file");
        }
        fs::write(path, whole).unwrap();
        assert!(read(path).unwrap());
    }
    model.assert_is(&reader, "repaired");
}

#[test]
fn an_index_that_refers_to_nothing_is_damage() {
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    store.apply(&model.batch(&History::blocks(5, 10).entries)).unwrap();
    let sql = "UPDATE blocks SET payload = x'0102' WHERE log_index = 4";
    rusqlite::Connection::open(root.join("index.db")).unwrap().execute(sql, []).unwrap();
    let height = model.cursor.block_tip.unwrap().height - 2;
    let error = store.reader().unwrap().block(height).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_payload_that_cannot_be_staged_stops_it_and_nothing_of_the_batch_is_visible() {
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    let entries = History::blocks(19, 100).entries;
    store.apply(&model.batch(&entries[..10])).unwrap();
    let before = model.clone();
    let rest = model.batch(&entries[10..]);
    let tip = model.cursor.block_tip.clone().unwrap().height;
    // A directory has the name of the last file.
    let obstacle = root.join("staging").join(format!("block_{tip:08x}.{:020}", 20));
    fs::create_dir(&obstacle).unwrap();
    let error = store.apply(&rest).unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("writing staging/block_{tip:08x}")), "{error}");
    before.assert_is(&*store.reader().unwrap(), "after a failed write");
    fs::remove_dir(&obstacle).unwrap();
    let poisoned = store.apply(&rest).unwrap_err();
    assert!(poisoned.to_string().contains("stopped earlier"), "{poisoned}");
    drop(store);
    let mut store = FileStore::open(&root).unwrap();
    assert_files(&root, &before, "opened again");
    store.apply(&rest).unwrap();
    assert_files(&root, &model, "and gone on");
}

#[test]
fn a_batch_that_is_committed_is_there_whatever_happens_to_its_names() {
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    let entries = History::blocks(29, 100).entries;
    store.apply(&model.batch(&entries[..10])).unwrap();
    let second = model.batch(&entries[10..20]);
    let committed = model.clone();
    let tip = model.cursor.block_tip.clone().unwrap().height;
    // A directory has the name of a block in the middle.
    let obstacle = layout(&root).file(Key::block(tip - 5));
    fs::create_dir(&obstacle).unwrap();
    store.apply(&second).unwrap();
    committed.assert_is(&*store.reader().unwrap(), "all of it is read where it is");

    let third = model.batch(&entries[20..]);
    let error = store.apply(&third).unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains("renaming into place blocks/0000/block_"), "{error}");
    fs::remove_dir(&obstacle).unwrap();
    committed.assert_is(&*store.reader().unwrap(), "nothing of the next");
    assert!(store.apply(&third).is_err(), "it has stopped");
    drop(store);
    let mut store = FileStore::open(&root).unwrap();
    assert_files(&root, &committed, "opened again");
    store.apply(&third).unwrap();
    assert_files(&root, &model, "and gone on");
}

/// Whoever has it open learns of it, although nobody reads the file.
#[test]
fn a_file_that_is_gone_or_cut_is_named_by_a_look() {
    let gone: fn(&std::path::Path) = |path| fs::remove_file(path).unwrap();
    let cut: fn(&std::path::Path) = |path| {
        fs::File::options().write(true).open(path).unwrap().set_len(777).unwrap();
    };
    let replaced: fn(&std::path::Path) = |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    };
    for (harm, why) in [(gone, "missing"), (cut, "777 bytes"), (replaced, "a directory")] {
        for is_proof in [false, true] {
            let (_directory, root) = place();
            let (mut store, mut model) = (created(&root), Model::new(&log()));
            let mut history = History::blocks(9, 3000);
            let tip = history.model.cursor.block_tip.clone().unwrap().height;
            history.proof_of(tip - 5, 2000);
            store.apply(&model.batch(&history.entries)).unwrap();
            store.probe().unwrap();
            let key = if is_proof { Key::proof(tip - 5) } else { Key::block(tip - 5) };
            let path = layout(&root).file(key);
            harm(&path);
            let error = store.probe().unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.source().unwrap().to_string().contains(why), "{error:?}");
            assert!(store.probe().unwrap_err().to_string().contains("stopped earlier"));
            drop(store);
            let refused = FileStore::open(&root).unwrap_err();
            assert!(refused.to_string().contains(name), "{refused}");
        }
    }
}

/// A look at millions of files would take too long.
#[test]
fn the_files_of_a_large_store_are_looked_at_in_turn() {
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    let entries = History::blocks(2500, 1).entries;
    for entries in entries.chunks(500) {
        store.apply(&model.batch(entries)).unwrap();
    }
    drop(store);
    let tip = model.cursor.block_tip.unwrap().height;
    let path = layout(&root).file(Key::block(tip - 100));
    fs::remove_file(&path).unwrap();
    // Opening looks at the first thousand.
    let mut store = FileStore::open(&root).unwrap();
    store.probe().unwrap();
    let error = store.probe().unwrap_err();
    let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
    assert!(error.to_string().contains(name), "{error}");
    // The newest one is looked at each time.
    fs::rename(layout(&root).file(Key::block(tip)), &path).unwrap();
    drop(store);
    let refused = FileStore::open(&root).unwrap_err();
    assert!(refused.to_string().contains(&format!("block_{tip:08x}")), "{refused}");
}
