//! Trust: which keys are believed, and for what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::signing::{
    announcement_message, checkpoint_message, entry_message, receipt_message, successor_message,
};
use super::{PublicKey, Signature};
use crate::entry::Entry;
use crate::identity::Lineage;
use crate::name::ConsumerName;
use crate::receipt::{Announcement, Receipt};
use crate::time::Timestamp;

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There is none, and there must be one.
    #[error("it is not signed, and signatures are required")]
    Unsigned,
    /// It is by a key that is not trusted for this.
    #[error("it is signed by the key {key}, which is not trusted for it")]
    Untrusted {
        /// The key.
        key: PublicKey,
    },
    /// It is not what the key signed.
    #[error("the signature is not that of the key {key}: it was altered, or somebody else made it")]
    Wrong {
        /// The key that it should be of.
        key: PublicKey,
    },
    /// The key signs no more.
    #[error("it is signed by the key {key}, which the key {by} has replaced before")]
    Replaced {
        /// The key.
        key: PublicKey,
        /// Its successor.
        by: PublicKey,
    },
}

/// The keys that are trusted: of primaries for the history and announcements, of each consumer for
/// its receipts. Where there is a key, signatures are required. Clones share what they have learned:
/// which keys were replaced, and by which.
#[derive(Debug, Clone, Default)]
pub struct Trust(Arc<Keys>);

#[derive(Debug, Default)]
struct Keys {
    history: Option<Mutex<Ring>>,
    announcements: Option<Mutex<Ring>>,
    consumers: BTreeMap<ConsumerName, Mutex<Ring>>,
}

impl Trust {
    /// Trusts these keys of primaries, and of consumers. None of primaries: the history need not be
    /// signed. None of consumers: receipts need not.
    pub fn new(
        primaries: Vec<PublicKey>,
        consumers: impl IntoIterator<Item = (ConsumerName, PublicKey)>,
    ) -> Self {
        let ring = |keys: &[PublicKey]| {
            (!keys.is_empty()).then(|| Mutex::new(Ring { keys: keys.to_vec(), replaced: vec![] }))
        };
        let mut by_name: BTreeMap<ConsumerName, Ring> = BTreeMap::new();
        for (name, key) in consumers {
            by_name.entry(name).or_default().keys.push(key);
        }
        Self(Arc::new(Keys {
            history: ring(&primaries),
            announcements: ring(&primaries),
            consumers: by_name.into_iter().map(|(name, ring)| (name, Mutex::new(ring))).collect(),
        }))
    }

    /// Whether the history must be signed, and announcements.
    pub fn requires_history(&self) -> bool {
        self.0.history.is_some()
    }

    /// Whether receipts must be signed.
    pub fn requires_receipts(&self) -> bool {
        !self.0.consumers.is_empty()
    }

    /// Whether checkpoints of stores must be signed: where the history must be, and somebody is
    /// trusted who could have signed them.
    pub fn requires_checkpoints(&self) -> bool {
        self.requires_history() && self.requires_receipts()
    }

    /// Whether a trusted consumer, whichever, signed the checkpoint with this BLAKE3 of its manifest,
    /// which was made at this time. A primary's key vouches for no copy.
    ///
    /// # Errors
    /// See [`SignatureError`]; none if the history need not be signed.
    pub fn check_checkpoint(
        &self,
        lineage: Lineage,
        created: Timestamp,
        manifest: &[u8; 32],
        signature: Option<&Signature>,
    ) -> Result<(), SignatureError> {
        if !self.requires_history() {
            return Ok(());
        }
        let signature = signature.ok_or(SignatureError::Unsigned)?;
        let mut refusal = SignatureError::Untrusted { key: signature.key() };
        for ring in self.0.consumers.values() {
            let message = || checkpoint_message(lineage, manifest);
            match check(Some(ring), created.as_micros(), Some(signature), message) {
                Err(SignatureError::Untrusted { .. }) => {}
                Err(other) => refusal = other,
                Ok(()) => return Ok(()),
            }
        }
        Err(refusal)
    }

