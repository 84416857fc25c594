//! Where archives and copies of checkpoints are kept: a directory, or object storage.
//!
//! It knows nothing of what is kept. Every question goes to the destination itself, never to
//! a memory of what was written.

mod address;
mod blocking;
mod budget;
#[cfg(feature = "cloud")]
mod cloud;
mod directory;
mod download;
mod error;
mod limits;
mod listing;
mod opening;
mod outgoing;
mod probe;
#[cfg(test)]
pub(crate) mod tests;
mod upload;
mod write;

use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::multipart::MultipartStore;
use object_store::path::{Path, PathPart};
use object_store::{ObjectStore, ObjectStoreExt};
use tipline_proto::Timestamp;

pub(crate) use budget::Budget;
pub(crate) use directory::Depth;
pub use error::DestinationError;
pub(crate) use listing::Part;
pub(crate) use opening::Opened;
pub use probe::DestinationProbe;

use crate::disk;
use blocking::blocking;
use error::{Doing, Medium, Refusal};

/// A server that does not answer within this is unavailable. An outage must show within seconds.
const ANSWER: Duration = Duration::from_secs(8);
/// A server that moves fewer bytes per second than this is unavailable: a tenth of a slow uplink.
const SLOWEST: u64 = 128 << 10;
/// A listing of folders comes page by page in one call: it may take as long as these bytes do.
const FOLDERS: u64 = 120 * SLOWEST;

/// A directory or a prefix in a bucket. Cheap to clone. Calls need a Tokio runtime.
#[derive(Debug, Clone)]
pub struct Destination {
    store: Arc<dyn ObjectStore>,
    /// What files are sent with in pieces, to object storage.
    in_pieces: Option<Arc<dyn InPieces>>,
    /// Both with a checksum for every write, if that is a choice.
    with_checksums: Option<Client>,
    /// Whether the server turned out to take nothing else.
    needs_checksums: Arc<AtomicBool>,
    /// Where it is in the store.
    prefix: Path,
    /// If it is on this machine: the directory of the whole destination, which must be there.
    root: Option<Arc<PathBuf>>,
    /// Its own directory in that case: that one or a folder in it.
    directory: Option<Arc<PathBuf>>,
    place: String,
}

/// A client of object storage, in both of its roles.
#[derive(Debug, Clone)]
struct Client {
    store: Arc<dyn ObjectStore>,
    in_pieces: Arc<dyn InPieces>,
}

/// What sends files in pieces.
trait InPieces: MultipartStore + std::fmt::Debug {}

impl<C: MultipartStore + std::fmt::Debug> InPieces for C {}

impl Client {
    #[cfg(feature = "cloud")]
    fn new<C: ObjectStore + MultipartStore>(client: C) -> Self {
        let client = Arc::new(client);
        Self { store: Arc::clone(&client) as _, in_pieces: client }
    }
}

/// A file as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) blake3: blake3::Hash,
    pub(crate) bytes: u64,
    /// The BLAKE3 of the file here: another one, if it was encrypted.
    pub(crate) plain_blake3: blake3::Hash,
}

/// What is kept under a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Name below the destination, with slashes.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// When it was written, by the destination's clock.
    pub modified: Timestamp,
}

impl Destination {
    /// The destination of an address: `dir:PATH`, `file:///PATH`, `s3://BUCKET/PREFIX`,
    /// `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`. Credentials come from the environment, under
    /// the names that each provider's own tools use (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
    /// `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, …).
    ///
    /// Nothing is contacted, and nothing made.
    ///
    /// # Errors
    /// [`DestinationError::BadAddress`].
    pub fn open(address: &str) -> Result<Self, DestinationError> {
        let utf8 = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        address::open(address, &std::env::vars_os().filter_map(utf8).collect())
    }

