//! Memory for payloads that are read together.

use bytes::{Bytes, BytesMut};

/// Up to this length they share memory: allocating takes longer than reading what is so short.
const SHORT: usize = 4 << 10;
/// How much they share, and so how much is kept by whoever keeps one of them.
const SHARED: usize = 64 << 10;

/// Payloads one after the other.
#[derive(Debug, Default)]
pub(super) struct Payloads(BytesMut);

impl Payloads {
    /// A copy of a payload.
    pub(super) fn copy(&mut self, payload: &[u8]) -> Bytes {
        if payload.len() > SHORT {
            return Bytes::copy_from_slice(payload);
        }
        if payload.len() > self.0.capacity() {
            self.0 = BytesMut::with_capacity(SHARED);
        }
        self.0.extend_from_slice(payload);
        self.0.split().freeze()
    }
}
