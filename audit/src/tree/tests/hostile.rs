//! What anybody writes where the tree is kept.

use std::fs;

use tipline_store::conformance::history::{History, log};

use super::witnessed::witness;
use super::{Site, key, verifier};
use crate::tests::seed;
use crate::tlog::{AddCheckpoint, Checkpoint, InclusionProof, Policy, leaf_hash};

/// Whoever may write to the place of a log gives it a name that a terminal would obey.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_verified_is_shown_without_control_characters() {
    let history = History::random(seed(), 60);
    let site = Site::new(&history.entries, 60).await;
    let origin = "evil\u{9b}2J\u{7f}\u{202e}".to_owned();
    let checkpoint = Checkpoint { origin, size: 1, root: leaf_hash(b"a") };
    let note = key(&log()).sign(&checkpoint.to_string()).unwrap();
    fs::create_dir_all(site.tree()).unwrap();
    fs::write(site.tree().join("checkpoint"), &note).unwrap();
    let (_directory, witness) = witness("w.example", 3);
    let refused = witness.add(&AddCheckpoint { old: 0, hashes: Vec::new(), note: note.clone() });
    let policy: Policy = format!("log {}\nquorum none\n", verifier()).parse().unwrap();
    let proof =
        InclusionProof { extra: None, index: 0, hashes: Vec::new(), checkpoint: note.clone() };
    let named = |at: &Checkpoint| Checkpoint { origin: verifier().name().to_owned(), ..at.clone() };
    let consistency = site.place().consistency(named(&checkpoint), checkpoint.clone()).await;
    let told = [
        site.place().note().await.unwrap_err().to_string(),
        refused.unwrap_err().to_string(),
        policy.check(&note).unwrap_err().to_string(),
        proof.check(b"a", verifier().name(), &verifier()).unwrap_err().to_string(),
        consistency.unwrap_err().to_string(),
    ];
    for told in told {
        let is_safe = !told.chars().any(|c| c.is_control() || c == '\u{202e}');
        assert!(is_safe && told.contains("evil\\u{9b}2J"), "{told:?}");
    }
}
