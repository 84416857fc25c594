//! Reading packs: each once, whatever of it is needed.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use super::labels::Labels;
use super::manifest::{Manifest, ManifestFile, Pack};
use super::set::{Checkpoints, blocking};
use crate::destination::{Budget, DestinationError};
use crate::keys::Keys;

/// How many packs are read, or made, at once: in memory are twice as many of 8 MiB, or of 16 MiB if
/// somebody else made them.
pub(super) const PACKS_AT_ONCE: usize = 4;
/// So many files are written before they are fsynced: they wait for the medium together.
const TOGETHER: usize = 64;
/// So many damaged files of a pack are named.
const MOST_NAMED: usize = 10;

/// A pack that was read.
struct Unpacked {
    /// Whether it is what was written.
    is_whole: bool,
    content: Content,
}

/// What is in it.
enum Content {
    /// Its plain bytes, or as many of them as can be decrypted, and how files of it are told.
    Plain(Vec<u8>, Option<Labels>),
    /// No key opens it.
    NoKey,
}

impl Checkpoints {
    /// Reads a pack of a checkpoint where it is, and compares it, and each of these files in it. Files
    /// in an encrypted one are compared if there is a key.
    pub(super) async fn verify_pack(
        &self,
        manifest: &Manifest,
        pack: &Pack,
        files: Vec<&ManifestFile>,
        budget: &Budget<'_>,
    ) -> Result<(), CheckpointError> {
        let Unpacked { is_whole, content } = self.unpack(manifest, pack, &files, budget).await?;
        let damaged = match content {
            Content::Plain(plain, labels) => damaged(plain, labels, &files).await?,
            Content::NoKey if is_whole => return Ok(()),
            Content::NoKey => files,
        };
        if let Some(what) = name(&damaged, pack) {
            return Err(self.corrupt(&manifest.id, what + " not what was written"));
        }
        if is_whole {
            return Ok(());
        }
        let what = format!("{} is not what was written, though all files in it are", pack.object);
        Err(self.corrupt(&manifest.id, what))
    }

    /// Writes those of these files of a pack below a directory that are not there as they were written.
    /// Their content is durable on return, their names are not.
    pub(super) async fn fetch_pack(
        &self,
        manifest: &Manifest,
        pack: &Pack,
        files: Vec<&ManifestFile>,
        into: &Path,
        budget: &Budget<'_>,
    ) -> Result<(), CheckpointError> {
        let is_sealed = pack.plain_bytes.is_some();
        if is_sealed && !self.keys().can_open() {
            return Err(self.needs_key(&manifest.id));
        }
        // Of encrypted ones nothing is there: nothing tells whether it is what was written.
        let missing = if is_sealed { files } else { missing(files, into, budget).await? };
        if missing.is_empty() {
            return Ok(());
        }
        let Unpacked { content, .. } = self.unpack(manifest, pack, &missing, budget).await?;
        let Content::Plain(plain, labels) = content else {
            return Err(self.needs_key(&manifest.id));
        };
        let to = missing.iter().map(|file| Piece::new(file, into.join(&file.path))).collect();
        let written = blocking(move || write(&plain, labels, to)).await?;
        let damaged: Vec<_> =
            missing.into_iter().zip(written).filter(|(_, is)| !is).map(|(file, _)| file).collect();
        match name(&damaged, pack) {
            Some(what) => Err(self.corrupt(&manifest.id, what + " not what was written")),
            None => Ok(()),
        }
    }

    async fn unpack(
        &self,
        manifest: &Manifest,
        pack: &Pack,
        files: &[&ManifestFile],
        budget: &Budget<'_>,
    ) -> Result<Unpacked, CheckpointError> {
        let kept = match self.destination().read_within(&pack.object, pack.bytes, budget).await {
            Ok(kept) => kept,
            Err(DestinationError::NotFound { .. }) => {
                let what = name(files, pack).unwrap_or_else(|| format!("{} is", pack.object));
                return Err(self.corrupt(&manifest.id, what + " missing"));
            }
            Err(DestinationError::Cancelled { .. }) => return Err(CheckpointError::Cancelled),
            Err(error) => return Err(error.into()),
        };
        let keys = pack.plain_bytes.map(|_| self.keys().clone());
        let blake3 = pack.blake3;
        blocking(move || {
            let is_whole = blake3::hash(&kept) == blake3;
            let content = match keys {
                Some(keys) => open(&keys, &kept),
                None => Content::Plain(kept, Labels::read(false, &[])),
            };
            Ok(Unpacked { is_whole, content })
        })
        .await
    }
}

/// Decrypts a pack, up to where it is damaged.
fn open(keys: &Keys, kept: &[u8]) -> Content {
    let mut plain = Vec::with_capacity(kept.len());
    match keys.open_reader(kept) {
        Ok(None) => return Content::NoKey,
        // What was read before an error stays.
        Ok(Some(mut opened)) => drop(opened.read_to_end(&mut plain)),
        // Not even its header is what was written.
        Err(_) => {}
    }
    let labels = Labels::read(true, &plain);
    Content::Plain(plain, labels)
}

