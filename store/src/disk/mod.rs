//! What every store on a disk needs: private files, durable names, a lock, and a handle that stays
//! failed.

#[cfg(any(feature = "files", feature = "rocksdb"))]
mod directory;
mod lock;
#[cfg(feature = "sqlite")]
mod names;
mod poison;
mod presence;
#[cfg(any(feature = "files", feature = "rocksdb"))]
mod unique;

use std::io;
use std::path::Path;

#[cfg(any(feature = "files", feature = "rocksdb"))]
pub(crate) use self::directory::{changing, is_one_file_system, listing, make_directory};
pub(crate) use self::lock::Lock;
#[cfg(feature = "sqlite")]
pub(crate) use self::names::{private, sync_directory, with_suffix};
pub(crate) use self::poison::Poison;
pub(crate) use self::presence::Presence;
#[cfg(feature = "rocksdb")]
pub(crate) use self::presence::gone;
#[cfg(any(feature = "files", feature = "rocksdb"))]
pub(crate) use self::unique::process_number;
use crate::error::StoreError;

/// The directory that a file or directory is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The error of a read, or of a flush: after the latter nobody knows what is on the medium.
pub(crate) fn failed(place: &str, what: impl Into<String>, error: io::Error) -> StoreError {
    let source = Some(Box::new(error) as Box<_>);
    StoreError::Failed { place: place.to_owned(), what: what.into(), source }
}
