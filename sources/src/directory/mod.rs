//! The outbox as a view over a directory of block files.
//!
//! ```text
//! <root>/[blocks/]<epoch, 4 hex digits>/block_<height, 8 hex digits>.dat
//!                                      /proof_<height, 8 hex digits>.dat
//! ```
//! # When a file is read
//! When it is complete: renamed into place, or closed after it was written. A file of which
//! neither was seen (at the start, or on a file system without notifications) is complete if
//! the next block is there, or if it was not changed for 2 s. It is fsynced before it is
//! enqueued, so the log never knows more than the node's disk. Everything is scanned again
//! every 30 s. Files with other names are ignored, and so is a block of 0 bytes, until it
//! grows; a proof of 0 bytes is a proof.
//!
//! # In which order
//! Blocks come in the order of their heights, from the lowest that is there at first. A missing
//! height is waited for, with a warning. Proofs come in any order, once their block has.
//!
//! # Their hashes
//! By the [`BlockFormat`]. Where it knows height and parent, they are compared with the file's
//! name and the block below, and what contradicts them is not published.
//!
//! # What may change
//! - The newest block may be replaced. It is rolled back, and the new one published.
//! - A proof may be replaced. The new one is published too, and consumers keep that. If the
//!   old one was not published yet, the outbox is damaged there.
//! - A block below the newest one that has other content stops the outbox. What was published
//!   is no longer true, and nobody said so.
//! - Files may be deleted once their rows are removed, about a thousand rows behind the log.

mod batch;
mod change;
mod format;
mod genesis;
mod layout;
mod scan;
mod survey;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

pub use format::{BitcoinBlock, BlockFormat, BlockHeader, ContentHash, EthereumRlp};
pub(crate) use genesis::find_genesis;
use layout::Layout;
use scan::DirectoryScan;
use tipline_log::Clock;
use tipline_producer::OutboxError;
use tipline_proto::Hash;
use tokio::sync::Notify;

use super::files::{FileSource, Index, Watched};
use crate::FileOutbox;

/// Where a node's block files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySettings {
    /// The directory with the epochs in it, or with `blocks` and the epochs in that.
    pub root: PathBuf,
    /// The outbox's own index; `.tipline-outbox.sqlite` in the root if not given. It belongs to
    /// the blocks: if you lose it, you must say where the outbox continues.
    pub index: Option<PathBuf>,
    /// Hash of the genesis block.
    pub genesis: Hash,
}

impl FileOutbox {
    /// Opens the outbox over a directory of block files, creates its index if it has none, and
    /// starts following the files. `wake` is notified when something was enqueued.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] says what to change; [`OutboxError::Failed`] if the directory
    /// cannot be read or watched, or the index cannot be written.
    pub fn directory(
        settings: DirectorySettings,
        format: Box<dyn BlockFormat>,
        clock: Clock,
        wake: Arc<Notify>,
    ) -> Result<Self, OutboxError> {
        let DirectorySettings { root, index, genesis } = settings;
        let place = format!("dir:{}", root.display());
        // Notifications come with absolute paths.
        let root = std::path::absolute(&root).unwrap_or(root);
        if !root.is_dir() {
            let why = "there is no such directory: give the one with the node's block files";
            return Err(OutboxError::Unusable { place, why: why.to_owned(), source: None });
        }
        let path = index.unwrap_or_else(|| root.join(".tipline-outbox.sqlite"));
        let layout = Layout::below(&root);
        let mut index = Index::open(
            &path,
            &place,
            scan::SCHEMA,
            &genesis,
            Arc::clone(&clock),
            Arc::clone(&wake),
        )?;
        format::stays_the_same(&mut index, &place, &*format)?;
        let watched =
            Watched { root: layout.base(), recursive: true, relevant: Box::new(relevant) };
        let scan = DirectoryScan::new(index, layout, format, clock, genesis, place.clone())?;
        Self::start(&path, &place, FileSource::new(root), watched, Box::new(scan), wake)
    }
}

fn relevant(name: &str) -> bool {
    layout::Key::of_name(name).is_some()
}
