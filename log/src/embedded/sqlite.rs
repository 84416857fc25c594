//! SQLite: everything that this log does with it, and the only file that names the crate.
//!
//! Nothing else in this crate may open the log's file, not even to look at it: closing any
//! descriptor of a file drops the locks that SQLite holds on it in this process, and another
//! process could then throw away the write-ahead log under a running writer. `stat` is harmless.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, ffi, params,
};
use tipline_proto::limits::{MAX_APPLY_BYTES, MAX_APPLY_EVENTS};
use tipline_proto::subject::CONTRACT_VERSION;
use tipline_proto::{
    Announcement, Chain, ConsumerName, Digest, Entry, Event, Hash, Lineage, LogIdentity, OutboxId,
    Position, Receipt,
};

use crate::error::LogError;
use crate::spec::{Board, Extent, Tail};

/// `TpLg`: says that a file is a log. Keep stable.
const APPLICATION_ID: i32 = 0x5470_4C67;
/// Version of the tables. Keep stable; a higher one is refused.
const SCHEMA_VERSION: i32 = 1;

const SCHEMA: &str = "
CREATE TABLE log (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    contract TEXT NOT NULL,
    name     TEXT NOT NULL,
    chain    TEXT NOT NULL,
    genesis  BLOB NOT NULL,
    lineage  BLOB NOT NULL
) STRICT;
CREATE TABLE entry (
    number INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    claim  INTEGER NOT NULL,
    bytes  BLOB NOT NULL
) STRICT;
CREATE TABLE receipt (
    consumer TEXT PRIMARY KEY,
    bytes    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE announcement (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE subscriber (
    consumer   TEXT PRIMARY KEY,
    generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// How long a connection waits for another one's write: longer than a unit takes on a slow disk.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_micros(200);
/// A write-ahead log that a large event made longer is cut back to this when it starts over.
const WAL_KEPT_BYTES: i64 = 64 << 20;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Appends. A commit is fsynced before it returns.
    Entries,
    /// Receipts and the like. A commit is not fsynced; the next append or checkpoint does it.
    Board,
    /// Reads, and never writes.
    Reading,
}

/// One connection to the file of a log.
pub(super) struct Database {
    connection: Connection,
    place: String,
    identity: LogIdentity,
}

/// Which pages a checkpoint found, and how many of them it brought home.
pub(super) struct Checkpoint {
    pub(super) pages: i64,
    pub(super) home: i64,
}

/// Makes an empty file into an empty log, durably. The file must be of a name that nobody
/// else knows.
pub(super) fn create(path: &Path, place: &str, identity: &LogIdentity) -> Result<(), LogError> {
    let create = || -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.execute(
            "INSERT INTO log (one, contract, name, chain, genesis, lineage) VALUES (1, ?, ?, ?, ?, ?)",
            params![
                CONTRACT_VERSION,
                identity.name.as_str(),
                identity.chain.name.as_str(),
                identity.chain.genesis.as_ref(),
                &identity.lineage.as_bytes()[..],
            ],
        )?;
        transaction.commit()?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.close().map_err(|(_, error)| error)
    };
    create().map_err(|error| explain(place, "creating it", error))
}

/// The version of SQLite: 3054001 is 3.54.1.
pub(super) fn version() -> i32 {
    rusqlite::version_number()
}

impl Database {
    /// Opens a file that must be a log. Creates nothing, changes nothing.
    pub(super) fn open(path: &Path, place: &str, purpose: Purpose) -> Result<Self, LogError> {
        let connection = connect(path, purpose).map_err(|error| unusable(place, error))?;
        check_file(&connection, place)?;
        let identity = connection
            .query_row("SELECT contract, name, chain, genesis, lineage FROM log", [], |row| {
                Ok(read_identity(row, place))
            })
            .map_err(|error| explain(place, "the log's identity", error))??;
        Ok(Self { connection, place: place.to_owned(), identity })
    }

    pub(super) fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    /// The value of a setting of this connection, as text.
    pub(super) fn setting(&self, name: &str) -> Result<String, LogError> {
        let text = |row: &Row<'_>| {
            Ok(match row.get_ref(0)? {
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => other.as_str()?.to_owned(),
            })
        };
        self.connection
            .pragma_query_value(None, name, text)
            .map_err(|error| explain(&self.place, &format!("setting {name}"), error))
    }

    /// Appends a unit that was checked, and fsyncs it. `None` if the tail is not `after`:
    /// nothing was written.
    pub(super) fn append(
        &mut self,
        after: &Tail,
        unit: &[Entry],
    ) -> Result<Option<Tail>, LogError> {
        let (place, origin) = (&self.place, Position::origin(&self.identity));
        append(&mut self.connection, origin, after, unit)
            .map_err(|error| explain(place, &format!("appending behind {}", after.position), error))
    }

    /// The tail. The newest entry is read whole.
    pub(super) fn tail(&self) -> Result<Tail, LogError> {
        let origin = Tail::origin(&self.identity);
        let newest = newest(&self.connection)
            .map_err(|error| explain(&self.place, "the newest entry", error))?;
        let Some((number, digest, claim)) = newest else { return Ok(origin) };
        let entry = self.decode(number)?;
        if digest != entry.digest.as_bytes()[..] {
            return Err(self.damaged(number, "its digest is not the one beside it"));
        }
        Ok(Tail { outbox: self.outbox(claim)?, ..origin.behind(&entry, number) })
    }

    fn outbox(&self, claim: u64) -> Result<Option<OutboxId>, LogError> {
        if claim == 0 {
            return Ok(None);
        }
        match self.decode(claim)?.event {
            Event::EpochStarted { outbox, .. } => Ok(Some(outbox)),
            _ => Err(self.damaged(claim, "it is not an epoch's start, as a later entry says")),
        }
    }

    pub(super) fn extent(&self) -> Result<Extent, LogError> {
        let sql = "SELECT (SELECT min(number) FROM entry), (SELECT max(number) FROM entry)";
        let numbers = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (first, last): (Option<i64>, Option<i64>) = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([], numbers))
            .map_err(|error| explain(&self.place, "the extent", error))?;
        Ok(Extent { first: first.map_or(1, number), last: last.map_or(0, number) })
    }

    /// The position behind entry `index`; `None` if the log does not hold it.
    pub(super) fn position(&self, index: u64) -> Result<Option<Position>, LogError> {
        if index == 0 {
            return Ok(Some(Position::origin(&self.identity)));
        }
        let digest: Option<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT digest FROM entry WHERE number = ?")
            .and_then(|mut statement| {
                statement.query_row([key(index)], |row| row.get(0)).optional()
            })
            .map_err(|error| explain(&self.place, &format!("entry {index}"), error))?;
        let Some(digest) = digest else { return Ok(None) };
        match <[u8; 32]>::try_from(digest) {
            Ok(digest) => Ok(Some(Position { index, digest: Digest::from_bytes(digest) })),
            Err(_) => Err(self.damaged(index, "its digest has not 32 bytes")),
        }
    }

    /// The entries behind `previous`, as many as a batch may have, each checked against the
    /// one before: SQLite has no checksum of its own on what it stores.
    pub(super) fn batch(&self, previous: Position) -> Result<Vec<Entry>, LogError> {
        let explain =
            |error| explain(&self.place, &format!("entries behind {}", previous.index), error);
        let sql = "SELECT number, digest, length(bytes), bytes FROM entry
                   WHERE number > ? ORDER BY number LIMIT ?";
        let mut statement = self.connection.prepare_cached(sql).map_err(explain)?;
        let limit = MAX_APPLY_EVENTS as i64;
        let mut rows = statement.query(params![key(previous.index), limit]).map_err(explain)?;
        let (mut batch, mut behind, mut bytes) = (Vec::new(), previous, 0);
        while let Some(row) = rows.next().map_err(explain)? {
            bytes += row.get::<_, i64>(2).map_err(explain)?;
            if bytes > MAX_APPLY_BYTES as i64 && !batch.is_empty() {
                break;
            }
            let entry = self.check(row, &behind)?;
            behind = entry.position();
            batch.push(entry);
        }
        Ok(batch)
    }

    /// One entry, checked like those of a batch; `None` if the log does not hold it.
    pub(super) fn entry(&self, index: u64) -> Result<Option<Entry>, LogError> {
        let Some(before) = index.checked_sub(1) else { return Ok(None) };
        let Some(previous) = self.position(before)? else { return Ok(None) };
        let sql = "SELECT number, digest, length(bytes), bytes FROM entry WHERE number = ?";
        let explain = |error| explain(&self.place, &format!("entry {index}"), error);
        let mut statement = self.connection.prepare_cached(sql).map_err(explain)?;
        let mut rows = statement.query([key(index)]).map_err(explain)?;
        match rows.next().map_err(explain)? {
            Some(row) => self.check(row, &previous).map(Some),
            None => Ok(None),
        }
    }

    fn check(&self, row: &Row<'_>, previous: &Position) -> Result<Entry, LogError> {
        let index = previous.index + 1;
        let at = format!("entry {index}");
        let explain = |error| explain(&self.place, &at, error);
        let found = number(row.get(0).map_err(explain)?);
        if found != index {
            return Err(self.damaged(index, &format!("it is missing, the next one is {found}")));
        }
        let digest: Vec<u8> = row.get(1).map_err(explain)?;
        let bytes: Vec<u8> = row.get(3).map_err(explain)?;
        let entry = Entry::decode(bytes.into())
            .map_err(|error| LogError::damaged(&self.place, &at, error))?;
        if !entry.follows(previous) || digest != entry.digest.as_bytes()[..] {
            return Err(
                self.damaged(index, "its bytes do not give its digest behind the entry before")
            );
        }
        Ok(entry)
    }

    fn decode(&self, index: u64) -> Result<Entry, LogError> {
        let at = format!("entry {index}");
        let bytes: Vec<u8> = self
            .connection
            .prepare_cached("SELECT bytes FROM entry WHERE number = ?")
            .and_then(|mut statement| statement.query_row([key(index)], |row| row.get(0)))
            .map_err(|error| explain(&self.place, &at, error))?;
        Entry::decode(bytes.into()).map_err(|error| LogError::damaged(&self.place, at, error))
    }

    fn damaged(&self, index: u64, what: &str) -> LogError {
        let (place, at) = (self.place.clone(), format!("entry {index}"));
        LogError::Damaged { place, at, source: Some(what.into()) }
    }

    pub(super) fn board(&self) -> Result<Board, LogError> {
        let explain = |error| explain(&self.place, "the receipts", error);
        let mut statement = self
            .connection
            .prepare_cached("SELECT consumer, bytes FROM receipt ORDER BY consumer")
            .map_err(explain)?;
        let mut rows = statement.query([]).map_err(explain)?;
        let mut receipts = Vec::new();
        while let Some(row) = rows.next().map_err(explain)? {
            let (consumer, bytes): (String, Vec<u8>) =
                (row.get(0).map_err(explain)?, row.get(1).map_err(explain)?);
            let receipt = Receipt::decode(bytes.into()).map_err(|error| {
                LogError::damaged(&self.place, format!("the receipt of {consumer}"), error)
            })?;
            receipts.push(receipt);
        }
        Ok(Board { receipts, primary: self.announcement()? })
    }

    fn announcement(&self) -> Result<Option<Announcement>, LogError> {
        let bytes: Option<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT bytes FROM announcement")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
            .map_err(|error| explain(&self.place, "the announcement", error))?;
        let decode = |bytes: Vec<u8>| Announcement::decode(Bytes::from(bytes));
        bytes
            .map(decode)
            .transpose()
            .map_err(|error| LogError::damaged(&self.place, "the announcement", error))
    }

    pub(super) fn put_receipt(&self, receipt: &Receipt) -> Result<(), LogError> {
        self.write(
            "putting a receipt",
            "INSERT INTO receipt (consumer, bytes) VALUES (?1, ?2)
             ON CONFLICT (consumer) DO UPDATE SET bytes = ?2",
            params![receipt.consumer.as_str(), &receipt.encode()[..]],
        )
    }

    pub(super) fn announce(&self, announcement: &Announcement) -> Result<(), LogError> {
        self.write(
            "announcing",
            "INSERT INTO announcement (one, bytes) VALUES (1, ?1)
             ON CONFLICT (one) DO UPDATE SET bytes = ?1",
            params![&announcement.encode()[..]],
        )
    }

    pub(super) fn forget(&self, consumer: &ConsumerName) -> Result<(), LogError> {
        let sql = "DELETE FROM receipt WHERE consumer = ?";
        self.write("forgetting a consumer", sql, params![consumer.as_str()])
    }

    fn write(
        &self,
        what: &str,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<(), LogError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map_err(|error| explain(&self.place, what, error))?;
        Ok(())
    }

    /// Makes a new subscription the only one of this consumer, and gives its number.
    pub(super) fn take_over(&self, consumer: &ConsumerName) -> Result<i64, LogError> {
        let sql = "INSERT INTO subscriber (consumer, generation) VALUES (?, 1)
                   ON CONFLICT (consumer) DO UPDATE SET generation = generation + 1
                   RETURNING generation";
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([consumer.as_str()], |row| row.get(0)))
            .map_err(|error| explain(&self.place, "subscribing", error))
    }

    /// The number of the newest subscription of this consumer.
    pub(super) fn generation(&self, consumer: &ConsumerName) -> Result<Option<i64>, LogError> {
        let sql = "SELECT generation FROM subscriber WHERE consumer = ?";
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement.query_row([consumer.as_str()], |row| row.get(0)).optional()
            })
            .map_err(|error| explain(&self.place, "the subscribers", error))
    }

    /// Brings pages from the write-ahead log home into the file, as far as no reader needs
    /// them, and fsyncs both.
    pub(super) fn checkpoint(&self) -> Result<Checkpoint, LogError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                Ok(Checkpoint { pages: row.get(1)?, home: row.get(2)? })
            })
            .map_err(|error| explain(&self.place, "a checkpoint of the write-ahead log", error))
    }

    /// Limits the file, so that a test sees what happens when there is no room.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: i64) {
        self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    }
}

