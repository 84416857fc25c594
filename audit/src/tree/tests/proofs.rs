use std::fs;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_proto::{Entry, Event, Kind};
use tipline_store::conformance::history::{History, log_with_lineage};
use tokio_util::sync::CancellationToken;

use super::witnessed::{AT, cosigner};
use super::{Site, key, verifier};
use crate::AuditError;
use crate::tests::seed;
use crate::tlog::{Checkpoint, InclusionProof, SigningKey, leaf_hash};
use crate::tree::{Leaf, Proven, TreeError, Wanted, check_proof, origin, prove_entry};

pub(super) async fn prove(site: &Site, index: u64) -> Result<(InclusionProof, Leaf), AuditError> {
    prove_wanted(site, Wanted::Index(index)).await
}

async fn prove_wanted(site: &Site, wanted: Wanted) -> Result<(InclusionProof, Leaf), AuditError> {
    let stop = CancellationToken::new();
    prove_entry(&site.archive.archive, &site.place(), &wanted, &stop).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_that_is_signed_is_proven_and_checked_with_the_key_alone() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let history = History::random(seed, 700);
    let site = Site::new(&history.entries, 700).await;
    let error = prove(&site, 1).await.unwrap_err();
    assert!(matches!(error, AuditError::Tree(TreeError::NotFound { .. })), "{error:?}");
    site.sign().await.unwrap();
    let random = (0..30).map(|_| rng.random_range(1..=700));
    for index in [1, 2, 256, 257, 512, 513, 699, 700].into_iter().chain(random) {
        let (proof, _) = prove(&site, index).await.unwrap();
        let Proven { leaf, checkpoint } = check_proof(&proof.to_string(), &verifier()).unwrap();
        let entry = &history.entries[index as usize - 1];
        assert_eq!((leaf.index, leaf.digest, checkpoint.size), (index, entry.digest, 700));
        assert_eq!(
            (leaf.epoch, leaf.time, leaf.kind),
            (entry.epoch, entry.time, entry.event.kind())
        );
        let payload = entry.event.payload();
        assert!(leaf.has_payload(payload) && leaf.payload_bytes == payload.len() as u64);
        let mut other = payload.to_vec();
        match other.first_mut() {
            Some(byte) => *byte ^= 1,
            None => other.push(0),
        }
        assert!(!leaf.has_payload(&other));
        if let Event::BlockCommitted { height, hash, .. } = &entry.event {
            assert_eq!((leaf.height, leaf.label.as_slice()), (*height, hash.as_ref()));
        }
    }
    for index in [0, 701] {
        let error = prove(&site, index).await.unwrap_err();
        assert!(
            matches!(error, AuditError::Tree(TreeError::NotYet { size: 700, .. })),
            "{error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_changed_byte_of_a_proof_fails() {
    let history = History::random(seed(), 700);
    let site = Site::new(&history.entries, 700).await;
    site.sign().await.unwrap();
    let text = prove(&site, 321).await.unwrap().0.to_string();
    let key = verifier();
    check_proof(&text, &key).unwrap();
    for at in 0..text.len() {
        for flip in [1, 2, 16, 32] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= flip;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(check_proof(&changed, &key).is_err(), "byte {at} ^ {flip}: {changed}");
        }
        let mut bytes = text.clone().into_bytes();
        bytes.remove(at);
        let shorter = String::from_utf8(bytes);
        assert!(shorter.is_err() || check_proof(&shorter.unwrap(), &key).is_err(), "byte {at}");
    }
    for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
        assert!(check_proof(&text[..cut], &key).is_err(), "cut at {cut}");
    }
    // What others signed is for a policy to check.
    let (_, checkpoint) = text.split_once("\n\n").unwrap();
    let line = cosigner("w.example", 3).cosign(checkpoint, AT).unwrap();
    let changed = line.replacen("AAA", "ABA", 1);
    assert_ne!(line, changed);
    for line in [line, changed] {
        check_proof(&format!("{text}{line}"), &key).unwrap();
    }
    // Another key, and one of another lineage with the same secret.
    let stranger = SigningKey::from_seed(key.name(), &[8; 32]).unwrap().verifier();
    assert!(check_proof(&text, &stranger).is_err());
    assert!(check_proof(&text, &super::key(&log_with_lineage(9)).verifier()).is_err());
    // Without the entry, or with another one of the same tree.
    let mut proof: InclusionProof = text.parse().unwrap();
    let (other, _) = prove(&site, 322).await.unwrap();
    for extra in [None, other.extra, Some(Vec::new())] {
        proof.extra = extra;
        assert!(check_proof(&proof.to_string(), &key).is_err());
    }
}

