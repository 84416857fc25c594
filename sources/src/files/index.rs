//! The index: an outbox of its own in which rows refer to the node's files.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tipline_log::Clock;
use tipline_producer::{OutboxError, OutboxTable};
use tipline_proto::{Event, Hash, Tip};
use tokio::sync::Notify;

/// Rows that hold a copy of what they refer to, for [`Index::enqueue`] to find them.
const COPIES: &str = "CREATE INDEX IF NOT EXISTS tipline_copy ON tipline_outbox (sequence) \
    WHERE payload IS NOT NULL AND payload_ref IS NOT NULL;";

/// An event to enqueue.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) event: Event,
    /// Where its payload is; `None` if it has none.
    pub(crate) reference: Option<String>,
}

/// What came of enqueueing some events.
#[derive(Debug)]
pub(crate) struct Taken {
    /// How many of them were enqueued, from the first on.
    pub(crate) count: usize,
    /// Why the next one was not.
    pub(crate) refused: Option<OutboxError>,
}

/// The writing side of the index. One process at a time.
#[derive(Debug)]
pub(crate) struct Index {
    conn: Connection,
    table: OutboxTable,
    place: String,
    wake: Arc<Notify>,
    _lock: File,
}

impl Index {
    /// Opens the index, creates it if it is not there. `schema` is what the caller keeps in it
    /// besides.
    pub(crate) fn open(
        path: &Path,
        place: &str,
        schema: &str,
        genesis: &Hash,
        clock: Clock,
        wake: Arc<Notify>,
    ) -> Result<Self, OutboxError> {
        let unusable = |why: String, source: Option<Box<dyn std::error::Error + Send + Sync>>| {
            OutboxError::Unusable { place: place.to_owned(), why, source }
        };
        let lock = lock(path).map_err(|error| match error {
            TryLockError::WouldBlock => {
                let why = "another process publishes from it: end that one first";
                unusable(format!("{why} (its index is {})", path.display()), None)
            }
            TryLockError::Error(error) => {
                let why = format!(
                    "its index {} cannot be written: give the index a place where it can",
                    path.display()
                );
                unusable(why, Some(error.into()))
            }
        })?;
        let create = || {
            let conn = Connection::open(path)?;
            conn.busy_timeout(std::time::Duration::from_secs(5))?;
            // Run to its end, so that an error is not lost.
            conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
            // A row that was published and then lost would leave the outbox behind the log.
            conn.pragma_update(None, "synchronous", "FULL")?;
            Ok(conn)
        };
        let conn = create().map_err(failed(place, "opening its index"))?;
        rebind_if_unused(&conn, genesis).map_err(failed(place, "opening its index"))?;
        let table = OutboxTable::install(&conn, genesis, clock)?.named(place);
        conn.execute_batch(COPIES)
            .and_then(|()| conn.execute_batch(schema))
            .map_err(failed(place, "creating its index"))?;
        Ok(Self { conn, table, place: place.to_owned(), wake, _lock: lock })
    }

    /// The newest block that was enqueued.
    pub(crate) fn tip(&self) -> Result<Option<Tip>, OutboxError> {
        self.table.tip(&self.conn)
    }

    /// The block at a height, if it is enqueued and not forgotten; the parent of the first one too.
    pub(crate) fn block(&self, height: u64) -> Result<Option<Hash>, OutboxError> {
        self.table.block(&self.conn, height)
    }

