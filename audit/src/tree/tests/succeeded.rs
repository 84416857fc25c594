//! A key goes on after another one with what is in the archive, and with nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tipline_proto::Timestamp;
use tipline_store::conformance::history::{History, log};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::proofs::prove;
use super::witnessed::{AT, cosigner, sign_by, tree_error};
use super::{Site, key, verifier};
use crate::tests::signed::resealed;
use crate::tests::{ALL, seed};
use crate::tlog::{Checkpoint, Policy, SigningKey, VerifierKey};
use crate::tree::{
    KeyFile, KeyFileError, SignedTree, TreeError, Witness, check_proof, origin, sign, succeed,
    watch_tree,
};
use crate::{AuditError, verify_entries};

fn new_key() -> SigningKey {
    SigningKey::from_seed(&origin("example.org", &log()), &[8; 32]).unwrap()
}

fn new() -> VerifierKey {
    new_key().verifier()
}

/// The file of a new key.
fn made(key: &SigningKey) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new.key");
    KeyFile::create(&path, key).unwrap();
    (directory, path)
}

async fn take_over(site: &Site, path: &Path, old: &VerifierKey) -> Result<(), AuditError> {
    let key = Arc::new(KeyFile::open(path).unwrap());
    let stop = CancellationToken::new();
    succeed(&site.archive.sources(), &site.place(), &key, old, &stop).await
}

fn remembered(path: &Path) -> Checkpoint {
    KeyFile::open(path).unwrap().signed().unwrap()
}

