//! A line of the protocol, read no further than it may be long.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Longest line, with its end. Whatever is sent, no more of one is kept.
pub(super) const MAX_LINE: usize = 64 << 10;

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLine {
    /// The other side closed the connection before the end of one.
    #[error("the connection was closed")]
    Closed,
    #[error("a line has more than {} KiB", MAX_LINE >> 10)]
    TooLong,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the rest of a line, of which `line` has the beginning, and cuts off its end. If this is
/// cancelled, what was read is in `line`.
pub(super) async fn read_line(
    read: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> Result<(), NoLine> {
    let most = MAX_LINE.saturating_sub(line.len());
    read.take(most as u64).read_until(b'\n', line).await?;
    match line.pop_if(|last| *last == b'\n') {
        Some(_) => Ok(()),
        None if line.len() >= MAX_LINE => Err(NoLine::TooLong),
        None => Err(NoLine::Closed),
    }
}
