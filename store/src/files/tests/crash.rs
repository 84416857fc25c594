//! Whatever a crash leaves behind, opening makes it the batch before or after.
//!
//! The states are copies of the directory between two steps of a batch, and what lies between
//! those is done by hand: what a crash or a power cut leaves is any part of the renames and
//! removals, because nobody has flushed them.

use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::{assert_files, created, files, layout, place};
use crate::batch::Batch;
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::error::StoreError;
use crate::files::{FileReader, FileStore};
use crate::spec::{Sink, Store};

const INDEX: [&str; 3] = ["index.db", "index.db-wal", "index.db-shm"];

/// A batch with everything in it, and the directory before, in the middle of it and after it.
struct Crash {
    directory: TempDir,
    before: Model,
    after: Model,
    batch: Batch,
    /// The one that comes next.
    next: Vec<tipline_proto::Entry>,
}

impl Crash {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let (directory, root) = place();
        let (mut store, mut model) = (created(&root), Model::new(&log()));
        let mut history = History::new(seed);
        history.claim();
        // Over the border of two epochs.
        history.block_at(65530);
        (0..10).for_each(|_| history.block());
        (65530..65540).for_each(|height| history.proof_of(height, 20));
        store.apply(&model.batch(&history.entries)).unwrap();
        let before = model.clone();
        let first = history.entries.len();
        history.proof_of(65531, 30);
        history.roll_back_to(65537);
        (0..3).for_each(|_| history.block());
        history.roll_back_to(65535 - seed % 3);
        (0..4).for_each(|_| history.block());
        history.transaction();
        history.record();
        // Some of the replaced ones have no proof any more.
        history.proof_of(65536, 20);
        (0..30).for_each(|_| history.step());
        let second = history.entries.len();
        (0..20).for_each(|_| history.step());
        let batch = model.batch(&history.entries[first..second]);

        let crash = Self {
            directory,
            before,
            after: model,
            batch,
            next: history.entries[second..].to_vec(),
        };
        crash.keep("store", "before");
        let cursor = crash.before.cursor.clone();
        store.commit(&crash.batch, &cursor).unwrap();
        crash.keep("store", "committed");
        store.install().unwrap();
        crash.keep("store", "placed");
        assert_files(&root, &crash.after, "placed");
        // As committed, but for the index.
        crash.keep("committed", "staged");
        for file in INDEX {
            fs::copy(crash.path("before").join(file), crash.path("staged").join(file)).unwrap();
        }
        crash
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Copies a directory as it stands now.
    fn keep(&self, from: &str, to: &str) -> PathBuf {
        let (from, to) = (self.path(from), self.path(to));
        drop(fs::remove_dir_all(&to));
        copy(&from, &to);
        to
    }

    /// Opens what was left and compares it, then continues.
    fn check(&self, root: &Path, model: &Model, context: &str) {
        let mut store = FileStore::open(root).unwrap();
        assert_files(root, model, context);
        model.assert_is(&*store.reader().unwrap(), context);
        drop(store);
        store = FileStore::open(root).unwrap();
        assert_files(root, model, &format!("{context}, opened twice"));
        let mut model = model.clone();
        if model.cursor == self.before.cursor {
            store.apply(&self.batch).unwrap();
            model = self.after.clone();
        }
        store.apply(&model.batch(&self.next)).unwrap();
        assert_files(root, &model, &format!("{context}, gone on"));
        model.assert_is(&*store.reader().unwrap(), &format!("{context}, gone on"));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to);
        } else {
            fs::copy(file.path(), to).unwrap();
        }
    }
}

/// Does a part of what installing does to the directory, each step if `does` says so.
fn place_some(root: &Path, placed: &Path, mut does: impl FnMut() -> bool) {
    let (left, done) = (files(root), files(placed));
    for name in left.keys().filter(|name| name.starts_with("blocks/")) {
        if !done.contains_key(name) && does() {
            fs::remove_file(root.join(name)).unwrap();
        }
    }
    let mut whole = true;
    for name in left.keys().filter_map(|name| name.strip_prefix("staging/")) {
        let Some((payload, _)) = name.split_once('.') else {
            continue;
        };
        let suffix = format!("/{payload}.dat");
        let place = done.keys().find(|name| name.ends_with(&suffix)).unwrap();
        if does() {
            fs::rename(root.join("staging").join(name), root.join(place)).unwrap();
        } else {
            whole = false;
        }
    }
    // The marker goes last, and comes back if that was not flushed.
    let deleted =
        |(name, _): &(&String, _)| !name.starts_with("blocks/") || done.contains_key(*name);
    if whole && files(root).iter().all(|file| deleted(&file)) && does() {
        let marker = left.keys().find(|name| name.starts_with("staging/rollback_")).unwrap();
        fs::remove_file(root.join(marker)).unwrap();
    }
}