/// A leaf of a tree that is signed rightly, and is no entry of a log at its place.
#[test]
fn what_is_in_the_tree_and_is_no_entry_at_its_place_is_refused() {
    let history = History::random(3, 2);
    let log = tipline_store::conformance::history::log();
    let origin_digest = tipline_proto::Digest::origin(&log);
    let preimage = history.entries[0].preimage(&origin_digest);
    let second = history.entries[1].preimage(&history.entries[0].digest);
    let long = [&preimage[..], &[0]].concat();
    for (leaf, good) in
        [(&preimage, true), (&second, false), (&long, false), (&b"x".to_vec(), false)]
    {
        let name = origin("example.org", &log);
        let checkpoint = Checkpoint { origin: name, size: 1, root: leaf_hash(leaf) };
        let checkpoint = key(&log).sign(&checkpoint.to_string()).unwrap();
        let extra = Some(leaf.clone());
        let proof = InclusionProof { extra, index: 0, hashes: Vec::new(), checkpoint };
        assert_eq!(check_proof(&proof.to_string(), &verifier()).is_ok(), good);
    }
    for cut in 0..preimage.len() {
        assert!(Leaf::parse(&preimage[..cut]).is_err(), "{cut}");
    }
}

/// 24 hashes are enough for 10^7 entries.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_among_ten_million_entries_is_below_two_kib() {
    let history = History::random(seed(), 300);
    let site = Site::new(&history.entries, 300).await;
    site.sign().await.unwrap();
    let block = history.entries.iter().find(|one| one.event.kind() == Kind::BlockCommitted);
    let (mut proof, _) = prove(&site, block.unwrap().index).await.unwrap();
    // A block with hashes of 32 bytes each, and an origin under a long domain.
    proof.extra = Some(vec![0x5a; 199]);
    proof.hashes = vec![leaf_hash(b"x"); 24];
    proof.index = 9_999_999;
    let log = tipline_store::conformance::history::log();
    let name = origin("transparency.logs.example.org", &log);
    let checkpoint =
        Checkpoint { origin: name.clone(), size: 10_000_000, root: leaf_hash(b"x") }.to_string();
    proof.checkpoint = SigningKey::from_seed(&name, &[1; 32]).unwrap().sign(&checkpoint).unwrap();
    let length = proof.to_string().len();
    assert!(length < 2 << 10, "{length}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_found_by_height_and_by_hash() {
    let history = History::random(seed(), 700);
    let site = Site::new(&history.entries, 600).await;
    site.sign().await.unwrap();
    site.archive_more(600, 700).await;
    let find = async |wanted: Wanted| {
        let (proof, leaf) = prove_wanted(&site, wanted).await?;
        assert_eq!(proof.index + 1, leaf.index);
        Ok::<u64, AuditError>(leaf.index)
    };
    let mut tried = 0;
    for entry in history.entries[..600].iter().rev().step_by(7) {
        let Event::BlockCommitted { height, hash, .. } = &entry.event else { continue };
        let newest = |is_it: &dyn Fn(&Event) -> bool| {
            history.entries[..600].iter().rev().find(|one| is_it(&one.event)).unwrap().index
        };
        let by_height = newest(
            &|event| matches!(event, Event::BlockCommitted { height: at, .. } if at == height),
        );
        let by_hash = newest(
            &|event| matches!(event, Event::BlockCommitted { hash: one, .. } if one == hash),
        );
        assert_eq!(find(Wanted::Height(*height)).await.unwrap(), by_height);
        assert_eq!(find(Wanted::Hash(hash.clone())).await.unwrap(), by_hash);
        assert_eq!(find(Wanted::Hash(hash.reversed())).await.unwrap(), by_hash);
        tried += 1;
    }
    assert!(tried > 5, "{tried}");
    let error = find(Wanted::Height(1 << 40)).await.unwrap_err();
    assert!(matches!(error, AuditError::Tree(TreeError::Unknown { .. })), "{error:?}");
}

