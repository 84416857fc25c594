//! Node identities: the key files of a node, encrypted, kept apart from its data.
//!
//! A backup is one object, `identities/NAME-TIME.age` below the destination: an
//! [age](https://age-encryption.org) file for the recipients, with a tar archive inside. It is
//! written once, never changed, and removed only by the operator.

mod bundle;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod key_file;
mod name;
mod restore;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use tipline_proto::Timestamp;

pub use error::IdentityError;
pub use key_file::KeyFile;
pub use name::{IdentityName, InvalidIdentityName};

use crate::destination::{Destination, DestinationError, Object};
use crate::disk;
use crate::keys::Keys;

/// Where backups are, below the destination.
const FOLDER: &str = "identities";
/// Names that show that a place holds the data of a node.
const DATA: [&str; 3] = ["archive.json", "segments", "checkpoints"];

/// The backups of the identities of nodes at a destination. It keeps nothing in memory: every
/// question is put to the destination. Calls need a Tokio runtime.
#[derive(Debug, Clone)]
pub struct Identities {
    destination: Destination,
    keys: Keys,
}

/// A backup that is there, by its name: whether it can be opened is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityBackup {
    /// The node.
    pub name: IdentityName,
    /// When it was made.
    pub time: Timestamp,
    /// Name of the object below the destination.
    pub object: String,
    /// Length of the object in bytes.
    pub bytes: u64,
}

impl Identities {
    /// The backups at a destination. `keys` has the recipients of new ones, and what opens
    /// those that are there. Nothing is contacted.
    ///
    /// # Errors
    /// [`IdentityError::Key`] if a key that opens them lies at the destination itself.
    pub fn at(destination: Destination, keys: Keys) -> Result<Self, IdentityError> {
        if let Some(directory) = destination.directory() {
            keys.check_apart(&directory, destination.place())?;
        }
        Ok(Self { destination, keys })
    }

    /// Makes the destination's directory, if it is one on this machine, and never more than its last
    /// folder: where that is to be must be there, or it may be on a medium that is not mounted.
    ///
    /// # Errors
    /// [`IdentityError::NoDirectory`]; the destination's own.
    pub async fn prepare(&self) -> Result<(), IdentityError> {
        if let Some(directory) = self.destination.directory() {
            let above = disk::parent(&directory);
            if !above.is_dir() {
                return Err(IdentityError::NoDirectory { directory: above.to_owned() });
            }
        }
        Ok(self.destination.prepare().await?)
    }

    /// The first of these files that is on the same file system as the destination: what destroys
    /// one may destroy both, and a medium that should be there may not be mounted.
    pub fn beside(&self, files: &[PathBuf]) -> Option<PathBuf> {
        let directory = self.destination.directory()?;
        let of_it = disk::device(&directory)?;
        files.iter().find(|file| disk::device(file) == Some(of_it)).cloned()
    }

    /// Refuses a place that holds the data of a node, its archive or checkpoints.
    ///
    /// # Errors
    /// [`IdentityError::WithData`]; the destination's own.
    pub async fn check_apart(&self) -> Result<(), IdentityError> {
        for name in DATA {
            let is_there = if name.contains('.') {
                match self.destination.read_at_most(name, 0).await {
                    Ok(_) | Err(DestinationError::TooLong { .. }) => true,
                    Err(DestinationError::NotFound { .. }) => false,
                    Err(error) => return Err(error.into()),
                }
            } else {
                !self.destination.list(name, None).await?.is_empty()
            };
            if is_there {
                let place = self.destination.place().to_owned();
                return Err(IdentityError::WithData { place });
            }
        }
        Ok(())
    }

