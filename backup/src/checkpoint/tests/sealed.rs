//! Copies of checkpoints elsewhere, encrypted.

use std::fs;
use std::path::{Path, PathBuf};

use tipline_store::conformance::history::History;

use super::upload::{inodes, location};
use super::{check, composite, flip, set, taken};
use crate::checkpoint::packing::PackLimits;
use crate::keys::make_identity;
use crate::throttle::Throttle;
use crate::{CheckpointError, Keys, Listed};

/// A new identity in a file, and its recipient.
fn identity(directory: &Path, name: &str) -> (PathBuf, Keys) {
    let file = directory.join(name);
    let recipient = make_identity(&file);
    (file, Keys::default().recipient(&recipient).unwrap())
}

#[tokio::test]
async fn what_is_uploaded_to_recipients_is_readable_to_them_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), composite, 5, 300).await;
    let (set, (path, plain)) = (set(directory.path()), location(directory.path()));
    let (key, public) = identity(directory.path(), "key");
    let to = plain.clone().with_keys(public);
    set.upload(&manifest, &to, &Throttle::none()).await.unwrap();
    let Listed::Whole(uploaded) = plain.list().await.unwrap().remove(0) else { panic!() };
    assert!(uploaded.is_sealed() && uploaded.bytes() == manifest.bytes());
    // Without a key it is checked, and not read.
    plain.verify(&uploaded, &Throttle::none()).await.unwrap();
    for file in inodes(&path).into_keys() {
        let bytes = fs::read(&file).unwrap();
        let is_manifest = file.ends_with("manifest.json");
        assert_eq!(bytes.starts_with(b"age-encryption.org/v1"), !is_manifest, "{file:?}");
    }
    let (other, _) = identity(directory.path(), "other");
    let other = plain.clone().with_keys(Keys::default().identity_file(&other).unwrap());
    for (number, without) in [&plain, &other].into_iter().enumerate() {
        let into = directory.path().join(format!("without-{number}"));
        let refused = without.fetch(&uploaded, &into, &Throttle::none()).await.unwrap_err();
        assert!(matches!(refused, CheckpointError::NeedsKey { .. }), "{refused:?}");
    }
    let with = plain.clone().with_keys(Keys::default().identity_file(&key).unwrap());
    let into = directory.path().join("fetched");
    with.fetch(&uploaded, &into, &Throttle::none()).await.unwrap();
    check(&manifest, &into, &History::blocks(5, 300).entries);
    // It is there: nothing is sent again.
    let before = inodes(&path);
    set.upload(&manifest, &to, &Throttle::none()).await.unwrap();
    assert_eq!(inodes(&path), before);
    // A bit that flips is found, with and without a key.
    let file = uploaded.files.iter().max_by_key(|file| file.bytes).unwrap();
    flip(&path.join("checkpoints").join(uploaded.object(file)), 3_000);
    let into = directory.path().join("damaged");
    for error in [
        plain.verify(&uploaded, &Throttle::none()).await.unwrap_err(),
        with.fetch(&uploaded, &into, &Throttle::none()).await.unwrap_err(),
    ] {
        assert!(matches!(error, CheckpointError::Corrupt { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_encrypted_upload_goes_on_too_and_a_damaged_file_here_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), composite, 5, 300).await;
    let (set, (path, plain)) = (set(directory.path()), location(directory.path()));
    let (key, public) = identity(directory.path(), "key");
    let limits = PackLimits { small: 1 << 20, pack: 800 };
    let to = plain.clone().with_keys(public).packing(limits);
    set.upload(&manifest, &to, &Throttle::none()).await.unwrap();
    let packs = to.get(&manifest.id).await.unwrap().packs.len();
    // As it is when the last file is cut off.
    let last = &manifest.files.last().unwrap().path;
    let folder = path.join("checkpoints").join(manifest.id.as_str());
    fs::remove_file(folder.join("manifest.json")).unwrap();
    fs::remove_file(folder.join(last)).unwrap();
    let before = inodes(&path);
    assert!(before.len() == packs && packs > 2, "{packs} packs: {before:?}");
    let here = directory.path().join("set").join(manifest.id.as_str()).join(last);
    flip(&here, 0);
    let damaged = set.upload(&manifest, &to, &Throttle::none()).await.unwrap_err();
    assert!(damaged.to_string().contains(last.as_str()), "{damaged}");
    assert_eq!(plain.list().await.unwrap(), []);
    flip(&here, 0);
    set.upload(&manifest, &to, &Throttle::none()).await.unwrap();
    let after = inodes(&path);
    for (file, inode) in before.iter().filter(|(file, _)| !file.ends_with(last)) {
        assert_eq!(after.get(file), Some(inode), "{} was sent again", file.display());
    }
    let Listed::Whole(uploaded) = plain.list().await.unwrap().remove(0) else { panic!() };
    let with = plain.clone().with_keys(Keys::default().identity_file(&key).unwrap());
    let into = directory.path().join("fetched");
    with.fetch(&uploaded, &into, &Throttle::none()).await.unwrap();
    check(&manifest, &into, &History::blocks(5, 300).entries);
}

#[tokio::test]
async fn an_upload_ends_well_if_what_was_sent_cannot_be_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let (_handle, manifest) = taken(directory.path(), composite, 5, 300).await;
    let (set, (_, plain)) = (set(directory.path()), location(directory.path()));
    let (_, public) = identity(directory.path(), "key");
    fs::create_dir(directory.path().join("set").join(manifest.id.as_str()).join("sent.jsonl"))
        .unwrap();
    set.upload(&manifest, &plain.clone().with_keys(public), &Throttle::none()).await.unwrap();
    assert_eq!(plain.list().await.unwrap().len(), 1);
}
