//! Key files, back on a machine.

use std::io;
use std::path::{Path, PathBuf};

use super::error::IdentityError;
use super::key_file::KeyFile;
use crate::disk::{self, Existing};

/// Writes the files into a directory, which is made if it is not there; each only for its owner
/// to read, each whole or not at all, all durable on return. Without `force` nothing is written
/// if any is there. With it, what a link leads to is replaced, where it is, and not the link.
pub(super) fn write(
    files: &[KeyFile],
    directory: &Path,
    force: bool,
) -> Result<Vec<PathBuf>, IdentityError> {
    let paths: Vec<PathBuf> = files.iter().map(|file| directory.join(&file.name)).collect();
    let there = paths.iter().filter(|path| path.symlink_metadata().is_ok());
    let there: Vec<PathBuf> = there.cloned().collect();
    if !force && !there.is_empty() {
        return Err(IdentityError::Exists { files: there });
    }
    let unwritable = |file: &Path, source| {
        let file = file.to_owned();
        IdentityError::Unwritable { file, source }
    };
    disk::make_directories(directory).map_err(|e| unwritable(directory, e))?;
    let existing = if force { Existing::Replace } else { Existing::Keep };
    for (file, path) in files.iter().zip(&paths) {
        let to = if force { disk::resolve(path) } else { path.clone() };
        match disk::write_whole(&to, &file.bytes, existing) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && !force => {
                return Err(IdentityError::Exists { files: vec![path.clone()] });
            }
            written => written.map_err(|e| unwritable(path, e))?,
        }
    }
    Ok(paths)
}
