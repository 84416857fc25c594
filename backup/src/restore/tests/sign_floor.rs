//! Who raises a sign floor.

use std::collections::BTreeMap;
use std::sync::Arc;

use tipline_log::Receipts as _;
use tipline_log::memory::rigged::RiggedLog;
use tipline_proto::{InstanceId, Level, Reached, Receipt, Role, SigningKey, Timestamp, Tip, Trust};
use tipline_store::conformance::history::History;

use super::Kept;
use crate::sources::Sources;

const HIGH: u64 = 1_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// A log of 100 entries and a checkpoint at 55, signed by this key, and a receipt that is signed by
/// this one and says that there is a block which no entry has.
async fn sources(checkpoint: Option<u8>, receipt: Option<u8>) -> (Kept, Sources) {
    let mut history = History::blocks(99, 10);
    key(1).sign_entry(history.log.lineage, &mut history.entries[99]);
    let rigged = RiggedLog::new(history.log.clone(), &history.entries).await;
    let mut said = Receipt {
        lineage: history.log.lineage,
        consumer: "b-1".parse().unwrap(),
        role: Role::Backup,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(history.entries[99].position(), Level::Durable),
        block_tip: Some(Tip { height: HIGH, hash: "ab".parse().unwrap() }),
        proof_tip: None,
        time: Timestamp::from_micros(1),
        failure: None,
        store: "sqlite:b.db".to_owned(),
        applying: None,
        frozen: None,
        seal: None,
    };
    if let Some(by) = receipt {
        key(by).sign_receipt(&mut said);
    }
    rigged.inner.put_receipt(&said).await.unwrap();
    let mut kept = Kept::of(history).await;
    let by = checkpoint.map(|by| Arc::new(key(by)));
    kept.checkpoints = kept.checkpoints.clone().signing(by);
    kept.checkpoint(&["sqlite"], 55).await;
    let sources = Sources {
        checkpoints: vec![kept.checkpoints.clone()],
        log: Some(Arc::new(rigged)),
        ..Sources::default()
    };
    (kept, sources)
}

async fn seen(sources: &Sources) -> BTreeMap<String, u64> {
    let seen = sources.seen_heights().await.unwrap();
    let named = seen.seen.into_iter().map(|(witness, height)| {
        let end = witness.find(" at ").unwrap_or(witness.len());
        (
            if witness.starts_with("checkpoint ") {
                "checkpoint".into()
            } else {
                witness[..end].into()
            },
            height,
        )
    });
    named.collect()
}

fn witnesses(names: &[(&str, u64)]) -> BTreeMap<String, u64> {
    names.iter().map(|(name, height)| ((*name).to_owned(), *height)).collect()
}

/// A floor that is too high can be put right; one that is too low signs twice.
#[tokio::test(flavor = "multi_thread")]
async fn without_signatures_everybody_raises_it_and_whoever_does_is_named() {
    let (kept, sources) = sources(None, None).await;
    let said = sources.seen_heights().await.unwrap();
    assert_eq!(said.height(), Some(HIGH));
    assert_eq!(said.beyond_entries(), [("receipt of b-1", HIGH)]);
    let checkpoint = said.seen.keys().find(|witness| witness.starts_with("checkpoint ")).unwrap();
    assert!(checkpoint.ends_with(&format!(" at {}", kept.checkpoints.place())), "{checkpoint}");
    let all = [("checkpoint", 1_053), ("entries", 1_098), ("receipt of b-1", HIGH)];
    assert_eq!(seen(&sources).await, witnesses(&all));
}

/// Otherwise whoever can put a receipt, or a manifest, keeps the chain from ever signing again.
#[tokio::test(flavor = "multi_thread")]
async fn where_signatures_are_required_only_what_is_vouched_for_raises_it() {
    let entries = ("entries", 1_098);
    for (by, counts) in [(None, false), (Some(3), false), (Some(2), true)] {
        let (_kept, sources) = sources(by, by).await;
        let consumer = ("b-1".parse().unwrap(), key(2).public());
        let trust = Trust::new(vec![key(1).public()], [consumer]);
        let sources = Sources { trust, ..sources };
        let all = [("checkpoint", 1_053), entries, ("receipt of b-1", HIGH)];
        let expected = if counts { &all[..] } else { &all[1..2] };
        assert_eq!(seen(&sources).await, witnesses(expected), "signed by {by:?}");
    }
    // Nobody is trusted who could have signed a checkpoint or a receipt: they count.
    let (_kept, sources) = sources(None, None).await;
    let sources = Sources { trust: Trust::new(vec![key(1).public()], []), ..sources };
    assert_eq!(seen(&sources).await.len(), 3);
}