    /// The same with these variables in the place of the environment's.
    ///
    /// # Errors
    /// [`DestinationError::BadAddress`].
    pub fn open_with(
        address: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, DestinationError> {
        address::open(address, &variables.into_iter().collect())
    }

    /// A folder of it. `name` has no slash at its ends.
    pub fn folder(&self, name: &str) -> Self {
        let place = format!("{}/{name}", self.place);
        let directory = self.directory.as_ref().map(|directory| Arc::new(directory.join(name)));
        Self { prefix: self.path(name), place, directory, ..self.clone() }
    }

    /// The address, human-readable, without anything secret.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Its directory, if it is one on this machine.
    pub fn directory(&self) -> Option<PathBuf> {
        self.directory.as_deref().cloned()
    }

    /// Whether it is a directory as it was opened, and no folder of one.
    pub(crate) fn is_whole(&self) -> bool {
        self.root.is_some() && self.root == self.directory
    }

    /// Makes the directory of a destination that is one on this machine, durably. Call it
    /// once, when a destination is first used. Later, a missing directory is one that is not mounted.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn prepare(&self) -> Result<(), DestinationError> {
        let Some(directory) = self.directory.clone() else { return Ok(()) };
        let made = blocking(move || disk::make_directories(&directory)).await;
        made.map_err(|e| self.doing("making its directory").directory(e))
    }

