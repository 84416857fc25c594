//! Copies of checkpoints elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tipline_proto::Timestamp;
use tipline_store::conformance::history::History;
use tokio_util::sync::CancellationToken;

use super::{check, composite, flip, set, sqlite, taken};
use crate::checkpoint::packing::PackLimits;
use crate::destination::tests::{Call, answering, away};
use crate::disk::tests::take_flushed;
use crate::throttle::Throttle;
use crate::{CheckpointError, Checkpoints, Destination, DestinationError, KnownSets, Listed};

/// An empty directory to upload to, and the set in it.
pub(super) fn location(directory: &Path) -> (PathBuf, Checkpoints) {
    let path = directory.join("location");
    fs::create_dir(&path).unwrap();
    let at = Destination::open(&format!("dir:{}", path.display())).unwrap();
    (path, Checkpoints::at(at.folder("checkpoints")))
}

/// Stops after a limit.
fn up_to(limit: u64) -> Throttle {
    let (cancel, moved) = (CancellationToken::new(), AtomicU64::new(0));
    Throttle::new(cancel.clone()).observed(move |bytes| {
        if moved.fetch_add(bytes, Ordering::SeqCst) + bytes > limit {
            cancel.cancel();
        }
    })
}

/// Every file below a directory, with its inode.
pub(super) fn inodes(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let entry = entry.unwrap();
        match entry.metadata().unwrap() {
            meta if meta.is_dir() => found.extend(inodes(&entry.path())),
            meta => drop(found.insert(entry.path(), meta.ino())),
        }
    }
    found
}

#[tokio::test]
async fn an_upload_that_was_cut_off_goes_on_after_the_files_that_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), composite, 5, 300).await;
    let set = set(directory.path());
    let (path, to) = location(directory.path());
    // Each file is a pack.
    let to = to.packing(PackLimits { small: 1 << 20, pack: 300 });
    let half = up_to(manifest.bytes() / 2);
    let cut = set.upload(&manifest, &to, &half).await.unwrap_err();
    assert!(matches!(cut, CheckpointError::Cancelled), "{cut}");
    assert_eq!(to.list().await.unwrap(), []);
    let before = inodes(&path);
    let (there, all) = (before.len(), manifest.files.len());
    assert!(0 < there && there < all, "{there} of {all}");
    // One of them was cut off, or changed since.
    let (changed, _) = before.iter().next().unwrap();
    flip(changed, 0);
    take_flushed(&path);
    set.upload(&manifest, &to, &Throttle::none()).await.unwrap();
    // Whoever sent the others may have been killed before their names were durable.
    let flushed = take_flushed(&path);
    for file in before.keys().filter(|file| *file != changed) {
        assert!(file.ancestors().take(4).all(|path| flushed.contains(path)), "{}", file.display());
    }
    // Likewise the manifest.
    set.upload(&manifest, &to, &Throttle::none()).await.unwrap();
    let written = path.join("checkpoints").join(manifest.id.as_str()).join("manifest.json");
    assert!(take_flushed(&path).contains(&written));
    let after = inodes(&path);
    for (file, inode) in before.iter().filter(|(file, _)| *file != changed) {
        assert_eq!(after.get(file), Some(inode), "{} was sent again", file.display());
    }
    let (into, uploaded) = (directory.path().join("fetched"), to.get(&manifest.id).await.unwrap());
    to.fetch(&uploaded, &into, &Throttle::none()).await.unwrap();
    check(&manifest, &into, &History::blocks(5, 300).entries);
}

#[tokio::test]
async fn a_fetch_that_was_cut_off_goes_on_after_the_files_that_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), composite, 40, 3_000).await;
    let (set, into) = (set(directory.path()), directory.path().join("fetched"));
    let cut = set.fetch(&manifest, &into, &up_to(manifest.bytes() / 8)).await.unwrap_err();
    assert!(matches!(cut, CheckpointError::Cancelled), "{cut}");
    let before = inodes(&into);
    let (there, all) = (before.len(), manifest.files.len());
    assert!(1 < there && there < all, "{there} of {all}");
    // So that no new file gets the inode of one that is removed.
    for (number, file) in before.keys().enumerate() {
        fs::hard_link(file, directory.path().join(format!("held-{number}"))).unwrap();
    }
    // One of them was cut off, or changed since; and something of another checkpoint is left.
    let (changed, _) = before.iter().next().unwrap();
    flip(changed, 0);
    fs::create_dir_all(into.join("part-9/deep")).unwrap();
    fs::write(into.join("part-9/deep/file"), "of another").unwrap();
    fs::write(into.join("order"), "of another").unwrap();
    set.fetch(&manifest, &into, &Throttle::none()).await.unwrap();
    let after = inodes(&into);
    assert_eq!(after.len(), all, "{after:?}");
    let whole = |file: &PathBuf| {
        let path = file.strip_prefix(&into).unwrap().to_str().unwrap().to_owned();
        let length = fs::metadata(file).unwrap().len();
        manifest.files.iter().any(|file| file.path == path && file.bytes == length)
    };
    let kept = before.iter().filter(|(file, inode)| after.get(*file) == Some(inode)).count();
    // But for the one that was changed, and those that were being fetched, eight at once.
    assert!(kept + 9 >= there && kept > 0 && after.keys().all(whole), "{kept} of {there}");
    check(&manifest, &into, &History::blocks(40, 3_000).entries);
}

