//! Making checkpoints of one store, one at a time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tipline_backup::{
    Archive, ArchiveError, CheckpointError, CheckpointId, Checkpoints, Destination,
    DestinationError, Job, KeyError, Keys, KnownSets, Listed, Manifest,
};
use tipline_consumer::{Frozen, StoreHandle};
use tipline_log::{Clock, error_chain};
use tipline_proto::SigningKey;
use tipline_store::StoreError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::board::{JobBoard, JobKind};

/// Folder of the checkpoints in a backup location.
const FOLDER: &str = "checkpoints";

/// Which checkpoint is to be made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CheckpointOrder {
    /// Address of the set.
    pub checkpoints: String,
    /// Address of a backup location that it is copied to as well.
    pub upload: Option<String>,
    /// Most bytes per second; `None` for no limit.
    pub rate: Option<u64>,
    /// How a RocksDB is copied.
    #[serde(default)]
    pub mode: CheckpointMode,
    /// How it is uploaded.
    #[serde(default)]
    pub sealing: Sealing,
}

/// Whether what is uploaded is encrypted, and to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Sealing {
    /// To the recipients of the archive that is there; not at all if it has none, or there is none.
    #[default]
    AsArchive,
    /// To these age recipients. An archive that is there must have the same, or none.
    To(Vec<String>),
    /// Not at all, even beside an archive that is encrypted.
    Plain,
}

impl Sealing {
    /// The keys for what is uploaded to a location.
    async fn keys(&self, location: &Destination) -> Result<Keys, SealingError> {
        let given = match self {
            Sealing::Plain => return Ok(Keys::default()),
            Sealing::AsArchive => Keys::default(),
            Sealing::To(recipients) => recipients
                .iter()
                .try_fold(Keys::default(), |keys, recipient| keys.recipient(recipient))?,
        };
        let named = match Archive::open(location.clone(), Keys::default()).await {
            Ok(archive) => archive.recipients(),
            Err(ArchiveError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        if named.is_empty() {
            return Ok(given);
        }
        if !given.recipients().is_empty() && given.recipients() != named {
            let (place, given) = (location.place().to_owned(), given.recipients());
            return Err(ArchiveError::WrongRecipients { place, found: named, given }.into());
        }
        Ok(named.iter().try_fold(Keys::default(), |keys, recipient| keys.recipient(recipient))?)
    }
}

/// Why it is not known what to encrypt to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealingError {
    /// A recipient is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The archive at the location cannot be read, or has other recipients.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// How a RocksDB is copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointMode {
    /// By hard links; a full copy where the set is on another file system
    #[default]
    Links,
    /// By its backup engine: checkpoints of a set have files in common. It copies them at full speed,
    /// and a cancel ends it after the file under way
    Engine,
}

impl CheckpointOrder {
    fn set(&self) -> Result<Checkpoints, DestinationError> {
        let set = checkpoint_set(&self.checkpoints)?;
        Ok(match self.mode {
            CheckpointMode::Links => set,
            CheckpointMode::Engine => set.sharing(),
        })
    }
}

/// Why a checkpoint was not made, or not uploaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointFailure {
    /// It was not made. Its error says why.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An address cannot be used. Its error says why.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// It was made, and could not be copied to the backup location. It stays where it is.
    #[error("the checkpoint {id} was made, but is not at {place}")]
    NotUploaded {
        /// The checkpoint, which is whole where it was made.
        id: CheckpointId,
        /// The backup location.
        place: String,
        /// Why it is not there.
        source: CheckpointError,
    },
    /// It was made, and is not uploaded: it is not known what to encrypt it to. It stays where it
    /// is.
    #[error("the checkpoint {id} was made, but is not at {place}: its recipients are not known")]
    NotSealed {
        /// The checkpoint, which is whole where it was made.
        id: CheckpointId,
        /// The backup location.
        place: String,
        /// Why not.
        source: SealingError,
    },
}

