mod follow;
mod links;
mod whole;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tipline_proto::Hash;

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

/// A made-up block on this parent: a header, and a body.
pub(super) fn block(parent: &Hash, body: &str) -> Vec<u8> {
    let mut block = vec![1, 0, 0, 0];
    block.extend_from_slice(parent.as_ref());
    let digest = Sha256::digest(body.as_bytes());
    block.extend_from_slice(&digest);
    block.resize(80, 7);
    block.extend_from_slice(body.as_bytes());
    block
}

pub(super) fn hash(block: &[u8]) -> Hash {
    Hash::new(Sha256::digest(Sha256::digest(&block[..80])).to_vec()).unwrap()
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
