//! Making a file into a log, and opening one that is.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params};
use tipline_proto::{Chain, Hash, Lineage, LogIdentity};

use super::error::explain;
use super::{Database, LOCK_LIMIT, Purpose, whole};
use crate::contract;
use crate::embedded::files::write_ahead_log_length;
use crate::error::LogError;

/// `TpLg`: says that a file is a log. Keep stable.
const APPLICATION_ID: i32 = 0x5470_4C67;
/// Version of the tables. Keep stable; a higher one is refused.
const SCHEMA_VERSION: i32 = 1;
/// Version of the tables of a log that was trimmed. It has one more, and its first entry is
/// not the first of all. Keep stable.
pub(super) const TRIMMED_VERSION: i32 = 2;

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
    number  INTEGER PRIMARY KEY,
    digest  BLOB NOT NULL,
    claim   INTEGER NOT NULL,
    bytes   BLOB NOT NULL,
    headers TEXT
) STRICT;
CREATE TABLE receipt (
    consumer TEXT PRIMARY KEY,
    bytes    BLOB NOT NULL,
    put_ms   INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE announcement (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    bytes  BLOB NOT NULL,
    put_ms INTEGER
) STRICT;
CREATE TABLE subscriber (
    consumer   TEXT PRIMARY KEY,
    generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Only in a log that says from which height on proofs are expected: it follows another version of
/// the contract, by which whoever does not know this column refuses it.
const ADD_PROOFS_FROM: &str = "ALTER TABLE log ADD COLUMN proofs_from INTEGER";

/// How often a connection asks for a lock that another process holds: SQLite can be neither
/// woken nor notified, and its own pauses are of milliseconds.
const LOCK_PAUSE: Duration = Duration::from_micros(200);
/// A write-ahead log that a large event made longer is cut back to this when it starts over.
const WAL_KEPT_BYTES: i64 = 64 << 20;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Makes an empty file into an empty log, durably. The file must be of a name that nobody
/// else knows.
pub(in crate::embedded) fn create(
    path: &Path,
    place: &str,
    identity: &LogIdentity,
) -> Result<(), LogError> {
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
                contract::version_of(&identity.chain),
                identity.name.as_str(),
                identity.chain.name.as_str(),
                identity.chain.genesis.as_ref(),
                &identity.lineage.as_bytes()[..],
            ],
        )?;
        if let Some(height) = identity.chain.proofs_from.late() {
            transaction.execute_batch(ADD_PROOFS_FROM)?;
            transaction.execute("UPDATE log SET proofs_from = ?", [height.cast_signed()])?;
        }
        transaction.commit()?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.close().map_err(|(_, error)| error)
    };
    create().map_err(|error| explain(place, "creating it", error))
}

impl Database {
    /// Opens a file that must be a log. Creates nothing, changes nothing. For
    /// [`Purpose::Reading`] it may be on a medium that cannot be written.
    pub(in crate::embedded) fn open(
        path: &Path,
        place: &str,
        purpose: Purpose,
    ) -> Result<Self, LogError> {
        let mut connection = connect(path, purpose).map_err(|error| unusable(place, error))?;
        let is_read_only = connection.is_readonly("main").map_err(|e| unusable(place, e))?;
        if is_read_only && purpose != Purpose::Reading {
            let why = "the file cannot be written: check its permissions".to_owned();
            return Err(LogError::Unusable { place: place.to_owned(), why, source: None });
        }
        let is_unchanging = is_read_only && needs_shared_memory(&connection);
        if is_unchanging {
            connection = connect_unchanging(path, place)?;
        }
        check_file(&connection, place, is_unchanging)?;
        if purpose == Purpose::Reading && !is_unchanging {
            whole::check(path, place, &connection)?;
        }
        let identity = connection
            .query_row("SELECT * FROM log", [], |row| Ok(read_identity(row, place)))
            .map_err(|error| explain(place, "the log's identity", error))??;
        let (place, has_headers) = (place.to_owned(), Cell::new(false));
        Ok(Self { connection, place, identity, is_read_only, has_headers })
    }

    /// Whether nobody can write it from here.
    pub(in crate::embedded) fn is_read_only(&self) -> bool {
        self.is_read_only
    }
}

