//! The one row of `tipline_outbox_state`.

use rusqlite::{Connection, OptionalExtension};
use tipline_proto::{Hash, HeightRanges, InvalidBytes, LinksState, OutboxId, Tip};

use super::error::failed;
use super::row::from_i64;
use crate::outbox::{Limits, OutboxError, Pending};

/// Version of the schema. Keep in step with docs/outbox.sql.
pub(super) const VERSION: i64 = 3;

#[derive(Debug)]
pub(super) struct State {
    pub(super) id: OutboxId,
    pub(super) genesis: Hash,
    pub(super) limits: Limits,
    pub(super) last: u64,
    pub(super) trimmed: u64,
    pub(super) bytes: u64,
    /// Rows up to here count against no limit; at least `trimmed`.
    pub(super) released: u64,
    /// Payload bytes of those of them that are here.
    pub(super) released_bytes: u64,
    pub(super) base: Option<Tip>,
    pub(super) tip: Option<Tip>,
}

/// The row as it stands there, before it is checked.
struct Raw {
    version: i64,
    id: Vec<u8>,
    genesis: Vec<u8>,
    numbers: [i64; 7],
    base: (Option<i64>, Option<Vec<u8>>),
    tip: (Option<i64>, Option<Vec<u8>>),
}

impl State {
    /// Reads the state, on whatever transaction `conn` is in.
    pub(super) fn read(conn: &Connection, place: &str) -> Result<Self, OutboxError> {
        let sql = "SELECT version, id, genesis, max_events, max_bytes, last, trimmed, s.bytes, \
                   base_height, base_hash, tip_height, tip_hash, sequence, r.bytes \
                   FROM tipline_outbox_state s, tipline_outbox_released r";
        let row = conn.prepare_cached(sql).and_then(|mut statement| {
            let raw = |row: &rusqlite::Row<'_>| {
                let numbers = [3, 4, 5, 6, 7, 12, 13].map(|column| row.get(column));
                let [a, b, c, d, e, f, g] = numbers;
                let numbers = [a?, b?, c?, d?, e?, f?, g?];
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
        let raw = match row {
            Ok(Some(raw)) => raw,
            Ok(None) => return Err(explain(conn, place, None)),
            Err(error) => return Err(explain(conn, place, Some(error))),
        };
        if raw.version != VERSION {
            return Err(other_version(place, raw.version));
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
        let numbers = raw.numbers.map(from_i64);
        let [max_events, max_bytes, last, trimmed, bytes, released, released_bytes] = numbers;
        Ok(Self {
            id: OutboxId::from_bytes(id),
            genesis: Hash::new(raw.genesis)?,
            limits: Limits { events: max_events, bytes: max_bytes },
            last,
            trimmed,
            bytes,
            released: released.max(trimmed),
            released_bytes,
            base: tip(raw.base.0, raw.base.1)?,
            tip: tip(raw.tip.0, raw.tip.1)?,
        })
    }

    /// Of an outbox of this version or an earlier one.
    pub(super) fn genesis(conn: &Connection, place: &str) -> Result<Hash, OutboxError> {
        match version(conn).map_err(failed(place, "reading its version"))? {
            Some(found) if found > VERSION => return Err(other_version(place, found)),
            Some(_) => {}
            None => State::read(conn, place).map(drop)?,
        }
        let sql = "SELECT genesis FROM tipline_outbox_state";
        let genesis = conn.query_row(sql, [], |row| row.get::<_, Vec<u8>>(0));
        let genesis = genesis.map_err(failed(place, "reading its genesis"))?;
        Hash::new(genesis).map_err(|source| OutboxError::Corrupt {
            place: place.to_owned(),
            at: "tipline_outbox_state".to_owned(),
            source: Some(Box::new(source)),
        })
    }

    pub(super) fn pending(&self) -> Pending {
        Pending {
            first: self.trimmed + 1,
            last: self.last,
            bytes: self.bytes,
            released: self.released,
            counted_bytes: self.bytes.saturating_sub(self.released_bytes),
            max_events: self.limits.events,
            max_bytes: self.limits.bytes,
        }
    }

    /// What the next event must follow, with all that is proven.
    pub(super) fn links(&self, conn: &Connection) -> rusqlite::Result<LinksState> {
        let mut statement = conn.prepare_cached("SELECT first, last FROM tipline_proven")?;
        let run = |row: &rusqlite::Row<'_>| Ok((from_i64(row.get(0)?), from_i64(row.get(1)?)));
        let (mut proof_tip, mut proven_above) = (None, HeightRanges::default());
        for run in statement.query_map([], run)? {
            match run? {
                (0, last) => proof_tip = Some(last),
                (first, last) => proven_above.insert_range(first..=last),
            }
        }
        Ok(LinksState { base: self.base.clone(), tip: self.tip.clone(), proof_tip, proven_above })
    }
}

/// The version of the outbox in this database; `None` if it has none, or belongs to no chain yet.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    if !has_table(conn, "tipline_outbox_state")? {
        return Ok(None);
    }
    conn.query_row("SELECT version FROM tipline_outbox_state", [], |row| row.get(0)).optional()
}

/// Why there is no state: `error` is SQLite's, which has one code for all that is wrong with a
/// statement. So what is there is asked for.
fn explain(conn: &Connection, place: &str, error: Option<rusqlite::Error>) -> OutboxError {
    let what = "reading tipline_outbox_state";
    let why = || -> rusqlite::Result<Option<OutboxError>> {
        if !has_table(conn, "tipline_outbox_state")? {
            let why = "it has no table tipline_outbox_state: install the outbox, or give the \
                       database that has it";
            return Ok(Some(unusable(place, why)));
        }
        Ok(match version(conn)? {
            Some(found) if found != VERSION => Some(other_version(place, found)),
            Some(_) if !has_table(conn, "tipline_outbox_released")? => {
                Some(unusable(place, "a table of it is missing: run docs/outbox.sql again"))
            }
            None if error.is_none() => Some(unusable(
                place,
                "it belongs to no chain yet: install it with the hash of the genesis block",
            )),
            _ => None,
        })
    };
    match (why(), error) {
        (Ok(Some(why)), _) => why,
        (Ok(None) | Err(_), Some(error)) | (Err(error), None) => failed(place, what)(error),
        (Ok(None), None) => unusable(place, "a row of it is missing: run docs/outbox.sql again"),
    }
}

fn has_table(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1";
    conn.prepare_cached(sql)?.query_row([name], |row| row.get::<_, i64>(0)).map(|count| count > 0)
}

fn other_version(place: &str, found: i64) -> OutboxError {
    unusable(place, &format!("its schema has version {found}, this program knows {VERSION}"))
}

fn unusable(place: &str, why: &str) -> OutboxError {
    OutboxError::Unusable { place: place.to_owned(), why: why.to_owned(), source: None }
}

fn tip(height: Option<i64>, hash: Option<Vec<u8>>) -> Result<Option<Tip>, InvalidBytes> {
    let (Some(height), Some(hash)) = (height, hash) else {
        return Ok(None);
    };
    Ok(Some(Tip { height: from_i64(height), hash: Hash::new(hash)? }))
}
