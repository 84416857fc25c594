//! The one row of `tipline_outbox_state`.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};
use tipline_proto::{Hash, InvalidBytes, LinksState, OutboxId, Tip};

use super::error::failed;
use super::row::from_i64;
use crate::outbox::OutboxError;

/// Version of the schema. Keep in step with docs/outbox.sql.
const VERSION: i64 = 1;

#[derive(Debug)]
pub(super) struct State {
    pub(super) id: OutboxId,
    pub(super) genesis: Hash,
    pub(super) max_events: u64,
    pub(super) max_bytes: u64,
    pub(super) last: u64,
    pub(super) trimmed: u64,
    pub(super) bytes: u64,
    pub(super) base: Option<Tip>,
    pub(super) tip: Option<Tip>,
}

/// The row as it stands there, before it is checked.
struct Raw {
    version: i64,
    id: Vec<u8>,
    genesis: Vec<u8>,
    numbers: [i64; 5],
    base: (Option<i64>, Option<Vec<u8>>),
    tip: (Option<i64>, Option<Vec<u8>>),
}

impl State {
    /// Reads the state, on whatever transaction `conn` is in.
    pub(super) fn read(conn: &Connection, place: &str) -> Result<Self, OutboxError> {
        let sql = "SELECT version, id, genesis, max_events, max_bytes, last, trimmed, bytes, \
                   base_height, base_hash, tip_height, tip_hash FROM tipline_outbox_state";
        let row = conn.prepare_cached(sql).and_then(|mut statement| {
            let raw = |row: &rusqlite::Row<'_>| {
                let numbers = [row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?];
                Ok(Raw {
                    version: row.get(0)?,
                    id: row.get(1)?,
                    genesis: row.get(2)?,
                    numbers,
                    base: (row.get(8)?, row.get(9)?),
                    tip: (row.get(10)?, row.get(11)?),
                })
            };
            statement.query_row([], raw).optional()
        });
        let unusable = |why: &str| OutboxError::Unusable {
            place: place.to_owned(),
            why: why.to_owned(),
            source: None,
        };
        let raw = match row {
            Ok(Some(raw)) => raw,
            Ok(None) => {
                return Err(unusable(
                    "it belongs to no chain yet: install it with the hash of the genesis block",
                ));
            }
            Err(error) if is_missing(&error) => {
                return Err(unusable(
                    "it has no table tipline_outbox_state: install the outbox, or give the \
                     database that has it",
                ));
            }
            Err(error) => return Err(failed(place, "reading tipline_outbox_state")(error)),
        };
        if raw.version != VERSION {
            let why =
                format!("its schema has version {}, this program knows {VERSION}", raw.version);
            return Err(unusable(&why));
        }
        State::check(raw).map_err(|source| OutboxError::Corrupt {
            place: place.to_owned(),
            at: "tipline_outbox_state".to_owned(),
            source: Some(Box::new(source)),
        })
    }

    fn check(raw: Raw) -> Result<Self, InvalidBytes> {
        let id = <[u8; 16]>::try_from(raw.id.as_slice()).map_err(|_| InvalidBytes::Length {
            what: "outbox id",
            length: raw.id.len(),
            max: 16,
        })?;
        let [max_events, max_bytes, last, trimmed, bytes] = raw.numbers.map(from_i64);
        Ok(Self {
            id: OutboxId::from_bytes(id),
            genesis: Hash::new(raw.genesis)?,
            max_events,
            max_bytes,
            last,
            trimmed,
            bytes,
            base: tip(raw.base.0, raw.base.1)?,
            tip: tip(raw.tip.0, raw.tip.1)?,
        })
    }

    pub(super) fn links(&self) -> LinksState {
        LinksState { base: self.base.clone(), tip: self.tip.clone(), ..LinksState::default() }
    }
}

fn tip(height: Option<i64>, hash: Option<Vec<u8>>) -> Result<Option<Tip>, InvalidBytes> {
    let (Some(height), Some(hash)) = (height, hash) else {
        return Ok(None);
    };
    Ok(Some(Tip { height: from_i64(height), hash: Hash::new(Bytes::from(hash))? }))
}

fn is_missing(error: &rusqlite::Error) -> bool {
    error.to_string().contains("no such table")
}
