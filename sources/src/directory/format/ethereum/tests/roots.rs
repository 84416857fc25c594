//! Bodies, and the roots that their headers have of them.

use alloy_primitives::keccak256;
use alloy_trie::root::ordered_trie_root_encoded;
use proptest::prelude::*;

use super::super::rlp::cut;
use super::{MAINNET, bytes, fields, hash, list, mainnet, number, read, string};

/// Real blocks: one with an ommer, the last one that was mined, one with every type of transaction
/// and with withdrawals; and how many transactions there are, of which types.
const REAL: [(u64, &str, usize, &[u8]); 3] = [
    (
        14_764_013,
        "720704f3aa11c53cf344ea069db95cecb81ad7453c8f276b2a1062979611f09c",
        19,
        &[LEGACY, 2],
    ),
    (15_537_393, "55b11b918355b1ef9c5db810302ebad0bf2544255b530cdce90674d5887bb286", 1, &[2]),
    (
        22_869_878,
        "50985684c5e97edaf7a3f7e67ab3a74e21bcf18555ec7bfe4cef50f5464f63b5",
        301,
        &[LEGACY, 1, 2, 3, 4],
    ),
];
/// In place of a type.
const LEGACY: u8 = 0xff;

/// The items of a list, each as it is encoded.
fn items(encoded: &[u8]) -> Vec<&[u8]> {
    let mut rest = cut(&mut &*encoded).unwrap().content;
    std::iter::from_fn(|| (!rest.is_empty()).then(|| cut(&mut rest).unwrap().encoded)).collect()
}

#[test]
fn real_blocks_have_the_roots_that_are_in_their_headers() {
    for (height, own, count, types) in REAL {
        let block = mainnet(height);
        assert_eq!(read(height, &block).unwrap().hash, hash(own), "block {height}");
        let parts = items(&block);
        let apart =
            [parts[0], &list(&parts[1..].iter().map(|part| part.to_vec()).collect::<Vec<_>>())];
        assert_eq!(
            read(height, &apart.concat()).unwrap().hash,
            hash(own),
            "and with its body after"
        );
        let transactions = items(parts[1]);
        assert_eq!(transactions.len(), count);
        let mut found: Vec<u8> = transactions
            .iter()
            .map(|encoded| cut(&mut &**encoded).unwrap())
            .map(|item| if item.is_list { LEGACY } else { item.content[0] })
            .collect();
        found.sort_unstable_by_key(|kind| kind.wrapping_add(1));
        found.dedup();
        assert_eq!(found, types, "block {height}");
    }
    assert_eq!(items(items(&mainnet(14_764_013))[2]).len(), 1, "an ommer");
    assert_eq!(items(items(&mainnet(22_869_878))[3]).len(), 16, "withdrawals");
}

