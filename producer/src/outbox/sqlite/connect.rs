//! The publisher's connection.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::failed;
use crate::outbox::OutboxError;

/// How long a call waits for the node's commit before it fails, to be tried again.
const BUSY: Duration = Duration::from_millis(250);

/// A database in WAL mode.
pub(super) fn connect(path: &Path, place: &str) -> Result<Connection, OutboxError> {
    let unusable = |why: &str, source: Option<rusqlite::Error>| OutboxError::Unusable {
        place: place.to_owned(),
        why: why.to_owned(),
        source: source.map(Into::into),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| {
        unusable("the database cannot be opened; the node creates it", Some(error))
    })?;
    conn.busy_timeout(BUSY).map_err(failed(place, "opening it"))?;
    let mode: String = conn
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .map_err(|error| unusable("SQLite cannot read it", Some(error)))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let why = format!(
            "its journal mode is {mode}, in which the publisher would hold up the node: run PRAGMA \
             journal_mode = WAL on the node's database"
        );
        return Err(unusable(&why, None));
    }
    prepare(&conn).map_err(failed(place, "opening it"))?;
    Ok(conn)
}

/// The path that SQLite uses, whatever becomes of the working directory or a link.
pub(super) fn own_path<'a>(conn: &'a Connection, path: &'a Path) -> &'a Path {
    conn.path().map_or(path, Path::new)
}

/// No commit of this connection waits for the disk, and it leaves checkpoints to the node. What it
/// syncs all the same, it syncs to the medium, where fsync alone does not reach that.
fn prepare(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.execute_batch(
        "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; \
         PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1;",
    )
}
