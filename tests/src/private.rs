//! Files with a secret in them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file that only its owner can read, with the directories to it.
///
/// # Panics
/// When it cannot be written.
pub fn write_private(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = path.as_ref();
    let directories = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = directories.and_then(|()| fs::write(path, bytes));
    let set = written.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o600)));
    set.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
