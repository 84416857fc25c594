//! The index: an outbox of its own in which rows refer to the node's files.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use tipline_log::{Clock, error_chain};
use tipline_producer::{OutboxError, OutboxTable};
use tipline_proto::{Event, Hash, Kind, Label, Tip};
use tokio::sync::Notify;

use super::copies;
use super::durable::make_durable;
use super::error::{io_failed, with_index};
use super::guard::Guard;
use super::seal::{MOST_READ, Seal, with_suffix};
use super::stamp::Stamp;

/// A process that was killed has the lock until the kernel has ended it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the lock is asked for.
const PAUSE: Duration = Duration::from_millis(50);

/// An event to enqueue.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) event: Event,
    /// Where its payload is; `None` if it has none, or if the row is to hold it.
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
    /// As errors call it.
    place: String,
    wake: Arc<Notify>,
    /// In bytes: see [`copies`].
    most_copied: i64,
    guard: Guard,
    /// Has the lock. Dropped after the connection.
    seal: Arc<Seal>,
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
                let why = "another process publishes from it, and did not end within 5 s: end \
                           that one first";
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
        let length = |path: &Path| {
            let found = Stamp::find(path).map_err(io_failed(place, "looking at", path));
            found.map(|found| found.map_or(0, |stamp| stamp.length))
        };
        let is_empty = length(path)? == 0;
        if is_empty && length(&with_suffix(path, "-wal"))? > 0 {
            let why = format!(
                "its index {0} is gone, but {0}-wal is there: put the index back, or remove both \
                 and say where a new one continues, with --continue-at",
                path.display()
            );
            return Err(unusable(why, None));
        }
        let seal = Arc::new(Seal::open(path, place, lock)?);
        make_durable(path).map_err(|error| {
            let index = path.display();
            let why =
                format!("what its index {index} has cannot be made durable: look at the disk");
            unusable(why, Some(error.into()))
        })?;
        make_private(path).map_err(|error| {
            unusable(format!("its index {} cannot be made", path.display()), Some(error.into()))
        })?;
        let create = || {
            let conn = Connection::open(path)?;
            conn.busy_timeout(Duration::from_secs(5))?;
            // Run to its end, so that an error is not lost.
            conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
            // A row that was published and then lost would leave the outbox behind the log.
            conn.pragma_update(None, "synchronous", "FULL")?;
            // Where fsync does not reach the medium, this does.
            conn.pragma_update(None, "fullfsync", true)?;
            conn.pragma_update(None, "checkpoint_fullfsync", true)?;
            // The main file is written when the seal says so, and at no other time.
            conn.pragma_update(None, "wal_autocheckpoint", 0)?;
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            Ok(conn)
        };
        let named = with_index(place, path);
        let conn = create().map_err(failed(&named, "opening its index"))?;
        if length(path)? <= MOST_READ {
            seal.quick_check()?;
        }
        rebind_if_unused(&conn, genesis).map_err(failed(&named, "opening its index"))?;
        let table = OutboxTable::install(&conn, genesis, clock)?.named(place);
        conn.execute_batch(copies::SCHEMA)
            .and_then(|()| conn.execute_batch(schema))
            .map_err(failed(&named, "creating its index"))?;
        let files = ["", "-wal", "-shm", ".lock"].map(|suffix| with_suffix(path, suffix));
        let guard = Guard::new(place, files.into())?;
        seal.write_all(&conn)?;
        let most_copied = copies::MOST;
        Ok(Self { conn, table, place: named, wake, most_copied, guard, seal })
    }

    /// Whether it is still where it was, and what was written to it last.
    ///
    /// # Errors
    /// [`OutboxError::Corrupt`] if it is not: nothing more can be enqueued.
    pub(crate) fn check(&self) -> Result<(), OutboxError> {
        self.guard.check()?;
        self.seal.check()
    }

    /// For whoever else reads the index.
    pub(crate) fn seal(&self) -> Arc<Seal> {
        Arc::clone(&self.seal)
    }

    /// The newest block that was enqueued.
    pub(crate) fn tip(&self) -> Result<Option<Tip>, OutboxError> {
        self.table.tip(&self.conn)
    }

    /// The block at a height, if it is enqueued and not forgotten; the parent of the first one too.
    pub(crate) fn block(&self, height: u64) -> Result<Option<Hash>, OutboxError> {
        self.table.block(&self.conn, height)
    }

    /// The newest payload of this kind at a height, if the index holds it.
    pub(crate) fn payload(&self, height: u64, kind: Kind) -> Result<Option<Vec<u8>>, OutboxError> {
        let sql = "SELECT payload FROM tipline_outbox WHERE height = ?1 AND kind = ?2 \
                   ORDER BY sequence DESC LIMIT 1";
        let payload = self.read(|conn| {
            conn.query_row(sql, (to_i64(height), kind.as_str()), |row| row.get(0)).optional()
        });
        payload.map(Option::flatten)
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
        self.seal.write_if_due(&self.conn)?;
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
    /// Rows that wait have a copy of what they refer to: see [`copies`]. `replaced` names a
    /// reference whose file now has other content. The copy becomes all there is.
    pub(crate) fn enqueue(
        &mut self,
        items: &[Item],
        replaced: Option<&str>,
        record: impl FnOnce(&Transaction<'_>, usize) -> rusqlite::Result<()>,
    ) -> Result<Taken, OutboxError> {
        self.seal.write_if_due(&self.conn)?;
        let failed = |error| failed(&self.place, "writing its index")(error);
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.map_err(failed)?;
        if let Some(reference) = replaced {
            copies::keep(&tx, reference).map_err(failed)?;
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
        let referring = items.iter().zip(&sequences).filter(|(item, _)| item.reference.is_some());
        let rows = referring.map(|(item, sequence)| (to_i64(*sequence), &item.event.payload()[..]));
        copies::copy(&tx, &rows.collect::<Vec<_>>(), self.most_copied).map_err(failed)?;
        record(&tx, count).map_err(failed)?;
        tx.commit().map_err(failed)?;
        self.wake.notify_one();
        Ok(Taken { count, refused })
    }

    /// Copies no more bytes than this.
    #[cfg(test)]
    pub(crate) fn copy_at_most(&mut self, bytes: i64) {
        self.most_copied = bytes;
    }

    /// Enqueues a mark, durable on return.
    pub(crate) fn mark(&mut self, name: &Label) -> Result<(), OutboxError> {
        self.check()?;
        let mark = Item { event: Event::Marked { name: name.clone() }, reference: None };
        match self.enqueue(&[mark], None, |_, _| Ok(()))?.refused {
            Some(refused) => Err(refused),
            None => Ok(()),
        }
    }
}

impl Drop for Index {
    /// A process that ends as it should leaves nothing in the write-ahead log.
    fn drop(&mut self) {
        if let Err(error) = self.check().and_then(|()| self.seal.write_all(&self.conn)) {
            tracing::warn!("the index is left as it is: {}", error_chain(&error));
        }
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

/// For its owner alone.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes the file of an index that is not there: it has what waits for the log. SQLite gives the files
/// beside it the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    match private(OpenOptions::new().write(true).create_new(true)).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Waits a little for a process that is being ended.
fn lock(path: &Path) -> Result<File, TryLockError> {
    let lock = private(OpenOptions::new().create(true).truncate(false).read(true).write(true))
        .open(with_suffix(path, ".lock"))
        .map_err(TryLockError::Error)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(PAUSE),
            locked => return locked.map(|()| lock),
        }
    }
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
