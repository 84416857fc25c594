//! The genesis of a chain, as its blocks have it.

use std::path::Path;

use tipline_producer::{OutboxError, SqliteOutbox};
use tipline_proto::Hash;

use crate::blk::BlkBlocks;
use crate::directory::{self, BlockFormat};

/// The hash of a chain's genesis block, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// The hash, its bytes in the order in which the source publishes them.
    pub hash: Hash,
    /// Where it was read, for messages: "block 0 in …".
    pub found: String,
}

impl Genesis {
    /// Reads it from a directory of block files: the hash of block 0, or if that is not there,
    /// what block 1 says of its parent. Waits for 2 s if the file was just written. May block.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] if it is not there, or block 1 does not say its parent;
    /// [`OutboxError::Corrupt`] if the file is no block of this format;
    /// [`OutboxError::Failed`] if it cannot be read.
    pub fn in_directory(root: &Path, format: &dyn BlockFormat) -> Result<Self, OutboxError> {
        directory::find_genesis(root, format)
    }

    /// Reads it from `blk*.dat`: the hash of the first block, if it has no parent. May block.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] if the files do not begin with the genesis block, and as
    /// [`BlkBlocks`].
    pub fn in_blk(path: &Path) -> Result<Self, OutboxError> {
        let place = format!("blk:{}", path.display());
        let first = BlkBlocks::open(path)?.next().transpose()?;
        let why = match first {
            Some(first) if first.parent.as_ref().iter().all(|byte| *byte == 0) => {
                let found = format!("the first block of {}", path.display());
                return Ok(Self { hash: first.hash, found });
            }
            Some(first) => format!(
                "it begins with the block {}, on top of {}. Whether that is the genesis is not \
                 in the file: if it is, give it",
                first.hash, first.parent
            ),
            None => "there is no block in it yet".to_owned(),
        };
        Err(OutboxError::Unusable { place, why, source: None })
    }

    /// Reads it from the outbox in a node's database: what the node wrote there. Nothing is changed
    /// there. May block.
    ///
    /// # Errors
    /// As [`SqliteOutbox::genesis_at`].
    pub fn in_database(path: &Path) -> Result<Self, OutboxError> {
        let hash = SqliteOutbox::genesis_at(path)?;
        Ok(Self { hash, found: format!("tipline_outbox_state in {}", path.display()) })
    }
}
