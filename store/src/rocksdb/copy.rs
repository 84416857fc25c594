//! Copying the files of a directory, and clearing away copies that were not finished.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use crate::snapshot::Throttle;

/// What the names of such directories start with, in the store's own: hard links do not lead to
/// another file system.
pub(super) const PREFIX: &str = "pinned-";
/// So much is copied at once where there is no link.
const PIECE: usize = 1 << 20;

/// Removes the snapshots of a process that was killed. Only for the one writer.
pub(super) fn clear(directory: &Path) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let file = file?;
        if file.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
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
