//! The node's side: creating the tables, and enqueueing in the node's own transaction.

use std::fmt;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};
use tipline_log::Clock;
use tipline_proto::{Event, Hash, Links, ProofsFrom, Tip};

use super::error::failed;
use super::presence::with_index;
use super::row::{Columns, from_i64, to_i64};
use super::state::{self, State};
use crate::outbox::{Limits, OutboxError};

/// How places of this kind begin.
const KIND: &str = "sqlite:";

/// The schema of the outbox: the file `docs/outbox.sql`, for a node that has migrations of
/// its own. It may run again at any time. [`OutboxTable::install`] runs it.
pub const SCHEMA: &str = include_str!("../../../docs/outbox.sql");

const INSERT: &str = "INSERT INTO tipline_outbox \
    (time_us, kind, height, hash, parent_hash, key, name, \
     payload_ref, payload_hash, payload_length, payload) \
    VALUES (:time_us, :kind, :height, :hash, :parent_hash, :key, :name, \
     :payload_ref, :payload_hash, :payload_length, :payload)";

/// The node's side of the outbox in its SQLite database. Cheap to clone; it holds no connection.
#[derive(Clone)]
pub struct OutboxTable {
    clock: Clock,
    place: String,
}

impl fmt::Debug for OutboxTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxTable").field("place", &self.place).finish_non_exhaustive()
    }
}

impl OutboxTable {
    /// Creates the tables if they are not there, or makes those of an earlier version the present
    /// ones, all or nothing, and binds the outbox to its chain by the hash of the genesis block. In
    /// a transaction of the caller's it takes part in that one. Commit times come from `clock`.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] if the outbox that is there belongs to another chain or has
    /// another version; [`OutboxError::Failed`] if SQLite refused.
    pub fn install(
        conn: &Connection,
        genesis: &Hash,
        clock: Clock,
    ) -> Result<OutboxTable, OutboxError> {
        let place = format!("{KIND}{}", conn.path().unwrap_or_default());
        let installed = is_installed(conn).map_err(failed(&place, "looking for its tables"))?;
        if !installed {
            create(conn, genesis).map_err(failed(&place, "creating its tables"))?;
        }
        let state = State::read(conn, &place)?;
        if state.genesis != *genesis {
            let why = format!(
                "it belongs to the chain with genesis {}, not {genesis}: give the database of \
                 this chain, or start from scratch",
                state.genesis
            );
            return Err(OutboxError::Unusable { place, why, source: None });
        }
        Ok(OutboxTable { clock, place })
    }

    /// The same outbox under another name in messages, in which errors name the file, too. For an
    /// outbox of which the database is only the index.
    pub fn named(mut self, name: &str) -> Self {
        let file = self.place.strip_prefix(KIND).unwrap_or(&self.place);
        self.place = with_index(name, Path::new(file));
        self
    }

    /// The newest block that was enqueued, as far as `conn` sees.
    ///
    /// # Errors
    /// As [`OutboxTable::install`].
    pub fn tip(&self, conn: &Connection) -> Result<Option<Tip>, OutboxError> {
        Ok(State::read(conn, &self.place)?.tip)
    }

    /// The hash of the block at a height, if it is enqueued and not forgotten; of the parent of
    /// the first one too.
    ///
    /// # Errors
    /// As [`OutboxTable::install`].
    pub fn block(&self, conn: &Connection, height: u64) -> Result<Option<Hash>, OutboxError> {
        let base = State::read(conn, &self.place)?.base;
        match base.filter(|base| base.height == height) {
            Some(base) => Ok(Some(base.hash)),
            None => self.stored_block(conn, height),
        }
    }

    /// Enqueues an event. It will be published exactly if the transaction commits. Answers
    /// its sequence, by which its way can be followed once the transaction has committed.
    ///
    /// # Errors
    /// [`OutboxError::DoesNotLink`], [`OutboxError::TooLarge`], [`OutboxError::Full`],
    /// [`OutboxError::Refused`], or [`OutboxError::Failed`] if SQLite refused. Nothing was
    /// enqueued then, and the transaction is as it was.
    pub fn enqueue(&self, tx: &Transaction<'_>, event: &Event) -> Result<u64, OutboxError> {
        self.insert(tx, event, None)
    }

    /// Enqueues an event whose payload the node keeps elsewhere already, where
    /// `reference` says (1 to 4,096 bytes): the row has its length and BLAKE3 only. It must
    /// stay there until the row is removed, and [`super::SqliteOutbox::open_with`] needs a
    /// [`super::PayloadSource`] that finds it.
    ///
    /// # Errors
    /// As [`OutboxTable::enqueue`]; [`OutboxError::Refused`] for an event without payload.
    pub fn enqueue_reference(
        &self,
        tx: &Transaction<'_>,
        event: &Event,
        reference: &str,
    ) -> Result<u64, OutboxError> {
        self.insert(tx, event, Some(reference))
    }

    /// Changes how much may wait in the outbox: events, and bytes of their payloads. The
    /// defaults are [`tipline_proto::limits::OUTBOX_EVENTS`] and
    /// [`tipline_proto::limits::OUTBOX_BYTES`]. What is logged does not count. If nothing waits,
    /// an event of any size fits.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] for 0, with which nothing could be enqueued;
    /// [`OutboxError::Failed`] if SQLite refused.
    pub fn set_limits(
        &self,
        conn: &Connection,
        events: u64,
        bytes: u64,
    ) -> Result<(), OutboxError> {
        Limits { events, bytes }.check(&self.place)?;
        let sql = "UPDATE tipline_outbox_state SET max_events = ?1, max_bytes = ?2";
        conn.execute(sql, [to_i64(events), to_i64(bytes)])
            .map_err(failed(&self.place, "changing its limits"))?;
        Ok(())
    }