/// Makes checkpoints of a store that is open in this process.
#[derive(Debug)]
pub struct CheckpointMaker {
    store: StoreHandle,
    clock: ClockArgument,
    known: Option<KnownSets>,
    key: Option<Arc<SigningKey>>,
    running: Mutex<Option<Arc<Job>>>,
    ended: Notify,
    /// Ends what is under way when the program ends.
    stop: CancellationToken,
    board: JobBoard,
}

/// A clock, which has no text of its own.
struct ClockArgument(Clock);

impl std::fmt::Debug for ClockArgument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl CheckpointMaker {
    /// Of a store. `stop` cancels what is under way, when the program ends.
    pub fn new(store: StoreHandle, clock: Clock, stop: CancellationToken) -> Self {
        let (running, ended) = (Mutex::new(None), Notify::new());
        let (clock, board) = (ClockArgument(clock), JobBoard::default());
        Self { store, clock, known: None, key: None, running, ended, stop, board }
    }

    /// Remembers in this file, beside the store, which sets its checkpoints went to: one that is not
    /// there any more, because nothing is mounted, is not written to.
    pub fn remembering(self, file: PathBuf) -> Self {
        Self { known: Some(KnownSets::new(file)), ..self }
    }

    /// Signs with this key what it makes and uploads, if there is one.
    pub fn signing(self, key: Option<Arc<SigningKey>>) -> Self {
        Self { key, ..self }
    }

    /// Writes on this board what was made and uploaded, whoever asked for it.
    pub fn noting(self, board: JobBoard) -> Self {
        Self { board, ..self }
    }

    pub(super) fn board(&self) -> &JobBoard {
        &self.board
    }

    fn done(&self, job: JobKind) {
        self.board.succeeded(job, (self.clock.0)());
    }

    async fn admit(&self, set: &Checkpoints) -> Result<(), CheckpointError> {
        match &self.known {
            Some(known) => known.admit(set).await,
            None => Ok(()),
        }
    }

    /// Takes the turn for a checkpoint. Its job can be followed and cancelled.
    ///
    /// # Errors
    /// [`CheckpointError::InUse`] if one is under way.
    pub fn begin(
        self: &Arc<Self>,
        order: CheckpointOrder,
    ) -> Result<CheckpointRun, CheckpointError> {
        let mut running = self.running();
        if running.is_some() {
            return Err(CheckpointError::InUse { place: order.checkpoints });
        }
        let job = Arc::new(Job::new(self.stop.child_token(), order.rate));
        *running = Some(Arc::clone(&job));
        Ok(CheckpointRun { maker: Arc::clone(self), job, order })
    }

    /// Freezes the store between two batches, for at most `most`.
    ///
    /// # Errors
    /// The store's.
    pub async fn freeze(&self, most: Duration) -> Result<Frozen, StoreError> {
        self.store.freeze(most).await
    }

    /// Cancelled when the program ends.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Cancels the checkpoint that is under way. Gives whether there was one.
    pub fn cancel(&self) -> bool {
        self.running().as_ref().map(|job| job.cancel()).is_some()
    }