/// Indexes are not signed: whoever may write to the archive puts another segment beside the right one.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_an_index_has_in_the_wrong_place_is_not_proven() {
    let seed = seed();
    let [entries, other] = [seed, seed ^ 1].map(|seed| History::random(seed, 600).entries);
    let site = Site::new(&entries, 600).await;
    site.sign().await.unwrap();
    // It is looked into first, and is not what is read.
    site.archive.segment(&other, 480, 600).await;
    let mut refused = 0;
    for (at, entry) in other.iter().enumerate().skip(541) {
        let Event::BlockCommitted { height, hash, .. } = &entry.event else { continue };
        let is_same = |one: &Entry| match &one.event {
            Event::BlockCommitted { height: at, hash: of, .. } => at == height || of == hash,
            _ => false,
        };
        // Only the newest one is found.
        if other[at + 1..].iter().any(is_same) || is_same(&entries[at]) {
            continue;
        }
        for wanted in [Wanted::Height(*height), Wanted::Hash(hash.clone())] {
            let error = prove_wanted(&site, wanted.clone()).await.unwrap_err();
            let AuditError::Tree(TreeError::OtherEntry { index, what, .. }) = &error else {
                unreachable!("{error:?}")
            };
            assert_eq!((*index, what), (entry.index, &wanted.to_string()));
            refused += 1;
        }
    }
    assert!(refused > 3, "{refused}");
    prove(&site, 600).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_contradict_each_other_are_found_from_the_archive_alone() {
    let history = History::random(seed(), 700);
    let site = Site::new(&history.entries, 300).await;
    let old = site.sign().await.unwrap().unwrap().checkpoint;
    site.archive_more(300, 700).await;
    let new = site.sign().await.unwrap().unwrap().checkpoint;
    let check = async |old: &Checkpoint, new: &Checkpoint| {
        site.place().consistency(old.clone(), new.clone()).await
    };
    assert!(!check(&old, &new).await.unwrap().hashes.is_empty());
    assert!(check(&new, &new).await.unwrap().hashes.is_empty());
    let forged = Checkpoint { root: leaf_hash(b"x"), ..old.clone() };
    let error = check(&forged, &new).await.unwrap_err();
    assert!(matches!(error, TreeError::NotConsistent(_)), "{error:?}");
    let other = Checkpoint { origin: "example.org/other".into(), ..old.clone() };
    for (old, new) in [(&other, &new), (&new, &old)] {
        let error = check(old, new).await.unwrap_err();
        assert!(matches!(error, TreeError::NotConsistent(_)), "{error:?}");
    }
    let twin = Checkpoint { root: leaf_hash(b"x"), ..new.clone() };
    assert!(matches!(check(&new, &twin).await, Err(TreeError::NotConsistent(_))));
    // The archive is of another log.
    let origin = origin("example.org", &log_with_lineage(9));
    let [one, two] = [&old, &new].map(|of| Checkpoint { origin: origin.clone(), ..of.clone() });
    assert!(matches!(check(&one, &two).await, Err(TreeError::WrongKey { .. })));
    // Of tiles that are not those of the later one nothing is learnt.
    assert!(matches!(check(&old, &twin).await, Err(TreeError::WrongRoot { size: 700, .. })));
    let path = site.tree().join("tile/0/002.p/188");
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(check(&old, &new).await, Err(TreeError::WrongRoot { size: 700, .. })));
}

/// What proves the beginning is in tiles below those that give the root.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_tile_is_no_evidence_against_a_log() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let history = History::random(seed, 700);
    let site = Site::new(&history.entries, 0).await;
    let (mut at, mut signed) = (0, Vec::new());
    // Powers of two, too: no hash of a proof gives the root of such a beginning.
    for end in [1, 2, 128, 255, 256, 257, 300, 512, 700] {
        site.archive_more(at, end).await;
        signed.push(site.sign().await.unwrap().unwrap().checkpoint);
        at = end;
    }
    let new = signed.pop().unwrap();
    let check = async |old: &Checkpoint| site.place().consistency(old.clone(), new.clone()).await;
    let forked = |old: &Checkpoint| Checkpoint { root: leaf_hash(b"another"), ..old.clone() };
    for old in &signed {
        check(old).await.unwrap();
        let error = check(&forked(old)).await.unwrap_err();
        assert!(matches!(error, TreeError::NotConsistent(_)), "{}: {error:?}", old.size);
    }
    let mut damaged = 0;
    for name in ["tile/0/000", "tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2"] {
        let path = site.tree().join(name);
        let whole = fs::read(&path).unwrap();
        for _ in 0..8 {
            let mut bytes = whole.clone();
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
            fs::write(&path, bytes).unwrap();
            for old in &signed {
                match check(old).await {
                    // The proof of this one is in other tiles.
                    Ok(_) => {}
                    Err(TreeError::WrongRoot { size: 700, .. }) => damaged += 1,
                    Err(error) => unreachable!("{name}, byte {at}, {}: {error:?}", old.size),
                }
                assert!(check(&forked(old)).await.is_err(), "{name}, byte {at}, {}", old.size);
            }
        }
        fs::write(&path, whole).unwrap();
    }
    assert!(damaged > 50, "{damaged}");
}