    fn insert(
        &self,
        tx: &Transaction<'_>,
        event: &Event,
        reference: Option<&str>,
    ) -> Result<u64, OutboxError> {
        event.check_limits()?;
        let refused = |why| OutboxError::Refused { event: event.to_string(), why };
        let row = Columns::from_event(event).map_err(refused)?;
        let (payload, referred) = match (reference, row.payload) {
            (None, payload) => (payload, None),
            (Some(_), Some(payload)) => (None, Some(payload)),
            (Some(_), None) => return Err(refused("it has no payload to refer to")),
        };
        let hash = referred.map(|payload| *blake3::hash(payload).as_bytes());
        let inserted = tx.prepare_cached(INSERT).and_then(|mut statement| {
            statement.execute(named_params! {
                ":time_us": to_i64((self.clock)().as_micros()),
                ":kind": row.kind,
                ":height": row.height,
                ":hash": row.hash,
                ":parent_hash": row.parent_hash,
                ":key": row.key,
                ":name": row.name,
                ":payload_ref": reference,
                ":payload_hash": hash,
                ":payload_length": referred.map(|payload| to_i64(payload.len() as u64)),
                ":payload": payload.map(|payload| payload.as_ref()),
            })
        });
        match inserted {
            Ok(_) => Ok(from_i64(tx.last_insert_rowid())),
            Err(error) => Err(self.explain(tx, event, error)),
        }
    }

    /// Why the triggers refused an event. They decide; this only finds the words, by the same
    /// rule in Rust.
    fn explain(&self, tx: &Transaction<'_>, event: &Event, error: rusqlite::Error) -> OutboxError {
        if error.sqlite_error_code() != Some(rusqlite::ErrorCode::ConstraintViolation) {
            return failed(&self.place, "enqueueing an event")(error);
        }
        let state = match State::read(tx, &self.place) {
            Ok(state) => state,
            Err(unusable) => return unusable,
        };
        let links = match state.links(tx) {
            Ok(links) => links,
            Err(error) => return failed(&self.place, "reading tipline_proven")(error),
        };
        let (genesis, proofs_from) = (state.genesis.clone(), ProofsFrom::default());
        let mut links = Links::resume(genesis, proofs_from, links);
        let referred = links.refers_to(event).map(|height| self.stored_block(tx, height));
        let referred = match referred.transpose() {
            Ok(hash) => hash.flatten(),
            Err(error) => return error,
        };
        if let Err(source) = links.admit(event, referred.as_ref()) {
            let (event, source) = (event.to_string(), Box::new(source));
            return OutboxError::DoesNotLink { event, source };
        }
        let counted = state.pending();
        let (events, bytes) = (counted.counted_events(), counted.counted_bytes);
        if state.limits.are_reached(events, bytes, event.payload().len() as u64) {
            return OutboxError::Full { place: self.place.clone(), events, bytes };
        }
        failed(&self.place, "enqueueing an event")(error)
    }

    /// The hash of the block at a height, if the outbox still knows it.
    fn stored_block(&self, tx: &Connection, height: u64) -> Result<Option<Hash>, OutboxError> {
        let sql = "SELECT hash FROM tipline_block WHERE height = ?1";
        let found = tx
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement.query_row([to_i64(height)], |row| row.get::<_, Vec<u8>>(0)).optional()
            })
            .map_err(failed(&self.place, "reading tipline_block"))?;
        Ok(found.and_then(|hash| Hash::new(hash).ok()))
    }
}

/// Looks without the write lock. A node that is started again must not wait for one. A newer
/// version is left as it is, for the caller to refuse.
fn is_installed(conn: &Connection) -> rusqlite::Result<bool> {
    Ok(state::version(conn)?.is_some_and(|version| version >= state::VERSION))
}

/// Whether it is an outbox of an earlier version.
pub(super) fn is_older(conn: &Connection) -> rusqlite::Result<bool> {
    Ok(state::version(conn)?.is_some_and(|version| version < state::VERSION))
}

/// Makes an outbox of an earlier version one of this version, all or nothing. Whoever publishes from
/// it by that version ends with it: see [`super::lock`].
pub(super) fn upgrade(conn: &Connection) -> rusqlite::Result<()> {
    all_or_nothing(conn, || conn.execute_batch(SCHEMA))
}

fn create(conn: &Connection, genesis: &Hash) -> rusqlite::Result<()> {
    // Tables of an earlier version that belong to no chain yet have that one as the default.
    let bind = "INSERT OR IGNORE INTO tipline_outbox_state (genesis, version) VALUES (?1, ?2)";
    all_or_nothing(conn, || {
        conn.execute_batch(SCHEMA)?;
        conn.execute(bind, (genesis.as_ref(), state::VERSION)).map(drop)
    })
}

/// In the caller's transaction if there is one.
fn all_or_nothing(
    conn: &Connection,
    write: impl FnOnce() -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    // Not deferred, because going from reading to writing fails at once if somebody else writes.
    let (begin, commit, rollback) = if conn.is_autocommit() {
        ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
    } else {
        let rollback = "ROLLBACK TO tipline_install; RELEASE tipline_install";
        ("SAVEPOINT tipline_install", "RELEASE tipline_install", rollback)
    };
    conn.execute_batch(begin)?;
    let written = write().and_then(|()| conn.execute_batch(commit));
    if written.is_err() {
        // If that fails too, the transaction is gone already, with everything in it.
        _ = conn.execute_batch(rollback);
    }
    written
}
