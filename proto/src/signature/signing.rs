//! Signatures: who vouches for a history, for a receipt and for an announcement. Ed25519.
//!
//! A signature is over a message of its own, which begins with what it is about, so that none can be
//! taken for another:
//!
//! | what | message |
//! |---|---|
//! | a unit | `tipline.signature.entry.v1`, zero byte, lineage, epoch, index and digest of its last entry |
//! | a receipt | `tipline.signature.receipt.v1`, zero byte, BLAKE3 of all its bytes before the signature |
//! | an announcement | `tipline.signature.announcement.v1`, zero byte, the same |
//! | a checkpoint | `tipline.signature.checkpoint.v1`, zero byte, lineage, BLAKE3 of its manifest |
//! | a successor | `tipline.signature.successor.v1`, zero byte, the old public key, the new one |
//!
//! Numbers are 8 bytes, big-endian. The digests chain, so the signature of one entry vouches for all
//! before it.

use std::fmt;

use bytes::Bytes;
use ed25519_dalek::Signer;

use super::{Predecessor, PublicKey, Seal, Signature};
use crate::entry::Entry;
use crate::identity::Lineage;
use crate::limits::MAX_PREDECESSORS;
use crate::receipt::{Announcement, Receipt};

const ENTRY: &[u8] = b"tipline.signature.entry.v1\0";
const RECEIPT: &[u8] = b"tipline.signature.receipt.v1\0";
const ANNOUNCEMENT: &[u8] = b"tipline.signature.announcement.v1\0";
const CHECKPOINT: &[u8] = b"tipline.signature.checkpoint.v1\0";
const SUCCESSOR: &[u8] = b"tipline.signature.successor.v1\0";

/// A key that signs. It is secret: nothing prints it.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    predecessors: Vec<Predecessor>,
}

impl SigningKey {
    /// The key with this seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { key: ed25519_dalek::SigningKey::from_bytes(seed), predecessors: vec![] }
    }

    /// The same key, which has succeeded others: the oldest first. Of more than
    /// [`MAX_PREDECESSORS`] the newest are kept.
    pub fn with_predecessors(mut self, mut predecessors: Vec<Predecessor>) -> Self {
        predecessors.drain(..predecessors.len().saturating_sub(MAX_PREDECESSORS));
        self.predecessors = predecessors;
        self
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// The keys that it has succeeded, the oldest first.
    pub fn predecessors(&self) -> &[Predecessor] {
        &self.predecessors
    }

    /// Another key that succeeds this one: whoever trusts this one can believe it.
    pub fn succeeded_by(&self, next: SigningKey) -> SigningKey {
        let signature = self.key.sign(&successor_message(&self.public(), &next.public()));
        let link = Predecessor { key: self.public(), signature: signature.to_bytes() };
        let links = self.predecessors.iter().cloned().chain([link]).collect();
        next.with_predecessors(links)
    }

    /// Signs an entry, the last one of a unit. The digest stays as it is.
    pub fn sign_entry(&self, lineage: Lineage, entry: &mut Entry) {
        entry.signature = Some(self.sign(&entry_message(lineage, entry)));
    }

    /// Signs a receipt.
    pub fn sign_receipt(&self, receipt: &mut Receipt) {
        receipt.seal = None;
        receipt.seal = Some(self.seal_receipt(&receipt.encode()));
    }

    /// Signs an announcement.
    pub fn sign_announcement(&self, said: &mut Announcement) {
        said.seal = None;
        said.seal = Some(self.seal(ANNOUNCEMENT, &said.encode()));
    }

    /// Signs a checkpoint of a store, by the BLAKE3 of its manifest.
    pub fn sign_checkpoint(&self, lineage: Lineage, manifest: &[u8; 32]) -> Signature {
        self.sign(&checkpoint_message(lineage, manifest))
    }

    /// The seal of the bytes of a receipt without one.
    pub(crate) fn seal_receipt(&self, bytes: &[u8]) -> Seal {
        self.seal(RECEIPT, bytes)
    }

    fn seal(&self, context: &[u8], bytes: &[u8]) -> Seal {
        let over = blake3::hash(bytes).into();
        let signature = self.sign(&sealed_message(context, &over));
        Seal { signature, over, signed: Bytes::copy_from_slice(bytes) }
    }

    fn sign(&self, message: &[u8]) -> Signature {
        let bytes = self.key.sign(message).to_bytes();
        Signature::new(self.public(), bytes, self.predecessors.clone())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

pub(crate) fn entry_message(lineage: Lineage, entry: &Entry) -> Vec<u8> {
    let mut message = Vec::with_capacity(128);
    message.extend_from_slice(ENTRY);
    message.extend_from_slice(lineage.as_bytes());
    message.extend_from_slice(&entry.epoch.to_be_bytes());
    message.extend_from_slice(&entry.index.to_be_bytes());
    message.extend_from_slice(entry.digest.as_bytes());
    message
}

pub(crate) fn checkpoint_message(lineage: Lineage, manifest: &[u8; 32]) -> Vec<u8> {
    [CHECKPOINT, lineage.as_bytes(), manifest].concat()
}

pub(crate) fn receipt_message(seal: &Seal) -> Vec<u8> {
    sealed_message(RECEIPT, &seal.over)
}

pub(crate) fn announcement_message(seal: &Seal) -> Vec<u8> {
    sealed_message(ANNOUNCEMENT, &seal.over)
}

pub(crate) fn successor_message(old: &PublicKey, new: &PublicKey) -> Vec<u8> {
    [SUCCESSOR, old.as_bytes(), new.as_bytes()].concat()
}

fn sealed_message(context: &[u8], over: &[u8; 32]) -> Vec<u8> {
    [context, over].concat()
}
