//! Sending small files together.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, future, stream};

use super::error::CheckpointError;
use super::labels::Labels;
use super::manifest::{Manifest, ManifestFile, Pack};
use super::objects::Objects;
use super::packing::NewPack;
use super::sent::SentFiles;
use super::set::{Checkpoints, blocking};
use super::unpack::PACKS_AT_ONCE;
use crate::destination::Budget;
use crate::throttle::Throttle;

/// Small files of a checkpoint on their way.
pub(super) struct SendingPacks<'a> {
    pub(super) set: &'a Checkpoints,
    pub(super) to: &'a Checkpoints,
    /// As it is here.
    pub(super) manifest: &'a Manifest,
    /// The set's.
    pub(super) directory: &'a Path,
    pub(super) objects: &'a Objects,
    pub(super) sent: &'a SentFiles,
    pub(super) throttle: &'a Throttle,
}

/// A pack that is not sent yet.
struct Made {
    sent: NewPack,
    content: Bytes,
}

impl SendingPacks<'_> {
    /// The labels of a pack that is there, if it may be referred to: it stays there, and whoever is to
    /// open this checkpoint can open it.
    pub(super) fn labels_of(&self, pack: &Pack) -> Option<Labels> {
        let labels = match self.to.sealing() {
            Some(_) => self.sent.labels_of(pack),
            None => pack.plain_bytes.is_none().then_some(Labels::Plain),
        };
        labels.filter(|_| self.objects.has(&pack.object, pack.bytes))
    }

    /// Sends packs of these files, and reads them back. After a failure no other is begun, and those
    /// under way end first.
    pub(super) async fn run(
        &self,
        groups: &[Vec<&ManifestFile>],
    ) -> Result<Vec<NewPack>, CheckpointError> {
        let has_failed = &AtomicBool::new(false);
        let begun = stream::iter(0..groups.len())
            .take_while(|_| future::ready(!has_failed.load(Ordering::Relaxed)));
        let sent = begun.map(|number| async move {
            let sent = self.send(&groups[number]).await;
            has_failed.fetch_or(sent.is_err(), Ordering::Relaxed);
            sent
        });
        let sent = sent.buffered(PACKS_AT_ONCE).collect::<Vec<_>>().await;
        sent.into_iter().collect()
    }

    /// Sends a pack, unless it is there, and reads it back. If reading back fails, only that is tried
    /// again.
    async fn send(&self, files: &[&ManifestFile]) -> Result<NewPack, CheckpointError> {
        let (budget, mut pause) = (Budget::new(self.throttle), Budget::PAUSE);
        let packed = what_is_packed(files);
        let mut there = match self.to.sealing() {
            Some(_) => {
                self.sent.pack_of(packed).filter(|sent| self.labels_of(&sent.pack).is_some())
            }
            // Its name is known once it is made.
            None => None,
        };
        let (mut is_earlier, mut may_be_there) = (there.is_some(), self.to.sealing().is_none());
        loop {
            let attempt = async {
                let found = match &there {
                    Some(found) => found.clone(),
                    None => {
                        let made = self.make(files).await?;
                        is_earlier = may_be_there && self.labels_of(&made.sent.pack).is_some();
                        if !is_earlier {
                            self.put(&made, packed).await?;
                        }
                        made.sent
                    }
                };
                there = Some(found.clone());
                if is_earlier && self.objects.has_read_back(&found.pack) {
                    return Ok(found);
                }
                self.read_back(&found.pack, &budget).await?;
                if is_earlier {
                    // Whoever sent it may have been killed before its name was durable.
                    self.to.destination().sync_existing(&found.pack.object).await?;
                }
                Ok::<_, CheckpointError>(found)
            };
            match attempt.await {
                Ok(found) => {
                    self.note(packed, &found);
                    return Ok(found);
                }
                // An earlier attempt was cut off, or it is not what it was any more.
                Err(CheckpointError::Corrupt { .. }) if is_earlier => {
                    (there, is_earlier, may_be_there) = (None, false, false);
                }
                Err(_) if self.throttle.is_cancelled() => return Err(CheckpointError::Cancelled),
                Err(CheckpointError::Destination(error)) => {
                    budget.again(error, &mut pause).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads files of this machine, compares each, and puts them together.
    async fn make(&self, files: &[&ManifestFile]) -> Result<Made, CheckpointError> {
        let piece = |file: &&ManifestFile| {
            let from = self.directory.join(self.manifest.object(file));
            (from, ManifestFile::clone(file))
        };
        let pieces: Vec<(PathBuf, ManifestFile)> = files.iter().map(piece).collect();
        let (set, id) = (self.set.clone(), self.manifest.id.clone());
        let (keys, objects) = (self.to.sealing().cloned(), self.objects);
        let made = blocking(move || {
            let length: u64 = pieces.iter().map(|(_, file)| file.bytes).sum();
            let labels = if keys.is_some() { Labels::keyed() } else { Labels::Plain };
            let mut plain = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            plain.extend_from_slice(labels.key());
            for (from, file) in pieces {
                let what = match read(&from, &file, &mut plain)? {
                    None => format!("{} is missing", file.path),
                    Some(read) if read != file.bytes => {
                        format!("{} has {read} bytes, not {}", file.path, file.bytes)
                    }
                    Some(read) => {
                        let begin = plain.len() - usize::try_from(read).unwrap_or_default();
                        let found = blake3::hash(&plain[begin..]);
                        if found == file.blake3 {
                            continue;
                        }
                        format!("{} has the BLAKE3 {found}, not {}", file.path, file.blake3)
                    }
                };
                return Err(set.corrupt(&id, what));
            }
            match keys {
                None => Ok((labels, plain, None)),
                Some(keys) => {
                    let sealed = keys.encrypt(&plain);
                    let sealed = sealed.map_err(CheckpointError::file("encrypting a pack"))?;
                    Ok((labels, sealed, Some(plain.len() as u64)))
                }
            }
        });
        let (labels, content, plain_bytes) = made.await?;
        let (bytes, blake3) = (content.len() as u64, blake3::hash(&content));
        let object = objects.name_of_pack(plain_bytes.is_none().then_some(blake3));
        let pack = Pack { object, bytes, blake3, plain_bytes };
        Ok(Made { sent: NewPack { pack, labels }, content: content.into() })
    }

    async fn put(&self, made: &Made, packed: blake3::Hash) -> Result<(), CheckpointError> {
        let Made { sent, content } = made;
        if !self.throttle.proceed(sent.pack.bytes).await {
            return Err(CheckpointError::Cancelled);
        }
        self.to.destination().replace(&sent.pack.object, content.clone()).await?;
        self.note(packed, sent);
        Ok(())
    }

    /// Each file was compared on its way into the pack: so that it is in it as it should be follows from
    /// the BLAKE3 of all.
    async fn read_back(&self, pack: &Pack, budget: &Budget<'_>) -> Result<(), CheckpointError> {
        let Pack { object, bytes, blake3, .. } = pack.clone();
        let file = ManifestFile {
            path: object.clone(),
            bytes,
            blake3,
            plain_bytes: None,
            shared: Some(object),
            packed: None,
        };
        self.to.verify_file(self.manifest, &file, budget).await
    }

    /// Writes down what encrypted files are there: a help for the next attempt, and for the next
    /// checkpoint. Without it they are sent again then.
    fn note(&self, packed: blake3::Hash, sent: &NewPack) {
        warn(&sent.pack, self.sent.add_pack(packed, sent));
    }

    /// The same of packs that were sent for other checkpoints.
    pub(super) fn note_again<'a>(&self, packs: impl Iterator<Item = &'a Pack>) {
        packs.for_each(|pack| warn(pack, self.sent.add_pack_again(pack)));
    }
}

fn warn(pack: &Pack, written: io::Result<()>) {
    if let Err(error) = written {
        let (object, error) = (&pack.object, error.to_string());
        tracing::warn!(object, error, "that a pack was sent is not written down");
    }
}

/// What a pack of these files has in it: the same only for the same files in the same order.
fn what_is_packed(files: &[&ManifestFile]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher.update(&file.bytes.to_le_bytes());
        hasher.update(file.blake3.as_bytes());
    }
    hasher.finalize()
}

/// Appends a file of this machine, and gives how many bytes that were; none if it is not there.
fn read(
    from: &Path,
    file: &ManifestFile,
    into: &mut Vec<u8>,
) -> Result<Option<u64>, CheckpointError> {
    let failed = |e| CheckpointError::file(format!("reading {}", from.display()))(e);
    let mut opened = match File::open(from) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    // In a set that was uploaded it lies in a pack there, too.
    let most = match file.packed {
        Some(packed) => {
            opened.seek(SeekFrom::Start(packed.offset.into())).map_err(failed)?;
            file.bytes
        }
        None => file.bytes + 1,
    };
    let read = opened.take(most).read_to_end(into).map_err(failed)?;
    Ok(Some(read as u64))
}
