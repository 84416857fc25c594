//! No byte of a block may be another one.

use super::{block_of, mainnet, mined, transaction};
use crate::blk::check::{check, double_sha256};
use crate::blk::fuzzing::seal;
use tipline_proto::Hash;

fn parent() -> Hash {
    Hash::new([3; 32]).unwrap()
}

/// Every byte is flipped, and everything from every byte on is zeros.
fn no_part_will_do(block: &[u8]) {
    assert_eq!(check(block), Ok(()));
    for at in 0..block.len() {
        let mut flipped = block.to_vec();
        flipped[at] ^= 1;
        assert!(check(&flipped).is_err(), "byte {at} flipped");
        let mut unwritten = block.to_vec();
        unwritten[at..].fill(0);
        assert!(unwritten == block || check(&unwritten).is_err(), "zeros from byte {at} on");
        assert!(check(&block[..at]).is_err(), "cut off at {at}");
    }
    assert!(check(&[block, &[0]].concat()).is_err(), "something after it");
}

#[test]
fn real_blocks_are_whole_and_no_part_of_one_is() {
    let bytes = mainnet();
    let mut at = 0;
    let mut count = 0;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let block = &bytes[at + 8..at + 8 + length];
        assert_eq!(check(block), Ok(()));
        // The first, and the first with two transactions.
        if count == 0 || count == 169 {
            no_part_will_do(block);
        }
        at += 8 + length;
        count += 1;
    }
    assert_eq!(count, 255);
}

/// A block with a witness in each of two transactions.
pub(super) fn with_witnesses(reserved: &[u8], commits: bool) -> Vec<u8> {
    let spend = |marker: &[u8], witness: &[u8]| {
        let input = [&[9; 36][..], &[0], &[0xff; 4]].concat();
        [&[2, 0, 0, 0], marker, &[1], &input, &[1], &[0; 8], &[0], witness, &[0; 4]].concat()
    };
    let (bare, whole) = (spend(&[], &[]), spend(&[0, 1], &[2, 1, 0xaa, 2, 0xbb, 0xcc]));
    let witness_root = double_sha256(&[&[0; 32], &double_sha256(&[&whole])]);
    let commitment = double_sha256(&[&witness_root, reserved]);
    let script = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed], &commitment[..]].concat();
    let script = if commits { script } else { vec![0x51; 38] };
    let first = |marker: &[u8], witness: &[u8]| {
        let input = [&[0; 32][..], &[0xff; 4], &[1, 7], &[0xff; 4]].concat();
        let output = [&[0; 8][..], &[38], &script].concat();
        [&[1, 0, 0, 0], marker, &[1], &input, &[1], &output, witness, &[0; 4]].concat()
    };
    let item = [&[1, reserved.len() as u8], reserved].concat();
    let root = double_sha256(&[&double_sha256(&[&first(&[], &[])]), &double_sha256(&[&bare])]);
    mined(&parent(), root, &[first(&[0, 1], &item), whole])
}

#[test]
fn witnesses_are_covered_too() {
    let block = with_witnesses(&[5; 32], true);
    assert_eq!(check(&block), Ok(()));
    // The header of so little work may be another one; the rest may not.
    for at in 80..block.len() {
        let mut flipped = block.clone();
        flipped[at] ^= 1;
        assert!(check(&flipped).is_err(), "byte {at}");
    }
    let without = with_witnesses(&[5; 32], false);
    assert_eq!(check(&without), Err("has witnesses that it does not commit to"));
}

#[test]
fn transactions_that_stand_there_twice_are_refused_though_the_root_is_the_same() {
    let [a, b, c] = ["a", "b", "c"].map(transaction);
    let three = block_of(&parent(), &[a.clone(), b.clone(), c.clone()]);
    assert_eq!(check(&three), Ok(()));
    let mut four = three;
    four[80] = 4;
    four.extend_from_slice(&c);
    assert_eq!(check(&four), Err("has the same transaction twice"));
}

#[test]
fn a_header_without_work_is_refused() {
    let mut block = block_of(&parent(), &[transaction("a")]);
    for bits in [[0, 0, 0, 0x20], [0xff, 0xff, 0xff, 0x20], [0xff, 0xff, 0, 0x10], [1, 0, 0, 0xff]]
    {
        block[72..76].copy_from_slice(&bits);
        assert_eq!(check(&block), Err("has a header without proof of work"), "{bits:02x?}");
    }
}

/// How the number of transactions is written is in no hash.
#[test]
fn a_number_has_one_encoding() {
    let block = block_of(&parent(), &[transaction("a")]);
    for longer in [&[0xfd, 1, 0][..], &[0xfe, 1, 0, 0, 0], &[0xff, 1, 0, 0, 0, 0, 0, 0, 0]] {
        let other = [&block[..80], longer, &block[81..]].concat();
        assert!(check(&other).is_err(), "{longer:02x?}");
    }
    let many: Vec<Vec<u8>> = (0..0xfd).map(|number| transaction(&number.to_string())).collect();
    let sealed = seal(&[&[0xfd, 0xfd, 0][..], &many.concat()].concat());
    assert_eq!(check(&sealed.unwrap()), Ok(()), "as many as need the longer one");
}

/// The first transaction has one input, and its witness is the only one that no id and no commitment covers
/// but by its one item.
#[test]
fn a_witness_of_the_first_transaction_that_nothing_covers_is_refused() {
    let block = with_witnesses(&[5; 32], true);
    let (start, rest) = block[80..].split_at(1 + 4 + 2);
    let input = &rest[1..1 + 42];
    // A second input, and a witness for it after that of the first.
    let at = rest.windows(34).position(|found| found == [&[1, 32][..], &[5; 32]].concat()).unwrap();
    let (outputs, rest) = rest[43..].split_at(at - 43);
    let (witness, rest) = rest.split_at(34);
    for more in [&[0][..], &[1, 1, 0xaa]] {
        let body = [start, &[2], input, input, outputs, witness, more, rest].concat();
        let sealed = seal(&body).unwrap();
        assert_eq!(check(&sealed), Err("has witnesses that it does not commit to"), "{more:?}");
    }
    let same = [start, &[1], input, outputs, witness, rest].concat();
    assert_eq!(check(&seal(&same).unwrap()), Ok(()));
}