/// A block of which one list is other than its header says.
fn with(height: u64, part: usize, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> String {
    let block = mainnet(height);
    let mut parts: Vec<Vec<u8>> = items(&block).into_iter().map(<[u8]>::to_vec).collect();
    let mut inside = items(&parts[part]).into_iter().map(<[u8]>::to_vec).collect();
    change(&mut inside);
    parts[part] = list(&inside);
    read(height, &list(&parts)).unwrap_err()
}

#[test]
fn a_body_that_is_another_ones_is_named_with_both_roots() {
    let none = "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421";
    let in_header = items(items(&mainnet(15_537_393))[0])[4][1..].to_vec();
    let in_header = tipline_proto::Hash::new(in_header).unwrap();
    assert_eq!(
        with(15_537_393, 1, Vec::clear),
        format!(
            "the transactions of block 15537393 are not those of its header: transactionsRoot is \
             {none} of what is in the body, but {in_header} in the header"
        )
    );
    let no_ommers = "1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347";
    for (height, part, says) in [
        (
            14_764_013,
            2,
            format!(
                "the ommers of block 14764013 are not those of its header: ommersHash is {no_ommers}"
            ),
        ),
        (
            22_869_878,
            3,
            format!(
                "the withdrawals of block 22869878 are not those of its header: withdrawalsRoot is {none}"
            ),
        ),
    ] {
        let said = with(height, part, Vec::clear);
        assert!(said.starts_with(&says), "{said}");
    }
    for part in [1, 3] {
        // Another order, one less, one twice.
        let says = ["transactionsRoot", "", "withdrawalsRoot"][part - 1];
        let swapped = with(22_869_878, part, |items| items.swap(3, 4));
        let fewer = with(22_869_878, part, |items| drop(items.pop()));
        let twice = with(22_869_878, part, |items| items.push(items[0].clone()));
        for said in [swapped, fewer, twice] {
            assert!(said.contains(says), "{said}");
        }
    }
}

/// In the trie a transaction that is a list and a string with that list in it are the same.
#[test]
fn a_transaction_has_one_encoding() {
    let wrapped = with(14_764_013, 1, |transactions| {
        let legacy = transactions.iter_mut().find(|encoded| encoded[0] >= 0xc0).unwrap();
        *legacy = string(legacy);
    });
    assert!(wrapped.ends_with("is a string that is no transaction"), "{wrapped}");
    let empty = with(15_537_393, 1, |transactions| transactions.push(string(b"")));
    assert_eq!(empty, "its transaction 1 is a string that is no transaction");
    let withdrawal = with(22_869_878, 3, |withdrawals| withdrawals[2] = string(&withdrawals[2]));
    assert_eq!(withdrawal, "its withdrawal 2 is a string that is no withdrawal");
}

#[test]
fn a_body_has_the_lists_that_its_header_has_roots_of_and_nothing_else() {
    let old = fields(&MAINNET[1]);
    let shanghai = [old.clone(), vec![number(7), string(&bytes(super::NO_ITEMS))]].concat();
    let (empty, text) = (list(&[]), string(b"text"));
    for (fields, lists, says) in [
        (&old, 1, "1 lists, but by its header there are 2: transactions and ommers"),
        (&old, 3, "3 lists, but by its header there are 2: transactions and ommers"),
        (
            &shanghai,
            2,
            "2 lists, but by its header there are 3: transactions, ommers and withdrawals",
        ),
        (
            &shanghai,
            4,
            "4 lists, but by its header there are 3: transactions, ommers and withdrawals",
        ),
    ] {
        let parts = [vec![list(fields)], vec![empty.clone(); lists]].concat();
        assert_eq!(read(1, &list(&parts)).unwrap_err(), format!("the body of block 1 has {says}"));
    }
    assert!(
        read(1, &list(&[list(&shanghai), empty.clone(), empty.clone(), empty.clone()])).is_ok()
    );
    let said = read(1, &list(&[list(&old), empty, text])).unwrap_err();
    assert_eq!(said, "in its body is an item that is no list");
}

/// A node of the trie below these keys, of which the first `depth` nibbles are the same for all:
/// by the definition of the yellow paper, and by nobody's library.
fn model(pairs: &[(Vec<u8>, &[u8])], depth: usize) -> Vec<u8> {
    let compact = |nibbles: &[u8], is_leaf: bool| {
        let odd = nibbles.len() % 2 == 1;
        let flag = 2 * u8::from(is_leaf) + u8::from(odd);
        let first = if odd { vec![flag, nibbles[0]] } else { vec![flag, 0] };
        let all = [&first, &nibbles[usize::from(odd)..]].concat();
        string(&all.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<_>>())
    };
    let within = |node: Vec<u8>| if node.len() < 32 { node } else { string(&keccak256(node)[..]) };
    let (first, value) = &pairs[0];
    if pairs.len() == 1 {
        return list(&[compact(&first[depth..], true), string(value)]);
    }
    let last = &pairs[pairs.len() - 1].0;
    let shared = first.iter().zip(last).take_while(|(one, other)| one == other).count();
    if shared > depth {
        return list(&[compact(&first[depth..shared], false), within(model(pairs, shared))]);
    }
    let mut children: Vec<Vec<u8>> = (0..16)
        .map(|nibble| {
            let below: Vec<_> =
                pairs.iter().filter(|(key, _)| key[depth] == nibble).cloned().collect();
            if below.is_empty() { string(b"") } else { within(model(&below, depth + 1)) }
        })
        .collect();
    // No index is the beginning of another one.
    children.push(string(b""));
    list(&children)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_root_is_that_of_the_yellow_paper(
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 1..300),
    ) {
        let mut pairs: Vec<(Vec<u8>, &[u8])> = values
            .iter()
            .enumerate()
            .map(|(index, value)| {
                let key = number(index as u64);
                (key.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect(), &**value)
            })
            .collect();
        pairs.sort();
        prop_assert_eq!(ordered_trie_root_encoded(&values), keccak256(model(&pairs, 0)));
    }
}
