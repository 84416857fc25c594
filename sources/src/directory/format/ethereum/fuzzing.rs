//! What fuzzing reaches here.

use alloy_primitives::keccak256;
use alloy_rlp::{Encodable, Header};
use alloy_trie::root::ordered_trie_root_encoded;

use super::roots::{lists, values};
use super::{FIELDS, LEAST, NUMBER, OMMERS, TRANSACTIONS, WITHDRAWALS};

/// A block with this body, the lists after its header, and the header that belongs to it. `None` if it is
/// none.
pub(in crate::directory::format) fn seal(height: u64, body: &[u8]) -> Option<Vec<u8>> {
    let lists = lists(body).ok()?;
    let (transactions, ommers, withdrawals) = match &*lists {
        [transactions, ommers] => (transactions, ommers, None),
        [transactions, ommers, withdrawals] => (transactions, ommers, Some(withdrawals)),
        _ => return None,
    };
    let fields = if withdrawals.is_some() { WITHDRAWALS + 1 } else { LEAST };
    let empty = |(_, length): &(&str, Option<usize>)| string(&vec![0; length.unwrap_or(0)]);
    let mut fields: Vec<Vec<u8>> = FIELDS[..fields].iter().map(empty).collect();
    let root = ordered_trie_root_encoded(&values(transactions, "transaction", true).ok()?);
    fields[TRANSACTIONS] = string(root.as_slice());
    fields[OMMERS] = string(keccak256(ommers.encoded).as_slice());
    if let Some(withdrawals) = withdrawals {
        let root = ordered_trie_root_encoded(&values(withdrawals, "withdrawal", false).ok()?);
        fields[WITHDRAWALS] = string(root.as_slice());
    }
    fields[NUMBER].clear();
    height.encode(&mut fields[NUMBER]);
    Some(list(&[list(&fields.concat()), body.to_vec()].concat()))
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    bytes.encode(&mut encoded);
    encoded
}

fn list(items: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    Header { list: true, payload_length: items.len() }.encode(&mut encoded);
    [&encoded, items].concat()
}
