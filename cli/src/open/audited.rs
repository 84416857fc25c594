//! Opening what is audited. Nothing in it is changed.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tipline_audit::AuditError;
use tipline_backup::{
    Archive, ArchiveError, CheckpointId, Checkpoints, Destination, Keys, Listed, Manifest,
    RestoreError, Sources, Throttle,
};
use tipline_log::Log;
use tipline_proto::{Cursor, LogIdentity, ProofsFrom};
use tipline_store::{StoreError, StoreIdentity, StoreReader, can_open, open_copy};
use tokio_util::sync::CancellationToken;

use crate::address::Audited;
use crate::open::log::LogLocation;
use crate::open::store::open_parts;
use crate::options::{AuditedArgs, Shared};
use crate::output::report::{Failure, Sentence};

/// What there is to read.
pub(crate) enum Opened {
    /// Entries.
    Entries(Entries),
    /// Content, without the entries that it came from.
    Content(Content),
}

impl Opened {
    /// The log that it is of; `None` of a store that is new and empty.
    pub(crate) fn identity(&self) -> Option<StoreIdentity> {
        match self {
            Opened::Entries(entries) => Some((&entries.identity).into()),
            Opened::Content(content) => content.identity.clone(),
        }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> String {
        match self {
            Opened::Entries(entries) => entries.name(),
            Opened::Content(content) => content.name.clone(),
        }
    }

    /// The content, if that is what it is.
    pub(crate) fn content(&self) -> Option<&Content> {
        match self {
            Opened::Content(content) => Some(content),
            Opened::Entries(_) => None,
        }
    }
}

/// A log or an archive.
pub(crate) struct Entries {
    /// The one place.
    pub(crate) sources: Arc<Sources>,
    /// Its log.
    pub(crate) identity: LogIdentity,
}

impl Entries {
    /// What it is called.
    pub(crate) fn name(&self) -> String {
        let archive = self.sources.archives.first().map(|archive| archive.place().to_owned());
        archive.unwrap_or_else(|| "the log".to_owned())
    }

    /// The log itself; `None` if it is an archive.
    pub(crate) fn log(&self) -> Option<Arc<dyn Log>> {
        self.sources.log.clone()
    }
}

/// The media that a store is kept on, each with its name; the last has the cursor.
type Parts = Vec<(String, Box<dyn StoreReader>)>;

/// A store, or a copy of a checkpoint.
pub(crate) struct Content {
    /// What it is called.
    pub(crate) name: String,
    /// What it is kept on.
    pub(crate) parts: Parts,
    /// Those of a checkpoint that this program cannot read.
    pub(crate) unread: Vec<String>,
    /// The log that it is of.
    pub(crate) identity: Option<StoreIdentity>,
    /// What the checkpoint's manifest says.
    pub(crate) expected: Option<Cursor>,
    /// Where the copy is. Removed with this.
    _copy: Option<TempDir>,
}

impl Content {
    /// What entries gave, in a directory that is removed with this.
    pub(crate) fn rebuilt(
        name: String,
        reader: Box<dyn StoreReader>,
        log: &LogIdentity,
        directory: TempDir,
    ) -> Self {
        let (parts, identity) = (vec![(name.clone(), reader)], Some(log.into()));
        let _copy = Some(directory);
        Self { name, parts, unread: Vec::new(), identity, expected: None, _copy }
    }

    /// From which block on its chain needs proofs. One that is new and empty is of no chain.
    pub(crate) fn proofs_from(&self) -> ProofsFrom {
        self.identity.as_ref().map(|log| log.chain.proofs_from).unwrap_or_default()
    }
}

impl AuditedArgs {
    /// Opens it. A checkpoint is copied first, and every byte compared with its manifest, which a trusted
    /// consumer must have signed where signatures are required.
    pub(crate) async fn open(
        &self,
        shared: &Shared,
        audited: &Audited,
        stop: &CancellationToken,
    ) -> Result<Opened, Failure> {
        match audited {
            Audited::Default => self.open_log(LogLocation::new(shared, "audit")?).await,
            Audited::Log(address) => {
                self.open_log(LogLocation::at(address, shared, "audit")?).await
            }
            Audited::Archive(address) => self.open_archive(shared, address).await,
            Audited::Checkpoint(address, id) => {
                self.open_checkpoint(shared, address, id.as_ref(), stop).await
            }
            Audited::Store(address) => {
                let owned = address.clone();
                let opened = tokio::task::spawn_blocking(move || open_parts(&owned)).await??;
                let (identity, readers) = opened;
                let parts: Parts =
                    readers.into_iter().map(|reader| (reader.place(), reader)).collect();
                let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
                let name = match &*names {
                    [one] => (*one).to_owned(),
                    _ => format!("composite:{}", names.join("+")),
                };
                let (unread, expected, _copy) = (Vec::new(), None, None);
                Ok(Opened::Content(Content { name, parts, unread, identity, expected, _copy }))
            }
        }
    }

    /// Opens what must have entries.
    pub(crate) async fn open_entries(
        &self,
        shared: &Shared,
        audited: &Audited,
        stop: &CancellationToken,
    ) -> Result<Entries, Failure> {
        match self.open(shared, audited, stop).await? {
            Opened::Entries(entries) => Ok(entries),
            Opened::Content(content) => {
                let text = format!("{} has no entries: a store keeps what they made", content.name);
                let advice = "name a log or an archive; to compare it with one: tipline audit diff";
                Err(Failure::from(Sentence(text)).advise(advice))
            }
        }
    }