fn connect(path: &Path, purpose: Purpose) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    #[allow(unused_mut, reason = "the oldest rusqlite of the range does not need it")]
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(wait_for_lock as fn(i32) -> bool))?;
    // A checkpoint that SQLite makes by itself swallows its errors, a failed fsync too. The
    // writer makes them, and looks.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    match purpose {
        Purpose::Entries => {
            connection.pragma_update(None, "synchronous", "FULL")?;
            // Where fsync does not reach the medium, this does.
            connection.pragma_update(None, "fullfsync", true)?;
            connection.pragma_update(None, "checkpoint_fullfsync", true)?;
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
    // Closing must not block the one who drops a reader, and only the writer may fsync.
    let on_close = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(on_close, purpose != Purpose::Entries)?;
    Ok(connection)
}

/// Whether SQLite would have to make the file of its shared memory, and cannot.
fn needs_shared_memory(connection: &Connection) -> bool {
    let read = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    read.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::CannotOpen))
}

/// Opens a file that nobody can change, if all of the log is in it.
fn connect_unchanging(path: &Path, place: &str) -> Result<Connection, LogError> {
    if write_ahead_log_length(path) > 0 {
        let why = "it cannot be written, and some of the log is in its -wal, which cannot be read \
                   without: copy both to where they can be written"
            .to_owned();
        return Err(LogError::Unusable { place: place.to_owned(), why, source: None });
    }
    let name = path.as_os_str().as_encoded_bytes().iter().fold(String::new(), |name, byte| {
        match byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            true => name + &char::from(*byte).to_string(),
            false => name + &format!("%{byte:02X}"),
        }
    });
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)
        .map_err(|error| unusable(place, error))
}

pub(super) fn wait_for_lock(tries: i32) -> bool {
    std::thread::sleep(LOCK_PAUSE);
    LOCK_PAUSE.saturating_mul(tries.unsigned_abs()) < LOCK_LIMIT
}

fn check_file(connection: &Connection, place: &str, is_unchanging: bool) -> Result<(), LogError> {
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
    if !(SCHEMA_VERSION..=TRIMMED_VERSION).contains(&version) {
        return refuse(format!(
            "its tables have version {version}, this program knows {SCHEMA_VERSION} to {TRIMMED_VERSION}: use the version of Tipline that wrote it, or a newer one"
        ));
    }
    let journal: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(|error| unusable(place, error))?;
    // Of a file that cannot change SQLite says "delete", whatever the file says.
    if journal != "wal" && !is_unchanging {
        return refuse(format!(
            "its journal mode is {journal}, not wal: someone changed it; PRAGMA journal_mode = wal changes it back"
        ));
    }
    Ok(())
}

fn read_identity(row: &Row<'_>, place: &str) -> Result<LogIdentity, LogError> {
    let damaged = |source: Source| LogError::Corrupt {
        place: place.to_owned(),
        at: "the log's identity".to_owned(),
        source: Some(source),
    };
    let text = |column: &str| row.get::<_, String>(column).map_err(|e| damaged(e.into()));
    let bytes = |column: &str| row.get::<_, Vec<u8>>(column).map_err(|e| damaged(e.into()));
    let late = match row.get::<_, Option<i64>>("proofs_from") {
        Err(rusqlite::Error::InvalidColumnName(_)) => None,
        late => late.map_err(|e| damaged(e.into()))?.map(i64::cast_unsigned),
    };
    let proofs_from = contract::proofs_from(&text("contract")?, late)
        .map_err(|why| LogError::Unusable { place: place.to_owned(), why, source: None })?;
    let lineage: [u8; 16] =
        bytes("lineage")?.try_into().map_err(|_| damaged("its lineage has not 16 bytes".into()))?;
    Ok(LogIdentity {
        name: text("name")?.parse().map_err(|e| damaged(Box::new(e)))?,
        chain: Chain {
            name: text("chain")?.parse().map_err(|e| damaged(Box::new(e)))?,
            genesis: Hash::new(bytes("genesis")?).map_err(|e| damaged(Box::new(e)))?,
            proofs_from,
        },
        lineage: Lineage::from_bytes(lineage),
    })
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
