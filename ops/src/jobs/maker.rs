//! Making checkpoints of one store, one at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tipline_backup::{
    CheckpointError, CheckpointId, Checkpoints, Destination, DestinationError, Job, Manifest,
};
use tipline_consumer::{Frozen, StoreHandle};
use tipline_log::Clock;
use tipline_store::StoreError;
use tokio_util::sync::CancellationToken;

/// Folder of the checkpoints in a backup location.
const FOLDER: &str = "checkpoints";

/// Which checkpoint is to be made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Order {
    /// Address of the set.
    pub(crate) checkpoints: String,
    /// Address of a backup location that it is copied to as well.
    pub(crate) upload: Option<String>,
    /// Most bytes per second.
    pub(crate) rate: Option<u64>,
    /// How a RocksDB is copied.
    #[serde(default)]
    pub(crate) mode: Mode,
}

/// How a RocksDB is copied.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// By hard links; a full copy where the set is on another file system
    #[default]
    Links,
    /// By its backup engine: checkpoints of a set have files in common. It copies them as fast as it
    /// goes, and a cancel ends it behind the file under way
    Engine,
}

impl Order {
    fn set(&self) -> Result<Checkpoints, DestinationError> {
        let set = open_set(&self.checkpoints)?;
        Ok(match self.mode {
            Mode::Links => set,
            Mode::Engine => set.sharing(),
        })
    }
}

/// Why a checkpoint was not made, or not uploaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmade {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error("the checkpoint {id} was made, but is not at {place}")]
    NotUploaded { id: CheckpointId, place: String, source: CheckpointError },
}

/// Makes checkpoints of a store that is open in this process.
#[derive(Debug)]
pub(crate) struct Maker {
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

impl Maker {
    pub(crate) fn new(store: StoreHandle, clock: Clock, stop: CancellationToken) -> Self {
        Self { store, clock: ClockArgument(clock), running: Mutex::new(None), stop }
    }

    /// Begins a checkpoint: whoever has the job can follow and end it.
    ///
    /// # Errors
    /// [`CheckpointError::InUse`] if one is under way.
    pub(crate) fn begin(self: &Arc<Self>, order: Order) -> Result<Begun, CheckpointError> {
        let mut running = self.running();
        if running.is_some() {
            return Err(CheckpointError::InUse { place: order.checkpoints });
        }
        let job = Arc::new(Job::new(self.stop.child_token(), order.rate));
        *running = Some(Arc::clone(&job));
        Ok(Begun { maker: Arc::clone(self), job, order })
    }

    /// Holds the store still, for at most so long.
    pub(crate) async fn freeze(&self, most: Duration) -> Result<Frozen, StoreError> {
        self.store.freeze(most).await
    }

    /// Ends the checkpoint that is under way; whether there was one.
    pub(crate) fn cancel(&self) -> bool {
        self.running().as_ref().map(|job| job.cancel()).is_some()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Arc<Job>>> {
        // What is in it is whole at any instant.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A checkpoint that has its turn. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Begun {
    maker: Arc<Maker>,
    pub(crate) job: Arc<Job>,
    order: Order,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.job.cancel();
        *self.maker.running() = None;
    }
}

impl Begun {
    /// Makes it, and uploads it if that was ordered.
    pub(crate) async fn run(self) -> Result<Manifest, Unmade> {
        let set = self.order.set()?;
        // An address that cannot be used is told before the work, not behind it.
        let upload = self.order.upload.as_deref().map(open_location).transpose()?;
        let created = (self.maker.clock.0)();
        let manifest = set.create(&self.maker.store, created, &self.job).await?;
        if let Some(to) = upload {
            // There and back.
            self.job.begin("uploading", manifest.bytes().saturating_mul(2));
            set.upload(&manifest, &to, &*self.job).await.map_err(|source| {
                let (id, place) = (manifest.id.clone(), to.place().to_owned());
                Unmade::NotUploaded { id, place, source }
            })?;
        }
        Ok(manifest)
    }
}

/// The set at an address.
pub(crate) fn open_set(address: &str) -> Result<Checkpoints, DestinationError> {
    Ok(Checkpoints::at(Destination::open(address)?))
}

/// The checkpoints of a backup location.
pub(crate) fn open_location(address: &str) -> Result<Checkpoints, DestinationError> {
    Ok(Checkpoints::at(Destination::open(address)?.folder(FOLDER)))
}
