//! Sets know themselves again: a directory that is empty because nothing is mounted on it is not
//! one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::CheckpointError;
use super::set::{Checkpoints, blocking};
use super::tree;
use crate::destination::DestinationError;
use crate::disk::{self, Existing};

/// The object that says which set this is.
const NAME: &str = "set.json";
/// Longest that it may be. Whoever else writes there may make it huge.
const MAX_BYTES: u64 = 64 << 10;
/// The format of it.
const FORMAT: u32 = 1;

/// The content of `set.json`. Keep stable.
#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    /// 32 random hexadecimal digits.
    set: String,
}

/// The sets that checkpoints of a store went to, remembered in a file beside the store: a JSON
/// object with the id of each by its address.
///
/// A set is remembered when it is first written to. From then on it must be the one that it was. A
/// set in the directory of the file is not remembered: it is there as long as the store is.
#[derive(Debug, Clone)]
pub struct KnownSets {
    file: PathBuf,
}

impl KnownSets {
    /// Remembered in this file, which is made when there is something to remember.
    pub fn new(file: PathBuf) -> Self {
        Self { file }
    }

    /// Makes sure that a set is the one that it was, before anything is written to it. A new one is
    /// marked and remembered; before that, a destination is tried: see
    /// [`Destination::probe`](crate::Destination::probe).
    ///
    /// # Errors
    /// [`CheckpointError::NotTheSet`] if it was remembered and is not there, or another one is:
    /// nothing was changed.
    pub async fn admit(&self, set: &Checkpoints) -> Result<(), CheckpointError> {
        let directory = set.destination().directory();
        if directory.is_some_and(|set| disk::parent(&set) == disk::parent(&self.absolute())) {
            return Ok(());
        }
        let place = set.place().to_owned();
        // The same from wherever the program is started.
        let key = match set.destination().directory() {
            Some(directory) => format!("dir:{}", directory.display()),
            None => place.clone(),
        };
        let mut known = self.read()?;
        let not_the_set = |what: &str| CheckpointError::NotTheSet {
            place: place.clone(),
            what: what.to_owned(),
            file: self.file.clone(),
        };
        let found = match known.get(&key) {
            Some(known) => match set.id().await? {
                Some(found) if found == *known => return set.check_conditions().await,
                Some(_) => return Err(not_the_set("another set is there")),
                None => return Err(not_the_set("nothing is there: is it mounted?")),
            },
            None => set.mark().await?,
        };
        known.insert(key, found);
        self.write(known).await
    }

    fn absolute(&self) -> PathBuf {
        // What has no absolute path cannot be written either, which is said then.
        std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone())
    }

    fn read(&self) -> Result<BTreeMap<String, String>, CheckpointError> {
        let failed = |e| CheckpointError::file(format!("reading {}", self.file.display()))(e);
        match std::fs::read(&self.file) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| failed(e.into())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(e) => Err(failed(e)),
        }
    }

    async fn write(&self, known: BTreeMap<String, String>) -> Result<(), CheckpointError> {
        let file = self.file.clone();
        blocking(move || {
            let failed = |e| CheckpointError::file(format!("writing {}", file.display()))(e);
            let text = serde_json::to_vec_pretty(&known).map_err(|e| failed(e.into()))?;
            disk::write_whole(&file, &text, Existing::Replace).map_err(failed)
        })
        .await
    }
}

impl Checkpoints {
    /// Which set it is; none if that was never written down.
    async fn id(&self) -> Result<Option<String>, CheckpointError> {
        match self.destination().read_at_most(NAME, MAX_BYTES).await {
            Ok(text) => self.parse(&text).map(Some),
            Err(DestinationError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn parse(&self, text: &[u8]) -> Result<String, CheckpointError> {
        let failed = |e| CheckpointError::file(format!("{}: reading {NAME}", self.place()))(e);
        let Document { format, set } =
            serde_json::from_slice(text).map_err(|e| failed(e.into()))?;
        if format == FORMAT {
            return Ok(set);
        }
        let why = format!("it has format {format}, this program knows {FORMAT}");
        Err(failed(std::io::Error::other(why)))
    }

    /// Writes down which set it is, unless that was done; gives it.
    async fn mark(&self) -> Result<String, CheckpointError> {
        // A set of its own is made by whoever first writes to it; a destination must be there.
        if let Some(directory) = self.destination().directory()
            && self.destination().is_whole()
        {
            blocking(move || tree::prepare(&directory)).await?;
        }
        if let Some(found) = self.id().await? {
            self.check_conditions().await?;
            return Ok(found);
        }
        self.destination().probe_once().await?;
        let document = Document { format: FORMAT, set: new_id() };
        let text = serde_json::to_vec(&document)
            .map_err(|e| CheckpointError::file(format!("writing {NAME}"))(e.into()))?;
        match self.destination().create(NAME, Bytes::from(text)).await {
            Ok(()) | Err(DestinationError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // Somebody else may have been faster.
        match self.id().await? {
            Some(id) => Ok(id),
            None => {
                let (place, what) = (self.place().to_owned(), format!("reading {NAME} back"));
                Err(DestinationError::Unavailable { place, what, source: None }.into())
            }
        }
    }

    /// Whether the destination still refuses to give a name twice, asked with one that is taken.
    async fn check_conditions(&self) -> Result<(), CheckpointError> {
        if self.is_local() {
            return Ok(());
        }
        let text = self.destination().read_at_most(NAME, MAX_BYTES).await?;
        match self.destination().create(NAME, text).await {
            Err(DestinationError::Exists { .. }) => Ok(()),
            Ok(()) => Err(self.destination().ignores_conditions(NAME).into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Random without being asked for.
pub(super) fn new_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", half(), half())
}
