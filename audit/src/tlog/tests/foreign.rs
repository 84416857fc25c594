//! Others accept what is made here, and what others make is accepted here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::Sha256;
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles as theirs;

use super::{Tiles, grown, leaf};
use crate::tests::seed;
use crate::tlog::{
    Checkpoint, SigningKey, Tile, TreeHash, prove_consistency, prove_inclusion, verify_consistency,
    verify_inclusion,
};

/// A reader of tiles for the foreign one.
struct Reader<'a>(&'a Tiles);

impl theirs::TileReader for Reader<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[theirs::Tile]) -> Result<Vec<Vec<u8>>, theirs::Error> {
        let ours = |tile: &theirs::Tile| {
            let (level, index, width) = (tile.level(), tile.level_index(), tile.width() as u16);
            let ours = Tile { level, index, width };
            assert_eq!(tile.path().replace("tile/8/", "tile/"), ours.path());
            self.0.read(&ours).unwrap()
        };
        Ok(tiles.iter().map(ours).collect())
    }

    fn save_tiles(&self, _: &[theirs::Tile], _: &[Vec<u8>]) {}
}

fn hash(ours: TreeHash) -> theirs::Hash {
    theirs::Hash(*ours.as_bytes())
}

fn ours(hashes: &[theirs::Hash]) -> Vec<TreeHash> {
    hashes.iter().map(|hash| TreeHash::from_bytes(hash.0)).collect()
}

#[test]
fn trees_and_proofs_of_tlog_tiles() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    for size in [1, 2, 3, 255, 256, 257, 65_536, 66_001, rng.random_range(1_000..40_000)] {
        let (tree, tiles) = grown(size);
        let reader = Reader(&tiles);
        let root = hash(tree.root());
        // It checks every tile that it is given against the root.
        let reader = theirs::TileHashReader::new(size, root, &reader);
        assert_eq!(theirs::tree_hash(size, &reader).unwrap(), root, "size {size}");
        for _ in 0..10 {
            let index = rng.random_range(0..size);
            let proof = theirs::prove_record(size, index, &reader).unwrap();
            let own = prove_inclusion(size, index, |tile| tiles.read(tile)).unwrap();
            assert_eq!(ours(&proof), own);
            verify_inclusion(size, tree.root(), index, &leaf(index), &ours(&proof)).unwrap();
            let own = own.into_iter().map(hash).collect();
            let record = theirs::record_hash(&leaf(index));
            theirs::check_record(&own, size, root, index, record).unwrap();
        }
        let old = rng.random_range(1..=size);
        let before = grown(old).0.root();
        let proof = theirs::prove_tree(size, old, &reader).unwrap();
        let own = prove_consistency(old, size, |tile| tiles.read(tile)).unwrap();
        verify_consistency((old, before), (size, tree.root()), &ours(&proof)).unwrap();
        let own = own.into_iter().map(hash).collect();
        theirs::check_tree(&own, size, root, old, hash(before)).unwrap();
    }
}

#[test]
fn roots_of_ct_merkle() {
    let mut other = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for size in 1..600 {
        other.push(leaf(size - 1));
        let (tree, _) = grown(size);
        assert_eq!(tree.root().as_bytes()[..], other.root().as_bytes()[..], "size {size}");
    }
}

#[test]
fn notes_of_signed_note() {
    // Its documentation's key, so that both sign with the same.
    let secret = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let mut theirs = Note::new(text.as_bytes(), &[]).unwrap();
    theirs.add_sigs(&[&StandardSigner::new(secret).unwrap()]).unwrap();
    let theirs = String::from_utf8(theirs.to_bytes()).unwrap();

    let encoded = &secret["PRIVATE+KEY+PeterNeumann+c74f20a3+".len()..];
    let bytes = STANDARD.decode(encoded).unwrap();
    let key = SigningKey::from_seed("PeterNeumann", bytes[1..].try_into().unwrap()).unwrap();
    assert_eq!(key.sign(text).unwrap(), theirs, "Ed25519 has one signature of a text");
    // The file of a key is what others read, and theirs is read here.
    assert_eq!(key.to_secret(), secret);
    assert_eq!(secret.parse::<SigningKey>().unwrap().verifier(), key.verifier());
    StandardSigner::new(&key.to_secret()).unwrap();
    assert_eq!(key.verifier().open(&theirs).unwrap(), text);

    let origin = "example.org/log".to_owned();
    let checkpoint = Checkpoint { origin, size: 12, root: grown(12).0.root() }.to_string();
    let note = key.sign(&checkpoint).unwrap();
    let verifier = StandardVerifier::new(&key.verifier().to_string()).unwrap();
    let parsed = Note::from_bytes(note.as_bytes()).unwrap();
    let (verified, unverified) =
        parsed.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    let read = tlog_tiles::Checkpoint::from_bytes(parsed.text()).unwrap();
    assert_eq!((read.origin(), read.size(), read.extension()), ("example.org/log", 12, ""));
    assert_eq!(*read.hash(), hash(grown(12).0.root()));
}
