//! What anybody writes where the tree is kept.

use std::fs;

use tipline_store::conformance::history::{History, log};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::witnessed::witness;
use super::{Site, key, verifier};
use crate::tests::{ALL, seed};
use crate::tlog::{AddCheckpoint, Checkpoint, InclusionProof, Policy, leaf_hash};
use crate::tree::SignedTree;
use crate::{VerifyReport, verify_entries};

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

/// Files that sort first hide what was cosigned: not without its being said.
#[tokio::test(flavor = "multi_thread")]
async fn cosigned_files_that_are_not_looked_at_are_told() {
    let history = History::random(seed(), 60);
    let site = Site::new(&history.entries, 60).await;
    site.sign().await.unwrap();
    let folder = site.tree().join("cosigned");
    fs::create_dir_all(&folder).unwrap();
    let verified = async || {
        let (progress, stop) = (watch::Sender::default(), CancellationToken::new());
        let tree = SignedTree { place: site.place(), key: Some(verifier()) };
        let (sources, log) = (site.archive.sources(), log());
        let verified = verify_entries(sources, &log, ALL, None, Some(&tree), &progress, stop);
        verified.await.unwrap()
    };
    let told = |report: &VerifyReport| {
        report.not_verified.iter().find(|line| line.contains("cosigned")).cloned()
    };
    for at in 0..256 {
        fs::write(folder.join(format!("{at:08x}")), b"junk").unwrap();
    }
    assert_eq!(told(&verified().await), None);
    let origin = verifier().name().to_owned();
    let other = Checkpoint { origin, size: 60, root: leaf_hash(b"another") };
    let other = key(&log()).sign(&other.to_string()).unwrap();
    fs::write(folder.join("ffffffff"), other).unwrap();
    let told = told(&verified().await).unwrap();
    assert!(told.contains("the first 256 of 257"), "{told}");
    fs::remove_file(folder.join("00000000")).unwrap();
    let report = verified().await;
    assert!(report.problems[0].contains("contradict each other"), "{report:?}");
}
