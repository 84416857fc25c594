//! No byte of a block may be another one.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use super::super::rlp::cut;
use super::{BlockHeader, mainnet, read};

/// What a header says besides number and roots. Only the block above knows it.
const HASHED: [&str; 17] = [
    "baseFeePerGas",
    "beneficiary",
    "blobGasUsed",
    "difficulty",
    "excessBlobGas",
    "extraData",
    "gasLimit",
    "gasUsed",
    "logsBloom",
    "mixHash",
    "nonce",
    "parentBeaconBlockRoot",
    "parentHash",
    "receiptsRoot",
    "requestsHash",
    "stateRoot",
    "timestamp",
];
const FIELDS: [&str; 21] = [
    "parentHash",
    "ommersHash",
    "beneficiary",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
];

/// A block, and where the fields of its header are.
struct Block {
    height: u64,
    bytes: Vec<u8>,
    own: BlockHeader,
    fields: Vec<(&'static str, Range<usize>)>,
}

impl Block {
    fn of(height: u64) -> Self {
        let bytes = mainnet(height);
        let own = read(height, &bytes).unwrap();
        let header = cut(&mut cut(&mut &*bytes).unwrap().content).unwrap();
        let offset = |part: &[u8]| part.as_ptr().addr() - bytes.as_ptr().addr();
        let mut rest = header.content;
        let fields = FIELDS.iter().map_while(|name| {
            let field = (!rest.is_empty()).then(|| cut(&mut rest).unwrap().encoded)?;
            Some((*name, offset(field)..offset(field) + field.len()))
        });
        let fields = fields.collect();
        Self { height, bytes, own, fields }
    }

    /// With the byte at `at` XORed, it is refused, or it is a block with another hash; answers the
    /// field that is other then.
    fn flip(&mut self, at: usize, mask: u8) -> Option<&'static str> {
        self.bytes[at] ^= mask;
        let found = read(self.height, &self.bytes);
        self.bytes[at] ^= mask;
        let found = found.ok()?;
        assert_ne!(found.hash, self.own.hash, "byte {at} of {}, ^{mask:#x}", self.height);
        let field = self.fields.iter().find(|(_, range)| range.contains(&at));
        Some(field.unwrap_or_else(|| panic!("byte {at} of {} is no field's", self.height)).0)
    }
}

#[test]
fn a_byte_that_is_flipped_is_found_or_gives_another_hash() {
    let mut taken = BTreeSet::new();
    for height in [0, 1, 2, 14_764_013, 15_537_393] {
        let mut block = Block::of(height);
        for at in 0..block.bytes.len() {
            for mask in [1, 0x80] {
                taken.extend(block.flip(at, mask));
            }
        }
        for at in 0..block.bytes.len() {
            assert!(read(height, &block.bytes[..at]).is_err(), "{height} cut off at {at}");
        }
        let more = [&*block.bytes, &[0]].concat();
        assert!(read(height, &more).is_err(), "{height} with something after it");
    }
    // Of the newest header every byte, and of its body some.
    let mut block = Block::of(22_869_878);
    for at in 0..block.fields.last().unwrap().1.end {
        taken.extend([1, 0x80].map(|mask| block.flip(at, mask)).into_iter().flatten());
    }
    assert_eq!(taken.into_iter().collect::<Vec<_>>(), HASHED, "the list above");
}

/// A file of which the end was never written is full of zeros from there.
#[test]
fn zeros_in_place_of_the_end_are_found() {
    for height in [14_764_013, 15_537_393] {
        let whole = mainnet(height);
        let mut bytes = whole.clone();
        for at in (0..bytes.len()).rev() {
            bytes[at] = 0;
            assert!(bytes == whole || read(height, &bytes).is_err(), "{height} from {at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_byte_of_the_largest_may_be_any_other(at: prop::sample::Index, mask in 1_u8..) {
        let mut block = Block::of(22_869_878);
        let at = at.index(block.bytes.len());
        if let Some(field) = block.flip(at, mask) {
            prop_assert!(HASHED.contains(&field), "{}", field);
        }
    }
}
