//! Making checkpoints of one store, one at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tipline_backup::{
    CheckpointError, CheckpointId, Checkpoints, Destination, DestinationError, Job, Listed,
    Manifest,
};
use tipline_consumer::{Frozen, StoreHandle};
use tipline_log::Clock;
use tipline_store::StoreError;
use tokio_util::sync::CancellationToken;

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
}

/// Makes checkpoints of a store that is open in this process.
#[derive(Debug)]
pub struct CheckpointMaker {
    store: StoreHandle,
    clock: ClockArgument,
    running: Mutex<Option<Arc<Job>>>,
    /// Ends what is under way when the program ends.
    stop: CancellationToken,
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
        Self { store, clock: ClockArgument(clock), running: Mutex::new(None), stop }
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

    /// Cancels the checkpoint that is under way. Gives whether there was one.
    pub fn cancel(&self) -> bool {
        self.running().as_ref().map(|job| job.cancel()).is_some()
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
    }
}

impl CheckpointRun {
    /// Makes it, and uploads it if that was ordered. Durable on return.
    ///
    /// # Errors
    /// See [`CheckpointFailure`].
    pub async fn run(self) -> Result<Manifest, CheckpointFailure> {
        let set = self.order.set()?;
        // An address that cannot be used fails before the work, not after it.
        let upload = self.order.upload.as_deref().map(open_location).transpose()?;
        let created = (self.maker.clock.0)();
        let manifest = set.create(&self.maker.store, created, &self.job).await?;
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
        let Some(to) = self.order.upload.as_deref().map(open_location).transpose()? else {
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
        to: &Checkpoints,
    ) -> Result<(), CheckpointFailure> {
        // There and back.
        self.job.begin("uploading", manifest.bytes().saturating_mul(2));
        set.upload(manifest, to, self.job.throttle()).await.map_err(|source| {
            let (id, place) = (manifest.id.clone(), to.place().to_owned());
            CheckpointFailure::NotUploaded { id, place, source }
        })
    }
}

/// The set of checkpoints at an address. Opens nothing yet.
///
/// # Errors
/// The address cannot be used.
pub fn checkpoint_set(address: &str) -> Result<Checkpoints, DestinationError> {
    Ok(Checkpoints::at(Destination::open(address)?))
}

/// The checkpoints of a backup location.
fn open_location(address: &str) -> Result<Checkpoints, DestinationError> {
    Ok(Checkpoints::at(Destination::open(address)?.folder(FOLDER)))
}
