//! A set of checkpoints: what is in it, and whether that is what was written.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt, future};
use tipline_log::error_chain;
use tipline_proto::{SigningKey, Trust};

use super::error::CheckpointError;
use super::id::CheckpointId;
use super::manifest::{MANIFEST, Manifest, ManifestFile};
use super::packing::PackLimits;
use crate::destination::{Budget, Destination, DestinationError};
use crate::disk::Lock;
use crate::keys::Keys;

/// The file of a set that is locked while one of its checkpoints is made or removed.
const LOCK: &str = "lock";
/// How many manifests, or files, are read at once.
pub(super) const AT_ONCE: usize = 8;

/// Checkpoints of one store, or of several of one log: in a directory of this machine, where they
/// are made, or anywhere that they were uploaded to.
///
/// # The set, version 1
/// | name | what it is |
/// |---|---|
/// | `ID/manifest.json` | the manifest, written last; a folder without one is not a checkpoint |
/// | `ID/BLAKE3.sig` | a signature of the manifest with that BLAKE3: the bytes of a protobuf `Signature` |
/// | `ID/part-0/…` | the files of the store's first part, and so on: `store.db` of an SQLite store; otherwise the folder itself is the store |
/// | `shared/part-0/…` | files of a store's first part that several checkpoints have, if they are made so; `ID/copy-0` names the copy of it |
/// | `objects/…` | files that uploaded checkpoints share, and packs of small ones, each named by its BLAKE3; 32 random digits if it is encrypted |
/// | `sweeps/…` | names of objects that no manifest refers to, and that go a day after it was written |
/// | `ID/sent.jsonl` | which encrypted files and packs an upload has sent; means nothing by itself |
/// | `set.json` | which set it is: 32 random digits, so that an empty directory is not taken for it |
/// | `kept/ID` | empty: this checkpoint is not to be removed. In earlier versions `archive` if an archive starts with it |
/// | `kept/archive/ID` | empty: an archive starts with this checkpoint, which is not to be removed |
/// | `lock` | means nothing by itself |
///
/// Elsewhere the files may be encrypted, each as an age file; the manifest is not, and has their
/// lengths and hashes as they are kept. Its format is 2 then.
///
/// Elsewhere small files are in packs, an object each of some MiB that has the bytes of files one after
/// another, or is one age file of that. `packs` of the manifest has their objects, lengths and hashes as
/// they are kept; a file has the number of its `pack` from 0 and the `offset` there, and its own length
/// and hash, which is keyed in an encrypted one. The format is 3 then.
///
/// `ID` is a [`CheckpointId`]. The manifest is JSON. It ends with `"blake3": "…"`, the BLAKE3 of
/// its text up to the comma before that, so that one flipped byte in it is noticed. Nothing
/// in it changes once it is written.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    destination: Destination,
    shares: bool,
    /// What uploads are encrypted to, and what opens them.
    keys: Arc<Keys>,
    /// What checkpoints are signed with that are made here, or uploaded to here.
    key: Option<Arc<SigningKey>>,
    /// Whose signatures those must have that are listed.
    trust: Trust,
    /// How small files are packed that are uploaded to it.
    pack_limits: PackLimits,
}

/// What is in a set under the name of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are whole")]
pub enum Listed {
    /// A checkpoint. Its manifest is as it was written; of its files only [`Checkpoints::verify`]
    /// says that.
    Whole(Manifest),
    /// Its manifest is not what was written.
    Corrupt {
        /// Which one.
        id: CheckpointId,
        /// What is wrong with it.
        why: String,
    },
}

impl Listed {
    /// Its name.
    pub fn id(&self) -> &CheckpointId {
        match self {
            Listed::Whole(manifest) => &manifest.id,
            Listed::Corrupt { id, .. } => id,
        }
    }
}

impl Checkpoints {
    /// The set in this folder, whose name is the destination's.
    pub fn at(destination: Destination) -> Self {
        let pack_limits = PackLimits::default();
        let (keys, trust) = (Arc::default(), Trust::default());
        Self { destination, shares: false, keys, key: None, trust, pack_limits }
    }

    /// New checkpoints share files, as far as the medium can do that, which is RocksDB by its backup
    /// engine. Each then takes only the space of what has changed, also on another file system than
    /// the store's. Older ones stay as they are.
    pub fn sharing(self) -> Self {
        Self { shares: true, ..self }
    }

