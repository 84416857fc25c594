//! What a leaf says: the canonical preimage of an entry, as [`tipline_proto::Digest`] documents it.

use tipline_proto::{Digest, Kind, Timestamp};

const TAG: &[u8] = b"tipline.entry.v1";

/// An entry without its payload: what is in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Digest of the entry before it.
    pub previous: Digest,
    /// Its own digest.
    pub digest: Digest,
    /// Its index, from 1.
    pub index: u64,
    /// Incarnation of the primary.
    pub epoch: u64,
    /// The primary's commit time.
    pub time: Timestamp,
    /// Which event it is.
    pub kind: Kind,
    /// Height of the block, of the proven block, or that remains; otherwise 0.
    pub height: u64,
    /// Hash of the block, of the proven or the remaining block; id of the transaction, key, or name.
    pub label: Vec<u8>,
    /// Length of the payload.
    pub payload_bytes: u64,
    /// BLAKE3 of the payload.
    pub payload_blake3: [u8; 32],
}

/// Bytes that are no preimage of an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what is proven is no entry that this program knows: {0}")]
pub struct BadLeaf(pub(super) &'static str);

impl Leaf {
    /// Reads a preimage: all of the bytes, and no more.
    ///
    /// # Errors
    /// [`BadLeaf`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadLeaf> {
        let mut rest = bytes.strip_prefix(TAG).ok_or(BadLeaf("it does not begin as one"))?;
        let previous = Digest::from_bytes(array(&mut rest)?);
        let index = u64::from_be_bytes(array(&mut rest)?);
        let epoch = u64::from_be_bytes(array(&mut rest)?);
        let time = Timestamp::from_micros(u64::from_be_bytes(array(&mut rest)?));
        let _outbox_sequence: [u8; 8] = array(&mut rest)?;
        let [number] = array(&mut rest)?;
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == number);
        let kind = kind.ok_or(BadLeaf("its kind is not known"))?;
        let height = u64::from_be_bytes(array(&mut rest)?);
        let label = text(&mut rest)?.to_vec();
        let _second = text(&mut rest)?;
        let [_erased] = array(&mut rest)?;
        let payload_bytes = u64::from_be_bytes(array(&mut rest)?);
        let payload_blake3 = array(&mut rest)?;
        if !rest.is_empty() {
            return Err(BadLeaf("it is too long"));
        }
        let digest = Digest::from_bytes(blake3::hash(bytes).into());
        Ok(Self {
            previous,
            digest,
            index,
            epoch,
            time,
            kind,
            height,
            label,
            payload_bytes,
            payload_blake3,
        })
    }

    /// Whether this is its payload.
    pub fn has_payload(&self, payload: &[u8]) -> bool {
        payload.len() as u64 == self.payload_bytes
            && *blake3::hash(payload).as_bytes() == self.payload_blake3
    }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BadLeaf> {
    let (first, after) = rest.split_first_chunk().ok_or(BadLeaf("it is too short"))?;
    *rest = after;
    Ok(*first)
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], BadLeaf> {
    let length = usize::from(u16::from_be_bytes(array(rest)?));
    let (text, after) = rest.split_at_checked(length).ok_or(BadLeaf("it is too short"))?;
    *rest = after;
    Ok(text)
}