#[tokio::test]
async fn nothing_is_written_any_more_when_an_upload_has_been_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), composite, 5, 300).await;
    let set = set(directory.path());
    let (path, to) = location(directory.path());
    for tenth in (1..10).cycle().take(100) {
        let cut = set.upload(&manifest, &to, &up_to(manifest.bytes() * tenth / 10)).await;
        assert!(matches!(cut, Err(CheckpointError::Cancelled)), "{cut:?}");
        let before = inodes(&path);
        to.abandon(&manifest.id).await.unwrap();
        let left = inodes(&path);
        let is_shared = |file: &PathBuf| file.starts_with(path.join("checkpoints/objects"));
        assert!(left.keys().all(is_shared), "cut after {tenth} tenths: {left:?}");
        assert!(before.keys().filter(|file| is_shared(file)).eq(left.keys()));
    }
}

#[tokio::test]
async fn what_is_uploaded_is_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), composite, 5, 30).await;
    let (path, to) = location(directory.path());
    set(directory.path()).upload(&manifest, &to, &Throttle::none()).await.unwrap();
    let mut files = inodes(&path).into_keys().collect::<Vec<_>>();
    files.extend(files.clone().iter().filter_map(|file| file.parent().map(Path::to_owned)));
    assert!(files.len() > 4);
    for file in files {
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        let expected = if file.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{}: {mode:o}", file.display());
    }
}

#[tokio::test]
async fn what_an_upload_left_is_collected_after_a_day_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), composite, 5, 300).await;
    let set = set(directory.path());
    let (path, to) = location(directory.path());
    set.upload(&manifest, &to, &up_to(manifest.bytes())).await.unwrap_err();
    let checkpoints = path.join("checkpoints");
    // What earlier versions and this one leave when they are killed.
    let staged = [".tipline-AbCdEf", "store.db#1"].map(|name| {
        let folder = checkpoints.join(manifest.id.as_str()).join("part-0");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(name);
        fs::write(&file, "half").unwrap();
        file
    });
    let newest = inodes(&path).into_keys().map(|file| fs::metadata(file).unwrap().mtime()).max();
    let at = |hours: i64| {
        Timestamp::from_micros((newest.unwrap() + 1 + hours * 3600) as u64 * 1_000_000)
    };
    let before = inodes(&path);
    assert!(staged.iter().all(|file| before.contains_key(file)));
    assert_eq!(to.collect(at(23)).await.unwrap(), 0);
    assert_eq!(inodes(&path), before);
    // What may be shared is written down first, and goes a day later.
    let shared = |path: &PathBuf| path.starts_with(checkpoints.join("objects"));
    let objects = before.keys().filter(|path| shared(path)).count();
    assert_eq!(to.collect(at(25)).await.unwrap() as usize, before.len() - objects);
    assert!(inodes(&path).keys().filter(|path| shared(path)).count() == objects && objects > 0);
    assert_eq!(to.collect(at(51)).await.unwrap() as usize, objects);
    assert_eq!(inodes(&path), BTreeMap::new());
    // At once, if nobody will continue it, but for what may be shared.
    set.upload(&manifest, &to, &up_to(manifest.bytes())).await.unwrap_err();
    assert_ne!(inodes(&path), BTreeMap::new());
    to.abandon(&manifest.id).await.unwrap();
    assert!(inodes(&path).keys().all(shared));
    // One that came to its end stays, however old it is.
    set.upload(&manifest, &to, &Throttle::none()).await.unwrap();
    to.pin(&manifest.id).await.unwrap();
    assert_eq!(to.collect(at(1000)).await.unwrap(), 0);
    assert_eq!(to.abandon(&manifest.id).await.unwrap(), 0);
    let uploaded = to.get(&manifest.id).await.unwrap();
    to.verify(&uploaded, &Throttle::none()).await.unwrap();
}