fn read(site: &Site, name: &str) -> String {
    fs::read_to_string(site.tree().join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_on_where_another_one_ended() {
    let history = History::random(seed(), 700);
    let site = Site::new(&history.entries, 600).await;
    let before = site.sign().await.unwrap().unwrap();
    let (_keys, path) = made(&new_key());
    let error = tree_error(site.sign_with(&path).await.unwrap_err());
    assert!(matches!(error, TreeError::Note { .. }), "{error:?}");
    assert_eq!(remembered(&path).size, 0);

    take_over(&site, &path, &verifier()).await.unwrap();
    assert_eq!(remembered(&path), before.checkpoint);
    let (old_id, text) = (verifier().id_text(), before.checkpoint.to_string());
    // It is signed by both, and stays so.
    for name in ["checkpoint".to_owned(), format!("cosigned/{old_id}")] {
        for key in [verifier(), new()] {
            assert_eq!(key.open(&read(&site, &name)).unwrap(), text, "{name}");
        }
    }
    let files = site.files();
    take_over(&site, &path, &verifier()).await.unwrap();
    assert_eq!(site.files(), files, "once is enough");

    site.archive_more(600, 700).await;
    let after = site.sign_with(&path).await.unwrap().unwrap();
    assert_eq!((after.checkpoint.size, after.added), (700, 100));
    take_over(&site, &path, &verifier()).await.unwrap();
    assert_eq!(site.place().checkpoint(&new()).await.unwrap(), Some(after.checkpoint.clone()));
    assert!(verifier().open(&read(&site, "checkpoint")).is_err());
    site.place().consistency(before.checkpoint, after.checkpoint).await.unwrap();
    let (proof, leaf) = prove(&site, 650).await.unwrap();
    assert_eq!(check_proof(&proof.to_string(), &new()).unwrap().leaf, leaf);
    let tree = SignedTree { place: site.place(), key: Some(new()) };
    let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
    let sources = site.archive.sources();
    let report = verify_entries(sources, &log(), ALL, None, Some(&tree), &progress, stop).await;
    let report = report.unwrap();
    assert!(report.ok && report.signed == Some(700), "{report:?}");
    // The old one does not go on beside it.
    assert!(site.sign().await.is_err());
}

/// What cannot be verified gets no second signature.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_history_of_the_archive_is_taken_over() {
    let history = History::random(seed(), 600);
    let site = Site::new(&history.entries, 600).await;
    let (_keys, path) = made(&new_key());
    let missing = tree_error(take_over(&site, &path, &verifier()).await.unwrap_err());
    assert!(matches!(missing, TreeError::NotFound { .. }), "{missing:?}");
    site.sign().await.unwrap();
    let refused = async |site: &Site, path: &Path, old: &VerifierKey| {
        let before = site.files();
        let error = tree_error(take_over(site, path, old).await.unwrap_err());
        assert_eq!((site.files(), remembered(path).size), (before, 0), "{error:?}");
        error
    };
    // Somebody else's name, the key itself, or another key than the one that signed.
    let stranger = SigningKey::from_seed(&origin("example.net", &log()), &[8; 32]).unwrap();
    let (_others, other) = made(&stranger);
    for (path, old) in [(&other, verifier()), (&path, stranger.verifier()), (&path, new())] {
        let error = refused(&site, path, &old).await;
        assert!(matches!(error, TreeError::OtherName { .. }), "{error:?}");
    }
    let third = SigningKey::from_seed(verifier().name(), &[9; 32]).unwrap().verifier();
    let error = refused(&site, &path, &third).await;
    assert!(matches!(error, TreeError::Note { .. }), "{error:?}");
    // A thief signs another history, or an end that the archive does not have.
    let fork = Site::new(&resealed(&history.entries, 100), 600).await;
    fork.sign().await.unwrap();
    let ours = Site::new(&history.entries, 0).await;
    ours.put_tree(&site);
    site.put_tree(&fork);
    let error = refused(&site, &path, &verifier()).await;
    assert!(matches!(error, TreeError::Forked { .. } | TreeError::TileDiffers { .. }), "{error:?}");
    site.put_tree(&ours);
    let root = crate::tlog::leaf_hash(b"x");
    for (size, name) in [(601, "checkpoint"), (601, "pending"), (300, "pending")] {
        let forged = Checkpoint { origin: verifier().name().to_owned(), size, root };
        let forged = key(&log()).sign(&forged.to_string()).unwrap();
        fs::write(site.tree().join(name), forged).unwrap();
        let error = refused(&site, &path, &verifier()).await;
        let is_it = match size {
            601 => matches!(error, TreeError::Shorter { last: 600, size: 601, .. }),
            _ => matches!(error, TreeError::Forked { index: 300, .. }),
        };
        assert!(is_it, "{error:?}");
        site.put_tree(&ours);
    }
    // Every tile counts.
    for (tile, _) in ours.files() {
        let tile = tile.strip_prefix(ours.tree()).unwrap();
        if !tile.starts_with("tile") {
            continue;
        }
        let mut bytes = fs::read(site.tree().join(tile)).unwrap();
        bytes[5] ^= 1;
        fs::write(site.tree().join(tile), &bytes).unwrap();
        let error = refused(&site, &path, &verifier()).await;
        assert!(matches!(error, TreeError::TileDiffers { .. }), "{}: {error:?}", tile.display());
        site.put_tree(&ours);
    }
    take_over(&site, &path, &verifier()).await.unwrap();
}

/// It goes on from wherever it was ended.
#[tokio::test(flavor = "multi_thread")]
async fn taking_over_may_be_cut_off_at_any_write() {
    let history = History::random(seed(), 120);
    let [site, ahead] = [60, 120].map(|archived| Site::new(&history.entries, archived));
    let (site, ahead) = (site.await, ahead.await);
    for site in [&site, &ahead] {
        site.sign().await.unwrap();
    }
    // The newest waits to be cosigned.
    let [published, pending] = [&site, &ahead].map(|site| read(site, "checkpoint"));
    site.archive_more(60, 120).await;
    site.put_tree(&ahead);
    for (name, note) in [("checkpoint", &published), ("pending", &pending)] {
        fs::write(site.tree().join(name), note).unwrap();
    }

    let (_keys, path) = made(&new_key());
    let nothing = fs::read(path.with_extension("key.signed")).unwrap();
    take_over(&site, &path, &verifier()).await.unwrap();
    let (files, newest) = (site.files(), remembered(&path));
    assert_eq!(newest.size, 120);
    let early = new_key().sign(verifier().open(&published).unwrap()).unwrap();
    let all = fs::read(path.with_extension("key.signed")).unwrap();
    let (old, waits) = (published.as_bytes(), pending.as_bytes());
    for (signed, checkpoint, pending) in [
        (&nothing[..], Some(old), Some(waits)),
        (early.as_bytes(), Some(old), Some(waits)),
        (early.as_bytes(), None, Some(waits)),
        (&all[..], None, Some(waits)),
        (&all[..], None, None),
    ] {
        fs::write(path.with_extension("key.signed"), signed).unwrap();
        for (name, bytes) in [("checkpoint", checkpoint), ("pending", pending)] {
            bytes.into_iter().for_each(|bytes| fs::write(site.tree().join(name), bytes).unwrap());
        }
        take_over(&site, &path, &verifier()).await.unwrap();
        assert_eq!((site.files(), remembered(&path)), (files.clone(), newest.clone()));
    }
    // A key that has signed more elsewhere is not used.
    let more = Checkpoint { size: 121, ..newest };
    let key = KeyFile::open(&path).unwrap();
    key.sign(&key.signed().unwrap(), &more).unwrap();
    drop(key);
    fs::write(site.tree().join("checkpoint"), old).unwrap();
    assert!(take_over(&site, &path, &verifier()).await.is_err());
}

/// Witnesses and policies know both keys meanwhile, in whichever order.
#[tokio::test(flavor = "multi_thread")]
async fn witnesses_cosign_what_the_next_key_signs() {
    let history = History::random(seed(), 120);
    for order in [[0, 1], [1, 0]] {
        let keys = [verifier(), new()];
        let [one, two] = order.map(|number| keys[number].clone());
        let site = Site::new(&history.entries, 60).await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("witness.key");
        Witness::create(&file, &cosigner("w.example", 3)).unwrap();
        let clock = Arc::new(|| Timestamp::from_micros(AT * 1_000_000 + 5));
        let logs = vec![one.clone(), two.clone()];
        let witness = Arc::new(Witness::open(&file, logs, clock).unwrap());
        let line = format!("witness w {}\nquorum w\n", witness.verifier());
        let both = format!("log {one}\nlog {two}\n{line}");
        let watched = async |log: &VerifierKey| {
            let stop = CancellationToken::new();
            watch_tree(&site.place(), log, &witness, None, &stop).await.unwrap().unwrap()
        };
        assert_eq!(sign_by(&site, &both).await.as_deref(), Some("w"));
        watched(&verifier()).await;
        assert_eq!(sign_by(&site, &both).await, None);
        // The last one of the old key waits when the new one takes over.
        site.archive_more(60, 90).await;
        assert_eq!(sign_by(&site, &both).await.as_deref(), Some("w"));
        let (_keys, path) = made(&new_key());
        take_over(&site, &path, &verifier()).await.unwrap();

        let key = Arc::new(KeyFile::open(&path).unwrap());
        let sign_new = async |policy: &str| {
            let policy: Policy = policy.parse().unwrap();
            let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
            let sources = site.archive.sources();
            sign(&sources, &site.place(), &key, Some(&policy), &progress, &stop).await
        };
        // A policy that does not know the new key would keep all of it from being published.
        let files = site.files();
        let unknown = sign_new(&format!("log {}\n{line}", verifier())).await.unwrap_err();
        assert!(tree_error(unknown).to_string().contains("is not accepted"));
        assert_eq!(site.files(), files);
        for (end, log) in [(90, verifier()), (120, new())] {
            if end > 90 {
                site.archive_more(90, end).await;
            }
            let waits = sign_new(&both).await.unwrap().unwrap().waits_for;
            assert_eq!(waits.as_deref(), Some("w"), "{end}");
            assert_eq!(watched(&log).await.checkpoint.size, end as u64);
            for _ in 0..2 {
                assert_eq!(sign_new(&both).await.unwrap().unwrap().waits_for, None);
            }
            let note = read(&site, "checkpoint");
            assert!(new().open(&note).is_ok(), "{note}");
            assert!(both.parse::<Policy>().unwrap().check(&note).is_ok());
        }
    }
}

#[test]
fn a_key_that_cosigns_says_what_to_do_when_it_has_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("witness.key");
    Witness::create(&file, &cosigner("w.example", 3)).unwrap();
    fs::remove_dir(directory.path().join("witness.key.cosigned")).unwrap();
    let clock = Arc::new(|| Timestamp::from_micros(AT));
    let error = Witness::open(&file, vec![verifier()], clock).unwrap_err();
    assert!(matches!(error, KeyFileError::ForgottenCosigned { .. }), "{error:?}");
    assert!(error.to_string().contains("name it in the policies"), "{error}");
}
