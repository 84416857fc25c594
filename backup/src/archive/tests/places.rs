//! Archives at a directory: what is there, what is missing, what is not right.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tipline_store::conformance::history::{History, late_log, log, log_with_lineage};
use tipline_store::conformance::model::Model;
use tipline_store::{MemoryStore, Sink, Store, StoreError};

use super::{apply, destination, everything, file, filled, open, runtime, store};
use crate::destination::tests::{Call, answering, away};
use crate::{Archive, ArchiveError, ArchiveStore, Keys, SegmentName};

#[test]
fn what_was_applied_is_there_and_continues() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let history = History::random(1, 600);
    let half = &history.entries[..300];
    filled(&runtime, directory.path(), half, 20, 1);
    // Another run continues from what the destination says.
    let mut again = store(&runtime, directory.path());
    assert!(again.identity().unwrap().is_some());
    let mut model = Model::of(&log(), half);
    assert_eq!(again.view().unwrap().cursor().unwrap(), Some(model.cursor.clone()));
    apply(&mut again, &mut model, &history.entries, 20, 2);
    let found = runtime.block_on(async { everything(&open(directory.path()).await).await });
    assert_eq!(found.unwrap(), history.entries);
    again.probe().unwrap();
}

/// It answers as the store in memory does; also what it does not remember.
#[test]
fn its_view_answers_as_a_store_does() {
    for seed in 0..10 {
        let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
        let history = History::random(seed, 300);
        filled(&runtime, directory.path(), &history.entries, 15, seed);
        let mut memory = MemoryStore::new();
        memory.create(&log()).unwrap();
        memory.apply(&Model::new(&log()).batch(&history.entries)).unwrap();
        let expected = memory.reader().unwrap();
        let archive = store(&runtime, directory.path());
        archive.identity().unwrap();
        let view = archive.view().unwrap();
        assert_eq!(view.cursor().unwrap(), expected.cursor().unwrap(), "seed {seed}");
        assert_eq!(view.links().unwrap(), expected.links().unwrap(), "seed {seed}");
        assert_eq!(view.heights().unwrap(), expected.heights().unwrap(), "seed {seed}");
        let highest = expected.heights().unwrap().map_or(0, |(_, highest)| highest);
        for height in (0..5).chain(highest.saturating_sub(150)..=highest + 2).rev() {
            let (found, block) = (view.block_hash(height), expected.block(height).unwrap());
            let hash = block.as_ref().map(|block| block.hash.clone());
            assert_eq!(found.unwrap(), hash, "seed {seed}, height {height}");
            if height % 10 == 0 {
                assert_eq!(view.block(height).unwrap(), block, "seed {seed}, height {height}");
            }
        }
    }
}

#[test]
fn one_flipped_byte_is_named() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    filled(&runtime, directory.path(), &History::random(1, 60).entries, 20, 1);
    runtime.block_on(async {
        let archive = open(directory.path()).await;
        let name = archive.segments().await.unwrap().remove(1);
        let bytes = fs::read(file(directory.path(), &name)).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(file(directory.path(), &name), damaged).unwrap();
            let error = archive.entries(&name).await.unwrap_err();
            assert!(matches!(error, ArchiveError::Corrupt { .. }), "byte {at}: {error:?}");
            assert!(error.to_string().contains(&name.to_string()), "byte {at}: {error}");
        }
        fs::write(file(directory.path(), &name), bytes).unwrap();
        archive.entries(&name).await.unwrap();
    });
}

