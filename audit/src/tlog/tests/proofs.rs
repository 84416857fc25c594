//! The tree, its tiles, and what is proven from them.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_proto::{Digest, Entry};
use tipline_store::conformance::history::{History, log};

use super::{Tiles, grown, leaf};
use crate::tests::seed;
use crate::tlog::{
    BadProof, BadTile, Checkpoint, InclusionProof, SigningKey, Tile, Tree, TreeHash, leaf_hash,
    prove_consistency, prove_inclusion, root, verify_consistency, verify_inclusion,
};

/// Of the reference implementation of RFC 6962.
const LEAVES: [&[u8]; 8] = [
    b"",
    &[0x00],
    &[0x10],
    &[0x20, 0x21],
    &[0x30, 0x31],
    &[0x40, 0x41, 0x42, 0x43],
    &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
    &[
        0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e,
        0x6f,
    ],
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn roots_are_those_of_the_reference() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Tree::new().root().to_string(), empty);
    let mut tree = Tree::new();
    for (leaf, root) in LEAVES.iter().zip(ROOTS) {
        tree.append(leaf_hash(leaf), |_, _| panic!("no tile is full"));
        assert_eq!(tree.root().to_string(), root);
    }
}

#[test]
fn paths_and_widths_are_those_of_the_specification() {
    let tile = |level, index, size| Tile::of_tree(level, index, size).unwrap();
    assert_eq!(tile(0, 1_234_067, u64::MAX).path(), "tile/0/x001/x234/067");
    assert_eq!(tile(0, 0, 256).path(), "tile/0/000");
    assert_eq!(tile(1, 0, 256).path(), "tile/1/000.p/1");
    // 273 full tiles and a partial one, one full tile and a partial one, and a last one.
    assert_eq!(tile(0, 272, 70_000).path(), "tile/0/272");
    assert_eq!(tile(0, 273, 70_000).path(), "tile/0/273.p/112");
    assert_eq!(tile(1, 0, 70_000).path(), "tile/1/000");
    assert_eq!(tile(1, 1, 70_000).path(), "tile/1/001.p/17");
    assert_eq!(tile(2, 0, 70_000).path(), "tile/2/000.p/1");
    for (level, index) in [(0, 274), (1, 2), (2, 1), (3, 0), (63, 0)] {
        assert_eq!(Tile::of_tree(level, index, 70_000), None, "empty tiles are not served");
    }
    let (_, tiles) = grown(70_000);
    let partial = tiles.tiles.keys().filter(|tile| !tile.is_full()).count();
    assert_eq!((tiles.tiles.len(), partial), (277, 3));
}

#[test]
fn whatever_the_size_every_proof_holds_and_every_other_one_does_not() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let sizes = (1..=20).chain([255, 256, 257, 511, 512, 65_536, 65_537]);
    let random: Vec<u64> = (0..6).map(|_| rng.random_range(300..70_000)).collect();
    for size in sizes.chain(random) {
        let (tree, tiles) = grown(size);
        let read = |tile: &Tile| tiles.read(tile);
        assert_eq!(root(size, read).unwrap(), tree.root(), "size {size}");
        for _ in 0..20 {
            let index = rng.random_range(0..size);
            let hashes = prove_inclusion(size, index, read).unwrap();
            let verify = |root, index, leaf: &[u8], hashes: &[TreeHash]| {
                verify_inclusion(size, root, index, leaf, hashes)
            };
            assert_eq!(verify(tree.root(), index, &leaf(index), &hashes), Ok(()));
            assert!(verify(tree.root(), index, &leaf(index + 1), &hashes).is_err());
            assert!(verify(leaf_hash(b"x"), index, &leaf(index), &hashes).is_err());
            assert!(
                size == 1
                    || verify(tree.root(), (index + 1) % size, &leaf(index), &hashes).is_err()
            );
            assert!(verify(tree.root(), size, &leaf(index), &hashes).is_err());
            for at in 0..hashes.len() {
                let mut wrong = hashes.clone();
                wrong[at] = leaf_hash(b"another");
                assert!(verify(tree.root(), index, &leaf(index), &wrong).is_err());
            }
            if let Some((_, fewer)) = hashes.split_last() {
                assert!(verify(tree.root(), index, &leaf(index), fewer).is_err());
            }
        }
        let old = rng.random_range(1..=size);
        let before = grown(old).0.root();
        let hashes = prove_consistency(old, size, read).unwrap();
        let (small, large) = ((old, before), (size, tree.root()));
        assert_eq!(verify_consistency(small, large, &hashes), Ok(()), "{old} of {size}");
        assert!(verify_consistency((old, leaf_hash(b"x")), large, &hashes).is_err());
        let other = (size, leaf_hash(b"x"));
        assert!(old == size || verify_consistency(small, other, &hashes).is_err());
    }
    let (_, tiles) = grown(5);
    assert!(matches!(prove_inclusion(5, 5, |tile| tiles.read(tile)), Err(BadProof::Range { .. })));
    assert!(matches!(
        prove_consistency(0, 5, |tile| tiles.read(tile)),
        Err(BadProof::Range { .. })
    ));
    // No tree is as large.
    for size in [(1 << 62) + 1, u64::MAX] {
        let root = root(size, |tile| tiles.read(tile));
        assert!(matches!(root, Err(BadProof::Range { .. })), "{root:?}");
    }
    assert!(matches!(
        prove_consistency(6, 5, |tile| tiles.read(tile)),
        Err(BadProof::Range { .. })
    ));
}