#[test]
fn a_crash_before_the_commit_leaves_the_batch_before() {
    for seed in 0..4 {
        let crash = Crash::new(seed);
        assert!(files(&crash.path("staged")).keys().any(|name| name.contains("rollback_")));
        let root = crash.keep("staged", "left");
        crash.check(&root, &crash.before, "all of it was staged");

        // Not all of it was written, or flushed.
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..5 {
            let root = crash.keep("staged", "left");
            for file in fs::read_dir(root.join("staging")).unwrap() {
                let (path, bytes) =
                    (file.as_ref().unwrap().path(), file.unwrap().metadata().unwrap().len());
                match rng.random_range(0..3) {
                    0 => fs::remove_file(path).unwrap(),
                    1 => fs::write(path, vec![0; rng.random_range(0..=bytes as usize)]).unwrap(),
                    _ => {}
                }
            }
            let reader = FileReader::open(&root).unwrap();
            crash.before.assert_is(&reader, "read before it is opened for writing");
            crash.check(&root, &crash.before, "a part of it was staged");
        }
    }
}

#[test]
fn a_crash_after_the_commit_leaves_the_batch_after() {
    for seed in 0..4 {
        let crash = Crash::new(seed);
        let steps = files(&crash.path("committed")).len();
        // All steps up to one, in the order in which they are done.
        for step in (0..steps).step_by(3) {
            let root = crash.keep("committed", "left");
            let mut done = 0;
            place_some(&root, &crash.path("placed"), || {
                done += 1;
                done <= step
            });
            let context = format!("after {step} steps");
            crash.after.assert_is(&FileReader::open(&root).unwrap(), &context);
            crash.check(&root, &crash.after, &context);
        }
        // Any of the steps: what a power cut leaves.
        let mut rng = StdRng::seed_from_u64(seed);
        for part in 0..10 {
            let root = crash.keep("committed", "left");
            place_some(&root, &crash.path("placed"), || rng.random_bool(0.5));
            let context = format!("some steps, part {part}");
            crash.after.assert_is(&FileReader::open(&root).unwrap(), &context);
            crash.check(&root, &crash.after, &context);
        }
        let root = crash.keep("placed", "left");
        crash.check(&root, &crash.after, "all was done");
    }
}

#[test]
fn a_crash_in_the_next_batch_finishes_the_one_before_it_and_forgets_the_next() {
    for seed in 0..4 {
        let crash = Crash::new(seed);
        let root = crash.keep("placed", "next");
        let mut store = FileStore::open(&root).unwrap();
        let next = crash.after.clone().batch(&crash.next);
        store.commit(&next, &crash.after.cursor).unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        for part in 0..10 {
            let left = crash.keep("committed", "left");
            place_some(&left, &crash.path("placed"), || rng.random_bool(0.7));
            for file in fs::read_dir(root.join("staging")).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), left.join("staging").join(file.file_name())).unwrap();
            }
            crash.check(&left, &crash.after, &format!("part {part}"));
        }
    }
}

#[test]
fn placing_goes_on_where_it_stopped() {
    let crash = Crash::new(7);
    let root = crash.keep("before", "stopped");
    let mut store = FileStore::open(&root).unwrap();
    store.commit(&crash.batch, &crash.before.cursor).unwrap();
    // A directory has the name of each payload in turn.
    let placed = files(&crash.path("placed"));
    let names = files(&root).into_keys().filter_map(|name| {
        let (key, _) = name.strip_prefix("staging/")?.split_once('.')?;
        placed.keys().find(|name| name.ends_with(&format!("/{key}.dat"))).cloned()
    });
    let mut names: Vec<_> = names.collect();
    // In the order in which they are placed.
    names.sort_by_key(|name| name[name.len() - "00000000.dat".len()..].to_owned());
    assert!(names.len() > 5);
    for name in names {
        let path = root.join(name);
        let taken = fs::read(&path).ok();
        drop(fs::remove_file(&path));
        fs::create_dir(&path).unwrap();
        store.install().unwrap_err();
        fs::remove_dir(&path).unwrap();
        if let Some(bytes) = taken {
            fs::write(&path, bytes).unwrap();
        }
    }
    store.install().unwrap();
    assert_files(&root, &crash.after, "placed in the end");
}

#[test]
fn other_files_in_staging_are_left_alone() {
    let (_directory, root) = place();
    drop(created(&root));
    let note = layout(&root).staging().join("block_1.txt");
    fs::write(&note, "mine").unwrap();
    drop(FileStore::open(&root).unwrap());
    assert_eq!(fs::read(note).unwrap(), b"mine");
}

/// Nobody knows whether a commit that failed was made: the payloads stay until the index is read.
#[test]
fn a_commit_that_failed_is_settled_by_opening() {
    let crash = Crash::new(8);
    for (index, model) in [("before", &crash.before), ("committed", &crash.after)] {
        let root = crash.keep("before", "left");
        let mut store = FileStore::open(&root).unwrap();
        // Somebody's trigger stands for a write that fails.
        let sql = "CREATE TRIGGER t BEFORE UPDATE ON store BEGIN SELECT raise(ABORT, 'no'); END";
        let other = rusqlite::Connection::open(root.join("index.db")).unwrap();
        other.execute_batch(sql).unwrap();
        drop(other);
        let error = store.apply(&crash.batch).unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
        crash.before.assert_is(&*store.reader().unwrap(), "after a failed commit");
        let poisoned = store.apply(&crash.batch).unwrap_err();
        assert!(poisoned.to_string().contains("stopped earlier"), "{poisoned}");
        drop(store);
        // What the medium turns out to have.
        for file in INDEX {
            fs::copy(crash.path(index).join(file), root.join(file)).unwrap();
        }
        crash.check(&root, model, index);
    }
}
