//! Marks that an operator asks for, in an outbox that a node fills.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tipline_producer::{Outbox, OutboxError};
use tipline_proto::Label;

use crate::files::FileMarks;
use crate::{DatabaseOutbox, FileOutbox};

/// How long a mark waits for the node's commit.
const BUSY: Duration = Duration::from_secs(5);

/// Puts marks (`Event::Marked`) into an outbox, in the order of everything else that is in it.
#[derive(Debug, Clone)]
pub struct Marker(Place);

#[derive(Debug, Clone)]
enum Place {
    Files(FileMarks),
    Database { path: PathBuf, place: String },
}

impl FileOutbox {
    /// Puts marks into it.
    pub fn marker(&self) -> Marker {
        Marker(Place::Files(self.marks()))
    }
}

impl DatabaseOutbox {
    /// Puts marks into it.
    pub fn marker(&self) -> Marker {
        Marker(Place::Database { path: self.path().to_owned(), place: self.place() })
    }
}

impl Marker {
    /// Enqueues a mark, and wakes the publisher. Blocks until it is enqueued: where files are
    /// followed, until the present look at them is over.
    ///
    /// # Errors
    /// The outbox's: it has stopped, is full, or cannot be written now.
    pub fn mark(&self, name: &Label) -> Result<(), OutboxError> {
        match &self.0 {
            Place::Files(files) => files.mark(name),
            Place::Database { path, place } => insert(path, name)
                .map_err(|error| OutboxError::from_sqlite(place, "enqueueing a mark", error)),
        }
    }
}

/// As the node inserts its own. No fsync while the node waits: the publisher syncs what it reads.
fn insert(path: &Path, name: &Label) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;")?;
    conn.execute_batch("PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1;")?;
    let sql = "INSERT INTO tipline_outbox (kind, name) VALUES ('marked', ?1)";
    conn.execute(sql, [name.as_str()]).map(drop)
}
