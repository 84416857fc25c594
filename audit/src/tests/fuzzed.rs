//! What the target of `fuzz/` does, over some changes of what is right: it has no fuzzer here.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_proto::Digest;
use tipline_store::conformance::history::{History, log};

use super::seed;
use crate::fuzzing;
use crate::signers::{SignerKey, parse_trust};

const SEEDS: &[&str] = &[
    "example.com/log\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
    "old 0\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\nexample.com/log\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
    "witness a remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2\ngroup g any a\nquorum g\n",
    "c2sp.org/tlog-proof@v1\nextra aGVsbG8=\nindex 7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\nexample.com/log\n9\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} a YWFhYWFh\n",
    "quorum none\n\0tipline certificate v1\norigin a\nentries 1 to 2\n\nquorum none\n\na\n2\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} a YWFhYWFh\n",
];

/// The file of a key that succeeded another one, and of those who trust both.
fn keys() -> [String; 2] {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let first = SignerKey::create(&path("a"), "node", &[1; 32]).unwrap();
    let next = first.rotate(&path("b"), &[2; 32]).unwrap();
    let (first, key) = (first.verifier(), next.verifier());
    [
        next.to_text().unwrap(),
        format!("# who\nprimary {key}\nprimary {first}\nconsumer b-1 {key}\n"),
    ]
}

#[test]
fn decoders_of_what_strangers_give_do_not_panic() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let keys = keys();
    let seeds: Vec<&str> = SEEDS.iter().copied().chain(keys.iter().map(|text| &**text)).collect();
    seeds.iter().for_each(|text| fuzzing::text(text));
    assert!(SignerKey::parse(&keys[0]).is_ok() && parse_trust("".as_ref(), &keys[1]).is_ok());
    for _ in 0..1_200 {
        let mut bytes = seeds[rng.random_range(0..seeds.len())].as_bytes().to_vec();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..3) {
                0 => bytes[at] = rng.random(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\n+ 0\x1f"[rng.random_range(0..5)]),
            }
        }
        fuzzing::text(&String::from_utf8_lossy(&bytes));
    }
    let entry = &History::random(seed, 1).entries[0];
    let whole = entry.preimage(&Digest::origin(&log()));
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] = rng.random();
        fuzzing::leaf(&bytes);
        fuzzing::leaf(&whole[..at]);
    }
}
