//! Events as rows of `tipline_outbox`, and back.

use bytes::Bytes;
use tipline_proto::{Event, Hash, InvalidBytes, InvalidLabel, Key, Kind, Label, TransactionId};

/// SQLite's integers have a sign, ours never do: what is written comes out again, and
/// nothing below zero is ever written.
pub(super) fn from_i64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The number as SQLite holds it; the largest it can hold if it is larger.
pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The columns of an event.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    pub(super) kind: &'static str,
    pub(super) height: Option<i64>,
    pub(super) hash: Option<&'a [u8]>,
    pub(super) parent_hash: Option<&'a [u8]>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) name: Option<&'a str>,
    pub(super) payload: Option<&'a Bytes>,
}

impl<'a> Columns<'a> {
    /// The columns of an event.
    ///
    /// # Errors
    /// What is wrong with an event that no node writes.
    pub(super) fn from_event(event: &'a Event) -> Result<Self, &'static str> {
        let mut columns = Columns {
            kind: event.kind().as_str(),
            height: None,
            hash: None,
            parent_hash: None,
            key: None,
            name: None,
            payload: None,
        };
        match event {
            Event::EpochStarted { .. } => return Err("only the publisher writes it"),
            Event::BlockCommitted { height, hash, parent_hash, payload } => {
                columns.height = Some(signed(*height)?);
                columns.hash = Some(hash.as_ref());
                columns.parent_hash = Some(parent_hash.as_ref());
                columns.payload = Some(payload);
            }
            Event::BlockProven { height, block_hash, payload } => {
                columns.height = Some(signed(*height)?);
                columns.hash = Some(block_hash.as_ref());
                columns.payload = Some(payload);
            }
            Event::TransactionValidated { id, payload } => {
                columns.hash = Some(id.as_ref());
                columns.payload = Some(payload);
            }
            Event::StateRecorded { key, value } => {
                columns.key = Some(key.as_ref());
                columns.payload = value.as_ref();
            }
            Event::RolledBack { to_height, to_hash } => {
                columns.height = Some(signed(*to_height)?);
                columns.hash = Some(to_hash.as_ref());
            }
            Event::Marked { name } => columns.name = Some(name.as_str()),
        }
        Ok(columns)
    }
}

fn signed(height: u64) -> Result<i64, &'static str> {
    i64::try_from(height).map_err(|_| "SQLite holds no height above 2^63 - 1")
}

/// The columns of a row that was read, all but its payload.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) kind: Option<String>,
    pub(super) height: Option<i64>,
    pub(super) hash: Option<Vec<u8>>,
    pub(super) parent_hash: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) name: Option<String>,
}

/// A row that is not one that the triggers let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidRow {
    #[error("its kind {0:?} is unknown: a newer version may have written it")]
    Kind(Option<String>),
    #[error("its {0} is missing")]
    Missing(&'static str),
    #[error("a hash, an id or a key cannot be")]
    Bytes(#[from] InvalidBytes),
    #[error("its name cannot be")]
    Name(#[from] InvalidLabel),
}

impl Head {
    /// The event with this payload; `None` if the row has none.
    pub(super) fn event(self, payload: Option<Bytes>) -> Result<Event, InvalidRow> {
        let kind = self.kind.as_deref().and_then(Kind::parse);
        let missing = |column| move || InvalidRow::Missing(column);
        let height = self.height.and_then(|height| u64::try_from(height).ok());
        let height = height.ok_or_else(missing("height"));
        let hash = self.hash.ok_or_else(missing("hash"));
        let payload_or = payload.clone().ok_or_else(missing("payload"));
        Ok(match kind {
            Some(Kind::BlockCommitted) => Event::BlockCommitted {
                height: height?,
                hash: Hash::new(hash?)?,
                parent_hash: Hash::new(self.parent_hash.ok_or_else(missing("parent hash"))?)?,
                payload: payload_or?,
            },
            Some(Kind::BlockProven) => Event::BlockProven {
                height: height?,
                block_hash: Hash::new(hash?)?,
                payload: payload_or?,
            },
            Some(Kind::TransactionValidated) => {
                Event::TransactionValidated { id: TransactionId::new(hash?)?, payload: payload_or? }
            }
            Some(Kind::StateRecorded) => {
                let key = Key::new(self.key.ok_or_else(missing("key"))?)?;
                Event::StateRecorded { key, value: payload }
            }
            Some(Kind::RolledBack) => {
                Event::RolledBack { to_height: height?, to_hash: Hash::new(hash?)? }
            }
            Some(Kind::Marked) => {
                Event::Marked { name: Label::new(&self.name.ok_or_else(missing("name"))?)? }
            }
            Some(Kind::EpochStarted) | None => return Err(InvalidRow::Kind(self.kind)),
        })
    }
}