    /// Reads what the caller keeps in the index.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, OutboxError> {
        read(&self.conn).map_err(failed(&self.place, "reading its index"))
    }

    /// Writes what the caller keeps in the index, durable on return.
    pub(crate) fn write<T>(
        &mut self,
        write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, OutboxError> {
        let failed = |error| failed(&self.place, "writing its index")(error);
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.map_err(failed)?;
        let written = write(&tx).map_err(failed)?;
        tx.commit().map_err(failed)?;
        Ok(written)
    }

    /// Enqueues events up to the first that is refused, and with them, in one durable
    /// transaction, what `record` writes of those that were taken. The publisher is woken.
    ///
    /// The newest block and the newest row get a copy of what they refer to; older copies go.
    /// `replaced` names a reference whose file now has other content. The copy becomes all
    /// there is.
    pub(crate) fn enqueue(
        &mut self,
        items: &[Item],
        replaced: Option<&str>,
        record: impl FnOnce(&Transaction<'_>, usize) -> rusqlite::Result<()>,
    ) -> Result<Taken, OutboxError> {
        let failed = |error| failed(&self.place, "writing its index")(error);
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.map_err(failed)?;
        if let Some(reference) = replaced {
            keep_copy(&tx, reference).map_err(failed)?;
        }
        let mut sequences = Vec::with_capacity(items.len());
        let mut refused = None;
        for item in items {
            let enqueued = match &item.reference {
                Some(reference) => self.table.enqueue_reference(&tx, &item.event, reference),
                None => self.table.enqueue(&tx, &item.event),
            };
            match enqueued {
                Ok(sequence) => sequences.push(sequence),
                Err(error @ OutboxError::Failed { .. }) => return Err(error),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let count = sequences.len();
        // A replaced block is rolled back and published again together, or not at all.
        if count == 0 || (replaced.is_some() && count < items.len()) {
            return Ok(Taken { count: 0, refused });
        }
        copy_newest(&tx, items, &sequences).map_err(failed)?;
        record(&tx, count).map_err(failed)?;
        tx.commit().map_err(failed)?;
        self.wake.notify_one();
        Ok(Taken { count, refused })
    }
}

/// An index in which nothing was ever enqueued belongs to no chain yet. It was opened with a
/// wrong genesis, and that was corrected.
fn rebind_if_unused(conn: &Connection, genesis: &Hash) -> rusqlite::Result<()> {
    let table = "SELECT count(*) FROM sqlite_schema WHERE name = 'tipline_outbox_state'";
    if conn.query_row(table, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(());
    }
    let sql = "UPDATE tipline_outbox_state SET genesis = ?1 WHERE last = 0 AND genesis <> ?1";
    conn.execute(sql, [genesis.as_ref()]).map(drop)
}

/// SQLite's error as the outbox's.
fn failed(place: &str, what: &str) -> impl FnOnce(rusqlite::Error) -> OutboxError {
    move |error| OutboxError::from_sqlite(place, what, error)
}

fn lock(path: &Path) -> Result<File, TryLockError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(name);
    let lock = lock.map_err(TryLockError::Error)?;
    lock.try_lock()?;
    Ok(lock)
}

/// The rows of this reference that have a copy have nothing else from now on.
fn keep_copy(tx: &Transaction<'_>, reference: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE tipline_outbox SET payload_ref = NULL \
               WHERE payload IS NOT NULL AND payload_ref IS NOT NULL AND payload_ref = ?1";
    tx.execute(sql, [reference])?;
    Ok(())
}

fn copy_newest(tx: &Transaction<'_>, items: &[Item], sequences: &[u64]) -> rusqlite::Result<()> {
    let taken = || items.iter().zip(sequences).rev();
    let is_block = |item: &Item| matches!(item.event, Event::BlockCommitted { .. });
    let newest_block = taken().find(|(item, _)| is_block(item));
    let Some(newest) = taken().next() else {
        return Ok(());
    };
    // Without a new block the newest one is among the older copies, and stays.
    let drop_copies = "UPDATE tipline_outbox SET payload = NULL \
        WHERE payload IS NOT NULL AND payload_ref IS NOT NULL AND (?1 OR kind <> 'block_committed')";
    tx.execute(drop_copies, [newest_block.is_some()])?;
    let copy = "UPDATE tipline_outbox SET payload = ?2 \
                WHERE sequence = ?1 AND payload IS NULL AND payload_ref IS NOT NULL";
    for (item, sequence) in newest_block.into_iter().chain([newest]) {
        let payload: &[u8] = item.event.payload();
        tx.execute(copy, rusqlite::params![to_i64(*sequence), payload])?;
    }
    Ok(())
}

/// SQLite's integers have a sign, ours never do. What is written comes out again, and nothing
/// below zero is ever written.
pub(crate) fn from_i64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The number as SQLite holds it; the largest it can hold if it is larger.
pub(crate) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
