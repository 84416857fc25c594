//! What a witness keeps against a log is what proves a fraud, and nobody erases it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tipline_store::conformance::history::History;

use super::Site;
use super::witnessed::{open, reseal, tree_error, watched, witness};
use crate::tests::seed;
use crate::tlog::AddCheckpoint;
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
    let site = Site::new(&history.entries, 300).await;
    let early = Site::new(&history.entries, 120).await;
    early.sign().await.unwrap();
    site.sign().await.unwrap();
    let (directory, witness) = witness("w.example", 3);
    watched(&site, &witness, None).await.unwrap();
    // An older one is refused, and contradicts nothing.
    let refused = async |tree: &Site, witness: &Arc<Witness>| {
        site.put_tree(tree);
        let error = tree_error(watched(&site, witness, None).await.unwrap_err());
        assert!(matches!(error, TreeError::NotConsistent(_)), "{error:?}");
    };
    refused(&early, &witness).await;
    assert_eq!(kept_against(&directory), Vec::new());
    let fork = async |from: usize| {
        let mut entries = history.entries.clone();
        reseal(&mut entries, from);
        let fork = Site::new(&entries, 300).await;
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
