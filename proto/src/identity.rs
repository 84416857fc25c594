//! What a log belongs to: chain, lineage, and the ids of its participants.

use std::fmt;
use std::str::FromStr;

use crate::hash::{Hash, InvalidBytes};
use crate::hex;
use crate::name::{ChainName, LogName};
use crate::proofs_from::ProofsFrom;

macro_rules! id {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type([u8; 16]);

        impl $type {
            /// An id of these 16 bytes. They must be random; this crate has no source of
            /// randomness.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidBytes;
            /// Reads 32 hex digits.
            fn from_str(given: &str) -> Result<Self, InvalidBytes> {
                hex::decode_array(given)
                    .map(Self)
                    .ok_or_else(|| InvalidBytes::Hex { what: $what, given: given.to_owned() })
            }
        }

        impl fmt::Display for $type {
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

id! {
    /// Random id given to a log when it is created. Stores, archives, checkpoints and
    /// receipts carry it, so that two histories of one chain name can never mix.
    Lineage, "lineage (32 hex digits)"
}

id! {
    /// Random id given to an outbox when it is created. A log continues from one outbox
    /// only; another one is refused until it says where it continues.
    OutboxId, "outbox id (32 hex digits)"
}

id! {
    /// Random id of one run of a consumer.
    InstanceId, "instance id (32 hex digits)"
}

/// The chain that a log replicates.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chain {
    /// The chain's name.
    pub name: ChainName,
    /// Hash of the genesis block: the block at height 0, or the parent of the block at height 1.
    pub genesis: Hash,
    /// The first block that needs a proof.
    pub proofs_from: ProofsFrom,
}

impl Chain {
    /// A chain in which every block above the genesis needs a proof.
    pub fn new(name: ChainName, genesis: Hash) -> Self {
        Self { name, genesis, proofs_from: ProofsFrom::default() }
    }
}

/// What a log is: fixed when it is created, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogIdentity {
    /// Name of the log, in subjects and addresses.
    pub name: LogName,
    /// The chain it replicates.
    pub chain: Chain,
    /// Its random id.
    pub lineage: Lineage,
}