    /// Encrypts these files and keeps them. On return the backup is durable, and was read back:
    /// it is byte for byte what was encrypted. Whether the recipients can open it, only they can
    /// tell. See [`Identities::open`].
    ///
    /// The destination's directory must be there: see [`Identities::prepare`].
    ///
    /// # Errors
    /// Unusable files, no recipient, or the destination's own.
    pub async fn back_up(
        &self,
        name: &IdentityName,
        files: &[PathBuf],
        now: Timestamp,
    ) -> Result<IdentityBackup, IdentityError> {
        if self.keys.recipients().is_empty() {
            return Err(IdentityError::NoRecipient);
        }
        let files = bundle::read(files)?;
        let sealing = |source| IdentityError::Sealing { name: name.clone(), source };
        let packed = bundle::pack(name, now, &files).map_err(sealing)?;
        let sealed = bytes::Bytes::from(self.keys.encrypt(&packed).map_err(sealing)?);
        let object = format!("{FOLDER}/{}", name::object(name, now));
        if self.list().await?.is_empty() {
            self.destination.probe_once().await?;
        }
        match self.destination.create(&object, sealed.clone()).await {
            Ok(()) => {}
            // The answer to an earlier attempt may have been lost: what is there decides.
            Err(taken @ DestinationError::Exists { .. }) => {
                if self.destination.read(&object).await? != sealed {
                    return Err(taken.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        if self.destination.read(&object).await? != sealed {
            return Err(self.corrupt(&object, "what was read back is not what was written"));
        }
        Ok(IdentityBackup { name: name.clone(), time: now, object, bytes: sealed.len() as u64 })
    }

    /// All backups, the newest first. What has another name than a backup is left out.
    ///
    /// # Errors
    /// The destination's own.
    pub async fn list(&self) -> Result<Vec<IdentityBackup>, IdentityError> {
        let found = self.destination.list(FOLDER, None).await?;
        let backup = |object: Object| {
            let (name, time) = name::parse(object.name.strip_prefix(FOLDER)?.strip_prefix('/')?)?;
            Some(IdentityBackup { name, time, object: object.name, bytes: object.bytes })
        };
        let mut backups: Vec<IdentityBackup> = found.into_iter().filter_map(backup).collect();
        backups.sort_by(|a, b| (b.time, &b.name).cmp(&(a.time, &a.name)));
        Ok(backups)
    }

    /// Opens a backup, and checks every file in it.
    ///
    /// # Errors
    /// [`IdentityError::NeedsKey`], [`IdentityError::Corrupt`]; the destination's own.
    pub async fn open(&self, backup: &IdentityBackup) -> Result<Vec<KeyFile>, IdentityError> {
        // Encryption and tar add little; what is far larger was not written by this.
        let most = 2 * bundle::MAX_BYTES;
        let sealed = match self.destination.read_at_most(&backup.object, most).await {
            Err(DestinationError::TooLong { .. }) => {
                return Err(self.corrupt(&backup.object, "it is too large"));
            }
            sealed => sealed?,
        };
        let opened = self.keys.decrypt(&sealed);
        let Some(packed) = opened.map_err(|e| self.corrupt(&backup.object, &e.to_string()))? else {
            let place = self.destination.place().to_owned();
            return Err(IdentityError::NeedsKey { place, object: backup.object.clone() });
        };
        let files = bundle::unpack(&packed, &backup.name, backup.time);
        files.map_err(|what| self.corrupt(&backup.object, &what))
    }

    /// Opens a backup and writes its files into a directory, which is made if it is not there:
    /// each with mode 0600, whole or not at all; all durable on return. Gives their paths.
    /// Without `force` nothing is written if one of them is there.
    ///
    /// # Errors
    /// Those of [`Identities::open`]; [`IdentityError::Exists`], [`IdentityError::Unwritable`].
    pub async fn restore(
        &self,
        backup: &IdentityBackup,
        directory: &Path,
        force: bool,
    ) -> Result<Vec<PathBuf>, IdentityError> {
        let files = self.open(backup).await?;
        restore::write(&files, directory, force)
    }

    fn corrupt(&self, object: &str, what: &str) -> IdentityError {
        IdentityError::Corrupt {
            place: self.destination.place().to_owned(),
            object: object.to_owned(),
            what: what.to_owned(),
        }
    }
}
