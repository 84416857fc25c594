//! A copy of a checkpoint elsewhere.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, future, stream};

use super::error::CheckpointError;
use super::manifest::{MANIFEST, Manifest, ManifestFile};
use super::objects::{Objects, is_shared};
use super::packing::Packs;
use super::send_packs::SendingPacks;
use super::sent::SentFiles;
use super::set::{AT_ONCE, Checkpoints};
use crate::destination::{Budget, DestinationError, Sent};
use crate::throttle::Throttle;

/// Files of at most this many bytes are sent several at once.
const SMALL: u64 = 8 << 20;

/// Files that are there already, with their lengths.
type Present = BTreeMap<String, u64>;

impl Checkpoints {
    /// Copies a checkpoint of this set, a directory, to another set, and reads back every byte that it
    /// sends. On return it is whole there, and listed. `Ok` too if it was there already, as its
    /// manifest says.
    ///
    /// What the newest checkpoint there has already is not sent again, as far as stores keep files that
    /// do not change: all but those of SQLite. It was read back when it was sent. Small files of these
    /// stores are sent together, in packs of 8 MiB. A pack of which little is used any more, and one
    /// that is far from full, at most one for each upload, is made again.
    ///
    /// If it fails or is cancelled, nothing is being written any more on return, what was uploaded
    /// is never listed, and what was sent whole stays: the next attempt reads it back, and goes on after it. If there is none,
    /// [`Checkpoints::collect`] removes it.
    ///
    /// # Errors
    /// [`CheckpointError::Corrupt`] names a file that is not what was written, here or there;
    /// [`CheckpointError::Cancelled`] if `throttle` ends it.
    pub async fn upload(
        &self,
        manifest: &Manifest,
        to: &Checkpoints,
        throttle: &Throttle,
    ) -> Result<(), CheckpointError> {
        // What it shares elsewhere is named by content, and is not the engine's: see `objects.rs`.
        let alone = &manifest.alone();
        match to.get(&manifest.id).await {
            Ok(found) if found.is_copy_of(alone) => {
                // Whoever wrote it may have been killed before its name was durable.
                return Ok(to
                    .destination()
                    .sync_existing(&format!("{}/{MANIFEST}", found.id))
                    .await?);
            }
            Ok(_) => {
                return Err(to.corrupt(&manifest.id, "a different checkpoint has this name".into()));
            }
            Err(CheckpointError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let directory = self.directory()?;
        let ((objects, packs), present) =
            (to.objects_with_newest().await?, to.present(alone).await?);
        let sent = SentFiles::read(&directory, &manifest.id, to.place(), to.keys());
        let sending =
            Sending { set: self, to, manifest, alone, directory, objects, present, sent, throttle };
        let there = &sending.run(packs).await?;
        // Whatever was sent long ago may have been collected since, or is about to be.
        let (objects, present) = (to.objects().await?, to.present(there).await?);
        let is_missing = |file: &&ManifestFile| match (&file.packed, &file.shared) {
            (Some(_), _) => false,
            (None, Some(name)) => !objects.has(name, file.bytes),
            (None, None) => present.get(&there.object(file)) != Some(&file.bytes),
        };
        let file = there.files.iter().find(is_missing).map(|file| &file.path);
        let pack = there.packs.iter().find(|pack| !objects.has(&pack.object, pack.bytes));
        if let Some(name) = file.or(pack.map(|pack| &pack.object)) {
            let what = format!("{name} was removed after it was sent: try again");
            return Err(to.corrupt(&manifest.id, what));
        }
        let (name, text) = (format!("{}/{MANIFEST}", there.id), there.to_text()?);
        to.put_signature(there, &text).await?;
        match to.destination().create(&name, Bytes::from(text)).await {
            Ok(()) => {}
            // Only the same one has this name. Reading it back shows whether it is whole.
            Err(DestinationError::Exists { .. }) => to.destination().sync_existing(&name).await?,
            Err(error) => return Err(error.into()),
        }
        match to.get(&manifest.id).await? {
            found if found == *there => Ok(()),
            _ => Err(to.corrupt(&manifest.id, format!("{MANIFEST} is not what was written"))),
        }
    }

    /// What is there of a checkpoint.
    async fn present(&self, manifest: &Manifest) -> Result<Present, CheckpointError> {
        let found = self.destination().list(manifest.id.as_str(), None).await?;
        Ok(found.into_iter().map(|object| (object.name, object.bytes)).collect())
    }
}

/// A checkpoint on its way.
struct Sending<'a> {
    set: &'a Checkpoints,
    to: &'a Checkpoints,
    manifest: &'a Manifest,
    /// The same without shared files.
    alone: &'a Manifest,
    directory: PathBuf,
    objects: Objects,
    present: Present,
    sent: SentFiles,
    throttle: &'a Throttle,
}

impl Sending<'_> {
    /// Sends all files; gives the checkpoint as it is there. After a failure no other is begun, and those
    /// under way end first: a write that goes on by itself could come after whoever removes what is left.
    async fn run(&self, packs: Packs) -> Result<Manifest, CheckpointError> {
        let here = &self.manifest.files;
        let (small, alone): (Vec<_>, Vec<_>) =
            here.iter().enumerate().partition(|(_, file)| self.is_packed(file));
        let sending = SendingPacks {
            set: self.set,
            to: self.to,
            manifest: self.manifest,
            directory: &self.directory,
            objects: &self.objects,
            sent: &self.sent,
            throttle: self.throttle,
        };
        let planned = packs.plan(&small, self.to.pack_limits(), |pack| sending.labels_of(pack));
        // Of millions of files this is large.
        let Packs { packs, .. } = packs;
        let files = |pack: &Vec<usize>| pack.iter().map(|number| &here[*number]).collect();
        let new = sending.run(&planned.new.iter().map(files).collect::<Vec<_>>()).await?;
        let mut there = Manifest { files: self.alone.files.clone(), ..self.alone.head() };
        planned.place(&packs, &new, &mut there);
        sending.note_again(there.packs.iter());
        let alone: Vec<&ManifestFile> = alone.into_iter().map(|(_, file)| file).collect();
        let mut sent = self.run_alone(&alone).await?.into_iter();
        let unpacked = there.files.iter_mut().filter(|file| file.packed.is_none());
        unpacked.zip(&mut sent).for_each(|(file, sent)| *file = sent);
        Ok(there)
    }

