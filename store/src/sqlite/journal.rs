//! How SQLite keeps what is not in the file yet.

use std::time::Duration;

/// Somebody else's transaction on the file is waited for this long.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// The WAL file is cut back to this after it was larger.
pub(super) const WAL_BYTES: usize = 64 << 20;

/// How SQLite keeps a transaction that is not complete apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journal {
    /// New pages go to the WAL, and later into the file: readers do not wait.
    WriteAhead,
    /// New pages go into the file, the old ones to the journal: what only grows is written once.
    Rollback,
}

impl Journal {
    /// As SQLite calls it.
    pub(super) fn mode(self) -> &'static str {
        match self {
            Journal::WriteAhead => "wal",
            Journal::Rollback => "truncate",
        }
    }
}
