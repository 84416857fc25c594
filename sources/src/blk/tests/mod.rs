mod damage;
mod durable;
mod every_byte;
mod follow;
mod fuzzed;
mod links;
mod node;
mod torn;
mod whole;
mod writers;

use std::path::{Path, PathBuf};

use tipline_proto::Hash;

use super::check::double_sha256;

/// Mainnet blocks 1 to 255.
pub(super) fn mainnet() -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/bitcoin-mainnet-1-255.blk.dat");
    std::fs::read(&path).unwrap()
}

/// The genesis of Bitcoin's mainnet, in the order of its bytes.
pub(super) fn mainnet_genesis() -> Hash {
    "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000".parse().unwrap()
}

pub(super) fn write(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A made-up block on this parent, with a body in its only transaction, and the little proof of
/// work that a test network wants.
pub(super) fn block(parent: &Hash, body: &str) -> Vec<u8> {
    block_of(parent, &[transaction(body)])
}

/// A transaction with this text in its only input.
pub(super) fn transaction(body: &str) -> Vec<u8> {
    assert!(body.len() < 0xfd);
    let input =
        [&[0; 32][..], &[0xff; 4], &[body.len() as u8], body.as_bytes(), &[0xff; 4]].concat();
    [&[1, 0, 0, 0, 1][..], &input, &[1], &[0; 8], &[0], &[0; 4]].concat()
}

/// A block of these transactions, none of which has a witness.
pub(super) fn block_of(parent: &Hash, transactions: &[Vec<u8>]) -> Vec<u8> {
    let mut level: Vec<[u8; 32]> = transactions.iter().map(|one| double_sha256(&[one])).collect();
    while level.len() > 1 {
        let above = |pair: &[[u8; 32]]| double_sha256(&[&pair[0], &pair[pair.len() - 1]]);
        level = level.chunks(2).map(above).collect();
    }
    mined(parent, level[0], transactions)
}

/// A block with this root.
pub(super) fn mined(parent: &Hash, root: [u8; 32], transactions: &[Vec<u8>]) -> Vec<u8> {
    let bits = [0xff, 0xff, 0x7f, 0x20];
    let start = [&[1, 0, 0, 0][..], parent.as_ref(), &root, &[7; 4], &bits].concat();
    let with_work = (0_u32..).map(|nonce| [&start[..], &nonce.to_le_bytes()].concat());
    let mut with_work = with_work.filter(|header| double_sha256(&[header])[31] < 0x7f);
    let count = [transactions.len() as u8];
    [&with_work.next().unwrap()[..], &count, &transactions.concat()].concat()
}

pub(super) fn hash(block: &[u8]) -> Hash {
    Hash::new(double_sha256(&[&block[..80]])).unwrap()
}

/// The record of a block.
pub(super) fn record(block: &[u8]) -> Vec<u8> {
    let mut record = vec![0xfa, 0xbf, 0xb5, 0xda];
    record.extend_from_slice(&(block.len() as u32).to_le_bytes());
    record.extend_from_slice(block);
    record
}

pub(super) fn xor(bytes: &[u8], key: [u8; 8]) -> Vec<u8> {
    bytes.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}
