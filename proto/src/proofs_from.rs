//! From which height on blocks need a proof.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::limits::MAX_HEIGHT;

/// The height of the first block that needs a proof. By default 1: every block but the genesis,
/// which a node never proves. A chain that began to prove later has a higher one.
///
/// Heights below it count as proven. A proof of one of them is kept like any other, and nobody
/// waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProofsFrom(u64);

/// A height from which on no proofs can be expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProofsFrom {
    /// The block at height 0 is the genesis.
    #[error(
        "block 0 is the genesis, which has no proof: give the height of the first block that is proven, 1 or more"
    )]
    Genesis,
    /// There is no such height.
    #[error("there is no block {height}: the largest height is {MAX_HEIGHT}")]
    TooLarge {
        /// What was given.
        height: u64,
    },
    /// It is no number.
    #[error("{given:?} is not a height: give the number of the first block that is proven")]
    NoNumber {
        /// What was given.
        given: String,
        /// What is wrong with it.
        source: ParseIntError,
    },
}

impl ProofsFrom {
    /// Proofs are expected from the block at this height on.
    ///
    /// # Errors
    /// The height is 0, or above [`MAX_HEIGHT`].
    pub fn new(height: u64) -> Result<Self, InvalidProofsFrom> {
        match height {
            0 => Err(InvalidProofsFrom::Genesis),
            1..=MAX_HEIGHT => Ok(Self(height)),
            _ => Err(InvalidProofsFrom::TooLarge { height }),
        }
    }

    /// The height of the first block that needs a proof.
    pub fn height(self) -> u64 {
        self.0
    }

    /// The same, if it is not the default. Only then it is written down, and is part of digests: a
    /// log without it is as it was before there was such a setting.
    pub fn late(self) -> Option<u64> {
        (self != Self::default()).then_some(self.0)
    }

    /// Up to which height no block needs a proof, in a chain whose newest block is at `tip`.
    pub fn free_up_to(self, tip: u64) -> u64 {
        tip.min(self.0 - 1)
    }
}

impl Default for ProofsFrom {
    fn default() -> Self {
        Self(1)
    }
}

impl FromStr for ProofsFrom {
    type Err = InvalidProofsFrom;

    fn from_str(given: &str) -> Result<Self, InvalidProofsFrom> {
        let height = given.parse().map_err(|source| {
            let given = given.to_owned();
            InvalidProofsFrom::NoNumber { given, source }
        })?;
        Self::new(height)
    }
}

impl fmt::Display for ProofsFrom {
    /// The height.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