    /// Whether a small file is sent together with others. One that is there by itself stays so.
    fn is_packed(&self, file: &ManifestFile) -> bool {
        let is_small = file.bytes <= self.to.pack_limits().small || file.packed.is_some();
        is_small
            && is_shared(self.alone, file)
            && !self.sent_before(file).is_some_and(|found| self.was_read_back(&found))
    }

    /// Sends files each by itself; gives what each is there.
    async fn run_alone(&self, all: &[&ManifestFile]) -> Result<Vec<ManifestFile>, CheckpointError> {
        let is_small = |file: &ManifestFile| file.bytes <= SMALL;
        let has_failed = &AtomicBool::new(false);
        let mut there = Vec::with_capacity(all.len());
        for files in all.chunk_by(|a, b| is_small(a) && is_small(b)) {
            let begun = stream::iter(0..files.len())
                .take_while(|_| future::ready(!has_failed.load(Ordering::Relaxed)));
            let sent = begun.map(|number| async move {
                let sent = self.send(files[number]).await;
                has_failed.fetch_or(sent.is_err(), Ordering::Relaxed);
                sent
            });
            let sent = sent.buffered(AT_ONCE).collect::<Vec<_>>().await;
            there.extend(sent.into_iter().collect::<Result<Vec<_>, _>>()?);
        }
        Ok(there)
    }

    /// Sends a file, unless it is there, and reads it back. Gives what it is there. If reading back
    /// fails, only that is tried again.
    async fn send(&self, file: &ManifestFile) -> Result<ManifestFile, CheckpointError> {
        let (budget, mut pause) = (Budget::new(self.throttle), Budget::PAUSE);
        let mut there = self.sent_before(file);
        if let Some(found) = there.as_ref().filter(|found| self.was_read_back(found)) {
            self.note(found);
            return Ok(found.clone());
        }
        let mut is_earlier = there.is_some();
        loop {
            let attempt = async {
                let found = match &there {
                    Some(found) => found.clone(),
                    None => self.send_now(file, &budget).await?,
                };
                there = Some(found.clone());
                self.to.verify_file(self.alone, &found, &budget).await?;
                if is_earlier {
                    // Whoever sent it may have been killed before its name was durable.
                    self.to.destination().sync_existing(&self.alone.object(&found)).await?;
                }
                Ok::<_, CheckpointError>(found)
            };
            match attempt.await {
                Ok(found) => return Ok(found),
                // An earlier attempt was cut off, or it is not what it was any more.
                Err(CheckpointError::Corrupt { .. }) if is_earlier => {
                    (there, is_earlier) = (None, false);
                }
                Err(_) if self.throttle.is_cancelled() => return Err(CheckpointError::Cancelled),
                Err(CheckpointError::Destination(error)) => {
                    budget.again(error, &mut pause).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the newest checkpoint there refers to it.
    fn was_read_back(&self, found: &ManifestFile) -> bool {
        found.shared.as_ref().is_some_and(|name| self.objects.was_read_back(name, found.blake3))
    }

    /// A file, if an earlier attempt sent it, or another checkpoint has it.
    fn sent_before(&self, file: &ManifestFile) -> Option<ManifestFile> {
        let there = match self.to.sealing() {
            Some(_) => self.sent.get(file)?,
            None => {
                ManifestFile { shared: self.objects.name(self.alone, file, false), ..file.clone() }
            }
        };
        let is_there = match &there.shared {
            Some(name) => self.objects.has(name, there.bytes),
            None => self.present.get(&self.alone.object(&there)) == Some(&there.bytes),
        };
        is_there.then_some(there)
    }

    async fn send_now(
        &self,
        file: &ManifestFile,
        budget: &Budget<'_>,
    ) -> Result<ManifestFile, CheckpointError> {
        let keys = self.to.sealing();
        let shared = self.objects.name(self.alone, file, keys.is_some());
        let there = ManifestFile { shared, ..file.clone() };
        let object = self.alone.object(&there);
        let from = self.directory.join(self.manifest.object(file));
        let sent = self.to.destination().upload_sealed(&object, &from, keys, budget).await;
        let Sent { blake3, bytes, plain_blake3 } = match sent {
            Ok(sent) => sent,
            Err(DestinationError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                let what = format!("{} is missing", file.path);
                return Err(self.set.corrupt(&self.manifest.id, what));
            }
            // What is not found otherwise is not there: that says nothing of what is here.
            Err(error) => return Err(error.into()),
        };
        self.set.compare(self.manifest, file, Ok(plain_blake3), None)?;
        if keys.is_none() {
            return Ok(there);
        }
        let there = ManifestFile { bytes, blake3, plain_bytes: Some(file.bytes), ..there };
        self.note(&there);
        Ok(there)
    }

    /// Writes down what an encrypted file is there: a help for the next attempt, and for the next
    /// checkpoint. Without it the file is sent again then.
    fn note(&self, there: &ManifestFile) {
        if there.plain_bytes.is_some()
            && let Err(error) = self.sent.add(there)
        {
            let (file, error) = (&there.path, error.to_string());
            tracing::warn!(file, error, "that it was sent is not written down");
        }
    }
}
