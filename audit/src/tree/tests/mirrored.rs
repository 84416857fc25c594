//! A mirror says that it holds what it has read back, there, and not too long ago.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tipline_backup::Destination;
use tipline_store::conformance::history::History;

use super::witnessed::{AT, open_at, tree_error, watched, witness};
use super::{Site, verifier};
use crate::tests::signed::resealed;
use crate::tests::{Place, seed};
use crate::tlog::{Certificate, CosignerKey};
use crate::tree::{Mirror, TreeError, Witness, certify};

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A mirror that reads all of it again after a week.
fn holding_of(place: &Place) -> Mirror {
    let destination = format!("dir:{}", place.directory.path().display());
    Mirror {
        sources: place.sources(),
        destination: Destination::open(&destination).unwrap(),
        read_back_every: WEEK,
    }
}

/// 400 entries of which 300 are signed and cosigned by a mirror, and what it holds.
async fn mirrored(history: &History) -> (Site, Place, TempDir, PathBuf) {
    let site = Site::new(&history.entries, 300).await;
    site.sign().await.unwrap();
    let (directory, mirror) = witness("offsite.example/mirror", 3);
    let own = Place::filled(&history.entries, 60).await;
    watched(&site, &mirror, Some(&holding_of(&own))).await.unwrap();
    let path = directory.path().join("witness.key");
    (site, own, directory, path)
}

/// Random bytes in the place of the first segment.
async fn spoil(place: &Place) -> (PathBuf, Vec<u8>) {
    let first = place.archive.segments().await.unwrap().remove(0);
    let (path, whole) = (place.path(&first), fs::read(place.path(&first)).unwrap());
    fs::write(&path, (0..whole.len()).map(|_| rand::random()).collect::<Vec<u8>>()).unwrap();
    (path, whole)
}

/// When a checkpoint was found to be durable, by its certificate.
async fn certified(site: &Site, key: &CosignerKey) -> (u64, u64) {
    let policy = format!("log {}\nwitness m {key}\nquorum m\n", verifier());
    let certificate: Certificate = certify(&site.place(), &policy).await.unwrap();
    let seconds = certificate.durable().next().unwrap().seconds;
    (certificate.checkpoint().size, seconds)
}

fn kept_size(mirror: &Arc<Witness>) -> u64 {
    mirror.kept(verifier().name()).unwrap().unwrap().1.size
}

