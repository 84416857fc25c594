//! Merging small segments.

use std::fs;

use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;

use super::{apply, everything, file, filled, open, runtime, store};
use crate::{Archive, ArchiveError};
use tipline_store::Sink;

/// This many blocks make more than 1 MiB.
const BLOCKS: u64 = 60;
const BYTES: usize = 20_000;

#[test]
fn small_segments_become_one_that_holds_the_same() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let history = History::blocks(BLOCKS, BYTES);
    filled(&runtime, directory.path(), &history.entries, 2, 1);
    runtime.block_on(async {
        let archive = open(directory.path()).await;
        let small = archive.segments().await.unwrap();
        let merged = archive.merge(false).await.unwrap();
        assert_eq!((merged.written.len(), merged.removed), (1, 0), "{merged:?}");
        assert_eq!(merged.from, small.len() - 1, "but the newest");
        let now = archive.segments().await.unwrap();
        assert!(small.iter().all(|name| now.contains(name)), "nothing was removed");
        assert_eq!(everything(&archive).await.unwrap(), history.entries);
        assert_eq!(archive.merge(false).await.unwrap().written, [], "there is nothing more to do");
        let removed = archive.merge(true).await.unwrap().removed;
        assert_eq!(removed, small.len() - 1);
        assert_eq!(archive.segments().await.unwrap().len(), 2);
        assert_eq!(everything(&archive).await.unwrap(), history.entries);
        assert_eq!(archive.cursor().await.unwrap(), history.model.cursor);
    });
}

/// The archiver continues after it, and what is merged again is not merged for ever.
#[test]
fn merged_segments_are_merged_with_what_comes() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let mut history = History::blocks(BLOCKS, BYTES);
    let mut archiver = store(&runtime, directory.path());
    archiver.identity().unwrap();
    archiver.create(&log()).unwrap();
    let mut model = Model::new(&log());
    for _ in 0..4 {
        apply(&mut archiver, &mut model, &history.entries, 2, 1);
        let merged = runtime.block_on(async { open(directory.path()).await.merge(true).await });
        assert!(merged.unwrap().removed > 0);
        archiver.probe().unwrap();
        (0..BLOCKS).for_each(|_| history.block_of(BYTES));
    }
    runtime.block_on(async {
        let archive = open(directory.path()).await;
        assert_eq!(everything(&archive).await.unwrap(), model_entries(&history, &model));
        let segments = archive.segments().await.unwrap();
        assert!(segments.len() < 20, "{}", segments.len());
    });
}

fn model_entries(history: &History, model: &Model) -> Vec<tipline_proto::Entry> {
    history.entries[..model.cursor.position.index as usize].to_vec()
}

#[test]
fn nothing_is_removed_for_a_merged_segment_that_is_damaged() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let history = History::blocks(BLOCKS, BYTES);
    filled(&runtime, directory.path(), &history.entries, 2, 1);
    runtime.block_on(async {
        let archive = open(directory.path()).await;
        let merged = archive.merge(false).await.unwrap().written.remove(0);
        let path = file(directory.path(), &merged);
        let mut bytes = fs::read(&path).unwrap();
        bytes[5_000] ^= 1;
        fs::write(&path, bytes).unwrap();
        let before = archive.segments().await.unwrap();
        let error = archive.merge(true).await.unwrap_err();
        assert!(error.to_string().contains(&merged.to_string()), "{error}");
        assert_eq!(archive.segments().await.unwrap(), before);
    });
}

/// Its names alone do not tell: it ends where no other does.
#[test]
fn another_history_within_a_merged_segment_is_not_removed() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    filled(&runtime, directory.path(), &History::blocks(BLOCKS, BYTES).entries, 2, 1);
    filled(&runtime, elsewhere.path(), &History::blocks(BLOCKS, BYTES - 1).entries, 2, 1);
    runtime.block_on(async {
        let archive = open(directory.path()).await;
        archive.merge(true).await.unwrap();
        let before = archive.segments().await.unwrap();
        assert_eq!(before.len(), 2, "{before:?}");
        let foreign = open(elsewhere.path()).await.segments().await.unwrap().remove(5);
        fs::copy(file(elsewhere.path(), &foreign), file(directory.path(), &foreign)).unwrap();
        let error = archive.merge(true).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Fork { .. }), "{error}");
        assert!(error.to_string().contains(&foreign.to_string()), "{error}");
        assert!(file(directory.path(), &foreign).exists());
    });
}

/// Two archivers at one place cut the log differently. Together they hold it once, and what is
/// merged is right.
#[test]
fn two_archivers_at_one_place_do_not_disturb_each_other() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let history = History::random_of(9, 1200, 3000);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (runtime, directory, entries) = (&runtime, directory.path(), &history.entries);
            scope.spawn(move || {
                let mut store = store(runtime, directory);
                store.identity().unwrap();
                store.create(&log()).unwrap();
                let position = store.view().unwrap().cursor().unwrap().unwrap().position.index;
                let mut model = Model::of(&log(), &entries[..position as usize]);
                apply(&mut store, &mut model, entries, 12, seed);
            });
        }
    });
    runtime.block_on(async {
        let archive: Archive = open(directory.path()).await;
        assert_eq!(everything(&archive).await.unwrap(), history.entries);
        let merged = archive.merge(false).await.unwrap();
        assert!(!merged.written.is_empty());
        assert_eq!(everything(&archive).await.unwrap(), history.entries);
        archive.merge(true).await.unwrap();
        assert_eq!(everything(&archive).await.unwrap(), history.entries);
    });
}
