//! The hash chain.

use std::fmt;
use std::str::FromStr;

use bytes::BufMut;

use crate::event::{Event, Kind};
use crate::hash::InvalidBytes;
use crate::hex;
use crate::identity::LogIdentity;
use crate::limits::{MAX_HASH_BYTES, MAX_KEY_BYTES, MAX_LABEL_BYTES};
use crate::time::Timestamp;

const ORIGIN_TAG: &[u8] = b"tipline.origin.v1";
/// The origin of a log that says from which height on proofs are expected.
const LATE_ORIGIN_TAG: &[u8] = b"tipline.origin.v2";
const ENTRY_TAG: &[u8] = b"tipline.entry.v1";
/// Most bytes of the preimage of an entry: what has a fixed length, and two texts.
const MAX_PREIMAGE_BYTES: usize = 16 + 32 + 4 * 8 + 1 + 8 + 1 + 8 + 32 + 2 * (2 + MAX_LABEL_BYTES);
const _: () = assert!(MAX_KEY_BYTES <= MAX_LABEL_BYTES && MAX_HASH_BYTES <= MAX_LABEL_BYTES);

/// A BLAKE3 digest of the hash chain. Two parties with the same digest at the same index hold
/// the same history.
///
/// # Canonical preimage
///
/// Every digest is plain BLAKE3 (32 bytes) over the bytes below. All numbers are
/// big-endian. `2 + n` is a length n in 2 bytes and then n bytes.
///
/// The **origin**, the digest at index 0, before the first entry of a log:
///
/// | bytes | field |
/// |---|---|
/// | 17 | ASCII `tipline.origin.v1` |
/// | 16 | lineage |
/// | 2 + n | chain name |
/// | 2 + n | genesis hash |
///
/// If proofs are expected from a later height than 1 on
/// ([`late`](crate::ProofsFrom::late)), it begins with `tipline.origin.v2` instead, and has that
/// height at its end, in 8 bytes.
///
/// An **entry**:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 16 | ASCII `tipline.entry.v1` |
/// | 16 | 32 | digest of the entry before it, or the origin |
/// | 48 | 8 | index |
/// | 56 | 8 | epoch |
/// | 64 | 8 | commit time, microseconds since 1970 |
/// | 72 | 8 | outbox sequence |
/// | 80 | 1 | kind: the number of [`Kind`] |
/// | 81 | 8 | height: of the block, of the proven block, or that remains after a rollback; otherwise 0 |
/// | 89 | 2 + n | block hash, proven block's hash, transaction id, key, remaining hash, mark's or primary's name |
/// | … | 2 + n | parent hash, or the outbox id of an epoch start; otherwise empty |
/// | … | 1 | 1 for an erased record, otherwise 0 |
/// | … | 8 | length of the payload |
/// | … | 32 | BLAKE3 of the payload |
///
/// The lineage is in every digest by way of the origin. The outbox sequence is in it because
/// a publisher resumes by it. A field that decides must not be one that can be altered unseen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// A digest of these 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest before the first entry of a log.
    pub fn origin(log: &LogIdentity) -> Self {
        let late = log.chain.proofs_from.late();
        let mut preimage = Vec::with_capacity(192);
        preimage.extend_from_slice(if late.is_some() { LATE_ORIGIN_TAG } else { ORIGIN_TAG });
        preimage.extend_from_slice(log.lineage.as_bytes());
        put_text(&mut preimage, log.chain.name.as_str().as_bytes());
        put_text(&mut preimage, log.chain.genesis.as_ref());
        if let Some(height) = late {
            preimage.extend_from_slice(&height.to_be_bytes());
        }
        Self(blake3::hash(&preimage).into())
    }
}

/// What an entry's digest covers, besides the entry before it.
pub(crate) struct Preimage<'a> {
    pub(crate) previous: Digest,
    pub(crate) index: u64,
    pub(crate) epoch: u64,
    pub(crate) time: Timestamp,
    pub(crate) outbox_sequence: u64,
    pub(crate) event: &'a Event,
}

impl Preimage<'_> {
    /// Without the heap: whoever checks a history does this for every entry.
    pub(crate) fn digest(&self) -> Digest {
        let mut room = [0; MAX_PREIMAGE_BYTES];
        let mut left = &mut room[..];
        self.put(&mut left);
        let length = MAX_PREIMAGE_BYTES - left.len();
        Digest(blake3::hash(&room[..length]).into())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut preimage = Vec::with_capacity(MAX_PREIMAGE_BYTES);
        self.put(&mut preimage);
        preimage
    }

    fn put(&self, preimage: &mut impl BufMut) {
        let fields = Fields::from_event(self.event);
        let payload = self.event.payload();
        preimage.put_slice(ENTRY_TAG);
        preimage.put_slice(self.previous.as_bytes());
        preimage.put_u64(self.index);
        preimage.put_u64(self.epoch);
        preimage.put_u64(self.time.as_micros());
        preimage.put_u64(self.outbox_sequence);
        preimage.put_u8(fields.kind as u8);
        preimage.put_u64(fields.height);
        put_text(preimage, fields.first);
        put_text(preimage, fields.second);
        preimage.put_u8(u8::from(fields.erased));
        preimage.put_u64(payload.len() as u64);
        preimage.put_slice(blake3::hash(payload).as_bytes());
    }
}

struct Fields<'a> {
    kind: Kind,
    height: u64,
    first: &'a [u8],
    second: &'a [u8],
    erased: bool,
}

impl<'a> Fields<'a> {
    fn from_event(event: &'a Event) -> Self {
        let (height, first, second): (u64, &[u8], &[u8]) = match event {
            Event::EpochStarted { primary, outbox } => {
                (0, primary.as_str().as_bytes(), outbox.as_bytes())
            }
            Event::BlockCommitted { height, hash, parent_hash, .. } => {
                (*height, hash.as_ref(), parent_hash.as_ref())
            }
            Event::BlockProven { height, block_hash, .. } => (*height, block_hash.as_ref(), &[]),
            Event::TransactionValidated { id, .. } => (0, id.as_ref(), &[]),
            Event::StateRecorded { key, .. } => (0, key.as_ref(), &[]),
            Event::RolledBack { to_height, to_hash } => (*to_height, to_hash.as_ref(), &[]),
            Event::Marked { name } => (0, name.as_str().as_bytes(), &[]),
        };
        let erased = matches!(event, Event::StateRecorded { value: None, .. });
        Self { kind: event.kind(), height, first, second, erased }
    }
}

fn put_text(preimage: &mut impl BufMut, text: &[u8]) {
    debug_assert!(text.len() <= MAX_LABEL_BYTES, "held by its type");
    preimage.put_u16(text.len() as u16);
    preimage.put_slice(text);
}

impl FromStr for Digest {
    type Err = InvalidBytes;
    /// Reads 64 hex digits.
    fn from_str(given: &str) -> Result<Self, InvalidBytes> {
        hex::decode_array(given).map(Self).ok_or_else(|| InvalidBytes::Hex {
            what: "digest (64 hex digits)",
            given: given.to_owned(),
        })
    }
}

impl fmt::Display for Digest {
    /// Hex, all of it; the first 4 bytes with `{:#}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if f.alternate() { &self.0[..4] } else { &self.0[..] };
        hex::fmt(shown, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::fmt(&self.0, f)
    }
}
