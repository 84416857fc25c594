//! Where signatures are required, a restore is of what a trusted primary vouches for, or of nothing.

use std::path::PathBuf;
use std::sync::Arc;

use tipline_proto::{Lineage, PublicKey, SigningKey, Trust};
use tipline_store::SqliteStore;
use tipline_store::conformance::history::History;
use tipline_store::conformance::model::Model;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::{RestoreProgress, Target, catch_up, plan_for};
use super::{Kept, Restored, names_in, place, run, settings};
use crate::error::RestoreError;
use crate::sources::Sources;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// An archive of 100 entries, of which a key has signed these, and a checkpoint.
async fn kept(bytes: usize, key: &SigningKey, signed: &[u64]) -> Kept {
    let mut history = History::blocks(99, bytes);
    for index in signed {
        key.sign_entry(history.log.lineage, &mut history.entries[*index as usize - 1]);
    }
    let kept = Kept::of(history).await;
    kept.segments(100, 10).await;
    kept.checkpoint(&["sqlite"], 55).await;
    kept
}

fn trusting(kept: &Kept, keys: Vec<PublicKey>) -> Arc<Sources> {
    Arc::new(Sources { trust: Trust::new(keys, []), ..(*kept.sources()).clone() })
}

async fn restored(kept: &Kept, target: Target) -> Result<Restored, (String, Vec<String>)> {
    let directory = tempfile::tempdir_in(kept.directory.path()).unwrap();
    let into = place(&["sqlite"], directory.path());
    let sources = trusting(kept, vec![key(1).public()]);
    match run(sources, into.clone(), settings(target, false)).await {
        Ok(report) => Ok(Restored { directory, place: into, report }),
        Err(error @ RestoreError::Verification { .. }) => {
            Err((error.to_string(), names_in(directory.path())))
        }
        Err(other) => Err((format!("{other:?}"), vec!["not refused as forged".to_owned()])),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signature_at_or_after_the_target_is_enough_and_no_checkpoint_is_used() {
    let kept = kept(10, &key(1), &[1, 31, 64, 90]).await;
    for index in [1, 17, 31, 60, 64, 90] {
        let found = restored(&kept, Target::Index(index)).await.unwrap();
        assert!(found.report.checkpoint.is_none(), "{:?}", found.report);
        found.assert_is(&kept, index, "vouched for");
    }
    // Nobody has vouched for the newest yet.
    for target in [Target::Latest, Target::Index(91)] {
        let (why, left) = restored(&kept, target).await.err().unwrap();
        assert!(why.contains("no entry from") && why.contains("to 100 is signed"), "{why}");
        assert_eq!(left, Vec::<String>::new());
    }
    // Where nobody's signature is required, everything is as it is.
    let found = kept.restore(&["sqlite"], Target::Latest, false).await.unwrap();
    assert_eq!(found.report.checkpoint.as_ref().unwrap().index, 55);
    found.assert_is(&kept, 100, "without signatures");
}

/// Of an archive that no longer has its first entries, with a checkpoint at 55.
async fn shortened(by: Option<SigningKey>) -> Kept {
    let mut history = History::blocks(99, 10);
    for index in [31, 64, 100] {
        key(1).sign_entry(history.log.lineage, &mut history.entries[index - 1]);
    }
    let mut kept = Kept::of(history).await;
    kept.segment(51, 100).await;
    kept.checkpoints = kept.checkpoints.clone().signing(by.map(Arc::new));
    kept.checkpoint(&["sqlite"], 55).await;
    kept
}

/// Restores, with the key 1 of a primary and the key 2 of a consumer.
async fn by_consumer(kept: &Kept, index: u64) -> Result<Restored, RestoreError> {
    let consumer = ("b-1".parse().unwrap(), key(2).public());
    let trust = Trust::new(vec![key(1).public()], [consumer]);
    let sources = Arc::new(Sources { trust, ..(*kept.sources()).clone() });
    let directory = tempfile::tempdir_in(kept.directory.path()).unwrap();
    let into = place(&["sqlite"], directory.path());
    match run(sources, into.clone(), settings(Target::Index(index), false)).await {
        Ok(report) => Ok(Restored { directory, place: into, report }),
        Err(error) => {
            assert_eq!(names_in(directory.path()), Vec::<String>::new());
            Err(error)
        }
    }
}

/// The files of the checkpoint that are signed, and the signature.
fn manifest_and_signature(kept: &Kept) -> [PathBuf; 2] {
    let set = kept.checkpoints.place().trim_start_matches("dir:").to_owned();
    let mut folders = std::fs::read_dir(set).unwrap().map(|entry| entry.unwrap().path());
    let folder = folders.find(|path| path.join("manifest.json").exists()).unwrap();
    let mut files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let signature = files.find(|path| path.extension().is_some_and(|name| name == "sig"));
    [folder.join("manifest.json"), signature.unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_a_trusted_consumer_signed_is_restored_from() {
    let kept = shortened(Some(key(2))).await;
    for index in [55, 60, 64, 99, 100] {
        let found = by_consumer(&kept, index).await.unwrap();
        assert_eq!(found.report.checkpoint.as_ref().unwrap().index, 55);
        found.assert_is(&kept, index, "from a signed checkpoint");
    }
    // Its successor may sign, too.
    let kept = shortened(Some(key(2).succeeded_by(key(3)))).await;
    by_consumer(&kept, 100).await.unwrap().assert_is(&kept, 100, "by a successor");
    // An archive that has all is restored from it, and so is whatever is not required to be signed.
    let unsigned = shortened(None).await;
    let found = unsigned.restore(&["sqlite"], Target::Latest, false).await.unwrap();
    found.assert_is(&unsigned, 100, "nothing is required");
    unsigned.segment(1, 50).await;
    let found = by_consumer(&unsigned, 100).await.unwrap();
    assert!(found.report.checkpoint.is_none());
    let notes = found.report.notes.join("; ");
    assert!(notes.contains("no trusted consumer vouches for the checkpoint"), "{notes}");
    found.assert_is(&unsigned, 100, "from the first entry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_not_signed_as_required_is_refused_by_name() {
    let refused = async |kept: &Kept, says: &str| {
        let error = by_consumer(kept, 100).await.err().expect(says);
        let why = error.to_string();
        assert!(matches!(error, RestoreError::Verification { .. }), "{why}");
        assert!(why.contains(says) && why.contains("the checkpoint "), "{says}: {why}");
    };
    refused(&shortened(None).await, "it is not signed").await;
    // A primary's key vouches for no copy, and a stranger's for nothing.
    refused(&shortened(Some(key(1))).await, "not trusted").await;
    refused(&shortened(Some(key(9))).await, "not trusted").await;
    refused(&shortened(Some(key(9).succeeded_by(key(3)))).await, "not trusted").await;
    // The signature of another manifest.
    let (kept, other) = (shortened(Some(key(2))).await, shortened(Some(key(2))).await);
    let [_, signature] = manifest_and_signature(&kept);
    let bytes = std::fs::read(&signature).unwrap();
    let lineage = Lineage::from_bytes([99; 16]);
    assert_ne!(lineage, kept.log.lineage);
    for (what, forged) in [
        ("another manifest", key(2).sign_checkpoint(kept.log.lineage, &[7; 32])),
        ("another log", {
            let manifest = std::fs::read(&manifest_and_signature(&kept)[0]).unwrap();
            key(2).sign_checkpoint(lineage, blake3::hash(&manifest).as_bytes())
        }),
    ] {
        std::fs::write(&signature, forged.encode()).unwrap();
        println!("{what}");
        refused(&kept, "somebody else made it").await;
    }
    std::fs::write(&signature, b"none").unwrap();
    refused(&kept, "signature").await;
    std::fs::OpenOptions::new().write(true).open(&signature).unwrap().set_len(1 << 40).unwrap();
    refused(&kept, "signature").await;
    std::fs::write(&signature, bytes).unwrap();
    by_consumer(&kept, 100).await.unwrap();
    // The manifest is changed, and sealed again: whoever can write there can do that.
    let [manifest, _] = manifest_and_signature(&other);
    let text = std::fs::read_to_string(&manifest).unwrap();
    let body = text.rsplit_once(",\n  \"blake3\": ").unwrap().0;
    let body = body.replacen("\"created_us\": 18", "\"created_us\": 19", 1);
    std::fs::write(&manifest, crate::checkpoint::seal(&body)).unwrap();
    refused(&other, "it is not signed").await;
}

/// Whoever can write to the place writes another history, whole in itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_archive_is_refused() {
    let unsigned = kept(11, &key(1), &[]).await;
    let own_key = kept(11, &key(9), &[20, 60, 100]).await;
    // Signatures of the true history, at their places in the forged one.
    let honest = kept(10, &key(1), &[60, 100]).await;
    let mut spliced = History::blocks(99, 11);
    for index in [60, 100] {
        spliced.entries[index - 1].signature = honest.entries()[index - 1].signature.clone();
    }
    let spliced = Kept::of(spliced).await;
    spliced.segments(100, 10).await;
    // The true entries from the signature on, after forged ones.
    let mut grafted = History::blocks(99, 11);
    grafted.entries[59..].clone_from_slice(&honest.entries()[59..]);
    let grafted = Kept::of(grafted).await;
    grafted.segment(1, 59).await;
    let forgeries = [
        ("unsigned", &unsigned, "no entry from"),
        ("its own key", &own_key, "not trusted"),
        ("signatures of another history", &spliced, "somebody else made it"),
    ];
    for (what, forged, says) in forgeries {
        for index in [43, 60] {
            let (why, left) = restored(forged, Target::Index(index)).await.err().unwrap();
            assert!(why.contains("signatures are required") && why.contains(says), "{what}: {why}");
            assert_eq!(left, Vec::<String>::new(), "{what}");
            // It looks well to who requires none, and a plan says so, too.
            plan_for(&forged.sources(), &[], &Target::Index(index), false).await.unwrap();
            let sources = trusting(forged, vec![key(1).public()]);
            assert!(plan_for(&sources, &[], &Target::Index(index), false).await.is_err(), "{what}");
        }
    }
    // Two places: the forged beginning here, the true end there.
    let both = Sources {
        archives: vec![grafted.archive.clone(), honest.archive.clone()],
        trust: Trust::new(vec![key(1).public()], []),
        ..Sources::default()
    };
    let directory = tempfile::tempdir_in(grafted.directory.path()).unwrap();
    let into = place(&["sqlite"], directory.path());
    let refused = run(both.into(), into, settings(Target::Index(43), false)).await.err().unwrap();
    assert!(matches!(refused, RestoreError::Verification { .. }), "{refused}");
    assert_eq!(names_in(directory.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_brought_forward_by_what_is_vouched_for_only() {
    let catch = async |kept: &Kept| {
        let path = kept.directory.path().join("store.db");
        let mut store = SqliteStore::open(&path).unwrap();
        tipline_store::Sink::create(&mut store, &kept.log).unwrap();
        let mut model = Model::new(&kept.log);
        tipline_store::Sink::apply(&mut store, &model.batch(&kept.entries()[..20])).unwrap();
        let (progress, _) = watch::channel(RestoreProgress::default());
        let sources = trusting(kept, vec![key(1).public()]);
        let stop = CancellationToken::new();
        let caught = catch_up(&sources, Box::new(store), &progress, &stop).await;
        let reader = tipline_store::SqliteReader::open(&path).unwrap();
        let cursor = tipline_store::ChainView::cursor(&reader).unwrap().unwrap();
        (caught, cursor.position.index)
    };
    let (caught, at) = catch(&kept(10, &key(1), &[1, 31, 64, 100]).await).await;
    assert_eq!((caught.unwrap(), at), (100, 100));
    let (caught, at) = catch(&kept(10, &key(1), &[1, 31, 64]).await).await;
    let refused = caught.unwrap_err();
    assert!(matches!(refused, RestoreError::Verification { .. }), "{refused}");
    assert_eq!(at, 64);
    let (caught, at) = catch(&kept(10, &key(9), &[1, 31, 64, 100]).await).await;
    let refused = caught.unwrap_err();
    assert!(refused.to_string().contains("not trusted"), "{refused}");
    assert_eq!(at, 20);
}
