//! A copy of a checkpoint in a directory of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{FutureExt, StreamExt, future, stream};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::error::CheckpointError;
use super::manifest::{Manifest, ManifestFile};
use super::set::{AT_ONCE, Checkpoints, blocking};
use super::tree;
use super::unpack::PACKS_AT_ONCE;
use crate::destination::{Budget, Opened};
use crate::disk;
use crate::throttle::Throttle;

/// Bytes that are read at once of what is there already.
const PIECE: usize = 1 << 20;

impl Checkpoints {
    /// Copies a checkpoint into `into`, a directory that is made, and compares every byte with what
    /// was written: `into/part-0/…` are the stores then. Durable on return, but for the name of
    /// `into` itself.
    ///
    /// If an earlier attempt ended there, of this checkpoint or another, every file that is as it was
    /// written stays, and everything else goes. A pack of which nothing is missing is not read. What is
    /// encrypted is fetched again: nothing tells whether its plain bytes are what was written.
    ///
    /// # Errors
    /// [`CheckpointError::Corrupt`] names the first file that is not what was written;
    /// [`CheckpointError::NeedsKey`] if it is encrypted, and none of the keys opens it;
    /// [`CheckpointError::Cancelled`] if `throttle` ends it. What is in `into` then is for the next
    /// attempt, or to be removed.
    pub async fn fetch(
        &self,
        manifest: &Manifest,
        into: &Path,
        throttle: &Throttle,
    ) -> Result<(), CheckpointError> {
        let mut directories = BTreeSet::from([into.to_owned()]);
        for number in 0..manifest.parts.len() {
            directories.insert(into.join(format!("part-{number}")));
        }
        for file in &manifest.files {
            let mut parent = into.join(&file.path);
            // What is above one that is known is known.
            while parent.pop() && directories.insert(parent.clone()) {}
        }
        let directories: Vec<PathBuf> = directories.into_iter().collect();
        prepare(manifest, into.to_owned(), directories.clone()).await?;
        // Each is fsynced, and those at once wait for the medium together. After a failure no other is
        // begun, and those under way end first: nothing is written any more on return.
        let has_failed = &AtomicBool::new(false);
        let has_not = || !has_failed.load(Ordering::Relaxed);
        let packs = manifest.packs.iter().zip(manifest.members()).take_while(|_| has_not());
        let fetched = packs.map(|(pack, files)| async move {
            let budget = Budget::new(throttle);
            let fetched = self.fetch_pack(manifest, pack, files, into, &budget).await;
            has_failed.fetch_or(fetched.is_err(), Ordering::Relaxed);
            fetched
        });
        let first = |first: Result<(), CheckpointError>, next| future::ready(first.and(next));
        // Boxed: the compiler cannot tell otherwise that it may be sent to another thread.
        stream::iter(fetched).buffered(PACKS_AT_ONCE).fold(Ok(()), first).boxed().await?;
        let alone = manifest.files.iter().filter(|file| file.packed.is_none());
        let files = alone.take_while(|_| has_not());
        let fetched = files.map(|file| async move {
            let fetched = self.fetch_unless_there(manifest, file, into, throttle).await;
            has_failed.fetch_or(fetched.is_err(), Ordering::Relaxed);
            fetched
        });
        stream::iter(fetched).buffered(AT_ONCE).fold(Ok(()), first).boxed().await?;
        directories.iter().rev().try_for_each(|path| tree::flush(path))
    }

    async fn fetch_unless_there(
        &self,
        manifest: &Manifest,
        file: &ManifestFile,
        into: &Path,
        throttle: &Throttle,
    ) -> Result<(), CheckpointError> {
        let to = into.join(&file.path);
        if is_there(file, &to, throttle).await? {
            return Ok(());
        }
        self.fetch_file(manifest, file, &to, throttle).await
    }

    async fn fetch_file(
        &self,
        manifest: &Manifest,
        file: &ManifestFile,
        to: &Path,
        throttle: &Throttle,
    ) -> Result<(), CheckpointError> {
        let keys = file.plain_bytes.map(|_| self.keys());
        if keys.is_some_and(|keys| !keys.can_open()) {
            return Err(self.needs_key(&manifest.id));
        }
        let object = manifest.object(file);
        let came = self.destination().download_sealed(&object, to, keys, throttle).await;
        let length = fs::metadata(to).map(|found| found.len()).ok();
        let (found, opened) = match came {
            Ok((found, opened)) => (Ok(found), Some(opened)),
            Err(error) => (Err(error), None),
        };
        self.compare(manifest, file, found, length.filter(|_| keys.is_none()))?;
        match (opened, file.plain_bytes) {
            (Some(Opened::NoKey), _) => Err(self.needs_key(&manifest.id)),
            (Some(Opened::Corrupt(why)), _) => {
                let what = format!("{} cannot be decrypted: {why}", file.path);
                Err(self.corrupt(&manifest.id, what))
            }
            (_, Some(plain)) if length != Some(plain) => {
                let what = format!("{} does not have {plain} bytes once decrypted", file.path);
                Err(self.corrupt(&manifest.id, what))
            }
            _ => Ok(()),
        }
    }
}

/// Makes the directories, and removes what is no file of the checkpoint, or cannot be whole.
async fn prepare(
    manifest: &Manifest,
    into: PathBuf,
    directories: Vec<PathBuf>,
) -> Result<(), CheckpointError> {
    let comparable = manifest.files.iter().filter(|file| !manifest.is_file_sealed(file));
    let files = comparable.map(|file| (file.path.clone(), file.bytes)).collect();
    blocking(move || {
        let failed = |e| CheckpointError::file(format!("clearing {}", into.display()))(e);
        match fs::symlink_metadata(&into) {
            Ok(found) if found.is_dir() => remove_others(&into, "", &files).map_err(failed)?,
            _ => disk::remove(&into).map_err(failed)?,
        }
        let mut missing = directories.iter().filter(|directory| !directory.is_dir());
        missing.try_for_each(|directory| tree::make_directory(directory))
    })
    .await
}

/// Leaves only files of these names and lengths.
fn remove_others(at: &Path, below: &str, files: &BTreeMap<String, u64>) -> io::Result<()> {
    for entry in fs::read_dir(at)? {
        let entry = entry?;
        let (path, found) = (entry.path(), entry.metadata()?);
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if found.is_dir() {
            remove_others(&path, &format!("{name}/"), files)?;
            match fs::remove_dir(&path) {
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                removed => removed?,
            }
        } else if !found.is_file() || files.get(&name) != Some(&found.len()) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Whether an earlier attempt fetched a file, and it is what was written; removes what is not.
async fn is_there(
    file: &ManifestFile,
    to: &Path,
    throttle: &Throttle,
) -> Result<bool, CheckpointError> {
    let failed = |e| CheckpointError::file(format!("reading {}", to.display()))(e);
    let mut found = match File::open(to).await {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found.map_err(failed)?,
    };
    let (mut hasher, mut piece) = (blake3::Hasher::new(), vec![0; PIECE]);
    loop {
        let read = found.read(&mut piece).await.map_err(failed)?;
        if read == 0 {
            break;
        }
        if !throttle.proceed(read as u64).await {
            return Err(CheckpointError::Cancelled);
        }
        hasher.update(&piece[..read]);
    }
    if hasher.finalize() == file.blake3 {
        // Whoever fetched it may have been killed before it was durable.
        found.sync_all().await.map_err(failed)?;
        return Ok(true);
    }
    tokio::fs::remove_file(to).await.map_err(failed)?;
    Ok(false)
}
