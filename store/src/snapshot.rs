//! A moment of a store, held until it is copied.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::Path;

use tipline_proto::Cursor;

use crate::error::StoreError;
use crate::reader::StoreReader;
use crate::stored::StoreIdentity;

/// Why a new store has no snapshot.
#[cfg(any(feature = "sqlite", feature = "rocksdb"))]
pub(crate) const NOTHING_TO_COPY: &str =
    "it was not created for a log, so there is nothing to copy";

/// A store as it was between two batches, held while it is applied to. Dropping it releases it.
///
/// What it holds cannot be given back to the file system meanwhile, so the store may take more
/// room: for what was changed since.
pub trait Snapshot: Send + Debug {
    /// What kind of store a copy is: `sqlite`, `files`, `rocksdb`, or a word of one's own, of a-z,
    /// 0-9 and -. Keep stable: it is written into checkpoints.
    fn kind(&self) -> &'static str;

    /// What the store was created for.
    fn identity(&self) -> &StoreIdentity;

    /// Where the store was.
    fn cursor(&self) -> &Cursor;

    /// Versions of the software that the form of a copy depends on, by name.
    fn versions(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// How many bytes a copy into this directory would take from its file system, at most. An
    /// estimate, to check the free space first.
    fn bytes(&self, into: &Path) -> Result<u64, StoreError>;

    /// Copies the store into `into`, which is an empty directory: what is in it afterwards is a
    /// whole store, of the state of the snapshot, and nothing else. Every file is fsynced, and
    /// every directory in it; `into` itself is not. `pace` is called for every piece of a few MiB.
    /// Done once.
    ///
    /// # Errors
    /// Those of every read of the store; [`StoreError::NoSpace`] if `into` has no space. What is in
    /// `into` then is nothing, and to be removed.
    fn copy(&mut self, into: &Path, pace: &dyn Throttle) -> Result<Copied, StoreError>;

    /// How many bytes a copy by [`Snapshot::share`] would take, at most.
    fn bytes_to_share(&self, engine: &Path, into: &Path) -> Result<u64, StoreError> {
        let _ = engine;
        self.bytes(into)
    }

    /// Copies the store like [`Snapshot::copy`], but for files that copies of other moments have,
    /// too: these are kept in `engine`, on the same file system, once for all of them, and are
    /// hard links in `into`. `None`, and nothing done, if this medium has no such files.
    ///
    /// # Errors
    /// The same errors as [`Snapshot::copy`].
    fn share(
        &mut self,
        engine: &Path,
        into: &Path,
        pace: &dyn Throttle,
    ) -> Result<Option<SharedCopy>, StoreError> {
        let _ = (engine, into, pace);
        Ok(None)
    }

    /// Opens a copy for reading, wherever it is now, without changing any file of it.
    ///
    /// # Errors
    /// Those of opening a store.
    fn open(&self, copy: &Path) -> Result<Box<dyn StoreReader>, StoreError>;
}

/// A copy that has files in common with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedCopy {
    /// How it ended.
    pub copied: Copied,
    /// The number that it has among those of the engine.
    pub copy: u32,
    /// Its files that are shared.
    pub files: Vec<SharedFile>,
}

/// A file that several copies have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFile {
    /// Its name in the copy.
    pub name: String,
    /// Its path in the engine's folder.
    pub object: String,
}

/// How a copy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Copied {
    /// It is whole.
    Whole,
    /// It was cancelled, and is not whole.
    Cancelled,
    /// The store could not hold on to something until it was copied. Take another, and start again.
    Overtaken {
        /// What it was.
        what: String,
    },
}

/// Follows a long piece of work, and may slow or end it. The work blocks, and so may this.
pub trait Throttle: Send + Sync {
    /// This many bytes were moved since the last call. It may block, to keep a rate.
    /// [`ControlFlow::Break`] ends the work.
    fn moved(&self, bytes: u64) -> ControlFlow<()>;
}