fn connect(path: &Path, purpose: Purpose) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(wait_for_lock as fn(i32) -> bool))?;
    // A checkpoint that SQLite makes by itself swallows its errors, a failed fsync too. The
    // writer makes them, and looks.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    match purpose {
        Purpose::Entries => {
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update_and_check(
                None,
                "journal_size_limit",
                WAL_KEPT_BYTES,
                |_| Ok(()),
            )?;
        }
        Purpose::Board => connection.pragma_update(None, "synchronous", "NORMAL")?,
        Purpose::Reading => connection.pragma_update(None, "query_only", true)?,
    }
    // Closing must not block whoever drops a reader, and only the writer may fsync.
    let on_close = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(on_close, purpose != Purpose::Entries)?;
    Ok(connection)
}

fn wait_for_lock(tries: i32) -> bool {
    std::thread::sleep(LOCK_PAUSE);
    LOCK_PAUSE.saturating_mul(tries.unsigned_abs()) < LOCK_LIMIT
}

fn check_file(connection: &Connection, place: &str) -> Result<(), LogError> {
    let setting = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
            .map_err(|error| unusable(place, error))
    };
    let refuse =
        |why: String| Err(LogError::Unusable { place: place.to_owned(), why, source: None });
    if setting("application_id")? != APPLICATION_ID {
        return refuse("it is an SQLite file, but not a log: check the path".to_owned());
    }
    let version = setting("user_version")?;
    if version != SCHEMA_VERSION {
        return refuse(format!(
            "its tables have version {version}, this program knows {SCHEMA_VERSION}: use the version of Tipline that wrote it, or a newer one"
        ));
    }
    if connection.is_readonly("main").map_err(|error| unusable(place, error))? {
        return refuse("the file cannot be written: check its permissions".to_owned());
    }
    let journal: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(|error| unusable(place, error))?;
    if journal != "wal" {
        return refuse(format!(
            "its journal mode is {journal}, not wal: someone changed it; PRAGMA journal_mode = wal changes it back"
        ));
    }
    Ok(())
}

