//! The publisher's side.

use std::io;
use std::path::Path;

use bytes::Bytes;
use rusqlite::Connection;
use tipline_proto::{Hash, Lineage, OutboxId, Timestamp};

use super::barrier::Barrier;
use super::connect::{connect, own_path};
use super::error::failed;
use super::extent::extent;
use super::lock::{Lock, Shared};
use super::outside::Outside;
use super::presence::{Files, History, with_index};
use super::row::{Head, from_i64, to_i64};
use super::state::State;
use super::{PayloadSource, table, trim, waiting};
use crate::outbox::{Outbox, OutboxError, Pending, Row, Waiting};

const SELECT: &str = "SELECT sequence, coalesce(payload_length, length(payload), 0), time_us, \
    kind, height, hash, parent_hash, key, name, payload_ref, payload_hash, payload \
    FROM tipline_outbox WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence";

/// The publisher's side of the outbox in a node's SQLite database, on a connection of its own.
/// The node's side is [`super::OutboxTable`].
///
/// It stops for good, with [`OutboxError::Unusable`], if the database is removed or replaced while it
/// is open, or its `-wal` or `-shm`, or if something else than SQLite writes to it.
#[derive(Debug)]
pub struct SqliteOutbox {
    pub(super) conn: Connection,
    id: OutboxId,
    genesis: Hash,
    name: String,
    /// As errors call it: with the file, if its name is not that of the file.
    place: String,
    payloads: Option<Box<dyn PayloadSource>>,
    pub(super) barrier: Barrier,
    history: History,
    /// None where the caller compares what is in the file himself.
    outside: Option<Outside>,
    /// The database is not the one that was opened any more. Nothing is given out after that.
    replaced: Option<OutboxError>,
    /// Nobody changes the tables meanwhile. Dropped after the connection.
    _shared: Option<Shared>,
}