    /// Whether a trusted primary signed this entry, and with it all before it. That its digest is
    /// right is for [`Entry::follows`] to say.
    ///
    /// # Errors
    /// See [`SignatureError`]; none if the history need not be signed.
    pub fn check_entry(&self, lineage: Lineage, entry: &Entry) -> Result<(), SignatureError> {
        let signature = entry.signature.as_ref();
        let message = || entry_message(lineage, entry);
        check(self.0.history.as_ref(), entry.index, signature, message)
    }

    /// Whether a trusted primary signed the announcement.
    ///
    /// # Errors
    /// See [`SignatureError`]; none if announcements need not be signed.
    pub fn check_announcement(&self, said: &Announcement) -> Result<(), SignatureError> {
        let (seal, at) = (said.seal.as_ref(), said.time.as_micros());
        let message = || seal.map(announcement_message).unwrap_or_default();
        check(self.0.announcements.as_ref(), at, seal.map(|seal| &seal.signature), message)
    }

    /// Whether the consumer that the receipt names signed it.
    ///
    /// # Errors
    /// See [`SignatureError`]; none if receipts need not be signed.
    pub fn check_receipt(&self, receipt: &Receipt) -> Result<(), SignatureError> {
        if !self.requires_receipts() {
            return Ok(());
        }
        let seal = receipt.seal.as_ref().ok_or(SignatureError::Unsigned)?;
        let ring = self.0.consumers.get(&receipt.consumer);
        let untrusted = || SignatureError::Untrusted { key: seal.signature.key() };
        let (ring, at) = (ring.ok_or_else(untrusted)?, receipt.time.as_micros());
        check(Some(ring), at, Some(&seal.signature), || receipt_message(seal))
    }
}

fn check(
    ring: Option<&Mutex<Ring>>,
    at: u64,
    signature: Option<&Signature>,
    message: impl FnOnce() -> Vec<u8>,
) -> Result<(), SignatureError> {
    let Some(ring) = ring else { return Ok(()) };
    let signature = signature.ok_or(SignatureError::Unsigned)?;
    // It is changed by whole pushes: a panic elsewhere leaves nothing half done.
    ring.lock().unwrap_or_else(PoisonError::into_inner).check(at, signature, &message())
}

/// The keys of one participant: the configured ones, and those that have succeeded them.
#[derive(Debug, Default)]
struct Ring {
    keys: Vec<PublicKey>,
    replaced: Vec<Replaced>,
}

/// A key that signs nothing from here on: an index of the log, or a time.
#[derive(Debug)]
struct Replaced {
    key: PublicKey,
    by: PublicKey,
    from: u64,
}

impl Ring {
    fn check(
        &mut self,
        at: u64,
        signature: &Signature,
        message: &[u8],
    ) -> Result<(), SignatureError> {
        let key = signature.key();
        if let Some(by) = self.replaced_at(&key, at) {
            return Err(SignatureError::Replaced { key, by });
        }
        let is_known = self.keys.contains(&key);
        let links = signature.predecessors();
        let is_root =
            |key: &PublicKey| self.keys.contains(key) && self.replaced_at(key, at).is_none();
        let root = links.iter().rposition(|link| is_root(&link.key));
        if !is_known && root.is_none() {
            return Err(SignatureError::Untrusted { key });
        }
        if !key.signed(message, signature.as_bytes()) {
            return Err(SignatureError::Wrong { key });
        }
        if is_known {
            return Ok(());
        }
        let links = &links[root.unwrap_or(0)..];
        for (number, link) in links.iter().enumerate() {
            let next = links.get(number + 1).map_or(key, |next| next.key);
            if !link.key.signed(&successor_message(&link.key, &next), &link.signature) {
                return Err(SignatureError::Untrusted { key });
            }
        }
        let replaced = links.iter().map(|link| Replaced { key: link.key, by: key, from: at });
        self.replaced.extend(replaced);
        self.keys.push(key);
        Ok(())
    }

    fn replaced_at(&self, key: &PublicKey, at: u64) -> Option<PublicKey> {
        let found = self.replaced.iter().find(|it| it.key == *key && at >= it.from);
        found.map(|replaced| replaced.by)
    }
}
