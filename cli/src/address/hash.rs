//! A hash as it is typed: hex, with or without 0x in front.

use std::str::FromStr;

use tipline_proto::{Hash, InvalidBytes};

/// A hash of the chain, as explorers print it or as Tipline does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypedHash(pub(crate) Hash);

impl FromStr for TypedHash {
    type Err = InvalidBytes;

    fn from_str(given: &str) -> Result<Self, InvalidBytes> {
        given.strip_prefix("0x").unwrap_or(given).parse().map(Self)
    }
}