impl SqliteOutbox {
    /// Opens the outbox in this database. It must have been installed
    /// ([`super::OutboxTable::install`], [`super::SCHEMA`]), and be in WAL mode. One of an earlier
    /// version becomes one of this version, unless another publisher has it open: then it is
    /// refused. They know of each other by `<path>.tipline-lock`.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] says what to change; [`OutboxError::Failed`] if SQLite refused.
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        Self::start(path, None, &format!("sqlite:{}", path.display()))?.watched().map(Self::shared)
    }

    /// As [`SqliteOutbox::open`], for rows whose payloads are kept elsewhere.
    ///
    /// # Errors
    /// As [`SqliteOutbox::open`].
    pub fn open_with(path: &Path, payloads: Box<dyn PayloadSource>) -> Result<Self, OutboxError> {
        let place = format!("sqlite:{}", path.display());
        Self::start(path, Some(payloads), &place)?.watched().map(Self::shared)
    }

    /// As [`SqliteOutbox::open_with`], under another name in messages, in which errors name the file,
    /// too. For an outbox of which the database is only the index, and whose caller has a lock of its
    /// own.
    ///
    /// # Errors
    /// As [`SqliteOutbox::open`].
    pub fn open_named(
        path: &Path,
        payloads: Box<dyn PayloadSource>,
        name: &str,
    ) -> Result<Self, OutboxError> {
        let started = Self::start(path, Some(payloads), &with_index(name, path))?;
        Ok(Self { name: name.to_owned(), ..started })
    }

    /// As [`SqliteOutbox::open`], under another name in messages: the one that the path was
    /// given by. For a caller who locks `<path>.tipline-lock` from then on.
    ///
    /// # Errors
    /// As [`SqliteOutbox::open`].
    pub fn open_at(path: &Path, place: &str) -> Result<Self, OutboxError> {
        Self::start(path, None, place)?.watched()
    }

    fn start(
        path: &Path,
        payloads: Option<Box<dyn PayloadSource>>,
        place: &str,
    ) -> Result<Self, OutboxError> {
        let conn = connect(path, place)?;
        if table::is_older(&conn).map_err(failed(place, "reading its version"))? {
            Lock::of(own_path(&conn, path)).alone(place, || {
                table::upgrade(&conn).map_err(failed(place, "bringing it to this version"))
            })?;
        }
        let state = State::read(&conn, place)?;
        let barrier = Barrier::new(Files::of(own_path(&conn, path), place)?);
        let history = History::new(&state);
        let State { id, genesis, .. } = state;
        let (place, replaced, _shared) = (place.to_owned(), None, None);
        let name = place.clone();
        Ok(Self {
            conn,
            id,
            genesis,
            name,
            place,
            payloads,
            barrier,
            history,
            outside: None,
            replaced,
            _shared,
        })
    }

    /// From now on somebody looks for who else writes to it.
    fn watched(mut self) -> Result<Self, OutboxError> {
        let mut outside = Outside::of(self.barrier.files(), &self.place)?;
        outside.come_to_rest(&self.conn);
        self.outside = Some(outside);
        Ok(self)
    }

    /// From now on nobody changes its tables.
    fn shared(mut self) -> Self {
        self._shared = self.conn.path().and_then(|path| Lock::of(Path::new(path)).share());
        self
    }

    /// The genesis of the chain whose outbox is in this database, and nothing else of it: the outbox
    /// may be of an earlier version, and stays so, and may be open elsewhere.
    ///
    /// # Errors
    /// As [`SqliteOutbox::open`].
    pub fn genesis_at(path: &Path) -> Result<Hash, OutboxError> {
        let place = format!("sqlite:{}", path.display());
        let conn = connect(path, &place)?;
        State::genesis(&conn, &place)
    }

    /// Whether it still is the database that was opened.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] or [`OutboxError::Corrupt`] if not, from then on;
    /// [`OutboxError::Failed`] if it cannot be looked at now.
    fn check(&mut self) -> Result<(), OutboxError> {
        if let Some(replaced) = &self.replaced {
            return Err(replaced.duplicate());
        }
        let found = self.barrier.check(&self.place).and_then(|()| {
            // What SQLite remembers of a file, it does not read again if something was copied over it.
            let what = "looking at it";
            let forget = self.conn.execute_batch("PRAGMA shrink_memory");
            forget.map_err(failed(&self.place, what))?;
            let tx = self.conn.transaction().map_err(failed(&self.place, what))?;
            let state = State::read(&tx, &self.place)?;
            let rows = ends(&tx).map_err(failed(&self.place, what))?;
            self.history.follow(&self.place, &state, rows)
        });
        // What is in it says more, if that says something.
        let found = match (found, &mut self.outside) {
            (Ok(()), Some(outside)) => outside.check(&self.place),
            // Why SQLite cannot read it may be somebody else's doing.
            (Err(error @ OutboxError::Failed { .. }), Some(outside)) => {
                let other =
                    outside.check(&self.place).and_then(|()| outside.check_log(&self.place));
                Err(other.err().filter(|other| !is_passing(other)).unwrap_or(error))
            }
            (found, _) => found,
        };
        self.remember(found)
    }

    /// Likewise, and whether its write-ahead log is what the node wrote.
    ///
    /// # Errors
    /// As [`SqliteOutbox::check`].
    fn check_all(&mut self) -> Result<(), OutboxError> {
        self.check()?;
        self.check_log()
    }

    fn check_log(&mut self) -> Result<(), OutboxError> {
        let Some(outside) = &mut self.outside else { return Ok(()) };
        let found = outside.check_log(&self.place);
        self.remember(found)
    }

    /// What may not pass is final.
    fn remember(&mut self, found: Result<(), OutboxError>) -> Result<(), OutboxError> {
        if let Err(error) = &found
            && !is_passing(error)
        {
            self.replaced = Some(error.duplicate());
        }
        found
    }

    /// Rows up to `sequence`, which were read, are on the disk on return.
    fn make_durable(&mut self, sequence: u64) -> Result<(), OutboxError> {
        let durable = self.barrier.make_durable(&self.place, sequence);
        if let Err(error @ OutboxError::Unusable { .. }) = &durable {
            self.replaced = Some(error.duplicate());
        }
        durable
    }

    /// The rows after `after`, without the payloads that are kept elsewhere, from one
    /// short read transaction.
    fn rows(
        &mut self,
        after: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Found>, OutboxError> {
        let place = &self.place;
        let tx = self.conn.transaction().map_err(failed(place, "reading rows"))?;
        let state = State::read(&tx, place)?;
        if after < state.trimmed {
            let first = state.trimmed + 1;
            return Err(OutboxError::Trimmed { place: place.clone(), asked: after + 1, first });
        }
        let wanted = state.last.saturating_sub(after).min(max_rows as u64);
        let found = select(&tx, after, max_rows, max_bytes)
            .map_err(failed(place, &format!("the rows after {after}")))?;
        let due = after + 1..=after + wanted;
        let dense = found.iter().zip(due).all(|(row, sequence)| row.sequence == sequence);
        if !dense || found.len() as u64 > wanted || (found.is_empty() && wanted > 0) {
            let why = "rows are missing or too many: something else than the publisher wrote here";
            return Err(OutboxError::Corrupt {
                place: place.clone(),
                at: format!("the rows after {after}"),
                source: Some(why.into()),
            });
        }
        Ok(found)
    }

    fn complete(&self, found: Found) -> Result<Row, OutboxError> {
        let Found { sequence, time, head, payload, referred, .. } = found;
        let damaged = |at: String, source: Box<dyn std::error::Error + Send + Sync>| {
            OutboxError::Corrupt { place: self.place.clone(), at, source: Some(source) }
        };
        let payload = match (payload, referred) {
            (payload, None) => payload,
            (Some(payload), Some(referred)) => {
                let at = format!("row {sequence}");
                Some(referred.check(payload).map_err(|why| damaged(at, why.into()))?)
            }
            (None, Some(referred)) => Some(self.fetch(sequence, &referred)?),
        };
        let event = head.event(payload);
        let event = event.map_err(|error| damaged(format!("row {sequence}"), error.into()))?;
        Ok(Row { sequence, time, event })
    }

    fn fetch(&self, sequence: u64, referred: &Referred) -> Result<Bytes, OutboxError> {
        let at = format!("row {sequence}, whose payload is at {}", referred.reference);
        let place = self.place.clone();
        let Some(payloads) = &self.payloads else {
            let why = format!(
                "{at} that only the node can read: publish from a program of the node's, by \
                 SqliteOutbox::open_with, or enqueue the payload itself"
            );
            return Err(OutboxError::Unusable { place, why, source: None });
        };
        match payloads.read(&referred.reference) {
            Ok(payload) => referred.check(payload).map_err(|why| OutboxError::Corrupt {
                place,
                at,
                source: Some(why.into()),
            }),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::InvalidData
                        | io::ErrorKind::InvalidInput
                ) =>
            {
                Err(OutboxError::Corrupt { place, at, source: Some(error.into()) })
            }
            Err(error) => Err(OutboxError::Failed {
                place,
                what: format!("reading {at}"),
                source: Some(error.into()),
            }),
        }
    }
}

