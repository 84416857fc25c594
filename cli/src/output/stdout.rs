//! Standard output, and why it was not written.

use std::io;

/// Why standard output was not written. It is made of errors of standard output alone: a
/// connection that breaks is something else.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Nobody reads it any more.
    #[error("nobody reads standard output any more")]
    Closed,
    /// It cannot be written.
    #[error("standard output cannot be written")]
    Failed(#[source] io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}
