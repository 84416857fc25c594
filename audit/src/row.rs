//! An entry as a row, for programs that know nothing of Tipline.

use std::fmt::Write;

use serde::Serialize;
use tipline_proto::{Entry, Event, Timestamp};

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
        let payload = event.payload();
        let mut row = Self {
            index: *index,
            digest: digest.to_string(),
            epoch: *epoch,
            time_us: Timestamp::as_micros(*time),
            outbox_sequence: *outbox_sequence,
            kind: event.kind().as_str(),
            height: None,
            hash: None,
            parent_hash: None,
            transaction: None,
            key: None,
            erased: None,
            name: None,
            outbox: None,
            payload_bytes: payload.len() as u64,
            payload_blake3: blake3::hash(payload).to_hex().to_string(),
            payload: with_payload.then(|| hex(payload)),
        };
        match event {
            Event::EpochStarted { primary, outbox } => {
                row.name = Some(primary.as_str().to_owned());
                row.outbox = Some(outbox.to_string());
            }
            Event::BlockCommitted { height, hash, parent_hash, .. } => {
                (row.height, row.hash) = (Some(*height), Some(hash.to_string()));
                row.parent_hash = Some(parent_hash.to_string());
            }
            Event::BlockProven { height, block_hash: hash, .. }
            | Event::RolledBack { to_height: height, to_hash: hash } => {
                (row.height, row.hash) = (Some(*height), Some(hash.to_string()));
            }
            Event::TransactionValidated { id, .. } => row.transaction = Some(id.to_string()),
            Event::StateRecorded { key, value } => {
                (row.key, row.erased) = (Some(key.to_string()), Some(value.is_none()));
            }
            Event::Marked { name } => row.name = Some(name.as_str().to_owned()),
        }
        row
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}
