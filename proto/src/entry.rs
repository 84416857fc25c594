//! Entries: events at their place in the log.

use crate::digest::{Digest, Preimage};
use crate::event::Event;
use crate::headers::Headers;
use crate::position::Position;
use crate::signature::Signature;
use crate::time::Timestamp;

/// An event at its place in the log, sealed by the digest chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Dense number in the log, from 1. Never reused.
    pub index: u64,
    /// Incarnation of the primary that wrote it, from 1.
    pub epoch: u64,
    /// The primary's commit time.
    pub time: Timestamp,
    /// Sequence of the event in the primary's outbox, from 1. Of an [`Event::EpochStarted`]:
    /// the sequence up to which the log is complete, 0 for none. Within an epoch each entry has the
    /// next one after that of the entry before it. From one epoch to the next nothing follows: the
    /// outbox may be another one.
    pub outbox_sequence: u64,
    /// The digest chain up to and including this entry.
    pub digest: Digest,
    /// What happened.
    pub event: Event,
    /// The primary's signature of everything up to here, if this is the last entry of a unit that was
    /// signed. It is in no digest, and kept wherever entries are.
    pub signature: Option<Signature>,
    /// What travels with it and is in no digest. A log keeps it, nothing else does.
    pub headers: Headers,
}

impl Entry {
    /// Seals an event as the next one after `previous`.
    ///
    /// The same arguments always give the same digest. An event that is published again
    /// after a doubt is recognised by it. After the largest index there is no next one: what
    /// is sealed there has that index again, and follows nothing.
    pub fn seal(
        previous: &Position,
        epoch: u64,
        time: Timestamp,
        outbox_sequence: u64,
        event: Event,
    ) -> Entry {
        let index = previous.index.saturating_add(1);
        let preimage = Preimage {
            previous: previous.digest,
            index,
            epoch,
            time,
            outbox_sequence,
            event: &event,
        };
        let digest = preimage.digest();
        let headers = Headers::default();
        Entry { index, epoch, time, outbox_sequence, digest, event, signature: None, headers }
    }

    /// Whether this is the entry directly after `previous`, unaltered: its index is the
    /// next one, and its digest is what its content and `previous` give. Hashes the payload.
    pub fn follows(&self, previous: &Position) -> bool {
        if previous.index.checked_add(1) != Some(self.index) {
            return false;
        }
        let preimage = Preimage {
            previous: previous.digest,
            index: self.index,
            epoch: self.epoch,
            time: self.time,
            outbox_sequence: self.outbox_sequence,
            event: &self.event,
        };
        self.digest == preimage.digest()
    }

    /// The canonical preimage of this entry's digest after `previous`, as [`Digest`] documents it: all of
    /// the entry, with the hash of its payload in the place of the payload.
    pub fn preimage(&self, previous: &Digest) -> Vec<u8> {
        let Self { index, epoch, time, outbox_sequence, ref event, .. } = *self;
        Preimage { previous: *previous, index, epoch, time, outbox_sequence, event }.bytes()
    }

    /// The position directly after this entry.
    pub fn position(&self) -> Position {
        Position { index: self.index, digest: self.digest }
    }
}

/// What the last part of an event says without the parts before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The position directly after the entry.
    pub position: Position,
    /// As in [`Entry::epoch`].
    pub epoch: u64,
    /// As in [`Entry::time`].
    pub time: Timestamp,
    /// As in [`Entry::outbox_sequence`].
    pub outbox_sequence: u64,
}
