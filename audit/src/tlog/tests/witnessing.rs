//! When a witness agrees.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::cosignatures::checkpoint;
use super::grown;
use crate::tests::seed;
use crate::tlog::{
    AddCheckpoint, Checkpoint, NotContinued, TreeHash, VerifierKey, check_continues, leaf_hash,
    prove_consistency,
};

/// A request that litewitness answers with 200, from its tests; and the public key of its log.
const THEIRS: &str = "old 0\n\nsigsum.org/v1/tree/985ea163f5af026723561354f51f2ebcdcf2af809ce254ccfb64aa9aadd80f90\n1\nKgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} sigsum.org/v1/tree/985ea163f5af026723561354f51f2ebcdcf2af809ce254ccfb64aa9aadd80f90 7BKT0gOfNZ1J0So9unY3BZtm2YkPIoNYM/dce0Z2avJDs8dxN6ts9bOSwwrVrbjm6P9K3ZxpK6jJngOG6YvGGzV/lwo=\n";
const THEIR_KEY: [u8; 32] = [
    0x52, 0xc0, 0x5e, 0xda, 0xd1, 0xbf, 0x5f, 0xef, 0xfa, 0x81, 0x35, 0x4f, 0xaa, 0xe5, 0x9a, 0x65,
    0x5d, 0x9a, 0x9a, 0x1a, 0x79, 0x3e, 0xd2, 0xf6, 0x2c, 0x39, 0xc2, 0x6c, 0x0b, 0xe2, 0xae, 0xcd,
];

#[test]
fn requests_of_others_are_read() {
    let request: AddCheckpoint = THEIRS.parse().unwrap();
    assert_eq!((request.old, request.hashes.len()), (0, 0));
    assert_eq!(request.to_string(), THEIRS);
    let origin = request.note.lines().next().unwrap();
    let key = VerifierKey::from_bytes(origin, &THEIR_KEY).unwrap();
    let new: Checkpoint = key.open(&request.note).unwrap().parse().unwrap();
    assert_eq!(check_continues(None, &request, &new), Ok(()));
}

#[test]
fn what_is_no_request_is_refused() {
    let hash = "KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let many = format!("old 3\n{}\nnote\n", format!("{hash}\n").repeat(64));
    let most = format!("old 3\n{}\nnote\n", format!("{hash}\n").repeat(63));
    assert_eq!(most.parse::<AddCheckpoint>().unwrap().hashes.len(), 63);
    let cases = [
        "",
        "\n\n",
        "old 1\nnote\n",
        "old 01\n\nnote\n",
        "old +1\n\nn\n",
        "old\n\nn\n",
        "new 1\n\nn\n",
        "old 1\nno hash\n\nnote\n",
        "old 18446744073709551616\n\nn\n",
        &many,
    ];
    for text in cases {
        assert!(text.parse::<AddCheckpoint>().is_err(), "{text:?}");
    }
}

#[test]
fn only_what_continues_is_cosigned() {
    let mut rng = StdRng::seed_from_u64(seed());
    let request =
        |old: u64, hashes: Vec<TreeHash>| AddCheckpoint { old, hashes, note: String::new() };
    for _ in 0..20 {
        let new_size = rng.random_range(2..3_000);
        let old_size = rng.random_range(1..new_size);
        let (tree, tiles) = grown(new_size);
        let kept = checkpoint(old_size, grown(old_size).0.root());
        let new = checkpoint(new_size, tree.root());
        let proof = prove_consistency(old_size, new_size, |tile| tiles.read(tile)).unwrap();
        let check = |kept: Option<&Checkpoint>, old: u64, hashes: &[TreeHash], new: &Checkpoint| {
            check_continues(kept, &request(old, hashes.to_vec()), new)
        };
        assert_eq!(check(Some(&kept), old_size, &proof, &new), Ok(()));
        assert_eq!(check(None, 0, &[], &new), Ok(()), "the first that it sees");
        // What was cosigned is what counts, not what the request says.
        let behind = NotContinued::Behind { old: old_size, kept: 0 };
        assert_eq!(check(None, old_size, &proof, &new), Err(behind));
        let behind = NotContinued::Behind { old: 0, kept: old_size };
        assert_eq!(check(Some(&kept), 0, &[], &new), Err(behind), "it does not forget");
        // Smaller than what was cosigned.
        let back = check(Some(&new), new_size, &[], &kept);
        assert!(matches!(back, Err(NotContinued::Backwards { .. })), "{back:?}");
        let back = check(Some(&new), old_size, &[], &kept);
        assert!(matches!(back, Err(NotContinued::Behind { .. })), "{back:?}");
        // Another history: of the same size, or a larger one.
        let other = checkpoint(new_size, leaf_hash(b"other"));
        let forked = check(Some(&new), new_size, &[], &other);
        assert_eq!(forked, Err(NotContinued::Forked { size: new_size }));
        let wrong = NotContinued::Inconsistent { old: old_size, new: new_size };
        assert_eq!(check(Some(&kept), old_size, &proof, &other), Err(wrong.clone()));
        for at in 0..proof.len() {
            let mut changed = proof.clone();
            changed[at] = leaf_hash(b"x");
            assert_eq!(check(Some(&kept), old_size, &changed, &new), Err(wrong.clone()));
        }
        assert_eq!(check(Some(&kept), old_size, &[], &new), Err(wrong));
        // Again, with nothing to prove.
        assert_eq!(check(Some(&new), new_size, &[], &new), Ok(()));
        let more = check(Some(&new), new_size, &proof, &new);
        assert!(matches!(more, Err(NotContinued::Inconsistent { .. })) || proof.is_empty());
        let more = check(None, 0, &[leaf_hash(b"x")], &new);
        assert!(matches!(more, Err(NotContinued::Inconsistent { .. })));
    }
    let (empty, wrong) = (checkpoint(0, TreeHash::empty()), checkpoint(0, leaf_hash(b"x")));
    assert_eq!(check_continues(None, &request(0, vec![]), &empty), Ok(()));
    assert!(check_continues(None, &request(0, vec![]), &wrong).is_err());
    let new = checkpoint(1, leaf_hash(b"x"));
    assert_eq!(check_continues(Some(&empty), &request(0, vec![]), &new), Ok(()));
}