impl Outbox for SqliteOutbox {
    fn id(&self) -> OutboxId {
        self.id
    }

    fn place(&self) -> String {
        self.name.clone()
    }

    fn genesis(&self) -> Hash {
        self.genesis.clone()
    }

    fn lineage(&mut self) -> Result<Option<Lineage>, OutboxError> {
        self.check()?;
        let sql = "SELECT lineage FROM tipline_outbox_state";
        let bytes = self.conn.query_row(sql, [], |row| row.get::<_, Option<[u8; 16]>>(0));
        let bytes = bytes.map_err(failed(&self.place, "reading its log's lineage"))?;
        Ok(bytes.map(Lineage::from_bytes))
    }

    fn bind(&mut self, lineage: Lineage) -> Result<(), OutboxError> {
        self.check()?;
        let bind = "UPDATE tipline_outbox_state SET lineage = ?1";
        let bound = self.conn.execute(bind, [lineage.as_bytes()]);
        bound.map(drop).map_err(failed(&self.place, "binding it to its log"))
    }

    fn pending(&mut self) -> Result<Pending, OutboxError> {
        self.check_all()?;
        Ok(State::read(&self.conn, &self.place)?.pending())
    }

    fn read(
        &mut self,
        after: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, OutboxError> {
        self.check()?;
        let found = self.rows(after, max_rows, max_bytes)?;
        if let Some(newest) = found.last() {
            // After they were read: it vouches for that.
            self.check_log()?;
            self.make_durable(newest.sequence)?;
        }
        let mut rows = Vec::new();
        for found in found {
            match self.complete(found) {
                Ok(row) => rows.push(row),
                Err(error) if rows.is_empty() => return Err(error),
                // What is before it is whole; asking for the row itself gives the error.
                Err(_) => break,
            }
        }
        Ok(rows)
    }

    fn waiting(&mut self, after: u64) -> Result<Waiting, OutboxError> {
        self.check_all()?;
        waiting::waiting(&mut self.conn, &self.place, after)
    }

    fn release(&mut self, sequence: u64) -> Result<(), OutboxError> {
        self.check()?;
        trim::release(&mut self.conn, &self.place, sequence)
    }

    fn trim(&mut self, sequence: u64) -> Result<(), OutboxError> {
        self.check()?;
        trim::trim(&mut self.conn, &self.place, sequence)
    }
}

fn is_passing(error: &OutboxError) -> bool {
    matches!(error, OutboxError::Failed { .. })
}

/// A row as the table has it.
struct Found {
    sequence: u64,
    time: Timestamp,
    head: Head,
    payload: Option<Bytes>,
    referred: Option<Referred>,
}

/// What a row says about the payload that it refers to.
struct Referred {
    reference: String,
    hash: Vec<u8>,
    length: u64,
}

impl Referred {
    fn check(&self, payload: Bytes) -> Result<Bytes, String> {
        if payload.len() as u64 != self.length {
            return Err(format!(
                "it has {} bytes, {} were enqueued: restore what was there",
                payload.len(),
                self.length
            ));
        }
        let found = blake3::hash(&payload);
        if found.as_bytes().as_slice() != self.hash {
            return Err(format!(
                "its BLAKE3 is {found}, not that of what was enqueued: restore what was there"
            ));
        }
        Ok(payload)
    }
}

/// The oldest and the newest row; `None` if there is none.
fn ends(conn: &Connection) -> rusqlite::Result<Option<(u64, u64)>> {
    // One by one they cost a page each, asked together all rows.
    let sql = "SELECT (SELECT min(sequence) FROM tipline_outbox), \
               (SELECT max(sequence) FROM tipline_outbox)";
    let ends = conn
        .prepare_cached(sql)?
        .query_row([], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)))?;
    Ok(ends.0.zip(ends.1).map(|(first, last)| (from_i64(first), from_i64(last))))
}

fn select(
    conn: &Connection,
    after: u64,
    max_rows: usize,
    max_bytes: usize,
) -> rusqlite::Result<Vec<Found>> {
    let Some(end) = extent(conn, after..u64::MAX, max_rows, max_bytes as u64)?.end else {
        return Ok(Vec::new());
    };
    let mut statement = conn.prepare_cached(SELECT)?;
    statement.query_and_then([to_i64(after), to_i64(end)], take)?.collect()
}

fn take(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    let hash: Option<Vec<u8>> = row.get(10)?;
    let reference: Option<String> = row.get(9)?;
    let length = from_i64(row.get(1)?);
    let referred =
        hash.map(|hash| Referred { reference: reference.unwrap_or_default(), hash, length });
    let head = Head {
        kind: row.get(3)?,
        height: row.get(4)?,
        hash: row.get(5)?,
        parent_hash: row.get(6)?,
        key: row.get(7)?,
        name: row.get(8)?,
    };
    Ok(Found {
        sequence: from_i64(row.get(0)?),
        time: Timestamp::from_micros(from_i64(row.get(2)?)),
        head,
        payload: row.get::<_, Option<Vec<u8>>>(11)?.map(Bytes::from),
        referred,
    })
}