fn read_back_file(path: &Path) -> PathBuf {
    let folder = path.with_extension("key.cosigned");
    let mut files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.find(|path| path.extension().is_some_and(|end| end == "read-back")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_says_what_mirrors_hold() {
    let history = History::random(seed(), 500);
    let site = Site::new(&history.entries, 300).await;
    site.sign().await.unwrap();
    let (_one, mirror) = witness("offsite.example/mirror", 3);
    let policy =
        format!("log {}\nwitness offsite {}\nquorum offsite\n", verifier(), mirror.verifier());
    let own = Place::filled(&history.entries[..200], 60).await;
    let holding = holding_of(&own);
    let error = tree_error(watched(&site, &mirror, Some(&holding)).await.unwrap_err());
    assert!(matches!(error, TreeError::MirrorBehind { last: 200, size: 300, .. }), "{error:?}");
    let error = certify(&site.place(), &policy).await.unwrap_err();
    assert!(matches!(error, TreeError::NotAccepted { .. }), "{error:?}");
    own.segment(&history.entries, 200, 400).await;
    watched(&site, &mirror, Some(&holding)).await.unwrap();
    let certificate = certify(&site.place(), &policy).await.unwrap();
    assert_eq!(certificate.checkpoint().size, 300);
    let text = certificate.to_string();
    assert_eq!(Certificate::check(&text, &policy).unwrap().durable().count(), 1);

    // What grows is read from where it was found before.
    site.archive_more(300, 400).await;
    site.sign().await.unwrap();
    // While the new one is not cosigned, the old one is what can be certified.
    assert_eq!(certify(&site.place(), &policy).await.unwrap().to_string(), text);
    watched(&site, &mirror, Some(&holding)).await.unwrap();
    assert_eq!(certify(&site.place(), &policy).await.unwrap().checkpoint().size, 400);

    // One that begins holds another history from the first entry on, or from a later one.
    let forked = resealed(&history.entries, 350);
    for entries in [&History::random(seed() ^ 1, 500).entries, &forked] {
        let (_two, fresh) = witness("other.example/mirror", 4);
        let other = Place::filled(entries, 60).await;
        let holding = holding_of(&other);
        let error = tree_error(watched(&site, &fresh, Some(&holding)).await.unwrap_err());
        assert!(matches!(error, TreeError::Forked { index: 400, .. }), "{error:?}");
        assert_eq!(fresh.kept(verifier().name()).unwrap(), None);
    }

    // A mirror that holds something else, or has lost the beginning, does not say so.
    site.archive_more(400, 500).await;
    site.sign().await.unwrap();
    let other = Place::filled(&History::random(seed() ^ 1, 500).entries, 60).await;
    let holding = holding_of(&other);
    assert!(watched(&site, &mirror, Some(&holding)).await.is_err());
    own.segment(&history.entries, 400, 500).await;
    // Nor one that has lost what it read back long ago.
    let middle = own.archive.segments().await.unwrap().remove(1);
    let (path, whole) = (own.path(&middle), fs::read(own.path(&middle)).unwrap());
    fs::remove_file(&path).unwrap();
    let holding = holding_of(&own);
    let error = tree_error(watched(&site, &mirror, Some(&holding)).await.unwrap_err());
    assert!(matches!(error, TreeError::MirrorGap { first: 61, last: 120, .. }), "{error:?}");
    fs::write(&path, whole).unwrap();
    let first = own.archive.segments().await.unwrap().remove(0);
    fs::remove_file(own.path(&first)).unwrap();
    let holding = holding_of(&own);
    let error = tree_error(watched(&site, &mirror, Some(&holding)).await.unwrap_err());
    assert!(matches!(error, TreeError::NotHeld { needed: 1, .. }), "{error:?}");
    assert_eq!(certify(&site.place(), &policy).await.unwrap().checkpoint().size, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_elsewhere_is_not_certified() {
    let history = History::random(seed(), 400);
    let (site, own, _directory, path) = mirrored(&history).await;
    let other = Place::filled(&history.entries, 60).await;
    let (spoiled, whole) = spoil(&other).await;
    let mirror = open_at(&path, AT + 60);
    let elsewhere = holding_of(&other);
    // The same checkpoint, and one that is new.
    watched(&site, &mirror, Some(&elsewhere)).await.unwrap_err();
    site.archive_more(300, 400).await;
    site.sign().await.unwrap();
    watched(&site, &mirror, Some(&elsewhere)).await.unwrap_err();
    assert_eq!(certified(&site, &mirror.verifier()).await, (300, AT));
    // All of it is there, and is read.
    fs::write(spoiled, whole).unwrap();
    watched(&site, &mirror, Some(&elsewhere)).await.unwrap();
    assert_eq!(certified(&site, &mirror.verifier()).await, (400, AT + 60));
    // Nor does what was read there count at the one before.
    spoil(&own).await;
    watched(&site, &mirror, Some(&holding_of(&own))).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_is_read_again_when_its_time_has_come() {
    let history = History::random(seed(), 400);
    let (site, own, _directory, path) = mirrored(&history).await;
    let (spoiled, whole) = spoil(&own).await;
    let holding = holding_of(&own);
    let week = WEEK.as_secs();
    // It was read less than a week ago, and is not read yet.
    let mirror = open_at(&path, AT + week - 1);
    assert_eq!(watched(&site, &mirror, Some(&holding)).await.unwrap().unwrap().added, 0);
    site.archive_more(300, 350).await;
    site.sign().await.unwrap();
    watched(&site, &mirror, Some(&holding)).await.unwrap();
    assert_eq!(certified(&site, &mirror.verifier()).await, (350, AT + week - 1));
    drop(mirror);
    // A week after the first entry was read; what was read since puts nothing off.
    let mirror = open_at(&path, AT + week);
    watched(&site, &mirror, Some(&holding)).await.unwrap_err();
    site.archive_more(350, 400).await;
    site.sign().await.unwrap();
    watched(&site, &mirror, Some(&holding)).await.unwrap_err();
    assert_eq!(kept_size(&mirror), 350);
    fs::write(&spoiled, &whole).unwrap();
    watched(&site, &mirror, Some(&holding)).await.unwrap();
    drop(mirror);
    // What was read again is cosigned again, also if nothing is new.
    let mirror = open_at(&path, AT + 2 * week);
    assert_eq!(watched(&site, &mirror, Some(&holding)).await.unwrap().unwrap().added, 0);
    assert_eq!(certified(&site, &mirror.verifier()).await, (400, AT + 2 * week));
    drop(mirror);

    // A clock that went back, a note that is gone or that nobody can read: all of it is read.
    let file = read_back_file(&path);
    let note = fs::read_to_string(&file).unwrap();
    spoil(&own).await;
    let earlier = open_at(&path, AT + 2 * week - 1);
    watched(&site, &earlier, Some(&holding)).await.unwrap_err();
    drop(earlier);
    let mirror = open_at(&path, AT + 2 * week);
    watched(&site, &mirror, Some(&holding)).await.unwrap();
    for bytes in [note.replace(" v1\n", " v2\n"), note[..note.len() - 9].to_owned()] {
        fs::write(&file, bytes).unwrap();
        watched(&site, &mirror, Some(&holding)).await.unwrap_err();
    }
    fs::remove_file(&file).unwrap();
    watched(&site, &mirror, Some(&holding)).await.unwrap_err();
    fs::write(&file, note).unwrap();
    watched(&site, &mirror, Some(&holding)).await.unwrap();
    let always = Mirror { read_back_every: Duration::ZERO, ..holding };
    watched(&site, &mirror, Some(&always)).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_no_mirror_of_itself() {
    let history = History::random(seed(), 400);
    let (site, _own, directory, path) = mirrored(&history).await;
    let link = directory.path().join("link");
    symlink(site.archive.directory.path(), &link).unwrap();
    let itself = holding_of(&site.archive);
    let by_link = Destination::open(&format!("dir:{}/.", link.display())).unwrap();
    let by_link = Mirror { destination: by_link, ..itself.clone() };
    let mirror = open_at(&path, AT + 60);
    // The same checkpoint, and one that is new.
    for last in [300, 400] {
        if last == 400 {
            site.archive_more(300, 400).await;
            site.sign().await.unwrap();
        }
        for itself in [&itself, &by_link] {
            let error = tree_error(watched(&site, &mirror, Some(itself)).await.unwrap_err());
            assert!(matches!(error, TreeError::MirrorIsArchive { .. }), "{error:?}");
        }
    }
    assert_eq!(kept_size(&mirror), 300);
}
