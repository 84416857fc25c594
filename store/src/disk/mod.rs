//! What every store on a disk needs: private files, durable names, a lock, and a handle that stays
//! failed.

#[cfg(any(feature = "files", feature = "rocksdb"))]
mod directory;
mod lock;
mod poison;
mod presence;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

#[cfg(any(feature = "files", feature = "rocksdb"))]
pub(crate) use self::directory::{changing, is_one_file_system, make_directory};
pub(crate) use self::lock::Lock;
pub(crate) use self::poison::Poison;
pub(crate) use self::presence::Presence;
use crate::error::StoreError;

/// Files that these options make are for their owner only (0600).
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes the names in the directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A name beside this one.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The directory that a file or directory is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The error of a read, or of a flush: after the latter nobody knows what is on the medium.
pub(crate) fn failed(place: &str, what: impl Into<String>, error: io::Error) -> StoreError {
    let source = Some(Box::new(error) as Box<_>);
    StoreError::Failed { place: place.to_owned(), what: what.into(), source }
}
