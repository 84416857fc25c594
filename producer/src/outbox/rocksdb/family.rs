//! The node's side: the column family, and its units.

use std::fmt;
use std::sync::{Arc, PoisonError};

use rocksdb::{DBCompressionType, DBWithThreadMode, Options, WriteBatch};
use tipline_log::Clock;
use tipline_proto::Hash;

use super::blocks::WINDOW;
use super::error::failed;
use super::keys;
use super::mode::OutboxThreadMode;
use super::publish::RocksDbOutbox;
use super::shared::{Shared, synced};
use super::unit::OutboxUnit;
use crate::outbox::{Limits, OutboxError};

/// The node's side of the outbox in its RocksDB: a column family of the node's own database, so
/// that events are committed in the write batch that commits what they describe.
///
/// The node opens its database with one more column family, [`OutboxFamily::NAME`], and
/// `create_missing_column_families`; it must be there at every opening from then on, as
/// RocksDB wants it. Then, for each commit:
///
/// ```text
/// let mut unit = outbox.begin()?;                       // waits for the unit before
/// batch.put_cf(&blocks, key, block);                    // the node's own
/// let sequence = unit.enqueue(&mut batch, &event)?;     // any number of events
/// unit.commit(batch)?;                                  // writes the batch
/// producer.committed(sequence);
/// ```
///
/// # Why the unit writes the batch
/// Sequences are dense and in commit order, and an event is checked against the ones before it.
/// RocksDB has no transaction here that would hold a number back from the next one until
/// it is known whether this one is written. So there is one unit at a time, from
/// [`OutboxFamily::begin`] to [`OutboxUnit::commit`]. A unit that is dropped, or whose batch is
/// not written, has never been.
///
/// Cheap to clone; clones share one outbox, and so do two that were opened on the same database.
/// They hold the database open.
#[derive(Clone)]
pub struct OutboxFamily {
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    /// Blocks more than this below the newest one are forgotten.
    pub(super) window: u64,
}

impl fmt::Debug for OutboxFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxFamily").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl OutboxFamily {
    /// Name of the column family.
    pub const NAME: &str = keys::FAMILY;

    /// Options for the column family: rows are written once, read once and removed soon. Options
    /// of the node's own will do, too, with the default comparator and no merge operator,
    /// compaction filter or time to live.
    pub fn options() -> Options {
        let mut options = Options::default();
        options.set_compression_type(DBCompressionType::Lz4);
        options
    }

    /// The outbox in the node's database. If there is none it is created, durably, and bound
    /// to its chain by the hash of the genesis block. Commit times come from `clock`.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] if the database was opened without the column family, or the
    /// outbox that is there belongs to another chain or has another version;
    /// [`OutboxError::Failed`] if RocksDB refused.
    pub fn open<T: OutboxThreadMode>(
        db: Arc<DBWithThreadMode<T>>,
        genesis: &Hash,
        clock: Clock,
    ) -> Result<Self, OutboxError> {
        let shared = Shared::open(db, genesis)?;
        Ok(Self { shared, clock, window: WINDOW })
    }

    /// The publisher's side, for [`crate::Producer::start`].
    pub fn publisher(&self) -> RocksDbOutbox {
        RocksDbOutbox::new(Arc::clone(&self.shared))
    }

    /// Begins a unit: events that are committed together, in one write batch. Waits until the
    /// unit before it is committed or dropped; a thread that has one and begins another waits for
    /// ever. It stays on its thread.
    ///
    /// # Errors
    /// [`OutboxError::Failed`] if RocksDB refused; [`OutboxError::Corrupt`] if something else
    /// has written to the outbox, or a batch with events in it was not written by its unit.
    pub fn begin(&self) -> Result<OutboxUnit<'_>, OutboxError> {
        // Whatever a unit that panicked has left is in the database, or nowhere.
        let turn = self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        OutboxUnit::begin(&self.shared, &self.clock, self.window, turn)
    }

    /// Changes how much may wait in the outbox: events, and bytes of their payloads. Durable on
    /// return; for units that begin from now on. The defaults are
    /// [`tipline_proto::limits::OUTBOX_EVENTS`] and [`tipline_proto::limits::OUTBOX_BYTES`].
    ///
    /// What is logged does not count. If nothing waits, an event of any size fits.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] for 0, with which nothing could be enqueued;
    /// [`OutboxError::Failed`] if RocksDB refused.
    pub fn set_limits(&self, events: u64, bytes: u64) -> Result<(), OutboxError> {
        let limits = Limits { events, bytes };
        limits.check(&self.shared.place)?;
        let db = &self.shared.db;
        let mut batch = WriteBatch::default();
        db.put(&mut batch, keys::LIMITS, &limits.encode())
            .and_then(|()| db.write(batch, &synced()))
            .map_err(failed(&self.shared.place, "changing its limits"))
    }
}