#[test]
fn a_damaged_newest_segment_and_a_damaged_description_stop_the_archiver() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    filled(&runtime, directory.path(), &History::random(1, 60).entries, 20, 1);
    let newest = runtime
        .block_on(async { open(directory.path()).await.segments().await.unwrap().pop().unwrap() });
    let path = file(directory.path(), &newest);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    // A receipt has vouched for it: it stays where it is.
    let error = store(&runtime, directory.path()).read_back_to(60).identity().unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains(&newest.to_string()), "{error}");
    fs::write(&path, bytes).unwrap();
    let path = directory.path().join("archive.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[1..]).unwrap();
    let error = store(&runtime, directory.path()).identity().unwrap_err();
    assert!(error.to_string().contains("archive.json"), "{error}");
    fs::write(&path, text.replace("\"format\": 1", "\"format\": 3")).unwrap();
    let error = runtime.block_on(Archive::open(destination(directory.path()), Keys::default()));
    assert!(matches!(error, Err(ArchiveError::Newer { found: 3, .. })), "{error:?}");
    // Nobody has the memory for what somebody made huge.
    fs::write(&path, &text).unwrap();
    let open = || runtime.block_on(Archive::open(destination(directory.path()), Keys::default()));
    let archive = open().unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    for error in [open().unwrap_err(), runtime.block_on(archive.present()).unwrap_err()] {
        assert!(matches!(error, ArchiveError::Corrupt { .. }), "{error:?}");
    }
}

/// Older programs refuse what they would count wrongly, by its format, and read everything else.
#[test]
fn only_an_archive_of_proofs_that_begin_late_has_the_newer_format() {
    let runtime = runtime();
    for (log, format, other) in [(log(), 1, 2), (late_log(5_000_000), 2, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let mut archive = store(&runtime, directory.path());
        assert_eq!(archive.identity().unwrap(), None);
        archive.create(&log).unwrap();
        let open = || Archive::open(destination(directory.path()), Keys::default());
        assert_eq!(*runtime.block_on(open()).unwrap().identity(), log);
        let path = directory.path().join("archive.json");
        let text = fs::read_to_string(&path).unwrap();
        let written = format!("\"format\": {format},");
        assert!(text.contains(&written), "{text}");
        assert_eq!(text.contains("\"proofs_from\": 5000000"), format == 2, "{text}");
        // The two are never apart.
        fs::write(&path, text.replace(&written, &format!("\"format\": {other},"))).unwrap();
        let error = runtime.block_on(open()).unwrap_err();
        assert!(error.to_string().contains("does not go with"), "{error}");
    }
}

/// Two archivers begin at once: what was not there a moment ago is there with its segments.
#[tokio::test]
async fn an_archive_that_is_made_while_it_is_opened_is_opened() {
    let inner = Arc::new(InMemory::new());
    let whole = answering(&inner, |_, _| None);
    Archive::create(whole.clone(), &log(), Keys::default()).await.unwrap();
    whole.create("segments/0/any", "bytes".into()).await.unwrap();
    let asked = AtomicUsize::new(0);
    let late = answering(&inner, move |call, path| {
        let is_first = matches!(call, Call::Get) && asked.fetch_add(1, Ordering::Relaxed) == 0;
        is_first.then(|| object_store::Error::NotFound {
            path: path.to_string(),
            source: "not yet".into(),
        })
    });
    assert_eq!(Archive::open(late, Keys::default()).await.unwrap().identity(), &log());
}

/// Segments without their description are damage. They are no empty place, and get no new one.
#[test]
fn a_lost_description_is_not_an_empty_place() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    filled(&runtime, directory.path(), &History::random(1, 60).entries, 20, 1);
    fs::remove_file(directory.path().join("archive.json")).unwrap();
    let opened = runtime.block_on(Archive::open(destination(directory.path()), Keys::default()));
    let created =
        runtime.block_on(Archive::create(destination(directory.path()), &log(), Keys::default()));
    for error in [opened.unwrap_err(), created.unwrap_err()] {
        let named =
            matches!(&error, ArchiveError::Corrupt { object, .. } if object == "archive.json");
        assert!(named, "{error:?}");
    }
    let error = store(&runtime, directory.path()).identity().unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(!directory.path().join("archive.json").exists());
    fs::remove_dir_all(directory.path().join("segments")).unwrap();
    fs::create_dir(directory.path().join("segments")).unwrap();
    let opened = runtime.block_on(Archive::open(destination(directory.path()), Keys::default()));
    assert!(matches!(opened, Err(ArchiveError::NotFound { .. })), "{opened:?}");
}

