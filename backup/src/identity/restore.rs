//! Key files, back on a machine.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{IdentityError, KeyFile};

/// Writes the files into a directory, which is made if it is not there; each only for its owner
/// to read, each whole or not at all, all durable on return. Without `force` nothing is written
/// if any is there.
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
    let made = std::fs::create_dir_all(directory).and_then(|()| match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    });
    made.map_err(|e| unwritable(directory, e))?;
    for (file, path) in files.iter().zip(&paths) {
        match one(file, path, directory, force) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && !force => {
                return Err(IdentityError::Exists { files: vec![path.clone()] });
            }
            written => written.map_err(|e| unwritable(path, e))?,
        }
    }
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|e| unwritable(directory, e))?;
    Ok(paths)
}

/// A temporary file is made with mode 0600 from the start.
fn one(file: &KeyFile, path: &Path, directory: &Path, force: bool) -> io::Result<()> {
    let mut temporary = tempfile::Builder::new().prefix(".tipline-").tempfile_in(directory)?;
    temporary.write_all(&file.bytes)?;
    temporary.as_file().sync_all()?;
    let persisted = if force { temporary.persist(path) } else { temporary.persist_noclobber(path) };
    persisted.map(drop).map_err(|e| e.error)
}