    /// With these keys: what is uploaded to it is encrypted to their recipients, each file as an age
    /// file, and what is encrypted in it is opened by their identities. Manifests are in the clear.
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys: Arc::new(keys), ..self }
    }

    /// Checkpoints that are made in it or uploaded to it are signed with this key, if there is one: see
    /// [`Checkpoints::check_signature`].
    pub fn signing(self, key: Option<Arc<SigningKey>>) -> Self {
        Self { key, ..self }
    }

    /// One that nobody vouches for by this trust, if the history must be signed, counts as corrupt: see
    /// [`Checkpoints::check_signature`]. For whoever is about to rely on what is there.
    pub fn requiring(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    pub(super) fn key(&self) -> Option<&SigningKey> {
        self.key.as_deref()
    }

    pub(super) fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// The keys, if there is anything to encrypt to.
    pub(super) fn sealing(&self) -> Option<&Arc<Keys>> {
        (!self.keys.recipients().is_empty()).then_some(&self.keys)
    }

    /// With other limits, so that less makes a history.
    #[cfg(test)]
    pub(super) fn packing(self, pack_limits: PackLimits) -> Self {
        Self { pack_limits, ..self }
    }

    pub(super) fn pack_limits(&self) -> PackLimits {
        self.pack_limits
    }

    pub(super) fn shares(&self) -> bool {
        self.shares
    }

    /// Where it is, human-readable.
    pub fn place(&self) -> &str {
        self.destination.place()
    }

    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    pub(super) fn directory(&self) -> Result<PathBuf, CheckpointError> {
        self.destination
            .directory()
            .ok_or_else(|| CheckpointError::NotADirectory { place: self.place().to_owned() })
    }

    /// Whether it is a directory of this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.destination.directory().is_some()
    }

    /// One at a time in a set. Blocking work that relies on it holds it too: it goes on when whoever
    /// waits for it has gone.
    pub(crate) async fn lock(&self) -> Result<Arc<Lock>, CheckpointError> {
        let directory = self.directory()?;
        let place = self.place().to_owned();
        blocking(move || {
            let what = format!("taking the lock in {}", directory.display());
            let taken =
                Lock::try_acquire(&directory.join(LOCK)).map_err(CheckpointError::file(what))?;
            taken.map(Arc::new).ok_or(CheckpointError::InUse { place })
        })
        .await
    }

    /// All checkpoints, the newest position first, and of the same the newest.
    ///
    /// # Errors
    /// [`CheckpointError::Destination`] if the set cannot be listed or a manifest not be read.
    pub async fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        self.each().await?.try_collect().await
    }

    /// The same one after the other: a manifest names every file, and few of them need be in memory.
    pub(crate) async fn each(
        &self,
    ) -> Result<BoxStream<'_, Result<Listed, CheckpointError>>, CheckpointError> {
        let names = self.destination.folders("").await?;
        let mut ids: Vec<CheckpointId> =
            names.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort();
        let inspected = stream::iter(ids.into_iter().rev()).map(|id| self.inspect(id));
        Ok(inspected.buffered(AT_ONCE).try_filter_map(future::ok).boxed())
    }

    /// One checkpoint by its name.
    ///
    /// # Errors
    /// [`CheckpointError::NotFound`]; [`CheckpointError::Corrupt`] if its manifest is not what was
    /// written.
    pub async fn get(&self, id: &CheckpointId) -> Result<Manifest, CheckpointError> {
        match self.inspect(id.clone()).await? {
            Some(Listed::Whole(manifest)) => Ok(manifest),
            Some(Listed::Corrupt { why, .. }) => {
                Err(self.corrupt(id, format!("{MANIFEST}: {why}")))
            }
            None => Err(self.missing(id)),
        }
    }

    pub(super) async fn inspect(
        &self,
        id: CheckpointId,
    ) -> Result<Option<Listed>, CheckpointError> {
        let text = match self.destination.read(&format!("{id}/{MANIFEST}")).await {
            Ok(text) => text,
            // Not finished, or just removed.
            Err(DestinationError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let manifest = match Manifest::from_text(&id, &text) {
            Ok(manifest) => manifest,
            Err(why) => return Ok(Some(Listed::Corrupt { id, why })),
        };
        Ok(Some(match self.check_signature(&manifest, &self.trust).await {
            Ok(()) => Listed::Whole(manifest),
            Err(error) if error.is_about_it() => Listed::Corrupt { id, why: error_chain(&error) },
            Err(error) => return Err(error),
        }))
    }

    /// Reads a file of a checkpoint where it is, and compares every byte, with what is left of its
    /// retries.
    pub(super) async fn verify_file(
        &self,
        manifest: &Manifest,
        file: &ManifestFile,
        budget: &Budget<'_>,
    ) -> Result<(), CheckpointError> {
        let found = self.destination.hash_within(&manifest.object(file), budget).await;
        let (found, length) = match found {
            Ok((hash, length)) => (Ok(hash), Some(length)),
            Err(error) => (Err(error), None),
        };
        self.compare(manifest, file, found, length)
    }

    pub(super) fn compare(
        &self,
        manifest: &Manifest,
        file: &ManifestFile,
        found: Result<blake3::Hash, DestinationError>,
        length: Option<u64>,
    ) -> Result<(), CheckpointError> {
        let ManifestFile { path, bytes, blake3, .. } = file;
        match found {
            Ok(found) if found == *blake3 => Ok(()),
            Ok(_) if length.is_some_and(|length| length != *bytes) => {
                let length = length.unwrap_or_default();
                let what = format!("{path} has {length} bytes, not {bytes}");
                Err(self.corrupt(&manifest.id, what))
            }
            Ok(found) => {
                let what = format!("{path} has the BLAKE3 {found}, not {blake3}");
                Err(self.corrupt(&manifest.id, what))
            }
            Err(DestinationError::NotFound { .. }) => {
                Err(self.corrupt(&manifest.id, format!("{path} is missing")))
            }
            Err(DestinationError::Cancelled { .. }) => Err(CheckpointError::Cancelled),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn corrupt(&self, id: &CheckpointId, what: String) -> CheckpointError {
        CheckpointError::Corrupt { place: self.place().to_owned(), id: id.clone(), what }
    }

    pub(super) fn needs_key(&self, id: &CheckpointId) -> CheckpointError {
        CheckpointError::NeedsKey { place: self.place().to_owned(), id: id.clone() }
    }

    pub(super) fn missing(&self, id: &CheckpointId) -> CheckpointError {
        CheckpointError::NotFound { place: self.place().to_owned(), id: id.clone() }
    }
}

/// Blocking work, away from the runtime's own threads. It always runs to its end.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CheckpointError> + Send + 'static,
) -> Result<T, CheckpointError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(CheckpointError::File {
            what: "a checkpoint's thread panicked".to_owned(),
            source: std::io::Error::other(error),
        })
    })
}
