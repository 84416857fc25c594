//! Files with a secret in them, and files that say whom to believe.

use std::path::{Path, PathBuf};

/// What others may not do with one: read, write or run it. The group may read: that is how
/// containers are given secrets.
const OPEN: u32 = 0o027;
/// What others may not do with a file that says whom to believe.
const WRITABLE: u32 = 0o002;

/// A file that is no place for a secret. It never says what is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// It cannot be read.
    #[error("{} cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It says whom to believe, and others can change it.
    #[error(
        "{} says whom to believe, and its mode {mode:o} lets other users of this machine change it: \
         chmod 644 {}",
        file.display(),
        file.display()
    )]
    Writable {
        /// The file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is open to other users of the machine.
    #[error(
        "{} has a secret, and its mode {mode:o} lets other users of this machine at it: chmod 600 {}",
        file.display(),
        file.display()
    )]
    Open {
        /// The file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// Reads the text of a file with a secret, which is for its owner, and at most its group, alone.
///
/// # Errors
/// It is not, or cannot be read. The error says which mode to set.
pub fn read_secret_file(file: &Path) -> Result<String, SecretFileError> {
    check_secret_file(file)?;
    std::fs::read_to_string(file).map_err(|source| unreadable(file, source))
}

/// Whether a file with a secret is for its owner, and at most its group, alone.
///
/// # Errors
/// It is not, or cannot be looked at. The error says which mode to set.
pub fn check_secret_file(file: &Path) -> Result<(), SecretFileError> {
    let found = std::fs::metadata(file).map_err(|source| unreadable(file, source))?;
    match mode(&found) {
        mode if mode & OPEN == 0 => Ok(()),
        mode => Err(SecretFileError::Open { file: file.to_owned(), mode }),
    }
}

/// Whether a file that says whom to believe can be changed by its owner, and at most its group, alone.
///
/// # Errors
/// Others can, or it cannot be looked at. The error says which mode to set.
pub fn check_trusted_file(file: &Path) -> Result<(), SecretFileError> {
    let found = std::fs::metadata(file).map_err(|source| unreadable(file, source))?;
    match mode(&found) {
        mode if mode & WRITABLE == 0 => Ok(()),
        mode => Err(SecretFileError::Writable { file: file.to_owned(), mode }),
    }
}

fn unreadable(file: &Path, source: std::io::Error) -> SecretFileError {
    SecretFileError::Unreadable { file: file.to_owned(), source }
}

#[cfg(unix)]
fn mode(found: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    found.permissions().mode() & 0o7777
}

#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> u32 {
    0
}
