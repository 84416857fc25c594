//! The decoders of what comes over an admin socket, for `fuzz/` alone.

/// Bytes as what is sent over an admin socket, by either side.
///
/// # Panics
/// If a decoder is wrong.
pub fn admin(bytes: &[u8]) {
    crate::admin::fuzzing::lines(bytes);
}
