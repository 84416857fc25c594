//! Items of RLP, where they lie.

use alloy_rlp::Header;

use super::Error;

/// One item.
pub(super) struct Item<'a> {
    pub(super) is_list: bool,
    /// All of it.
    pub(super) encoded: &'a [u8],
    /// What is in it.
    pub(super) content: &'a [u8],
}

/// Cuts the first item off. There is one encoding of each: the decoder refuses every other.
pub(super) fn cut<'a>(bytes: &mut &'a [u8]) -> Result<Item<'a>, Error> {
    let start = *bytes;
    let mut rest = start;
    let Header { list, payload_length } =
        Header::decode(&mut rest).map_err(|why| format!("it is no RLP: {why}"))?;
    // There are as many: the decoder has compared.
    let (content, rest) = rest.split_at_checked(payload_length).ok_or("it is cut off")?;
    *bytes = rest;
    Ok(Item { is_list: list, encoded: &start[..start.len() - rest.len()], content })
}
