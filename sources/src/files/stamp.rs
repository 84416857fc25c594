//! By what a file is known to be the same without reading it.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Whoever writes to a file, or replaces it, changes one of these. Only a disk changes bytes and
/// none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) length: u64,
    pub(crate) modified_ns: i64,
    pub(crate) inode: i64,
}

impl Stamp {
    /// What the file is now.
    pub(crate) fn new(metadata: &Metadata) -> Self {
        let since =
            |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let modified = metadata.modified().map_or(0, since);
        Self {
            length: metadata.len(),
            modified_ns: i64::try_from(modified).unwrap_or(i64::MAX),
            inode: inode(metadata),
        }
    }

    /// What the file at this path is now.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::new(&fs::metadata(path)?))
    }

    /// Likewise; `None` if there is none.
    pub(crate) fn find(path: &Path) -> io::Result<Option<Self>> {
        match Self::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt;
    metadata.ino().cast_signed()
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> i64 {
    0
}
