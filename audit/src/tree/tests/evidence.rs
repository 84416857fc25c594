//! What a witness keeps against a log is what proves a fraud, and nobody erases it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use tipline_proto::Timestamp;
use tipline_store::conformance::history::{History, log};

use super::witnessed::{AT, cosigned, cosigner, open, tree_error, watched, witness};
use super::{Site, key, verifier};
use crate::tests::seed;
use crate::tests::signed::resealed;
use crate::tlog::{AddCheckpoint, Checkpoint, leaf_hash};
use crate::tree::{TreeError, Witness};

/// What the witness keeps against the log.
fn kept_against(directory: &TempDir) -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(directory.path().join("witness.key.cosigned")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let against = files.filter(|path| path.to_str().unwrap().contains("contradicts"));
    against.map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_evidence_is_never_replaced() {
    let history = History::random(seed(), 300);
    let (site, early, directory, witness) = cosigned(&history).await;
    // An older one is refused, and contradicts nothing.
    let refused = async |tree: &Site, witness: &Arc<Witness>| {
        site.put_tree(tree);
        let error = tree_error(watched(&site, witness, None).await.unwrap_err());
        assert!(matches!(error, TreeError::NotConsistent(_)), "{error:?}");
    };
    refused(&early, &witness).await;
    assert_eq!(kept_against(&directory), Vec::new());
    let fork = async |from: u64| {
        let fork = Site::new(&resealed(&history.entries, from), 300).await;
        fork.sign().await.unwrap();
        fork
    };
    let (one, other) = (fork(100).await, fork(200).await);
    refused(&one, &witness).await;
    let note = fs::read_to_string(one.tree().join("checkpoint")).unwrap();
    let evidence = kept_against(&directory);
    assert_eq!(evidence.iter().map(|(_, text)| text).collect::<Vec<_>>(), [&note]);
    // Whoever has the log's key starts the witness again, and shows it whatever he can sign.
    drop(witness);
    let witness = open(&directory.path().join("witness.key")).unwrap();
    for tree in [&early, &other] {
        refused(tree, &witness).await;
        assert_eq!(kept_against(&directory), evidence);
    }
    let note = fs::read_to_string(other.tree().join("checkpoint")).unwrap();
    witness.add(&AddCheckpoint { old: 300, hashes: Vec::new(), note }).unwrap_err();
    assert_eq!(kept_against(&directory), evidence);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_not_kept_as_evidence() {
    let history = History::random(seed(), 700);
    let site = Site::new(&history.entries, 300).await;
    site.sign().await.unwrap();
    let (directory, witness) = witness("w.example", 3);
    watched(&site, &witness, None).await.unwrap();
    site.archive_more(300, 700).await;
    site.sign().await.unwrap();
    let path = site.tree().join("tile/0/001");
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[7] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = tree_error(watched(&site, &witness, None).await.unwrap_err());
    assert!(matches!(error, TreeError::WrongRoot { size: 700, .. }), "{error:?}");
    assert_eq!(kept_against(&directory), Vec::new());
    fs::write(&path, whole).unwrap();
    assert_eq!(watched(&site, &witness, None).await.unwrap().unwrap().added, 400);
}

/// A checkpoint is public: whoever has it can ask for it without end.
#[test]
fn the_same_checkpoint_is_not_cosigned_again_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("witness.key");
    Witness::create(&path, &cosigner("w.example", 3)).unwrap();
    let now = Arc::new(AtomicU64::new(AT));
    let clock = Arc::clone(&now);
    let clock = Arc::new(move || {
        Timestamp::from_micros(clock.load(Ordering::SeqCst) * 1_000_000 + 999_999)
    });
    let witness = Witness::open(&path, vec![verifier()], clock).unwrap();
    let origin = verifier().name().to_owned();
    let checkpoint = Checkpoint { origin, size: 5, root: leaf_hash(b"a") }.to_string();
    let note = key(&log()).sign(&checkpoint).unwrap();
    let add = |old: u64, note: &str| {
        witness.add(&AddCheckpoint { old, hashes: Vec::new(), note: note.to_owned() }).unwrap()
    };
    let seconds = |note: &str, line: &str| {
        let found = witness.verifier().find(&format!("{note}{line}")).unwrap().unwrap();
        assert_eq!(found.line, line);
        found.seconds
    };
    let first = add(0, &note);
    assert_eq!(seconds(&note, &first), AT);
    let folder = directory.path().join("witness.key.cosigned");
    let kept = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let is_kept = fs::File::open(&kept).unwrap();
    let is_same = || {
        use std::os::unix::fs::MetadataExt;
        is_kept.metadata().unwrap().ino() == fs::metadata(&kept).unwrap().ino()
    };
    for later in [0, 1, 9] {
        now.store(AT + later, Ordering::SeqCst);
        assert_eq!(add(5, &note), first, "{later} s later");
        assert!(is_same(), "nothing was written {later} s later");
    }
    // It is of one text only.
    let other = key(&log()).sign(&format!("{checkpoint}more\n")).unwrap();
    let line = add(5, &other);
    assert_eq!(seconds(&other, &line), AT + 9);
    now.store(AT + 10, Ordering::SeqCst);
    assert_eq!(seconds(&note, &add(5, &note)), AT + 10);
    now.store(AT + 20, Ordering::SeqCst);
    assert_eq!(seconds(&note, &add(5, &note)), AT + 20);
    // The clock was set back.
    now.store(AT, Ordering::SeqCst);
    assert_eq!(seconds(&note, &add(5, &note)), AT);
    assert!(!is_same());
}
