//! Why a process did not do what it was asked.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tipline_backup::NotAnId;

/// A store is frozen for no longer than this. A snapshot of a volume takes seconds; what it takes longer
/// for is copied after the moment that it is of.
pub const LONGEST_FREEZE: Duration = Duration::from_secs(15 * 60);

/// An archiver is paused for no longer than this: what comes meanwhile is in the log alone, and the log
/// waits for an archive for as long as it lags by less than the reserve.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Why a request over the admin socket failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is a socket, and it cannot be connected to. Check its permissions.
    #[error("the admin socket {} cannot be reached", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The process did not do it, for this reason.
    #[error("{why}")]
    Refused {
        /// Its reason.
        why: String,
    },
    /// The process closed the connection. What it was asked for is not done.
    #[error("the process behind the admin socket ended before it was done")]
    Gone,
    /// It answered something that was not asked for, as another version may.
    #[error("the process behind the admin socket answered something else")]
    Unexpected,
    /// It answered with a line that is longer than any of them may be.
    #[error("the process behind the admin socket answered with a line of more than 64 KiB")]
    TooLong,
    /// It answered something that is not JSON.
    #[error("the process behind the admin socket answered what cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// It named a checkpoint by what is no name.
    #[error(transparent)]
    Id(#[from] NotAnId),
    /// The connection failed.
    #[error("the connection to the process behind the admin socket failed")]
    Io(#[from] io::Error),
}