fn read_identity(row: &Row<'_>, place: &str) -> Result<LogIdentity, LogError> {
    let damaged = |source: Source| LogError::Damaged {
        place: place.to_owned(),
        at: "the log's identity".to_owned(),
        source: Some(source),
    };
    let text = |column: usize| row.get::<_, String>(column).map_err(|e| damaged(e.into()));
    let bytes = |column: usize| row.get::<_, Vec<u8>>(column).map_err(|e| damaged(e.into()));
    let contract = text(0)?;
    if contract != CONTRACT_VERSION {
        return Err(LogError::Unusable {
            place: place.to_owned(),
            why: format!(
                "its entries follow contract {contract}, this program knows {CONTRACT_VERSION}: use a newer version of Tipline"
            ),
            source: None,
        });
    }
    let lineage: [u8; 16] =
        bytes(4)?.try_into().map_err(|_| damaged("its lineage has not 16 bytes".into()))?;
    Ok(LogIdentity {
        name: text(1)?.parse().map_err(|e| damaged(Box::new(e)))?,
        chain: Chain {
            name: text(2)?.parse().map_err(|e| damaged(Box::new(e)))?,
            genesis: Hash::new(bytes(3)?).map_err(|e| damaged(Box::new(e)))?,
        },
        lineage: Lineage::from_bytes(lineage),
    })
}

