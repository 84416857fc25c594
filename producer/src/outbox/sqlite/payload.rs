//! Payloads that are kept elsewhere.

use std::fmt::Debug;
use std::io;

use bytes::Bytes;

/// Where the payloads are that rows only refer to: files, or another table of the node.
///
/// What it gives is compared with the length and the BLAKE3 that the row carries; anything
/// else than the bytes that were enqueued stops the publisher.
pub trait PayloadSource: Send + Debug {
    /// The whole payload that `reference` says. Called on the publisher's outbox thread; may block.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] and [`io::ErrorKind::UnexpectedEof`] say that it is gone,
    /// for good: the outbox is damaged. Every other error may pass, and is tried again.
    fn read(&self, reference: &str) -> io::Result<Bytes>;
}
