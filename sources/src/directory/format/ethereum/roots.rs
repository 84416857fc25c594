//! Whether a body is that of its header.

use alloy_primitives::{B256, keccak256};
use alloy_trie::root::ordered_trie_root_encoded;
use tipline_proto::Hash;

use super::Error;
use super::rlp::{Item, cut};

/// What a header says of its body.
pub(super) struct Roots<'a> {
    pub(super) transactions: &'a [u8],
    pub(super) ommers: &'a [u8],
    /// Since Shanghai.
    pub(super) withdrawals: Option<&'a [u8]>,
}

impl Roots<'_> {
    /// Compares them with those of the lists after the header. Together they cover every byte of
    /// the lists.
    pub(super) fn check(&self, height: u64, body: &[u8]) -> Result<(), Error> {
        let lists = lists(body)?;
        let (transactions, ommers, withdrawals) = match (&*lists, self.withdrawals) {
            ([transactions, ommers], None) => (transactions, ommers, None),
            ([transactions, ommers, withdrawals], Some(root)) => {
                (transactions, ommers, Some((withdrawals, root)))
            }
            (lists, root) => {
                let (needs, which) = match root {
                    None => (2, "transactions and ommers"),
                    Some(_) => (3, "transactions, ommers and withdrawals"),
                };
                let why = format!(
                    "the body of block {height} has {} lists, but by its header there are {needs}: \
                     {which}",
                    lists.len()
                );
                return Err(why.into());
            }
        };
        let root = ordered_trie_root_encoded(&values(transactions, "transaction", true)?);
        compare(height, "transactions", "transactionsRoot", root, self.transactions)?;
        compare(height, "ommers", "ommersHash", keccak256(ommers.encoded), self.ommers)?;
        let Some((withdrawals, expected)) = withdrawals else {
            return Ok(());
        };
        let root = ordered_trie_root_encoded(&values(withdrawals, "withdrawal", false)?);
        compare(height, "withdrawals", "withdrawalsRoot", root, expected)
    }
}

pub(super) fn lists(mut body: &[u8]) -> Result<Vec<Item<'_>>, Error> {
    let mut lists = Vec::with_capacity(3);
    while !body.is_empty() {
        let list = cut(&mut body).map_err(|why| format!("in its body: {why}"))?;
        if !list.is_list {
            return Err("in its body is an item that is no list".into());
        }
        lists.push(list);
    }
    Ok(lists)
}

/// What the items of a list are in its trie. A list is itself. A string is what is in it, if
/// those may have a type (EIP-2718): that begins with it, and never as a list does, so one trie
/// has one body.
pub(super) fn values<'a>(list: &Item<'a>, what: &str, typed: bool) -> Result<Vec<&'a [u8]>, Error> {
    let mut rest = list.content;
    let mut values = Vec::new();
    while !rest.is_empty() {
        let at = values.len();
        let item = cut(&mut rest).map_err(|why| format!("in its {what} {at}: {why}"))?;
        values.push(match item.content.first() {
            _ if item.is_list => item.encoded,
            Some(0..=0x7f) if typed => item.content,
            _ => return Err(format!("its {what} {at} is a string that is no {what}").into()),
        });
    }
    Ok(values)
}

fn compare(
    height: u64,
    what: &str,
    field: &str,
    computed: B256,
    expected: &[u8],
) -> Result<(), Error> {
    if computed.as_slice() == expected {
        return Ok(());
    }
    let computed = Hash::new(computed)?;
    let expected = Hash::new(expected)?;
    let why = format!(
        "the {what} of block {height} are not those of its header: {field} is {computed} of what \
         is in the body, but {expected} in the header"
    );
    Err(why.into())
}