/// Written, and its writer killed before it read it back; or read back, and found damaged.
#[test]
fn what_was_not_read_back_is_read_before_it_counts() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let history = History::random(1, 100);
    filled(&runtime, directory.path(), &history.entries, 10, 1);
    let names = runtime.block_on(async { open(directory.path()).await.segments().await.unwrap() });
    let damage = |name: &SegmentName| {
        let path = file(directory.path(), name);
        let mut bytes = fs::read(&path).unwrap();
        // In its body: trailer, outline and index are whole.
        bytes[20] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let [.., before, newest] = &names[..] else { panic!("{names:?}") };
    let at = |store: &ArchiveStore| store.view().unwrap().cursor().unwrap().unwrap().position;
    let damaged = |name: &SegmentName| {
        let name = name.to_string().replace("segments/", "damaged/");
        directory.path().join(name)
    };

    // The newest of two that nobody has vouched for; then both.
    damage(newest);
    let mut again = store(&runtime, directory.path()).read_back_to(before.first - 1);
    again.identity().unwrap();
    assert_eq!(at(&again).index, before.last, "what was damaged does not count");
    assert!(damaged(newest).exists() && !file(directory.path(), newest).exists());
    let mut model = Model::of(&log(), &history.entries[..before.last as usize]);
    let rest = &history.entries[before.last as usize..];
    again.apply(&model.batch(rest)).unwrap();
    damage(before);
    damage(newest);
    let mut again = store(&runtime, directory.path()).read_back_to(before.first - 1);
    again.identity().unwrap();
    assert_eq!(at(&again).index, before.first - 1);
    let mut model = Model::of(&log(), &history.entries[..before.first as usize - 1]);
    apply(&mut again, &mut model, &history.entries, 10, 2);
    let found = runtime.block_on(async { everything(&open(directory.path()).await).await });
    assert_eq!(found.unwrap(), history.entries);

    // What a receipt has vouched for stays, and what is not the newest.
    let names = runtime.block_on(async { open(directory.path()).await.segments().await.unwrap() });
    damage(names.last().unwrap());
    let vouched = store(&runtime, directory.path()).read_back_to(100).identity().unwrap_err();
    assert!(matches!(vouched, StoreError::Corrupt { .. }), "{vouched:?}");
    damage(names.last().unwrap());
    damage(&names[1]);
    let within = store(&runtime, directory.path()).identity().unwrap_err();
    assert!(within.to_string().contains(&names[1].to_string()), "{within}");
    assert!(file(directory.path(), &names[1]).exists());
    // To look at it is not to vouch for it.
    let looking = store(&runtime, directory.path()).only_read();
    looking.identity().unwrap();
    assert_eq!(at(&looking).index, 100);
}

/// What fails its read-back does not keep the name: the same entries can be written again.
#[test]
fn what_failed_its_read_back_is_written_again() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let history = History::random(1, 20);
    let (first, second) = history.entries.split_at(10);
    let mut archiver = store(&runtime, directory.path());
    assert_eq!(archiver.identity().unwrap(), None);
    archiver.create(&log()).unwrap();
    let mut model = Model::new(&log());
    archiver.apply(&model.batch(first)).unwrap();
    let batch = model.batch(second);
    archiver.apply(&batch).unwrap();
    let written = runtime.block_on(async { open(directory.path()).await.segments().await });
    let name = written.unwrap().pop().unwrap();
    let bytes = fs::read(file(directory.path(), &name)).unwrap();
    let mut damaged = bytes.clone();
    damaged[20] ^= 1;
    fs::remove_file(file(directory.path(), &name)).unwrap();

    let mut archiver = store(&runtime, directory.path());
    archiver.identity().unwrap();
    fs::write(file(directory.path(), &name), &damaged).unwrap();
    let error = archiver.apply(&batch).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let aside = name.to_string().replace("segments/", "damaged/");
    assert!(error.to_string().contains(&aside), "{error}");
    assert_eq!(fs::read(directory.path().join(aside)).unwrap(), damaged);
    archiver.apply(&batch).unwrap();
    assert_eq!(fs::read(file(directory.path(), &name)).unwrap(), bytes);
}