fn append(
    connection: &mut Connection,
    origin: Position,
    after: &Tail,
    unit: &[Entry],
) -> rusqlite::Result<Option<Tail>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let newest = newest(&transaction)?;
    let (index, digest, mut claim) =
        newest.unwrap_or_else(|| (0, origin.digest.as_bytes().to_vec(), 0));
    if index != after.position.index || digest != after.position.digest.as_bytes()[..] {
        return Ok(None);
    }
    let mut tail = after.clone();
    {
        let sql = "INSERT INTO entry (number, digest, claim, bytes) VALUES (?, ?, ?, ?)";
        let mut insert = transaction.prepare_cached(sql)?;
        for entry in unit {
            if matches!(entry.event, Event::EpochStarted { .. }) {
                claim = entry.index;
            }
            let digest = &entry.digest.as_bytes()[..];
            insert.execute(params![key(entry.index), digest, key(claim), &entry.encode()[..]])?;
            tail = tail.behind(entry, entry.index);
        }
    }
    transaction.commit()?;
    Ok(Some(tail))
}

/// Index, digest and newest claim of the newest entry.
fn newest(connection: &Connection) -> rusqlite::Result<Option<(u64, Vec<u8>, u64)>> {
    let sql = "SELECT number, digest, claim FROM entry ORDER BY number DESC LIMIT 1";
    let read = |row: &Row<'_>| Ok((number(row.get(0)?), row.get(1)?, number(row.get(2)?)));
    connection.prepare_cached(sql)?.query_row([], read).optional()
}

