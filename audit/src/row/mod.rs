//! An entry as a row, for programs that know nothing of Tipline.

#[cfg(feature = "parquet")]
mod columns;
#[cfg(feature = "parquet")]
#[cfg(test)]
mod tests;

use serde::Serialize;
use tipline_proto::{Entry, Event, Timestamp};

#[cfg(feature = "parquet")]
pub use columns::ParquetRows;

/// An entry as one JSON object. A field that an event has not is left out. Bytes are lower-case
/// hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntryRow {
    /// Dense number in the log, from 1.
    pub index: u64,
    /// The digest chain up to and including this entry.
    pub digest: String,
    /// Incarnation of the primary.
    pub epoch: u64,
    /// The primary's commit time, in microseconds since 1970.
    pub time_us: u64,
    /// Sequence in the primary's outbox.
    pub outbox_sequence: u64,
    /// `block_committed`, and so on: the names that stand in subjects.
    pub kind: &'static str,
    /// Height of the block, of the proven block, or that remains after a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// Hash of the block, of the proven block, or of the remaining block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Hash of the block's parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_hash: Option<String>,
    /// Id of the transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// Key of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether the record was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erased: Option<bool>,
    /// Name of the mark, or of the primary that claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Id of the outbox that the epoch publishes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbox: Option<String>,
    /// Bytes of the payload.
    pub payload_bytes: u64,
    /// BLAKE3 of the payload.
    pub payload_blake3: String,
    /// The payload itself, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

impl EntryRow {
    /// The row of an entry, with its payload or without.
    pub fn new(entry: &Entry, with_payload: bool) -> Self {
        let Entry { index, epoch, time, outbox_sequence, digest, event, .. } = entry;
        let Fields { height, hash, parent_hash, transaction, key, erased, name, outbox } =
            Fields::new(event);
        let payload = event.payload();
        Self {
            index: *index,
            digest: digest.to_string(),
            epoch: *epoch,
            time_us: Timestamp::as_micros(*time),
            outbox_sequence: *outbox_sequence,
            kind: event.kind().as_str(),
            height,
            hash: hash.map(hex),
            parent_hash: parent_hash.map(hex),
            transaction: transaction.map(hex),
            key: key.map(hex),
            erased,
            name: name.map(str::to_owned),
            outbox: outbox.map(hex),
            payload_bytes: payload.len() as u64,
            payload_blake3: blake3::hash(payload).to_hex().to_string(),
            payload: with_payload.then(|| hex(payload)),
        }
    }
}

/// What some kinds of events have, in every form of a row.
#[derive(Debug, Default)]
struct Fields<'a> {
    height: Option<u64>,
    hash: Option<&'a [u8]>,
    parent_hash: Option<&'a [u8]>,
    transaction: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
    erased: Option<bool>,
    name: Option<&'a str>,
    outbox: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn new(event: &'a Event) -> Self {
        let mut fields = Self::default();
        match event {
            Event::EpochStarted { primary, outbox } => {
                fields.name = Some(primary.as_str());
                fields.outbox = Some(outbox.as_bytes());
            }
            Event::BlockCommitted { height, hash, parent_hash, .. } => {
                (fields.height, fields.hash) = (Some(*height), Some(hash.as_ref()));
                fields.parent_hash = Some(parent_hash.as_ref());
            }
            Event::BlockProven { height, block_hash: hash, .. }
            | Event::RolledBack { to_height: height, to_hash: hash } => {
                (fields.height, fields.hash) = (Some(*height), Some(hash.as_ref()));
            }
            Event::TransactionValidated { id, .. } => fields.transaction = Some(id.as_ref()),
            Event::StateRecorded { key, value } => {
                (fields.key, fields.erased) = (Some(key.as_ref()), Some(value.is_none()));
            }
            Event::Marked { name } => fields.name = Some(name.as_str()),
        }
        fields
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
