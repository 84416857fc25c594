//! A running consumer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use tipline_log::{Clock, Log, error_chain};
use tipline_proto::InstanceId;
use tipline_store::Sink;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::ConsumerError;
use crate::handle::StoreHandle;
use crate::progress::{Phase, Progress};
use crate::receipts::{Issuer, Receipts};
use crate::replicate::Replicator;
use crate::settings::ConsumerSettings;
use crate::store_thread::StoreThread;
use crate::telemetry::Telemetry;

/// A running consumer: it replicates a log into a store, and sends receipts for what is durable.
///
/// Dropping it shuts it down in the background: better call [`Consumer::shutdown`], which
/// tells when the store is closed.
#[derive(Debug)]
pub struct Consumer {
    progress: watch::Receiver<Progress>,
    store: StoreHandle,
    stop: DropGuard,
}

impl Consumer {
    /// Starts to replicate `log` into `store`, on a task of the current Tokio runtime and a
    /// thread for the store. Returns at once: whatever goes wrong, from a store of another log
    /// on, is reported by [`Consumer::progress`] and [`Consumer::finished`].
    ///
    /// A new, empty store becomes one of this log if the log still holds its first entry.
    /// `instance` is random, new for each run.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(
        log: Arc<dyn Log>,
        store: Box<dyn Sink>,
        settings: ConsumerSettings,
        instance: InstanceId,
        clock: Clock,
    ) -> Self {
        let (sender, progress) = watch::channel(Progress::new());
        let stop = CancellationToken::new();
        let handle = StoreHandle::unattached(store.place());
        let run = Run { log, store, handle: handle.clone(), settings, instance, clock };
        tokio::spawn(run.run(sender, stop.clone()));
        Self { progress, store: handle, stop: stop.drop_guard() }
    }

    /// Reaches the store between two batches, for checkpoints.
    pub fn store(&self) -> StoreHandle {
        self.store.clone()
    }

    /// How far it is and how it fares, now and at every change.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits until it has ended. The store is closed by then.
    ///
    /// # Errors
    /// Why it stopped for good; the same for every caller.
    pub async fn finished(&self) -> Result<(), Arc<ConsumerError>> {
        ended(self.progress.clone()).await
    }

    /// Takes nothing more in, applies what has arrived, sends the last receipt (for 2 s at
    /// most), and closes the store. What waits for room in a full store is left to the next run.
    ///
    /// # Errors
    /// The same errors as [`Consumer::finished`].
    pub async fn shutdown(self) -> Result<(), Arc<ConsumerError>> {
        let Self { progress, stop, .. } = self;
        drop(stop);
        ended(progress).await
    }
}

async fn ended(mut progress: watch::Receiver<Progress>) -> Result<(), Arc<ConsumerError>> {
    let ended = progress.wait_for(|progress| progress.phase.is_ended()).await;
    match ended.map(|progress| progress.phase.clone()) {
        Ok(Phase::Failed(error)) => Err(error),
        Ok(_) => Ok(()),
        Err(_) => Err(Arc::new(ConsumerError::Panicked { what: "the consumer".to_owned() })),
    }
}

/// The progress says while the store is frozen.
async fn say_frozen(
    mut frozen: watch::Receiver<Option<Instant>>,
    progress: &watch::Sender<Progress>,
) -> Infallible {
    // The handle is there for as long as the run.
    while frozen.changed().await.is_ok() {
        let since = *frozen.borrow_and_update();
        progress.send_modify(|progress| progress.frozen = since);
    }
    std::future::pending().await
}

/// What a run is made of.
struct Run {
    log: Arc<dyn Log>,
    store: Box<dyn Sink>,
    handle: StoreHandle,
    settings: ConsumerSettings,
    instance: InstanceId,
    clock: Clock,
}

impl Run {
    async fn run(self, progress: watch::Sender<Progress>, stop: CancellationToken) {
        let name = self.settings.name.clone();
        let phase = match self.replicate(&progress, stop).await {
            Ok(()) => Phase::Stopped,
            Err(error) => {
                let text = error_chain(&error);
                tracing::error!(consumer = %name, error = text, "the consumer stopped");
                Phase::Failed(Arc::new(error))
            }
        };
        progress.send_modify(|progress| progress.phase = phase);
    }

    async fn replicate(
        self,
        progress: &watch::Sender<Progress>,
        stop: CancellationToken,
    ) -> Result<(), ConsumerError> {
        let Self { log, store, handle, settings, instance, clock } = self;
        let place = store.place();
        let store = StoreThread::start(store)?;
        handle.attach(&store);
        let (named, level) = (&log.identity().name, settings.level);
        let telemetry =
            Arc::new(Telemetry::begin(named, &settings.name, level, Arc::clone(&clock)));
        let issuer = Issuer {
            log: Arc::clone(&log),
            settings: settings.clone(),
            instance,
            store: place,
            clock,
            telemetry: Arc::clone(&telemetry),
        };
        let receipts = Receipts::start(issuer, progress.subscribe());
        let replicator =
            Replicator::new(log, settings, progress.clone(), stop, instance, telemetry);
        let result = tokio::select! {
            result = replicator.run(&store) => result,
            never = say_frozen(handle.frozen(), progress) => match never {},
        };
        receipts.finish(result.as_ref().err()).await;
        store.close().await;
        result
    }
}