/// SQLite's integers are signed; no log gets as far as their end.
fn key(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

fn number(key: i64) -> u64 {
    u64::try_from(key).unwrap_or(0)
}

/// What an error of opening means.
fn unusable(place: &str, error: rusqlite::Error) -> LogError {
    let why = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "it is not an SQLite file, or its beginning is damaged",
        Some(ErrorCode::CannotOpen) => {
            "it cannot be opened: check the permissions of the file and of its directory"
        }
        _ => return explain(place, "opening it", error),
    };
    LogError::Unusable { place: place.to_owned(), why: why.to_owned(), source: Some(error.into()) }
}

/// What an error of SQLite means for the caller.
fn explain(place: &str, what: &str, error: rusqlite::Error) -> LogError {
    let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
    let (place, what) = (place.to_owned(), what.to_owned());
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed,
        ) => {
            let what = format!("{what}; another process held its lock for {LOCK_LIMIT:?}");
            LogError::Unavailable { place, what, source: Some(error.into()) }
        }
        // The transaction was rolled back: what was acknowledged before is not in doubt.
        Some(ErrorCode::DiskFull) => {
            let what = format!("{what}; there is no room on its disk: make some");
            LogError::Unavailable { place, what, source: Some(error.into()) }
        }
        Some(ErrorCode::OutOfMemory) => {
            LogError::Unavailable { place, what, source: Some(error.into()) }
        }
        Some(ErrorCode::SystemIoFailure) if !is_read_failure(extended) => {
            LogError::Failed { place, what, source: Some(error.into()) }
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            let why =
                format!("{what} failed: check the permissions of the file and of its directory");
            LogError::Unusable { place, why, source: Some(error.into()) }
        }
        // Read failures, corruption, and tables or values that are not what was written.
        _ => LogError::Damaged { place, at: what, source: Some(error.into()) },
    }
}

fn is_read_failure(extended: i32) -> bool {
    matches!(
        extended,
        ffi::SQLITE_IOERR_READ
            | ffi::SQLITE_IOERR_SHORT_READ
            | ffi::SQLITE_IOERR_DATA
            | ffi::SQLITE_IOERR_CORRUPTFS
    )
}
