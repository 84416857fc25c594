//! What places prove of the part of a log that is to go.

use std::fs;
use std::sync::Arc;

use tipline_log::Extent;
use tipline_proto::{Position, SigningKey, Trust};
use tipline_store::conformance::history::History;

use crate::archive::SegmentName;
use crate::keys::Keys;
use crate::restore::tests::Kept;
use crate::retention::{NotProven, Proven, ProvenKind};
use crate::sources::Sources;
use crate::throttle::Throttle;

async fn kept() -> (Kept, Vec<SegmentName>) {
    let kept = Kept::of(History::blocks(99, 10)).await;
    let names = kept.segments(100, 10).await;
    (kept, names)
}

fn goes(first: u64, last: u64) -> Extent {
    Extent { first, last }
}

fn at(kept: &Kept, index: usize) -> Position {
    kept.entries()[index - 1].position()
}

/// What the archive proves: told by indexes, and by reading back what goes.
async fn archive(kept: &Kept, goes: Extent) -> [Result<Position, NotProven>; 2] {
    let of = |proven: Vec<Proven>| {
        let archive = proven.into_iter().find(|proven| proven.kind == ProvenKind::Archive);
        archive.unwrap().covered
    };
    let sources = kept.sources();
    [of(sources.prove(goes.first).await), of(sources.read_back(goes).await)]
}

