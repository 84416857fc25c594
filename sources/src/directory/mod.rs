//! The outbox as a view over a directory of block files.
//!
//! ```text
//! <root>/[blocks/]<epoch, 4 hex digits>/block_<height, 8 hex digits>.dat
//!                                      /proof_<height, 8 hex digits>.dat
//! ```
//! # When a file is read
//! When it is whole. It is if it was renamed into place, or if the next block is there. That it was
//! closed says little, because the kernel closes the files of a process that is killed. So a newest
//! block, or a proof, that was written in place is read when it was not changed for 10 s. The
//! same holds for files that nobody was seen writing: at the start, or on a file system without
//! notifications. If the format proves that a block is whole ([`BlockFormat::proves_whole`]), it
//! is read as soon as it is closed.
//!
//! A file is fsynced before it is enqueued, so the log never knows more than the node's disk.
//! Everything is scanned again every 30 s, and compared if notifications were lost. Files with other names are ignored, and so is a block
//! of 0 bytes, until it grows; a proof of 0 bytes is a proof.
//!
//! # In which order
//! Blocks come in the order of their heights, from the lowest that is there at first. Epochs
//! without a block are passed over. A missing height is waited for, and named. Proofs come in
//! any order, once their block has.
//!
//! # Their hashes
//! By the [`BlockFormat`]. Where it knows height and parent, they are compared with the file's
//! name and the block below, and what contradicts them is not published.
//!
//! # What may change
//! - The newest block may be replaced, unless [`DirectorySettings::tip_is_final`]. It is rolled
//!   back, and the new one published.
//! - A proof may be replaced, before or after it was published. The new one is published too,
//!   and consumers keep that. When its block was replaced, a proof with the same bytes that is
//!   written from then on is published too; the one that lay there is not.
//! - A newest block or a proof that is empty, cut off or full of zeros from some byte on, and was
//!   not before, is no new one: it is named, and waited for. So is a newest block that its format
//!   proves not to be whole, until the next one is there. For a newest block nothing else is
//!   published until then.
//! - A file that is being written again after it was published is named until it is closed.
//! - A block below the newest one that has other content stops the outbox. What was published
//!   is no longer true, and nobody said so. If it is empty, it is named, and waited for.
//! - Files may be deleted before the log has them, while no more than 256 MiB of blocks wait: the
//!   index has a copy of each that waits, and of every proof. Of what is beyond that only the newest
//!   block has one. Those files must stay until they are published: the first that is gone is named,
//!   and nothing after it is published. If the log loses what it had acknowledged, up to about a thousand files are read
//!   once more. A block that is gone and is not further than 256 below the newest one is named.
//!
//! # What the node must do
//! - It renames block files into place; or it writes a block before the next one, and when it was
//!   killed it is back within 10 s, or its format proves what is whole.
//! - It writes a block before the proof of it.
//! - It does not change a block that has another on top of it.

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

#[cfg(feature = "ethereum")]
pub use format::EthereumRlp;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use format::fuzzing as format_fuzzing;
pub use format::{BitcoinBlock, BlockFormat, BlockHeader, ContentHash};
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
    /// The node never replaces a block, not even its newest one. If that changes, a disk or an
    /// operator did it, and the outbox stops instead of publishing it.
    pub tip_is_final: bool,
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
        let DirectorySettings { root, index, genesis, tip_is_final } = settings;
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
        let seal = index.seal();
        format::stays_the_same(&mut index, &place, &*format)?;
        let watched =
            Watched { root: layout.base(), recursive: true, relevant: Box::new(relevant) };
        let scan =
            DirectoryScan::new(index, layout, format, clock, genesis, place.clone(), tip_is_final)?;
        Self::start(&path, seal, &place, FileSource::new(root), watched, Box::new(scan), wake)
    }
}

fn relevant(name: &str) -> bool {
    layout::Key::of_name(name).is_some()
}
