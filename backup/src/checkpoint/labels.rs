//! What a manifest says of the content of a file in a pack.
//!
//! In the clear it is the BLAKE3 of the file. Manifests are in the clear also where files are encrypted,
//! and there it would tell whoever knows a file that it is there, and let whoever guesses one try. So an
//! encrypted pack begins with a random key, and the manifest has the BLAKE3 of the file's BLAKE3, keyed
//! with that.

use crate::keys;

/// The length of a key.
const KEY: usize = 32;

/// How files of a pack are told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Labels {
    Plain,
    Keyed([u8; KEY]),
}

impl Labels {
    /// With a new key.
    pub(super) fn keyed() -> Self {
        Labels::Keyed(keys::random())
    }

    /// Those of a pack with this content; none if not even its key is there.
    pub(super) fn read(is_sealed: bool, plain: &[u8]) -> Option<Self> {
        match is_sealed {
            true => plain.first_chunk().copied().map(Labels::Keyed),
            false => Some(Labels::Plain),
        }
    }

    /// What comes before the first file.
    pub(super) fn key(&self) -> &[u8] {
        match self {
            Labels::Plain => &[],
            Labels::Keyed(key) => key,
        }
    }

    /// What the manifest says of a file with this BLAKE3.
    pub(super) fn label(&self, file: blake3::Hash) -> blake3::Hash {
        match self {
            Labels::Plain => file,
            Labels::Keyed(key) => blake3::keyed_hash(key, file.as_bytes()),
        }
    }
}