    /// Makes an existing object durable. Its writer may have been killed after the name appeared
    /// in a directory and before the directory was fsynced. Object storage has no such moment.
    ///
    /// # Errors
    /// [`DestinationError::NotFound`] if there is none of this name.
    pub async fn sync_existing(&self, name: &str) -> Result<(), DestinationError> {
        let Some(path) = self.file(name) else { return Ok(()) };
        let (path, doing) = (path?, self.doing(format!("flushing {name}")));
        let folders = self.folders_of(name);
        let flushed = blocking(move || {
            // Folders on the way may be new, too.
            path.ancestors().take(2 + folders).try_for_each(disk::sync)
        });
        flushed.await.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                DestinationError::NotFound { place: self.place.clone(), name: name.to_owned() }
            }
            _ => doing.directory(e),
        })
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`DestinationError::NotFound`] if there is none of this name.
    pub async fn read(&self, name: &str) -> Result<Bytes, DestinationError> {
        self.read_at_most(name, u64::MAX).await
    }

    /// Reads an object that should be small: whoever else writes there may have made it huge.
    ///
    /// # Errors
    /// Those of [`Destination::read`]; [`DestinationError::TooLong`] if it has more bytes. They are not
    /// read.
    pub async fn read_at_most(&self, name: &str, most: u64) -> Result<Bytes, DestinationError> {
        self.check_file(name).await?;
        let (what, path) = (format!("reading {name}"), self.path(name));
        let found = self.within(&what, 0, self.store.get(&path)).await?;
        let bytes = found.meta.size;
        if bytes > most {
            let (place, name) = (self.place.clone(), name.to_owned());
            return Err(DestinationError::TooLong { place, name, bytes, most });
        }
        self.within(&what, bytes, found.bytes()).await
    }

    /// Reads some bytes of an object: all of the range.
    ///
    /// # Errors
    /// Those of [`Destination::read`]; [`DestinationError::Short`] if it ends before the range does.
    pub async fn read_range(
        &self,
        name: &str,
        range: Range<u64>,
    ) -> Result<Bytes, DestinationError> {
        self.check_file(name).await?;
        let (path, length) = (self.path(name), range.end.saturating_sub(range.start));
        let (what, end) = (format!("reading {name}"), range.end);
        let read = async {
            match self.store.get_range(&path, range).await {
                // Each store has its own way to say that it ends before the range does.
                Err(e @ object_store::Error::Generic { .. }) => {
                    match self.store.head(&path).await {
                        Ok(found) if found.size < end => Ok(Bytes::new()),
                        _ => Err(e),
                    }
                }
                read => read,
            }
        };
        match self.within(what, length, read).await? {
            bytes if bytes.len() as u64 == length => Ok(bytes),
            _ => Err(self.short(name)),
        }
    }

    /// Lists all objects below a folder, by name, only those after `after`. Names are
    /// relative to the destination.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list(
        &self,
        folder: &str,
        after: Option<&str>,
    ) -> Result<Vec<Object>, DestinationError> {
        self.check_there().await?;
        let (what, within) = (format!("listing {folder}"), self.path(folder));
        let mut listed = match after {
            None => self.store.list(Some(&within)),
            Some(after) => self.store.list_with_offset(Some(&within), &self.path(after)),
        };
        let mut found = Vec::new();
        while let Some(meta) = self.within(&what, 0, listed.try_next()).await? {
            // What is still being written to a directory has no name yet.
            let is_staged = self.directory.is_some()
                && meta.location.filename().is_some_and(|name| name.starts_with(disk::STAGED));
            if !is_staged {
                found.push(self.object(&meta));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Lists the folders in a folder, by name, without looking into them.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn folders(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        self.check_there().await?;
        let path = self.path(folder);
        let listed = self.store.list_with_delimiter(Some(&path));
        let found = self.within(format!("listing {folder}"), FOLDERS, listed).await?;
        let found = found.common_prefixes;
        let names = found.iter().filter_map(|path| path.filename().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// Removes an object. `Ok` too if there is none of this name. After a power cut it may be
    /// there again, if this is a directory.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn remove(&self, name: &str) -> Result<(), DestinationError> {
        self.check_there().await?;
        let path = self.path(name);
        match self.within(format!("removing {name}"), 0, self.store.delete(&path)).await {
            Err(DestinationError::NotFound { .. }) => Ok(()),
            removed => removed,
        }
    }

    /// Gives an object another name, and replaces what has it. The old name is removed after the
    /// new one is durable; after a power cut both may be there, if this is a directory.
    ///
    /// # Errors
    /// [`DestinationError::NotFound`] if there is none of the old name. Removing needs the
    /// permission to.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), DestinationError> {
        self.check_there().await?;
        if let (Some(old), Some(new)) = (self.file(from), self.file(to)) {
            return self.rename_file((from, to), old?, new?).await;
        }
        let (old, new) = (self.path(from), self.path(to));
        // Whatever its size, object storage copies without sending it.
        let copied = self.for_writing().copy(&old, &new);
        self.within(format!("copying {from} to {to}"), 0, copied).await?;
        self.remove(from).await
    }

    /// A directory that is not there must not pass for an empty one.
    async fn check_there(&self) -> Result<(), DestinationError> {
        let Some(directory) = self.root.clone() else { return Ok(()) };
        let found = tokio::fs::metadata(&*directory).await;
        match found {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(self
                .doing("opening its directory")
                .directory(std::io::ErrorKind::NotADirectory.into())),
            Err(e) => Err(self.doing("opening its directory").directory(e)),
        }
    }

    /// The directory of a destination is there, and what is to be read in it is a file, if it is there:
    /// opening a pipe that somebody made would wait for whoever writes to it.
    async fn check_file(&self, name: &str) -> Result<(), DestinationError> {
        self.check_there().await?;
        let Some(path) = self.file(name) else { return Ok(()) };
        match tokio::fs::metadata(path?).await {
            Ok(found) if !found.is_file() && !found.is_dir() => {
                let error = std::io::Error::other("it is no file");
                Err(self.doing(format!("reading {name}")).directory(error))
            }
            // Reading says what is wrong.
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> Path {
        name.split('/')
            .filter(|part| !part.is_empty())
            // As it is, so that what is listed can be read; what no store has, `..`, is escaped.
            .map(|part| PathPart::parse(part).unwrap_or_else(|_| PathPart::from(part)))
            .fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Waits for object storage for as long as it may take to answer and to move these bytes. On a
    /// directory the system does the waiting.
    async fn within<T>(
        &self,
        what: impl Into<String>,
        bytes: u64,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, DestinationError> {
        let doing = self.doing(what);
        if self.directory.is_some() {
            return work.await.map_err(|e| doing.store(e));
        }
        let patience = ANSWER + Duration::from_secs(bytes / SLOWEST);
        match tokio::time::timeout(patience, work).await {
            Ok(done) => done.map_err(|e| {
                if Refusal::from_error(&e) == Some(Refusal::NeedsChecksum) {
                    self.needs_checksums.store(self.with_checksums.is_some(), Ordering::Relaxed);
                }
                doing.store(e)
            }),
            Err(_) => Err(doing.unanswered(std::io::ErrorKind::TimedOut.into())),
        }
    }

    fn short(&self, name: &str) -> DestinationError {
        DestinationError::Short { place: self.place.clone(), name: name.to_owned() }
    }

    fn doing(&self, what: impl Into<String>) -> Doing {
        let medium =
            if self.directory.is_some() { Medium::Directory } else { Medium::ObjectStorage };
        Doing { place: self.place.clone(), what: what.into(), medium }
    }
}
