//! The outbox as a view over Bitcoin Core's `blk*.dat` files: all of a directory, or one.
//!
//! A file is a sequence of records: 4 bytes of magic, the length of the block in 4 bytes,
//! little-endian, and the block. The magic is the one of the first record. A block's hash is the
//! double SHA-256 of its first 80 bytes, and bytes 4 to 36 are its parent's hash. Hashes
//! are kept in the order of their bytes in the file; other programs print them reversed.
//! If `xor.dat` is beside the files, they are XORed with its 8 bytes, by the offset in the file.
//!
//! # When a block is read
//! When every byte of it is there. Its length says only how long it is: a node makes space in
//! advance, and a power cut leaves any part of what was written. The header has proof of work, its
//! merkle root covers the transactions, and the first transaction commits to the witnesses; no
//! transaction may stand there twice. If it is the last record before zeros, the file must also
//! have been closed after writing, not changed for 2 s, or have a next one. The file is fsynced
//! before the block is noted.
//!
//! A record that is not whole is named and waited for. So are zeros, which are the end of a file
//! only if no whole block follows them. Blocks that follow are read, and the place is looked at
//! again whenever the file changes: a node writes a torn block once more there, or elsewhere.
//! Bytes that no node writes stop the outbox.
//!
//! Blocks that were read are read again when their file has changed, also while nothing ran. First
//! those that a branch may replace, 1,000 blocks: they are read at every start. Then all others of
//! a file up to 256 MiB, one file after the other, after whatever is new. If one is not what it was,
//! the outbox stops.
//!
//! # What the node must do
//! It is Bitcoin Core, or writes as it does: Bitcoin's format of transactions, and SHA-256 as proof
//! of work. Blocks of other chains are never whole. All blocks from the genesis on must have been in
//! the files when they are read, so the node must not have pruned them before. It may prune them
//! later, 288 blocks below its newest one, and once they are published: what waits has a copy in the
//! index, but only up to 256 MiB. `xor.dat` stays what it is.
//!
//! # In which order
//! Blocks stand in the files as they came. They are published by their links: each on its parent,
//! from the genesis at height 0 (which is published if it is in the files) or from the
//! block above it. Blocks whose parent has not come yet are remembered by place. When another
//! branch becomes longer than the published one, that is rolled back to where they part, at most
//! 1,000 blocks below the tip, and the longer one is published.

mod check;
mod end;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod note;
mod publish;
mod record;
mod rows;
mod scan;
#[cfg(test)]
mod tests;
mod tree;
mod verify;
mod walk;
mod wrong;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use check::check as check_block;
pub use end::{BlkBlock, BlkBlocks};
use scan::BlkScan;
use tipline_log::Clock;
use tipline_producer::OutboxError;
use tipline_proto::Hash;
use tokio::sync::Notify;

use super::files::{FileSource, Index, Watched};
use crate::FileOutbox;

/// Where a node's `blk*.dat` files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlkSettings {
    /// The directory, or one file of that format under any name.
    pub path: PathBuf,
    /// The outbox's own index; `.tipline-outbox.sqlite` beside the files if not given. It belongs
    /// to the blocks: if you lose it, you must say where the outbox continues.
    pub index: Option<PathBuf>,
    /// Hash of the genesis block, its bytes in the order of the file.
    pub genesis: Hash,
}

impl FileOutbox {
    /// Opens the outbox over `blk*.dat` files, creates its index if it has none, and starts
    /// following the files. `wake` is notified when something was enqueued.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] says what to change; [`OutboxError::Failed`] if the files
    /// cannot be read or watched, or the index cannot be written.
    pub fn blk(
        settings: BlkSettings,
        clock: Clock,
        wake: Arc<Notify>,
    ) -> Result<Self, OutboxError> {
        let BlkSettings { path, index, genesis } = settings;
        let place = format!("blk:{}", path.display());
        let path = std::path::absolute(&path).unwrap_or(path);
        let (root, only) = split(&place, &path)?;
        let key = record::read_key(&root).map_err(|why| OutboxError::Unusable {
            place: place.clone(),
            why: format!("{} cannot be read", root.join("xor.dat").display()),
            source: Some(why.into()),
        })?;
        let index_path = index.unwrap_or_else(|| root.join(".tipline-outbox.sqlite"));
        let index = Index::open(
            &index_path,
            &place,
            rows::SCHEMA,
            &genesis,
            Arc::clone(&clock),
            Arc::clone(&wake),
        )?;
        let seal = index.seal();
        let source = FileSource::with_key(root.clone(), key);
        let meant = only.clone();
        let relevant = move |name: &str| meant.as_deref().map_or(is_blk(name), |only| name == only);
        let watched =
            Watched { root: root.clone(), recursive: false, relevant: Box::new(relevant) };
        let files = scan::Files { root, only, key, sync: scan::sync_directory };
        let scan = BlkScan::new(index, files, clock, genesis, place.clone())?;
        Self::start(&index_path, seal, &place, source, watched, Box::new(scan), wake)
    }
}

/// The directory, and the one file in it if only that is meant.
fn split(place: &str, path: &Path) -> Result<(PathBuf, Option<String>), OutboxError> {
    if path.is_dir() {
        return Ok((path.to_owned(), None));
    }
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(parent), Some(name)) if path.is_file() => {
            Ok((parent.to_owned(), Some(name.to_owned())))
        }
        _ => {
            let why = "there is no such file or directory: give a blk*.dat file, or the directory \
                       that has them";
            Err(OutboxError::Unusable {
                place: place.to_owned(),
                why: why.to_owned(),
                source: None,
            })
        }
    }
}

/// `blk` and digits and `.dat`.
fn is_blk(name: &str) -> bool {
    let digits = name.strip_prefix("blk").and_then(|rest| rest.strip_suffix(".dat"));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}
