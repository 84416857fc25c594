//! The writer's lock: on a file beside the database.
//!
//! It is on a file of its own because closing any other handle of a database file would drop
//! the locks that SQLite itself holds on it.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use crate::disk::{Lock, private, with_suffix};

/// Takes the lock of the database at this path; `None` if someone else has it.
pub(super) fn acquire(database: &Path) -> io::Result<Option<Lock>> {
    let path = with_suffix(database, ".lock");
    Lock::acquire(private(OpenOptions::new().create(true).append(true)).open(path)?)
}
