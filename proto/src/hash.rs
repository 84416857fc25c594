//! Opaque byte strings of the chain: hashes, ids, keys.

use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;

use crate::hex;
use crate::limits::{MAX_HASH_BYTES, MAX_KEY_BYTES};

/// A byte string whose length is outside its limits, or text that is not hex.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBytes {
    /// Give a value whose length is in range.
    #[error("a {what} of {length} bytes; it must have 1 to {max}")]
    Length {
        /// What was given.
        what: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// Give an even number of the digits 0-9 and a-f.
    #[error("{given:?} is not a {what} in hex: give an even number of the digits 0-9 and a-f")]
    Hex {
        /// What was expected.
        what: &'static str,
        /// What was given.
        given: String,
    },
}

/// Up to 32 bytes, which hashes nearly always have, need no memory of their own: an entry of a block has
/// two hashes, and is often made by one thread and dropped by another one.
type Short = SmallVec<[u8; 32]>;

macro_rules! opaque {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Short);

        impl $type {
            /// Copies the bytes, if their length is in range.
            pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, InvalidBytes> {
                let bytes = bytes.as_ref();
                if (1..=$max).contains(&bytes.len()) {
                    Ok(Self(Short::from_slice(bytes)))
                } else {
                    Err(InvalidBytes::Length { what: $what, length: bytes.len(), max: $max })
                }
            }
        }

        impl AsRef<[u8]> for $type {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidBytes;
            /// Reads hex.
            fn from_str(given: &str) -> Result<Self, InvalidBytes> {
                let bytes = hex::decode(given)
                    .ok_or_else(|| InvalidBytes::Hex { what: $what, given: given.to_owned() })?;
                Self::new(bytes)
            }
        }

        impl fmt::Display for $type {
            /// Hex, all of it.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex::fmt(&self.0, f)
            }
        }
    };
}

opaque! {
    /// A hash of the chain, opaque to Tipline: 1 to 64 bytes.
    Hash, "hash", MAX_HASH_BYTES
}

impl Hash {
    /// The same bytes from the last to the first: how Bitcoin's programs and explorers print a
    /// hash.
    pub fn reversed(&self) -> Self {
        Self(self.0.iter().rev().copied().collect())
    }
}

opaque! {
    /// The id of a transaction, opaque to Tipline: 1 to 64 bytes.
    TransactionId, "transaction id", MAX_HASH_BYTES
}

opaque! {
    /// The key of a recorded state: 1 to 256 bytes.
    Key, "key", MAX_KEY_BYTES
}
