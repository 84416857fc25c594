//! A key file in memory.

use std::fmt;
use std::path::PathBuf;

/// A key file, opened. Its bytes are secret: `Debug` leaves them out.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// File name.
    pub name: String,
    /// Where it was on the machine it was backed up from.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("name", &self.name).field("path", &self.path).finish()
    }
}
