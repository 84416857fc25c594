//! What the verifiable log costs: appending, proving and checking, for so many leaves of the size of a
//! block's preimage. Tiles go to a directory, as an archive would have them.
//!
//! `cargo run --release --package tipline-audit --example tree-cost -- 10000000`
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "an example that measures")]

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use tipline_audit::tlog::{
    BadProof, Checkpoint, InclusionProof, SigningKey, Tile, Tree, leaf_hash, prove_consistency,
    prove_inclusion,
};

/// Bytes of a block's preimage with hashes of 32 bytes.
const LEAF: usize = 199;

fn leaf(number: u64) -> [u8; LEAF] {
    let mut leaf = [0x5a; LEAF];
    leaf[..8].copy_from_slice(&number.to_be_bytes());
    leaf
}

fn main() {
    let size: u64 = std::env::args().nth(1).map_or(1_000_000, |size| size.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (mut tree, mut bytes, mut writing) = (Tree::new(), 0, Duration::ZERO);
    let mut folders = BTreeSet::new();
    let mut write = |tile: Tile, hashes: Vec<u8>| {
        let began = Instant::now();
        let path = directory.path().join(tile.path());
        let folder = path.parent().unwrap().to_owned();
        if folders.insert(folder.clone()) {
            fs::create_dir_all(folder).unwrap();
        }
        bytes += hashes.len();
        fs::write(path, hashes).unwrap();
        writing += began.elapsed();
    };
    let began = Instant::now();
    for number in 0..size {
        tree.append(leaf_hash(&leaf(number)), &mut write);
    }
    let hashing = began.elapsed();
    tree.partial().into_iter().for_each(|(tile, hashes)| write(tile, hashes));
    let hashing = hashing.saturating_sub(writing);
    println!("{size} leaves of {LEAF} bytes");
    println!(
        "append: {:.3} µs a leaf, without writing tiles",
        hashing.as_secs_f64() * 1e6 / size as f64
    );
    println!("write:  {:.3} µs a leaf, not fsynced", writing.as_secs_f64() * 1e6 / size as f64);
    println!("tiles:  {:.2} bytes a leaf", bytes as f64 / size as f64);

    let key = SigningKey::from_seed("example.org/log", &[7; 32]).unwrap();
    let origin = "example.org/log".to_owned();
    let checkpoint = Checkpoint { origin, size, root: tree.root() }.to_string();
    let checkpoint = key.sign(&checkpoint).unwrap();
    let read = |tile: &Tile| -> Result<Vec<u8>, BadProof> {
        Ok(fs::read(directory.path().join(tile.path())).unwrap())
    };
    let rounds = 1_000;
    let (mut proving, mut checking, mut largest) = (Duration::ZERO, Duration::ZERO, 0);
    for round in 0..rounds {
        let index = round * 7_919_317 % size;
        let began = Instant::now();
        let hashes = prove_inclusion(size, index, read).unwrap();
        proving += began.elapsed();
        let proof = InclusionProof { extra: None, index, hashes, checkpoint: checkpoint.clone() };
        largest = largest.max(proof.to_string().len());
        let began = Instant::now();
        proof.check(&leaf(index), "example.org/log", &key.verifier()).unwrap();
        checking += began.elapsed();
    }
    let each = |all: Duration| all.as_secs_f64() * 1e3 / rounds as f64;
    println!("prove:  {:.3} ms from the directory, {largest} bytes at most", each(proving));
    println!("check:  {:.3} ms", each(checking));
    let began = Instant::now();
    let hashes = prove_consistency(size / 3, size, read).unwrap();
    println!("consistency: {} hashes, {:.3} ms", hashes.len(), began.elapsed().as_secs_f64() * 1e3);
}