    /// Waits until no checkpoint is under way. What is cancelled removes its remains first.
    pub async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.running().is_none() {
                return;
            }
            ended.await;
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Arc<Job>>> {
        // What is in it is whole at any instant.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A checkpoint whose turn it is. Dropping it cancels it.
#[derive(Debug)]
pub struct CheckpointRun {
    maker: Arc<CheckpointMaker>,
    /// How far it is; cancels it.
    pub job: Arc<Job>,
    order: CheckpointOrder,
}

impl Drop for CheckpointRun {
    fn drop(&mut self) {
        self.job.cancel();
        *self.maker.running() = None;
        self.maker.ended.notify_waiters();
    }
}

impl CheckpointRun {
    /// Makes it, and uploads it if that was ordered. Durable on return.
    ///
    /// # Errors
    /// See [`CheckpointFailure`].
    pub async fn run(self) -> Result<Manifest, CheckpointFailure> {
        let set = self.order.set()?.signing(self.maker.key.clone());
        // An address that cannot be used fails before the work, not after it.
        let upload = self.order.upload.as_deref().map(Destination::open).transpose()?;
        self.maker.admit(&set).await?;
        let created = (self.maker.clock.0)();
        let manifest = set.create(&self.maker.store, created, &self.job).await?;
        self.maker.done(JobKind::Checkpoint);
        if let Some(to) = upload {
            self.upload(&set, &manifest, &to).await?;
        }
        Ok(manifest)
    }

    /// Uploads the newest checkpoint of the set, if that was ordered, and it is not there. Durable
    /// on return.
    ///
    /// # Errors
    /// See [`CheckpointFailure`].
    pub async fn upload_newest(self) -> Result<(), CheckpointFailure> {
        let Some(to) = self.order.upload.as_deref().map(Destination::open).transpose()? else {
            return Ok(());
        };
        let set = self.order.set()?;
        let listed = match set.list().await {
            Ok(listed) => listed,
            // None was ever made.
            Err(CheckpointError::Destination(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let newest = listed.into_iter().find_map(|listed| match listed {
            Listed::Whole(manifest) => Some(manifest),
            Listed::Corrupt { .. } => None,
        });
        match newest {
            Some(manifest) => self.upload(&set, &manifest, &to).await,
            None => Ok(()),
        }
    }

    async fn upload(
        &self,
        set: &Checkpoints,
        manifest: &Manifest,
        location: &Destination,
    ) -> Result<(), CheckpointFailure> {
        let keys = self.order.sealing.keys(location).await.map_err(|error| {
            let (id, place) = (manifest.id.clone(), location.place().to_owned());
            match error {
                SealingError::Archive(ArchiveError::Destination(error)) => {
                    CheckpointFailure::NotUploaded { id, place, source: error.into() }
                }
                source => CheckpointFailure::NotSealed { id, place, source },
            }
        })?;
        let to = &Checkpoints::at(location.folder(FOLDER)).with_keys(keys);
        let to = &to.clone().signing(self.maker.key.clone());
        // There and back.
        self.job.begin("uploading", manifest.bytes().saturating_mul(2));
        let not_uploaded = |source| {
            let (id, place) = (manifest.id.clone(), to.place().to_owned());
            CheckpointFailure::NotUploaded { id, place, source }
        };
        self.maker.admit(to).await.map_err(not_uploaded)?;
        let uploaded = set.upload(manifest, to, self.job.throttle()).await;
        if !self.job.throttle().is_cancelled() {
            self.tidy(&uploaded, manifest, to).await;
        }
        uploaded.map_err(not_uploaded)?;
        self.maker.done(JobKind::Upload);
        Ok(())
    }

    /// Removes what uploads left: earlier ones whatever became of this one, and this one if it has
    /// used up the space. What is not allowed, or not possible now, costs room only.
    async fn tidy(
        &self,
        uploaded: &Result<(), CheckpointError>,
        manifest: &Manifest,
        to: &Checkpoints,
    ) {
        let is_full =
            matches!(uploaded, Err(CheckpointError::Destination(DestinationError::NoSpace { .. })));
        let tidied = async {
            if is_full {
                to.abandon(&manifest.id).await?;
            }
            // What is being written is young by the clock there.
            let now = to.now((self.maker.clock.0)()).await?;
            to.collect(now).await
        };
        if let Err(error) = tidied.await {
            let (place, error) = (to.place(), error_chain(&error));
            tracing::warn!(place, error, "what uploads left is not removed");
        }
    }
}

/// The set of checkpoints at an address. Opens nothing yet.
///
/// # Errors
/// The address cannot be used.
pub fn checkpoint_set(address: &str) -> Result<Checkpoints, DestinationError> {
    Ok(Checkpoints::at(Destination::open(address)?))
}