#[test]
fn another_logs_archive_is_refused() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    filled(&runtime, directory.path(), &History::random(1, 60).entries, 20, 1);
    let other = log_with_lineage(8);
    let created =
        runtime.block_on(Archive::create(destination(directory.path()), &other, Keys::default()));
    let error = created.unwrap_err();
    assert!(matches!(error, ArchiveError::WrongLog { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&other.lineage.to_string()), "{text}");
    assert!(text.contains(&log().lineage.to_string()), "{text}");
    let mut store = store(&runtime, directory.path());
    store.identity().unwrap();
    assert!(matches!(store.create(&other), Err(StoreError::WrongLog { .. })));
    // A segment that was copied from elsewhere is not of this archive.
    let elsewhere = tempfile::tempdir().unwrap();
    runtime
        .block_on(Archive::create(destination(elsewhere.path()), &other, Keys::default()))
        .unwrap();
    runtime.block_on(async {
        let name = open(directory.path()).await.segments().await.unwrap().remove(0);
        fs::create_dir(elsewhere.path().join("segments")).unwrap();
        fs::copy(file(directory.path(), &name), file(elsewhere.path(), &name)).unwrap();
        let error = open(elsewhere.path()).await.entries(&name).await.unwrap_err();
        assert!(error.to_string().contains("another log"), "{error}");
    });
}

#[test]
fn a_gap_and_a_fork_are_named() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    filled(&runtime, directory.path(), &History::random(1, 100).entries, 10, 1);
    let names = runtime.block_on(async { open(directory.path()).await.segments().await.unwrap() });
    let path = file(directory.path(), &names[2]);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let error = store(&runtime, directory.path()).identity().unwrap_err();
    let gap = format!("entries {} to {}", names[2].first, names[2].last);
    assert!(error.to_string().contains(&gap), "{error}");
    fs::write(&path, bytes).unwrap();
    store(&runtime, directory.path()).identity().unwrap();
    let last = names.last().unwrap();
    let other =
        file(directory.path(), last).to_str().unwrap().replace(&last.digest, "0123456789abcdef");
    fs::copy(file(directory.path(), last), other).unwrap();
    let error = store(&runtime, directory.path()).identity().unwrap_err();
    assert!(error.to_string().contains("two histories"), "{error}");
}

#[test]
fn an_empty_place_does_not_take_the_place_of_a_known_archive() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let known = |known| {
        let _within = runtime.enter();
        ArchiveStore::new(destination(directory.path()), Keys::default(), known)
    };
    let mut store = known(17);
    assert_eq!(store.identity().unwrap(), None);
    let error = store.create(&log()).unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("entry 17"), "{error}");
    assert!(error.to_string().contains("--new"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    // A directory that is not there at all is one that is not mounted.
    fs::remove_dir(directory.path()).unwrap();
    let error = known(17).identity().unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    // A new one makes it.
    let mut store = known(0);
    assert_eq!(store.identity().unwrap(), None);
    store.create(&log()).unwrap();
    fs::create_dir_all(directory.path()).unwrap();
}

/// A directory that is no longer mounted is empty. Nothing is written into it, and when it is
/// back, everything continues.
#[test]
fn a_directory_that_goes_away_is_waited_for() {
    let (runtime, within) = (runtime(), tempfile::tempdir().unwrap());
    let (directory, away) = (within.path().join("archive"), within.path().join("away"));
    let history = History::random(1, 100);
    let mut archiver = store(&runtime, &directory);
    assert_eq!(archiver.identity().unwrap(), None);
    archiver.create(&log()).unwrap();
    let mut model = Model::new(&log());
    apply(&mut archiver, &mut model, &history.entries[..50], 10, 1);
    for empty in [false, true] {
        fs::rename(&directory, &away).unwrap();
        if empty {
            fs::create_dir(&directory).unwrap();
        }
        let next = model.clone().batch(&history.entries[50..60]);
        let error = archiver.apply(&next).unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{empty}: {error:?}");
        assert!(matches!(archiver.probe(), Err(StoreError::Unavailable { .. })), "{empty}");
        assert!(matches!(archiver.identity(), Err(StoreError::Unavailable { .. })), "{empty}");
        if empty {
            assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing was written");
            fs::remove_dir(&directory).unwrap();
        }
        fs::rename(&away, &directory).unwrap();
        archiver.probe().unwrap();
    }
    apply(&mut archiver, &mut model, &history.entries, 10, 2);
    let found = runtime.block_on(async { everything(&open(&directory).await).await });
    assert_eq!(found.unwrap(), history.entries);
}

/// What is gone from the destination is noticed although nothing is to be written.
#[test]
fn a_newest_segment_that_is_gone_is_noticed() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    filled(&runtime, directory.path(), &History::random(1, 60).entries, 20, 1);
    let mut store = store(&runtime, directory.path());
    store.identity().unwrap();
    let newest = runtime
        .block_on(async { open(directory.path()).await.segments().await.unwrap().pop().unwrap() });
    fs::remove_file(file(directory.path(), &newest)).unwrap();
    let error = store.probe().unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

/// Times are in the segments: nothing of a file but its name and content matters.
#[test]
fn a_copy_without_its_times_is_as_good() {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let history = History::random(1, 60);
    filled(&runtime, directory.path(), &history.entries, 20, 1);
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("segments")).unwrap();
    fs::copy(directory.path().join("archive.json"), copy.path().join("archive.json")).unwrap();
    for found in fs::read_dir(directory.path().join("segments")).unwrap() {
        let found = found.unwrap();
        let to = copy.path().join("segments").join(found.file_name());
        fs::copy(found.path(), &to).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().write(true).open(to).unwrap().set_modified(long_ago).unwrap();
    }
    let found = runtime.block_on(async { everything(&open(copy.path()).await).await });
    assert_eq!(found.unwrap(), history.entries);
}

