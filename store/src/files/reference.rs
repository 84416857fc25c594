//! What the index has in the place of a payload.

use blake3::Hash;
use bytes::Bytes;

/// Length of a [`Reference`] in bytes.
const BYTES: usize = 8 + blake3::OUT_LEN;

/// Length of a payload, 8 bytes big-endian, and its BLAKE3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference {
    length: u64,
    hash: Hash,
}

/// How a file is not what the index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mismatch {
    #[error("the file is missing")]
    Missing,
    #[error("it is not a file, but a directory, a pipe or the like")]
    NotAFile,
    #[error("the file has {found} bytes, the index says {expected}")]
    Length { found: u64, expected: u64 },
    #[error("the file has the BLAKE3 {found}, the index says {expected}")]
    Content { found: Hash, expected: Hash },
}

/// The index has something else in the place of a payload.
#[derive(Debug, thiserror::Error)]
#[error("the index has {0} bytes in the place of the payload, not {BYTES}")]
pub(super) struct NoReference(usize);

impl Reference {
    pub(super) fn to(payload: &[u8]) -> Self {
        Self { length: payload.len() as u64, hash: blake3::hash(payload) }
    }

    pub(super) fn encode(&self) -> Bytes {
        [&self.length.to_be_bytes()[..], self.hash.as_bytes()].concat().into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, NoReference> {
        let whole: &[u8; BYTES] = bytes.try_into().map_err(|_| NoReference(bytes.len()))?;
        let (length, hash) = whole.split_first_chunk().ok_or(NoReference(bytes.len()))?;
        let hash = Hash::from_slice(hash).map_err(|_| NoReference(bytes.len()))?;
        Ok(Self { length: u64::from_be_bytes(*length), hash })
    }

    /// Length of the payload.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether this can be the payload, by its length.
    pub(super) fn check_length(&self, found: u64) -> Result<(), Mismatch> {
        match self.length == found {
            true => Ok(()),
            false => Err(Mismatch::Length { found, expected: self.length }),
        }
    }

    /// Whether this is the payload.
    pub(super) fn check(&self, payload: &[u8]) -> Result<(), Mismatch> {
        self.check_length(payload.len() as u64)?;
        self.check_hash(blake3::hash(payload))
    }

    /// Whether something of the right length is the payload, by its BLAKE3.
    pub(super) fn check_hash(&self, found: Hash) -> Result<(), Mismatch> {
        match found == self.hash {
            true => Ok(()),
            false => Err(Mismatch::Content { found, expected: self.hash }),
        }
    }
}
