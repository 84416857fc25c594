//! As many may cosign as a policy may name.

use std::fs;

use tipline_store::conformance::history::History;

use super::witnessed::{AT, sign_by};
use super::{Site, verifier};
use crate::tests::seed;
use crate::tlog::{CosigningKey, Policy};

/// One honest witness more keeps nothing from being published.
#[tokio::test(flavor = "multi_thread")]
async fn what_every_witness_has_cosigned_is_published() {
    let history = History::random(seed(), 60);
    let site = Site::new(&history.entries, 0).await;
    let keys: Vec<_> = (0..66)
        .map(|n| CosigningKey::from_seed(&format!("w{n}.example"), &[n + 1; 32]).unwrap())
        .collect();
    let lines = keys.iter().enumerate();
    let lines: String =
        lines.map(|(n, key)| format!("witness w{n} {}\n", key.verifier())).collect();
    let members: String = (0..keys.len()).map(|n| format!(" w{n}")).collect();
    let policy = format!("log {}\n{lines}group most 60{members}\nquorum most\n", verifier());
    // A checkpoint with all of them is continued as well.
    for (from, size) in [(0, 30), (30, 60)] {
        site.archive_more(from, size).await;
        assert!(sign_by(&site, &policy).await.is_some());
        let pending = fs::read_to_string(site.tree().join("pending")).unwrap();
        for key in &keys {
            let note = pending.clone() + &key.cosign(&pending, AT).unwrap();
            site.place().put_cosigned(&key.verifier(), note).await.unwrap();
        }
        assert_eq!(sign_by(&site, &policy).await, None);
        let note = fs::read_to_string(site.tree().join("checkpoint")).unwrap();
        let accepted = policy.parse::<Policy>().unwrap().check(&note).unwrap();
        assert_eq!((accepted.checkpoint.size, accepted.cosigned.len()), (size as u64, 66));
    }
}
