//! Who vouches for an entry, a receipt or an announcement: signatures, and the keys that they are of.
//! What is signed, and how: `signing.rs`. Who is believed: `trust.rs`.

mod signing;
mod trust;
mod wire;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::VerifyingKey;

pub use self::signing::SigningKey;
pub use self::trust::{SignatureError, Trust};
pub(crate) use self::wire::{put_seal, put_signature, take_seal, take_signature};
use crate::hex;

/// The public half of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key with these bytes. Bytes that are no key have signed nothing.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this key signed the message. Strict: a message and a key have one signature that is
    /// right.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    /// Hex, all of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::fmt(&self.0, f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::fmt(&self.0, f)
    }
}

/// A key that another one has succeeded, which it vouches for.
#[derive(Clone, PartialEq, Eq)]
pub struct Predecessor {
    /// The old key.
    pub key: PublicKey,
    /// Its signature of the next one.
    pub signature: [u8; 64],
}

/// A signature, by whom it is, and which keys that one has succeeded, the oldest first.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    key: PublicKey,
    bytes: [u8; 64],
    predecessors: Vec<Predecessor>,
}

impl Signature {
    pub(crate) fn new(key: PublicKey, bytes: [u8; 64], predecessors: Vec<Predecessor>) -> Self {
        Self(Arc::new(Parts { key, bytes, predecessors }))
    }

    /// The key that is said to have signed.
    pub fn key(&self) -> PublicKey {
        self.0.key
    }

    /// The 64 bytes.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0.bytes
    }

    /// The keys that it has succeeded, the oldest first.
    pub fn predecessors(&self) -> &[Predecessor] {
        &self.0.predecessors
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature(by {})", self.0.key)
    }
}

impl fmt::Debug for Predecessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Predecessor({})", self.key)
    }
}

/// The signature of a receipt or an announcement, with the bytes that it is over, as they came, and
/// their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub(crate) signature: Signature,
    pub(crate) over: [u8; 32],
    pub(crate) signed: Bytes,
}

impl Seal {
    /// The signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}