    async fn open_log(&self, place: LogLocation) -> Result<Opened, Failure> {
        let log = place.open().await.map_err(|error| match error {
            error @ tipline_log::LogError::NotFound { .. } => place.explain(error.into()),
            error => AuditError::from(RestoreError::from(error)).into(),
        })?;
        let identity = log.identity().clone();
        let trust = log.trust().cloned().unwrap_or_default();
        let sources = Arc::new(Sources { log: Some(log), trust, ..Sources::default() });
        Ok(Opened::Entries(Entries { sources, identity }))
    }

    async fn open_archive(&self, shared: &Shared, address: &str) -> Result<Opened, Failure> {
        let destination = Destination::open(address).map_err(RestoreError::from)?;
        let keys = self.keys()?;
        let archive = match Archive::open(destination, keys).await {
            Ok(archive) => archive,
            Err(error @ ArchiveError::NotFound { .. }) => {
                let advice = format!("if checkpoints are there: {address}@latest");
                return Err(Failure::from(AuditError::from(error)).advise(advice));
            }
            Err(error) => return Err(AuditError::from(error).into()),
        };
        let identity = archive.identity().clone();
        let (archives, trust) = (vec![archive], shared.signing.trust()?);
        let sources = Arc::new(Sources { archives, trust, ..Sources::default() });
        Ok(Opened::Entries(Entries { sources, identity }))
    }

    fn keys(&self) -> Result<Keys, Failure> {
        let mut files = self.identity.iter();
        Ok(files.try_fold(Keys::default(), |keys, file| keys.identity_file(file))?)
    }

    async fn open_checkpoint(
        &self,
        shared: &Shared,
        address: &str,
        id: Option<&CheckpointId>,
        stop: &CancellationToken,
    ) -> Result<Opened, Failure> {
        let destination = Destination::open(address).map_err(RestoreError::from)?;
        let (set, manifest) = find(&destination, address, id, &self.keys()?).await?;
        let trust = shared.signing.trust()?;
        if trust.requires_checkpoints() {
            set.check_signature(&manifest, &trust).await.map_err(AuditError::from)?;
        }
        let copy = scratch(self)?;
        let into = copy.path().join("copy");
        let throttle = Throttle::new(stop.clone());
        set.fetch(&manifest, &into, &throttle).await.map_err(AuditError::from)?;
        let name = format!("checkpoint {} at {}", manifest.id, set.place());
        let (kinds, of) = (manifest.parts, name.clone());
        let opened = tokio::task::spawn_blocking(move || copied_parts(&of, &kinds, &into));
        let (parts, unread) = opened.await??;
        let (identity, expected, _copy) = (Some(manifest.log), Some(manifest.cursor), Some(copy));
        Ok(Opened::Content(Content { name, parts, unread, identity, expected, _copy }))
    }
}

/// Every part of a copy of a checkpoint that this program can read, each with its name; and the names
/// of the others.
fn copied_parts(
    name: &str,
    kinds: &[String],
    copy: &Path,
) -> Result<(Parts, Vec<String>), StoreError> {
    let (mut parts, mut unread) = (Vec::new(), Vec::new());
    for (number, kind) in kinds.iter().enumerate() {
        let part = match kinds.len() {
            1 => name.to_owned(),
            _ => format!("part {number} ({kind}) of {name}"),
        };
        if !can_open(std::slice::from_ref(kind)) {
            unread.push(part);
            continue;
        }
        // Only this one of them.
        let only = |(at, kind): (usize, &String)| match at == number {
            true => kind.clone(),
            false => String::new(),
        };
        let only: Vec<String> = kinds.iter().enumerate().map(only).collect();
        parts.push((part, open_copy(&only, copy)?));
    }
    match parts.is_empty() {
        // This says why.
        true => open_copy(kinds, copy).map(|reader| (vec![(name.to_owned(), reader)], unread)),
        false => Ok((parts, unread)),
    }
}

/// A directory that is removed when it is dropped.
pub(crate) fn scratch(args: &AuditedArgs) -> Result<TempDir, Failure> {
    let parent = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let made = tempfile::Builder::new().prefix("tipline-audit-").tempdir_in(&parent);
    made.map_err(|source| {
        let what = format!("making a directory in {}", parent.display());
        AuditError::Scratch { what, source }.into()
    })
}

/// The checkpoint of this name, or the newest one.
async fn find(
    destination: &Destination,
    address: &str,
    id: Option<&CheckpointId>,
    keys: &Keys,
) -> Result<(Checkpoints, Manifest), Failure> {
    // A backup location has them in a folder; a set of checkpoints may be named itself.
    for folder in [destination.folder("checkpoints"), destination.clone()] {
        let set = Checkpoints::at(folder).with_keys(keys.clone());
        for listed in set.list().await.map_err(AuditError::from)? {
            if id.is_some_and(|id| id != listed.id()) {
                continue;
            }
            match listed {
                Listed::Whole(manifest) => return Ok((set, manifest)),
                Listed::Corrupt { id, why } => {
                    let place = set.place().to_owned();
                    let error = tipline_backup::CheckpointError::Corrupt { place, id, what: why };
                    return Err(AuditError::from(error).into());
                }
            }
        }
    }
    let text = match id {
        Some(id) => format!("there is no checkpoint {id} at {address}"),
        None => format!("there is no checkpoint at {address}"),
    };
    Err(Sentence(text).into())
}
