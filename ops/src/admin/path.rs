//! Sockets whose paths are longer than an address of a socket has room for.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// So many bytes fit on every system: 108 on Linux and 104 elsewhere, less the zero at the end.
const MOST: usize = 103;

/// A path by which a socket can be bound or connected to, for as long as this is kept.
pub(super) struct SocketPath {
    short: PathBuf,
    /// The directory that the path leads through.
    _directory: Option<File>,
}

impl SocketPath {
    /// As it is if it is short enough. Otherwise on Linux by an open descriptor of its directory, so
    /// that only the name counts. Elsewhere the system refuses it.
    pub(super) fn of(socket: &Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Ok(Self { short: socket.to_owned(), _directory: None });
        };
        if socket.as_os_str().len() <= MOST || !cfg!(target_os = "linux") {
            return Ok(Self { short: socket.to_owned(), _directory: None });
        }
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let directory = File::open(parent)?;
        let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
        Ok(Self { short: Path::new(&short).join(name), _directory: Some(directory) })
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.short
    }
}
