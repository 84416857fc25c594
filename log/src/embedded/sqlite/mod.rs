//! SQLite: everything that this log does with it, and the only folder that names the crate.
//!
//! Nothing else in this crate may open the log's file, not even to look at it. Closing any
//! descriptor of a file drops the locks that SQLite holds on it in this process, and another
//! process could then throw away the write-ahead log under a running writer. `stat` is harmless.

mod board;
mod durable;
mod entries;
mod error;
mod open;
mod trim;
mod wal;
mod whole;

use std::cell::Cell;
use std::time::Duration;

use rusqlite::{Connection, Row};
use tipline_proto::LogIdentity;

use self::error::explain;
use crate::error::LogError;

pub(super) use self::open::create;

/// How long a connection waits for another one's write: longer than a unit takes on a slow disk.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

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
    is_read_only: bool,
    /// Whether its entries are known to have a column for headers.
    has_headers: Cell<bool>,
}

/// The version of SQLite: 3054001 is 3.54.1.
pub(super) fn version() -> i32 {
    rusqlite::version_number()
}

impl Database {
    pub(in crate::embedded) fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    /// The value of a setting of this connection, as text.
    pub(in crate::embedded) fn setting(&self, name: &str) -> Result<String, LogError> {
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

    /// Limits the file, so that a test sees what happens when there is no space.
    #[cfg(test)]
    pub(in crate::embedded) fn limit_pages(&self, pages: i64) {
        self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    }
}
