//! Writing at a destination that is a directory of this machine: for its owner only, without hard
//! links, and durable.
//!
//! Reading, listing and removing are the client's, as for object storage.

use std::fs::DirEntry;
use std::io::{self, ErrorKind, Write};
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use tipline_proto::Timestamp;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::blocking::blocking;
use super::limits::PIECE;
use super::outgoing::Outgoing;
use super::{Destination, DestinationError, Sent};
use crate::disk::{self, Existing};
use crate::throttle::Throttle;

impl Destination {
    /// The file that an object is, if this is a directory.
    pub(super) fn file(&self, name: &str) -> Option<Result<PathBuf, DestinationError>> {
        self.directory.as_ref()?;
        let path = LocalFileSystem::new().path_to_filesystem(&self.path(name));
        Some(path.map_err(|e| self.doing(format!("writing {name}")).store(e)))
    }

    /// How many folders an object is in, up to the directory as it was opened.
    pub(super) fn folders_of(&self, name: &str) -> usize {
        let (Some(root), Some(own)) = (&self.root, &self.directory) else { return 0 };
        let outer = own.strip_prefix(&**root).map_or(0, |inner| inner.components().count());
        outer + name.matches('/').count()
    }

    pub(super) async fn write_file(
        &self,
        name: &str,
        path: PathBuf,
        bytes: Bytes,
        existing: Existing,
    ) -> Result<(), DestinationError> {
        let folders = self.folders_of(name);
        let written = blocking(move || {
            make_folder(&path, folders)?;
            disk::write_whole(&path, &bytes, existing)
        });
        written.await.map_err(|e| self.doing(format!("writing {name}")).directory(e))
    }

    /// As [`Destination::upload`].
    pub(super) async fn copy_file(
        &self,
        name: &str,
        path: PathBuf,
        mut from: Outgoing,
        throttle: &Throttle,
    ) -> Result<Sent, DestinationError> {
        let doing = || self.doing(format!("writing {name}"));
        let (to, folders) = (path.clone(), self.folders_of(name));
        let staged = blocking(move || {
            make_folder(&to, folders)?;
            disk::staged(&to)
        });
        let staged = staged.await.map_err(|e| doing().directory(e))?;
        let written = staged.as_file().try_clone().map_err(|e| doing().directory(e))?;
        let mut written = File::from_std(written);
        let mut hasher = blake3::Hasher::new();
        let mut piece = Vec::with_capacity(PIECE);
        loop {
            piece.clear();
            let read = from.read(PIECE, &mut piece).await.map_err(|e| doing().file(e))?;
            if read == 0 {
                break;
            }
            if !throttle.proceed(read as u64).await {
                return Err(doing().cancelled());
            }
            hasher.update(&piece);
            written.write_all(&piece).await.map_err(|e| doing().directory(e))?;
        }
        written.flush().await.map_err(|e| doing().directory(e))?;
        let named = blocking(move || disk::persist(staged, &path, Existing::Replace));
        named.await.map_err(|e| doing().directory(e))?;
        from.sent(hasher.finalize(), hasher.count()).await.map_err(|e| doing().file(e))
    }

    /// What time it is by the clock that dates what is written there. The clock of a network directory
    /// may be another one than ours, so that of a file is read that is written for it. Object storage
    /// refuses whoever's clock is wrong: `here`, which is ours, is as good there.
    ///
    /// # Errors
    /// Those of every call.
    pub(crate) async fn now(&self, here: Timestamp) -> Result<Timestamp, DestinationError> {
        let Some(root) = self.root.clone() else { return Ok(here) };
        self.check_there().await?;
        let dated = blocking(move || {
            // It has no name yet, as what is being written, and goes when it is dropped.
            let mut file = disk::staged(&root.join("now"))?;
            file.write_all(b"now")?;
            file.as_file().sync_all()?;
            std::fs::metadata(file.path())?.modified()
        });
        match dated.await {
            Ok(dated) => Ok(Timestamp::from(dated)),
            Err(e) => Err(self.doing("reading its clock").directory(e)),
        }
    }

    /// Removes what writers left in a directory that were killed, once it is older than `grace`: in
    /// this folder, and in all below it if everything there is Tipline's own.
    pub(crate) async fn remove_staged(
        &self,
        now: Timestamp,
        grace: Duration,
        depth: Depth,
    ) -> Result<u64, DestinationError> {
        let Some(directory) = self.directory.clone() else { return Ok(0) };
        self.check_there().await?;
        let before = UNIX_EPOCH + Duration::from_micros(now.as_micros()).saturating_sub(grace);
        let removed = blocking(move || remove_staged_in(&directory, before, depth));
        removed.await.map_err(|e| self.doing("removing what was never finished").directory(e))
    }

    pub(super) async fn rename_file(
        &self,
        (old, new): (&str, &str),
        from: PathBuf,
        to: PathBuf,
    ) -> Result<(), DestinationError> {
        let (doing, folders) = (format!("renaming {old} to {new}"), self.folders_of(new));
        let renamed = blocking(move || {
            make_folder(&to, folders)?;
            std::fs::rename(&from, &to)?;
            disk::sync(disk::parent(&to))?;
            disk::sync(disk::parent(&from))
        });
        renamed.await.map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                DestinationError::NotFound { place: self.place.clone(), name: doing }
            }
            _ => self.doing(doing).directory(e),
        })
    }
}

/// Where something is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// In a folder alone. There may be files of others.
    Folder,
    /// In a folder and all below it.
    All,
}

/// Removes files that have no name yet, and were written before `before`.
fn remove_staged_in(folder: &FilePath, before: SystemTime, depth: Depth) -> io::Result<u64> {
    let mut removed = 0;
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if depth == Depth::All {
                removed += remove_staged_in(&entry.path(), before, depth)?;
            }
        } else if is_staged(&entry.file_name().to_string_lossy(), depth)
            && is_before(&entry, before)?
        {
            disk::remove(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether a file is one that is being written; earlier versions called it `NAME#1`, as others may.
fn is_staged(name: &str, depth: Depth) -> bool {
    let numbered = name.rsplit_once('#').map(|(_, number)| number);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.starts_with(disk::STAGED) || (depth == Depth::All && numbered.is_some_and(is_number))
}

/// Whether it was written before that. What is gone meanwhile has its name.
fn is_before(entry: &DirEntry, before: SystemTime) -> io::Result<bool> {
    match entry.metadata() {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        found => Ok(found?.modified()? < before),
    }
}

/// Makes the folder that a file is to be in. The directory of the destination itself is there, or
/// this is not called; so many folders down from it the file is.
fn make_folder(path: &FilePath, folders: usize) -> io::Result<()> {
    let folder = disk::parent(path);
    if !folder.is_dir() {
        disk::make_directories(folder)?;
    }
    // Whoever made them may have been killed before their names were durable.
    folder.ancestors().skip(1).take(folders).try_for_each(disk::sync)
}
