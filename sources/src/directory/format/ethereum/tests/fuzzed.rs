//! What the target of `fuzz/` does, over some changes of what is right: it has no fuzzer here.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::fuzzing::seal;
use super::{mainnet, read};
use crate::directory::format::fuzzing::ethereum;

const HEIGHTS: [u64; 4] = [0, 1, 14_764_013, 15_537_393];

#[test]
fn what_is_sealed_has_the_hash_of_its_header() {
    // Nothing in it, before Shanghai and since.
    for body in [&[0xc0, 0xc0][..], &[0xc0, 0xc0, 0xc0]] {
        let block = seal(7, body).unwrap();
        assert!(read(7, &block).is_ok() && read(8, &block).is_err());
    }
    assert_eq!(seal(7, &[0xc0]), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_one_block(
        which in 0..HEIGHTS.len(),
        at: usize,
        changes in vec((any::<Index>(), 0..3_u8, any::<u8>()), 0..3),
    ) {
        let mut bytes = mainnet(HEIGHTS[which]);
        for (at, how, byte) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        ethereum(HEIGHTS[which], &bytes, at);
    }

    /// Small lists of small items, with the header that belongs to them.
    #[test]
    fn what_is_sealed_is_one_block(
        height: u64,
        at: usize,
        lists in vec(vec(0..4_u8, 0..4), 1..4),
    ) {
        let item = |kind: &u8| [&[0xc0][..], &[0x01], &[0xc2, 0x80, 0x05], &[0x82, 0x02, 0xff]][usize::from(*kind)];
        let list = |items: &Vec<u8>| {
            let items = items.iter().map(item).collect::<Vec<_>>().concat();
            [&[0xc0 + items.len() as u8], &items[..]].concat()
        };
        let body: Vec<u8> = lists.iter().flat_map(list).collect();
        ethereum(height, &body, at);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), at: usize) {
        ethereum(1, &bytes, at);
    }
}
