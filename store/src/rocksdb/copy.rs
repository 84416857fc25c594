//! Copying the files of a directory, and clearing away copies that were not finished.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use crate::disk::process_number;
use crate::snapshot::Throttle;

/// What the names of such directories start with, in the store's own: hard links do not lead to
/// another file system.
const PREFIX: &str = "pinned-";
/// So much is copied at once where there is no link.
const PIECE: usize = 1 << 20;

/// What the names of this process' snapshots start with.
pub(super) fn own_prefix() -> String {
    format!("{PREFIX}{:016x}-", process_number())
}

/// Removes the snapshots of processes that were killed. Only for the one writer. Those of this
/// process may be in use, and remove themselves.
pub(super) fn clear(directory: &Path) -> io::Result<()> {
    let own = own_prefix();
    let is_left = |name: &str| name.starts_with(PREFIX) && !name.starts_with(&own);
    for file in fs::read_dir(directory)? {
        let file = file?;
        if file.file_name().to_str().is_some_and(is_left) {
            fs::remove_dir_all(file.path())?;
        }
    }
    Ok(())
}

/// A file of rows or of payloads: never changed once it is written.
pub(super) fn is_of_rows(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sst" || extension == "blob")
}

/// Links or copies a file. It is fsynced, whoever wrote it.
pub(super) fn link_or_copy(
    from: &Path,
    to: &Path,
    pace: &dyn Throttle,
) -> io::Result<ControlFlow<()>> {
    if pace.moved(0).is_break() {
        return Ok(ControlFlow::Break(()));
    }
    if fs::hard_link(from, to).is_ok() {
        File::open(to)?.sync_all()?;
        return Ok(ControlFlow::Continue(()));
    }
    // Another file system, one without links, or too many of them.
    let (mut source, mut copy) = (File::open(from)?, File::create_new(to)?);
    let mut piece = vec![0; PIECE];
    loop {
        let read = source.read(&mut piece)?;
        if pace.moved(read as u64).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if read == 0 {
            copy.sync_all()?;
            return Ok(ControlFlow::Continue(()));
        }
        copy.write_all(&piece[..read])?;
    }
}
