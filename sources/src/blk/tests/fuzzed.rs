//! What the target of `fuzz/` does, over some changes of what is right: it has no fuzzer here.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::every_byte::with_witnesses;
use super::{mainnet, record};
use crate::blk::fuzzing;
use crate::directory::format_fuzzing as format;

/// Blocks of the main network; and blocks with witnesses, with a hole between them.
fn files() -> [Vec<u8>; 2] {
    let block = record(&with_witnesses(&[5; 32], true));
    [mainnet()[..700].to_vec(), [&block[..], &[0; 16], &block].concat()]
}

/// Blocks, and what is in one.
fn blocks() -> [Vec<u8>; 3] {
    let block = with_witnesses(&[5; 32], true);
    [mainnet()[8..223].to_vec(), block.clone(), block[80..].to_vec()]
}

fn harm(bytes: &mut Vec<u8>, changes: Vec<(Index, u8, u8)>) {
    for (at, how, byte) in changes {
        let at = at.index(bytes.len().max(1));
        match how {
            0 if at < bytes.len() => bytes[at] = byte,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            3 => bytes.extend_from_within(at..),
            _ => bytes.insert(at, byte),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_of_a_harmed_file_stands_there(
        which in 0..2_usize,
        key: [u8; 8],
        changes in vec((any::<Index>(), 0..5_u8, any::<u8>()), 0..4),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = files()[which].clone();
        harm(&mut bytes, changes);
        fuzzing::file(directory.path(), &bytes, key).unwrap();
    }

    #[test]
    fn what_is_accepted_is_one_block(
        which in 0..3_usize,
        at: usize,
        changes in vec((any::<Index>(), 0..5_u8, any::<u8>()), 0..3),
    ) {
        let mut bytes = blocks()[which].clone();
        harm(&mut bytes, changes);
        format::bitcoin(&bytes, at);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), at: usize) {
        format::bitcoin(&bytes, at);
    }

    #[test]
    fn names_of_files_are_read_as_they_are_written(name in "(block|proof)?_?[0-9a-fA-F+]{0,20}(.dat)?") {
        format::name(&name);
    }
}