/// It is not known whether there is one: nothing is written.
#[test]
fn a_place_that_does_not_answer_is_not_taken_for_a_new_one() {
    let inner = Arc::new(InMemory::new());
    let failed = AtomicBool::new(false);
    let at = answering(&inner, move |call, _| {
        (call == Call::Get && !failed.swap(true, Ordering::SeqCst)).then(away)
    });
    let refused = runtime().block_on(Archive::create(at, &log(), Keys::default())).unwrap_err();
    assert!(matches!(refused, ArchiveError::Destination(_)), "{refused:?}");
    let written = runtime().block_on(inner.list(None).collect::<Vec<_>>());
    assert!(written.is_empty(), "{written:?}");
}

/// As it is when retention removes segments after the first page of a listing was read, and before
/// the next one is.
#[test]
fn what_is_removed_while_it_is_listed_is_no_gap() {
    let (runtime, inner) = (runtime(), Arc::new(InMemory::new()));
    let (within, is_about_to) = (Arc::clone(&inner), Arc::new(AtomicBool::new(false)));
    let is_now = Arc::clone(&is_about_to);
    let at = answering(&inner, move |call, path| {
        let is_listing = call == Call::List && path.as_ref() == "segments";
        if is_listing && is_now.swap(false, Ordering::SeqCst) {
            let found = within.list(Some(path)).collect::<Vec<_>>().now_or_never().unwrap();
            let name = |object: object_store::ObjectMeta| {
                SegmentName::parse(object.location.as_ref(), object.size).unwrap()
            };
            let mut names: Vec<_> = found.into_iter().map(|found| name(found.unwrap())).collect();
            names.sort_by_key(|name| name.first);
            let from = format!("from/{:020}", names[2].last + 1);
            within.put(&Path::from(from), "".into()).now_or_never().unwrap().unwrap();
            for name in &names[1..3] {
                let gone = Path::from(name.to_string());
                within.delete(&gone).now_or_never().unwrap().unwrap();
            }
        }
        None
    });
    let history = History::blocks(60, 10);
    let mut store = {
        let _within = runtime.enter();
        ArchiveStore::new(at.clone(), Keys::default(), 0)
    };
    assert_eq!(store.identity().unwrap(), None);
    store.create(&log()).unwrap();
    apply(&mut store, &mut Model::new(&log()), &history.entries, 10, 1);
    let archive = runtime.block_on(Archive::open(at, Keys::default())).unwrap();
    is_about_to.store(true, Ordering::SeqCst);
    assert_eq!(runtime.block_on(archive.cursor()).unwrap(), history.model.cursor);
    assert!(!is_about_to.load(Ordering::SeqCst), "nothing was removed");
}