#[test]
fn a_tree_is_continued_from_its_right_edge() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..10 {
        let size = rng.random_range(0..70_000);
        let (tree, mut tiles) = grown(size);
        let mut resumed = Tree::resume(size, |tile| tiles.read(tile)).unwrap();
        assert_eq!((resumed.root(), resumed.size()), (tree.root(), size));
        let more = size + rng.random_range(0..600);
        (size..more).for_each(|number| tiles.append(&mut resumed, &leaf(number)));
        assert_eq!(resumed.root(), grown(more).0.root(), "{size} to {more}");
    }
    let cut = Tree::resume(5, |_| Ok::<_, BadTile>(vec![0; 31])).unwrap_err();
    assert_eq!((cut.expected, cut.found), (160, 31));
}

/// The checkpoint and the proof of an entry of a log.
fn proven(history: &History, index: u64) -> (InclusionProof, Vec<u8>, SigningKey) {
    let (mut tree, mut tiles) = (Tree::new(), Tiles::default());
    let mut previous = Digest::origin(&log());
    let mut leaves = Vec::new();
    for entry in &history.entries {
        let preimage = entry.preimage(&previous);
        assert_eq!(blake3::hash(&preimage).as_bytes(), entry.digest.as_bytes());
        tiles.append(&mut tree, &preimage);
        leaves.push(preimage);
        previous = entry.digest;
    }
    tiles.publish(&tree);
    let key = SigningKey::from_seed("example.org/log", &[7; 32]).unwrap();
    let (origin, size) = ("example.org/log".to_owned(), tree.size());
    let checkpoint = Checkpoint { origin, size, root: tree.root() };
    let checkpoint = key.sign(&checkpoint.to_string()).unwrap();
    let hashes = prove_inclusion(size, index, |tile| tiles.read(tile)).unwrap();
    (InclusionProof { extra: None, index, hashes, checkpoint }, leaves[index as usize].clone(), key)
}

#[test]
fn a_proof_of_an_entry_is_checked_with_one_key_and_no_changed_byte_passes() {
    let history = History::random(seed(), 700);
    let (proof, preimage, key) = proven(&history, 321);
    let (text, key) = (proof.to_string(), key.verifier());
    let check = |text: &str| -> Result<Checkpoint, BadProof> {
        text.parse::<InclusionProof>()?.check(&preimage, "example.org/log", &key)
    };
    assert_eq!(text.parse::<InclusionProof>().unwrap(), proof);
    assert_eq!(check(&text).unwrap().size, 700);
    assert!(text.len() < 2048, "{}", text.len());
    for at in 0..text.len() {
        for flip in [1, 2, 16, 32] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= flip;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(check(&changed).is_err(), "byte {at} ^ {flip}: {changed}");
        }
    }
    for cut in 0..text.len() {
        if text.is_char_boundary(cut) {
            assert!(check(&text[..cut]).is_err(), "cut at {cut}");
        }
    }
    let other = proof.check(&preimage, "example.org/other", &key);
    assert!(matches!(other, Err(BadProof::WrongOrigin { .. })), "{other:?}");
    let mut entry: Entry = history.entries[321].clone();
    entry.time = tipline_proto::Timestamp::from_micros(0);
    let forged = entry.preimage(&history.entries[320].digest);
    assert!(matches!(proof.check(&forged, "example.org/log", &key), Err(BadProof::Wrong { .. })));
    // What nobody signed changes nothing of what is proven, as the specification has it.
    let extra = text.replacen("\nindex", "\nextra aGVsbG8=\nindex", 1);
    assert_eq!(check(&extra).unwrap().size, 700);
    let read: InclusionProof = extra.parse().unwrap();
    assert_eq!((read.extra.as_deref(), read.to_string()), (Some(&b"hello"[..]), extra));
    for bad in ["\nextra aGVsbG9=\nindex", "\nextra aGVsbG8\nindex", "\nextra =\nindex"] {
        let text = text.replacen("\nindex", bad, 1);
        assert!(text.parse::<InclusionProof>().is_err(), "{bad:?}");
    }
}
