//! Ethereum's blocks, a file each.

use alloy_rlp::{Decodable, Header};
use sha3::{Digest, Keccak256};
use tipline_proto::Hash;

use super::{BlockFormat, BlockHeader};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The first fields of a header, and the length of those that have a fixed one. Later forks
/// have added fields at the end, and changed none of these.
const FIELDS: [(&str, Option<usize>); 15] = [
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
];
const PARENT: usize = 0;
const NUMBER: usize = 8;

/// `ethereum-rlp`: a file is the RLP of a block, `[header, transactions, ommers, …]`, or the
/// RLP of a header with any other items after it. The hash of the block is the Keccak-256 of
/// the header's RLP, as the chain has it. Height and parent are in the header; if the height is
/// not the one in the file's name, the block is refused.
///
/// The hash covers the header only. The items after it are read for their lengths, so that a
/// file that is cut off is refused; what is in them is not compared with the header's roots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EthereumRlp;

impl BlockFormat for EthereumRlp {
    fn name(&self) -> &str {
        "ethereum-rlp"
    }

    fn read(&self, height: u64, payload: &[u8]) -> Result<BlockHeader, Error> {
        let header = header(payload)?;
        let fields = fields(header)?;
        let number = u64::decode(&mut &*fields[NUMBER].encoded);
        let number = number.map_err(|why| format!("the number in its header: {why}"))?;
        if number != height {
            let why = format!(
                "its header says that it is block {number}, but its name that it is {height}"
            );
            return Err(why.into());
        }
        let hash = Hash::new(Keccak256::digest(header).to_vec())?;
        let parent = Hash::new(fields[PARENT].content.to_vec())?;
        Ok(BlockHeader { hash, parent: Some(parent) })
    }
}

/// One item of RLP.
struct Item<'a> {
    is_list: bool,
    /// All of it.
    encoded: &'a [u8],
    /// What is in it.
    content: &'a [u8],
}

/// Cuts the first item off.
fn cut<'a>(bytes: &mut &'a [u8]) -> Result<Item<'a>, Error> {
    let start = *bytes;
    let mut rest = start;
    let Header { list, payload_length } =
        Header::decode(&mut rest).map_err(|why| format!("it is no RLP: {why}"))?;
    // There are as many: the decoder has compared.
    let (content, rest) = rest.split_at_checked(payload_length).ok_or("it is cut off")?;
    *bytes = rest;
    Ok(Item { is_list: list, encoded: &start[..start.len() - rest.len()], content })
}

/// The encoded header in a file; everything after it is whole.
fn header(payload: &[u8]) -> Result<&[u8], Error> {
    let mut after = payload;
    let first = cut(&mut after)?;
    if !first.is_list {
        return Err("it does not begin with an RLP list: give a block, or a header".into());
    }
    let mut inside = first.content;
    // A header's fields are no lists, but a block's first item is one.
    let block = cut(&mut inside).ok().filter(|item| item.is_list);
    let (header, mut body) = match block {
        Some(header) if after.is_empty() => (header.encoded, inside),
        Some(_) => {
            let why = format!("{} bytes follow the block that are not part of it", after.len());
            return Err(why.into());
        }
        None => (first.encoded, after),
    };
    while !body.is_empty() {
        cut(&mut body).map_err(|why| format!("after its header: {why}"))?;
    }
    Ok(header)
}

/// The fields of a header.
fn fields(header: &[u8]) -> Result<Vec<Item<'_>>, Error> {
    let mut inside = cut(&mut &*header)?.content;
    let mut fields = Vec::with_capacity(FIELDS.len());
    while !inside.is_empty() {
        let field = cut(&mut inside).map_err(|why| format!("in its header: {why}"))?;
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
    if fields.len() < FIELDS.len() {
        let (has, least) = (fields.len(), FIELDS.len());
        let why = format!("its header is not Ethereum's: it has {has} fields, not {least} or more");
        return Err(why.into());
    }
    Ok(fields)
}
