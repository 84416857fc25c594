//! The files of a checkpoint in a directory of this machine.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use tipline_store::Throttle as _;

use super::error::CheckpointError;
use super::id::CheckpointId;
use super::manifest::{MANIFEST, ManifestFile};
use crate::disk::{self, Existing};
use crate::throttle::Throttle;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// Makes a new directory for its owner only. Its name is not durable yet.
pub(super) fn make_directory(path: &Path) -> Result<(), CheckpointError> {
    let made = disk::make_private_directory(path);
    made.map_err(CheckpointError::file(format!("making {}", path.display())))
}

/// Makes the directory of a set if it is not there. Its parent must be there: otherwise it is
/// one that is not mounted.
pub(super) fn prepare(set: &Path) -> Result<(), CheckpointError> {
    if !set.is_dir() {
        make_directory(set)?;
    }
    set.parent().map_or(Ok(()), flush)
}

/// Makes the names in a directory durable.
pub(super) fn flush(path: &Path) -> Result<(), CheckpointError> {
    disk::sync(path).map_err(CheckpointError::file(format!("flushing {}", path.display())))
}

/// All files below a directory with their lengths, sorted by path, which is below `name`.
pub(super) fn list(path: &Path, name: &str) -> Result<Vec<(String, u64)>, CheckpointError> {
    let mut found = vec![];
    let failed = |e| CheckpointError::file(format!("listing {}", path.display()))(e);
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry.metadata().map_err(failed)?;
        let file_name = entry.file_name();
        let name = match file_name.to_str() {
            Some(file_name) => format!("{name}/{file_name}"),
            None => return Err(failed(io::ErrorKind::InvalidFilename.into())),
        };
        if metadata.is_dir() {
            found.extend(list(&entry.path(), &name)?);
        } else {
            found.push((name, metadata.len()));
        }
    }
    found.sort();
    Ok(found)
}

/// Hashes files below `root`, as they are on the way back from the file system.
pub(super) fn hash(
    root: &Path,
    files: Vec<(String, u64)>,
    throttle: &Throttle,
) -> Result<Vec<ManifestFile>, CheckpointError> {
    let mut piece = vec![0; PIECE];
    let mut hashed = Vec::with_capacity(files.len());
    for (path, bytes) in files {
        let failed = |e| CheckpointError::file(format!("reading {path} back"))(e);
        let mut file = File::open(root.join(&path)).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        loop {
            let read = file.read(&mut piece).map_err(failed)?;
            if throttle.moved(read as u64).is_break() {
                return Err(CheckpointError::Cancelled);
            }
            if read == 0 {
                break;
            }
            hasher.update(&piece[..read]);
        }
        if hasher.count() != bytes {
            let changed = io::Error::other("its length changed while it was read");
            return Err(failed(changed));
        }
        let blake3 = hasher.finalize();
        hashed.push(ManifestFile {
            path,
            bytes,
            blake3,
            plain_bytes: None,
            shared: None,
            packed: None,
        });
    }
    Ok(hashed)
}

/// Writes the manifest: from here on the checkpoint is listed. Durable on return.
pub(super) fn finish(root: &Path, text: &str) -> Result<(), CheckpointError> {
    write(root, MANIFEST, text.as_bytes())
}

/// Writes a small file of a checkpoint. Durable on return.
pub(super) fn write(root: &Path, name: &str, content: &[u8]) -> Result<(), CheckpointError> {
    let path = root.join(name);
    let written = disk::write_whole(&path, content, Existing::Replace);
    written.map_err(CheckpointError::file(format!("writing {}", path.display())))
}

/// Removes a checkpoint or the remains of one. The manifest goes first, so that it is never listed
/// with less than all.
pub(super) fn remove(directory: &Path, id: &CheckpointId) -> Result<(), CheckpointError> {
    let root = directory.join(id.as_str());
    let failed = |e| CheckpointError::file(format!("removing {}", root.display()))(e);
    match fs::remove_file(root.join(MANIFEST)) {
        Ok(()) => flush(&root)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    disk::remove(&root).map_err(failed)?;
    flush(directory)
}

/// Removes the remains of unfinished checkpoints. Hold the set's lock.
pub(super) fn clear(directory: &Path) -> Result<(), CheckpointError> {
    let failed = |e| CheckpointError::file(format!("listing {}", directory.display()))(e);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let manifest = entry.path().join(MANIFEST);
        if !manifest.try_exists().map_err(failed)? {
            tracing::info!(checkpoint = %id, "removing the remains of an unfinished checkpoint");
            remove(directory, &id)?;
        }
    }
    Ok(())
}