#[tokio::test]
async fn a_set_that_is_not_mounted_is_not_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    fs::create_dir(&store).unwrap();
    let known = KnownSets::new(store.join("db.sets"));
    let (path, uploaded) = location(directory.path());
    let own = Destination::open(&format!("dir:{}", directory.path().join("own").display()));
    let own = Checkpoints::at(own.unwrap());
    for set in [&uploaded, &own] {
        known.admit(set).await.unwrap();
        known.admit(set).await.unwrap();
    }
    let unmounted = directory.path().join("unmounted");
    for (set, path) in [(&uploaded, path), (&own, directory.path().join("own"))] {
        fs::rename(&path, &unmounted).unwrap();
        fs::create_dir(&path).unwrap();
        let refused = known.admit(set).await.unwrap_err().to_string();
        assert!(refused.contains("is it mounted?") && refused.contains("db.sets"), "{refused}");
        assert_eq!(inodes(&path), BTreeMap::new());
        fs::remove_dir(&path).unwrap();
        let away = known.admit(set).await.unwrap_err().to_string();
        assert!(away.contains("out of reach") && !path.exists(), "{away}");
        fs::rename(&unmounted, &path).unwrap();
        known.admit(set).await.unwrap();
    }
    // Beside the store it may be removed, and is made again.
    let beside = Destination::open(&format!("dir:{}", store.join("db.checkpoints").display()));
    known.admit(&Checkpoints::at(beside.unwrap())).await.unwrap();
    let text = fs::read_to_string(store.join("db.sets")).unwrap();
    assert!(text.contains("/own") && !text.contains("db.checkpoints"), "{text}");
    // Another store has not been there, and gets to know the set that is.
    KnownSets::new(directory.path().join("other.sets")).admit(&own).await.unwrap();
    // A set that took the place of another is not the one.
    let set = directory.path().join("own").join("set.json");
    fs::write(&set, r#"{"format":1,"set":"00000000000000000000000000000000"}"#).unwrap();
    let other = known.admit(&own).await.unwrap_err().to_string();
    assert!(other.contains("another set is there"), "{other}");
    // One that somebody made huge is not read.
    fs::OpenOptions::new().write(true).open(&set).unwrap().set_len(1 << 40).unwrap();
    let huge = known.admit(&own).await.unwrap_err();
    let is_too_long =
        matches!(huge, CheckpointError::Destination(DestinationError::TooLong { .. }));
    assert!(is_too_long, "{huge:?}");
}

#[tokio::test]
async fn an_upload_is_read_back_and_can_be_fetched() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), composite, 5, 300).await;
    let set = set(directory.path());
    let address = format!("dir:{}", directory.path().join("location").display());
    let location = Destination::open(&address).unwrap();
    let to = Checkpoints::at(location.folder("checkpoints"));
    let away = set.upload(&manifest, &to, &Throttle::none()).await.unwrap_err();
    assert!(matches!(away, CheckpointError::Destination(_)), "{away}");
    location.prepare().await.unwrap();

    // A cancelled one leaves nothing.
    let cancel = CancellationToken::new();
    cancel.cancel();
    let cancelled = set.upload(&manifest, &to, &Throttle::new(cancel)).await.unwrap_err();
    assert!(matches!(cancelled, CheckpointError::Cancelled), "{cancelled}");
    assert_eq!(location.list("", None).await.unwrap(), []);

    // A local file that is damaged is named, and nothing is listed there.
    let file = &manifest.files[3].path;
    let path = directory.path().join("set").join(manifest.id.as_str()).join(file);
    flip(&path, 0);
    let damaged = set.upload(&manifest, &to, &Throttle::none()).await.unwrap_err();
    assert!(damaged.to_string().contains(file.as_str()), "{damaged}");
    assert_eq!(to.list().await.unwrap(), []);
    flip(&path, 0);

    set.upload(&manifest, &to, &Throttle::none()).await.unwrap();
    set.upload(&manifest, &to, &Throttle::none()).await.unwrap();
    let Listed::Whole(uploaded) = to.list().await.unwrap().remove(0) else { panic!() };
    assert_eq!(uploaded.id, manifest.id);
    let into = directory.path().join("fetched");
    to.fetch(&uploaded, &into, &Throttle::none()).await.unwrap();
    check(&manifest, &into, &History::blocks(5, 300).entries);
}

#[tokio::test]
async fn a_file_whose_reading_back_fails_is_not_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), sqlite, 5, 300).await;
    // Each file is sent so often.
    let puts: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let (counted, failed) = (Arc::clone(&puts), AtomicU64::new(0));
    let to = Checkpoints::at(answering(&Arc::default(), move |call, path| {
        if call == Call::Put {
            *counted.lock().unwrap().entry(path.to_string()).or_default() += 1;
            return None;
        }
        let is_first =
            path.as_ref().ends_with("store.db") && failed.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(away)
    }));
    set(directory.path()).upload(&manifest, &to, &Throttle::none()).await.unwrap();
    let puts = puts.lock().unwrap().clone();
    assert!(puts.len() > 1 && puts.values().all(|times| *times == 1), "{puts:?}");
}

#[tokio::test]
async fn what_is_not_found_there_is_not_missing_here() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), sqlite, 5, 300).await;
    let to = Checkpoints::at(answering(&Arc::default(), |call, path| {
        let (path, source) = (path.to_string(), "NoSuchUpload".into());
        (call == Call::Put).then_some(object_store::Error::NotFound { path, source })
    }));
    let set = set(directory.path());
    let refused = set.upload(&manifest, &to, &Throttle::none()).await.unwrap_err();
    assert!(matches!(refused, CheckpointError::Destination(_)), "{refused:?}");
    // A file of this machine is.
    let file = directory.path().join("set").join(manifest.id.as_str()).join("part-0/store.db");
    fs::remove_file(file).unwrap();
    let (_, to) = location(directory.path());
    let damaged = set.upload(&manifest, &to, &Throttle::none()).await.unwrap_err();
    assert!(matches!(&damaged, CheckpointError::Corrupt { place, .. } if place == set.place()));
    assert!(damaged.to_string().contains("store.db is missing"), "{damaged}");
}