fn flip(kept: &Kept, name: &SegmentName) {
    let path = kept.backup().join(name.to_string());
    let mut bytes = fs::read(&path).unwrap();
    // In its body.
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_before_a_checkpoint_is_found_before_it_goes() {
    let (kept, names) = kept().await;
    kept.checkpoint(&["sqlite"], 50).await;
    flip(&kept, &names[1]);
    let [told, read] = archive(&kept, goes(1, 50)).await;
    assert_eq!(told, Ok(at(&kept, 100)), "no index is damaged");
    match read {
        Err(NotProven::Corrupt { what }) => assert!(what.contains(&names[1].to_string()), "{what}"),
        other => panic!("{other:?}"),
    }
    // What was trimmed before is not asked for, nor what stays.
    assert_eq!(archive(&kept, goes(21, 50)).await[1], Ok(at(&kept, 50)));
    assert_eq!(archive(&kept, goes(1, 10)).await[1], Ok(at(&kept, 10)));
    // Another segment with the same entries does as well.
    kept.segment(8, 33).await;
    assert_eq!(archive(&kept, goes(1, 50)).await[1], Ok(at(&kept, 50)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_before_a_checkpoint_is_found_before_it_goes() {
    let (kept, names) = kept().await;
    kept.checkpoint(&["sqlite"], 50).await;
    fs::remove_file(kept.backup().join(names[1].to_string())).unwrap();
    for found in archive(&kept, goes(1, 50)).await {
        assert_eq!(found, Err(NotProven::Gap { first: 11, last: 20 }));
    }
    // It is in what the log forgot long ago, and the checkpoint leads to what comes after it.
    for (found, to) in archive(&kept, goes(60, 70)).await.into_iter().zip([100, 70]) {
        assert_eq!(found, Ok(at(&kept, to)));
    }
    // Without it nothing does.
    for found in archive(&kept, goes(40, 70)).await {
        assert_eq!(found, Err(NotProven::Gap { first: 11, last: 20 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_histories_in_a_row_are_not_one() {
    let (kept, names) = kept().await;
    // The same chain told otherwise: payloads of another length from entry 11 on.
    let other = Kept::of(History::blocks(99, 11)).await;
    let others = other.segments(100, 10).await;
    for (own, other_name) in names[5..].iter().zip(&others[5..]) {
        fs::remove_file(kept.backup().join(own.to_string())).unwrap();
        let from = other.backup().join(other_name.to_string());
        fs::copy(from, kept.backup().join(other_name.to_string())).unwrap();
    }
    for found in archive(&kept, goes(1, 70)).await {
        match found {
            Err(NotProven::Corrupt { what }) => {
                assert!(what.contains(&others[5].to_string()), "{what}");
                assert!(what.contains("another history"), "{what}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(archive(&kept, goes(1, 50)).await[1], Ok(at(&kept, 50)));
    // Not even where the part that goes begins.
    assert!(archive(&kept, goes(51, 70)).await[1].is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_at_rest_is_proven_up_to_its_end() {
    let (kept, _) = kept().await;
    kept.checkpoint(&["sqlite"], 100).await;
    for (first, last) in [(1, 95), (100, 100), (101, 100)] {
        let [told, read] = archive(&kept, goes(first, last)).await;
        assert_eq!(told, Ok(at(&kept, 100)), "from {first}");
        assert_eq!(read, Ok(at(&kept, 100)), "from {first}");
    }
    // What the log has forgotten and the archive never had is missing.
    for found in archive(&kept, goes(121, 120)).await {
        assert_eq!(found, Err(NotProven::Gap { first: 101, last: 120 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_was_shortened_needs_a_whole_checkpoint_to_start_from() {
    let (kept, _) = kept().await;
    kept.checkpoint(&["sqlite"], 90).await;
    let start = kept.checkpoint(&["sqlite"], 45).await;
    let (keep_for, now) = kept.kept_since(60).await;
    let plan = kept.archive.expire(keep_for, now, &Throttle::none()).await.unwrap();
    assert_eq!((plan.first, plan.applied), (41, true), "{plan:?}");
    // In what the log still holds, and in what it does not.
    for first in [1, 30, 43, 46, 60] {
        let [told, read] = archive(&kept, goes(first, 70)).await;
        assert_eq!((told, read), (Ok(at(&kept, 100)), Ok(at(&kept, 70))), "from {first}");
    }
    let file = kept.backup().join("checkpoints").join(start.object(&start.files[0]));
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    let [_, read] = archive(&kept, goes(60, 70)).await;
    assert!(matches!(&read, Err(NotProven::Corrupt { what }) if what.contains(start.id.as_str())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_alone_proves_what_it_holds() {
    let kept = Kept::encrypted(History::blocks(99, 10), Keys::default()).await;
    kept.checkpoint(&["sqlite"], 50).await;
    let found = kept.sources().read_back(goes(1, 40)).await;
    assert_eq!(found[0].covered, Ok(at(&kept, 50)));
    assert_eq!(found[1].covered, Err(NotProven::Empty), "the archive beside it");
}

/// Whoever can write the bucket puts one there that is whole in itself: a restore refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_nobody_vouches_for_proves_nothing() {
    let key = |seed: u8| Arc::new(SigningKey::from_seed(&[seed; 32]));
    let consumer = ("b-1".parse().unwrap(), key(2).public());
    let trust = Trust::new(vec![key(1).public()], [consumer]);
    for (by, is_vouched) in [(Some(key(2)), true), (Some(key(3)), false), (None, false)] {
        let (mut kept, names) = kept().await;
        kept.checkpoints = kept.checkpoints.clone().signing(by);
        kept.checkpoint(&["sqlite"], 50).await;
        let sources = Sources { trust: trust.clone(), ..(*kept.sources()).clone() };
        // Its archive, whose first segments are gone, has nothing to start from without it.
        names[..3]
            .iter()
            .for_each(|name| fs::remove_file(kept.backup().join(name.to_string())).unwrap());
        for proven in [sources.prove(60).await, sources.read_back(goes(60, 70)).await] {
            for Proven { kind, covered, .. } in proven {
                assert_eq!(covered.is_ok(), is_vouched, "{kind:?}: {covered:?}");
            }
        }
        let (keep_for, now) = kept.kept_since(60).await;
        let archive = kept.archive.clone().requiring(trust.clone());
        let expired = archive.expire(keep_for, now, &Throttle::none()).await.unwrap();
        assert_eq!(expired.applied, is_vouched, "{expired:?}");
        // Where nobody must vouch for it, it is used.
        assert!(kept.sources().prove(60).await.iter().all(|proven| proven.covered.is_ok()));
    }
}
