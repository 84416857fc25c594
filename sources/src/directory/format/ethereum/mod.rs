//! Ethereum's blocks, a file each.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod rlp;
mod roots;
#[cfg(test)]
mod tests;

use alloy_primitives::keccak256;
use alloy_rlp::Decodable;
use tipline_proto::Hash;

use super::{BlockFormat, BlockHeader};
use rlp::{Item, cut};
use roots::Roots;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The first fields of a header, and the length of those that have a fixed one. Later forks
/// have added fields at the end, and changed none of these.
const FIELDS: [(&str, Option<usize>); 17] = [
    ("parentHash", Some(32)),
    ("ommersHash", Some(32)),
    ("beneficiary", Some(20)),
    ("stateRoot", Some(32)),
    ("transactionsRoot", Some(32)),
    ("receiptsRoot", Some(32)),
    ("logsBloom", Some(256)),
    ("difficulty", None),
    ("number", None),
    ("gasLimit", None),
    ("gasUsed", None),
    ("timestamp", None),
    ("extraData", None),
    ("mixHash", Some(32)),
    ("nonce", Some(8)),
    ("baseFeePerGas", None),
    ("withdrawalsRoot", Some(32)),
];
/// Every header has as many.
const LEAST: usize = 15;
const PARENT: usize = 0;
const OMMERS: usize = 1;
const TRANSACTIONS: usize = 4;
const NUMBER: usize = 8;
const WITHDRAWALS: usize = 16;

/// `ethereum-rlp`: a file is the RLP of a block, `[header, transactions, ommers]`, since Shanghai
/// with the withdrawals after them; or the RLP of a header, and after it that of the body. The
/// hash of the block is the Keccak-256 of the header's RLP, as the chain has it. Height and parent
/// are in the header; if the height is not the one in the file's name, the block is refused.
///
/// So is a body that does not have the roots in the header: no two files have the same hash and
/// other blocks in them, and no part of a block is taken for one. The header itself is compared
/// with nothing but the block below, and the one above.
///
/// It needs the feature `ethereum`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EthereumRlp;

impl BlockFormat for EthereumRlp {
    fn name(&self) -> &str {
        "ethereum-rlp"
    }

    fn read(&self, height: u64, payload: &[u8]) -> Result<BlockHeader, Error> {
        let (header, body) = split(payload)?;
        let fields = fields(header.content)?;
        let number = u64::decode(&mut &*fields[NUMBER].encoded);
        let number = number.map_err(|why| format!("the number in its header: {why}"))?;
        if number != height {
            let why = format!(
                "its header says that it is block {number}, but its name that it is {height}"
            );
            return Err(why.into());
        }
        let roots = Roots {
            transactions: fields[TRANSACTIONS].content,
            ommers: fields[OMMERS].content,
            withdrawals: fields.get(WITHDRAWALS).map(|field| field.content),
        };
        roots.check(number, body)?;
        let hash = Hash::new(keccak256(header.encoded))?;
        let parent = Hash::new(fields[PARENT].content)?;
        Ok(BlockHeader { hash, parent: Some(parent) })
    }

    fn proves_whole(&self) -> bool {
        true
    }
}

/// The header in a file, and the lists of the body after it. There is nothing else.
fn split(payload: &[u8]) -> Result<(Item<'_>, &[u8]), Error> {
    let mut after = payload;
    let first = cut(&mut after)?;
    if !first.is_list {
        return Err("it does not begin with an RLP list: give a block".into());
    }
    let mut inside = first.content;
    // A header's fields are no lists, but a block's first item is one.
    let (header, body) = match cut(&mut inside).ok().filter(|item| item.is_list) {
        Some(header) => (header, inside),
        None if after.is_empty() => {
            return Err("it has a header only: give a block, with its body".into());
        }
        None => {
            let body = cut(&mut after).map_err(|why| format!("after its header: {why}"))?;
            if !body.is_list {
                return Err("what follows its header is no body: that is an RLP list".into());
            }
            (first, body.content)
        }
    };
    if !after.is_empty() {
        let why = format!("{} bytes follow the block that are not part of it", after.len());
        return Err(why.into());
    }
    Ok((header, body))
}

/// The fields of a header.
fn fields(mut header: &[u8]) -> Result<Vec<Item<'_>>, Error> {
    let mut fields = Vec::with_capacity(FIELDS.len());
    while !header.is_empty() {
        let field = cut(&mut header).map_err(|why| format!("in its header: {why}"))?;
        let (name, length) = FIELDS.get(fields.len()).copied().unwrap_or(("a later field", None));
        if field.is_list || length.is_some_and(|length| length != field.content.len()) {
            let why = format!(
                "its header is not Ethereum's: {name} {} of {} bytes{}",
                if field.is_list { "is a list" } else { "is a string" },
                field.content.len(),
                length.map(|length| format!(", not one of {length}")).unwrap_or_default()
            );
            return Err(why.into());
        }
        fields.push(field);
    }
    if fields.len() < LEAST {
        let has = fields.len();
        let why = format!("its header is not Ethereum's: it has {has} fields, not {LEAST} or more");
        return Err(why.into());
    }
    Ok(fields)
}