/// Which of these files of a pack in the clear are not there as they were written.
async fn missing<'a>(
    files: Vec<&'a ManifestFile>,
    into: &Path,
    budget: &Budget<'_>,
) -> Result<Vec<&'a ManifestFile>, CheckpointError> {
    let to = files.iter().map(|file| (into.join(&file.path), file.bytes, file.blake3)).collect();
    let there = blocking(move || are_there(to)).await?;
    let read: u64 = there.iter().flatten().sum();
    if read > 0 && !budget.throttle().proceed(read).await {
        return Err(CheckpointError::Cancelled);
    }
    let missing = files.into_iter().zip(&there).filter(|(_, there)| there.is_none());
    Ok(missing.map(|(file, _)| file).collect())
}

/// Which of these files are not in the pack as they should be.
async fn damaged<'a>(
    plain: Vec<u8>,
    labels: Option<Labels>,
    files: &[&'a ManifestFile],
) -> Result<Vec<&'a ManifestFile>, CheckpointError> {
    let pieces: Vec<Piece> = files.iter().map(|file| Piece::new(file, PathBuf::new())).collect();
    let are_whole = blocking(move || {
        Ok(pieces.iter().map(|piece| piece.of(&plain, labels).is_some()).collect::<Vec<bool>>())
    });
    let damaged = files.iter().zip(are_whole.await?).filter(|(_, is_whole)| !is_whole);
    Ok(damaged.map(|(file, _)| *file).collect())
}

/// These files of a pack, in words that something follows; none if there are none.
fn name(files: &[&ManifestFile], pack: &Pack) -> Option<String> {
    let (first, more) = files.split_first()?;
    let named: Vec<&str> = files.iter().take(MOST_NAMED).map(|file| file.path.as_str()).collect();
    let others = files.len() - named.len();
    Some(match (more.len(), others) {
        (0, _) => format!("{} in {} is", first.path, pack.object),
        (_, 0) => format!("{} in {} are", named.join(", "), pack.object),
        _ => format!("{} and {others} more in {} are", named.join(", "), pack.object),
    })
}

/// A file of a pack.
struct Piece {
    to: PathBuf,
    offset: u32,
    bytes: u64,
    blake3: blake3::Hash,
}

impl Piece {
    fn new(file: &ManifestFile, to: PathBuf) -> Self {
        let offset = file.packed.map_or(0, |packed| packed.offset);
        Self { to, offset, bytes: file.bytes, blake3: file.blake3 }
    }

    /// Its bytes, if they are what was written.
    fn of<'a>(&self, plain: &'a [u8], labels: Option<Labels>) -> Option<&'a [u8]> {
        let from = usize::try_from(self.offset).ok()?;
        let end = from.checked_add(usize::try_from(self.bytes).ok()?)?;
        plain.get(from..end).filter(|bytes| {
            labels.is_some_and(|labels| labels.label(blake3::hash(bytes)) == self.blake3)
        })
    }
}

/// Writes files that are whole; says of each whether it is.
fn write(
    plain: &[u8],
    labels: Option<Labels>,
    pieces: Vec<Piece>,
) -> Result<Vec<bool>, CheckpointError> {
    let mut written = Vec::with_capacity(pieces.len());
    for pieces in pieces.chunks(TOGETHER) {
        let mut together = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let bytes = piece.of(plain, labels);
            written.push(bytes.is_some());
            let Some(bytes) = bytes else { continue };
            let failed = |e| CheckpointError::file(format!("writing {}", piece.to.display()))(e);
            let mut file = File::create_new(&piece.to).map_err(failed)?;
            file.write_all(bytes).map_err(failed)?;
            together.push((file, &piece.to));
        }
        for (file, to) in together {
            let flushed = file.sync_all();
            flushed.map_err(CheckpointError::file(format!("flushing {}", to.display())))?;
        }
    }
    Ok(written)
}

/// Of each file, its length if it is there as it was written, and durable. Removes those that are not
/// as they were written.
fn are_there(
    files: Vec<(PathBuf, u64, blake3::Hash)>,
) -> Result<Vec<Option<u64>>, CheckpointError> {
    let is_there = |(path, bytes, blake3): (PathBuf, u64, blake3::Hash)| {
        let failed = |e| CheckpointError::file(format!("reading {}", path.display()))(e);
        let found = match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            found => found.map_err(failed)?,
        };
        // One of another length is removed before.
        let mut content = Vec::new();
        (&found).take(bytes + 1).read_to_end(&mut content).map_err(failed)?;
        if blake3::hash(&content) == blake3 {
            // Whoever fetched it may have been killed before it was durable.
            found.sync_all().map_err(failed)?;
            return Ok(Some(bytes));
        }
        fs::remove_file(&path).map_err(failed)?;
        Ok(None)
    };
    files.into_iter().map(is_there).collect()
}
