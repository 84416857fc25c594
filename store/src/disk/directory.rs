//! What a store of many files needs of its directories.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::failed;
use crate::error::StoreError;

/// Makes a directory for its owner only (0700), if there is none.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Whether hard links from the one to the other are possible.
#[cfg(unix)]
pub(crate) fn is_one_file_system(a: &Path, b: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(a)?.dev() == fs::metadata(b)?.dev())
}

#[cfg(not(unix))]
pub(crate) fn is_one_file_system(a: &Path, b: &Path) -> io::Result<bool> {
    fs::metadata(a).and(fs::metadata(b)).map(|_| false)
}

/// The error of a step that made or changed files: a full disk can be waited for.
pub(crate) fn changing(place: &str, what: impl Into<String>, error: io::Error) -> StoreError {
    use ErrorKind::{QuotaExceeded, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => {
            StoreError::NoSpace { place: place.to_owned(), source: Some(Box::new(error)) }
        }
        _ => failed(place, what, error),
    }
}

/// The error of listing a directory, which changes nothing: it can be asked again, unless there is none.
pub(crate) fn listing(place: &str, what: &str, error: io::Error) -> StoreError {
    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
        return failed(place, what, error);
    }
    let source = io::Error::new(error.kind(), format!("{what}: {error}"));
    StoreError::Unavailable { place: place.to_owned(), source: Some(Box::new(source)) }
}
