//! Starting a store from what is kept elsewhere, before it joins the log.

use std::path::PathBuf;
use std::sync::Arc;

use tipline_backup::{
    Destination, RestoreError, RestoreProgress, RestoreReport, RestoreSettings, Sources,
    StorePlace, Target, Verification,
};
use tipline_log::{Log, LogError};
use tipline_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::sources::open_sources;

/// How often it starts from scratch when the log was trimmed while it worked.
const ATTEMPTS: u32 = 5;

/// Where a store starts from: the newest checkpoint and the archive at these destinations, and then
/// the log.
#[derive(Clone)]
pub struct Bootstrap {
    /// Where archives and checkpoints are; the first has precedence.
    pub destinations: Vec<Destination>,
    /// Files of age identities that open them.
    pub identity: Vec<PathBuf>,
    /// The log that the store will join.
    pub log: Arc<dyn Log>,
}

impl std::fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bootstrap")
            .field("destinations", &self.destinations)
            .finish_non_exhaustive()
    }
}

/// How filling a store ended.
#[derive(Debug)]
pub enum Filled {
    /// It is filled.
    Restored(Box<RestoreReport>),
    /// It was there already, and is as it was.
    AlreadyThere,
    /// Nothing of its chain is kept yet.
    Nothing(RestoreError),
}

impl Bootstrap {
    async fn sources(&self) -> Result<Arc<Sources>, RestoreError> {
        let trust = self.log.trust().cloned().unwrap_or_default();
        let mut sources = Sources { log: Some(Arc::clone(&self.log)), trust, ..Sources::default() };
        for destination in &self.destinations {
            sources.extend(open_sources(destination, &self.identity).await?);
        }
        Ok(Arc::new(sources))
    }

    /// Fills a store that is not there yet; leaves one alone that is. Starts from scratch if the
    /// log was trimmed meanwhile.
    ///
    /// # Errors
    /// See [`RestoreError`]. Nothing is at the store's place then; the next attempt resumes.
    pub async fn fill(
        &self,
        store: impl Fn() -> StorePlace,
        progress: &watch::Sender<RestoreProgress>,
        stop: &CancellationToken,
    ) -> Result<Filled, RestoreError> {
        // A store that is there needs no place to answer.
        if let Err(RestoreError::NotEmpty { .. }) = store().check_free() {
            return Ok(Filled::AlreadyThere);
        }
        let mut attempt = 1;
        loop {
            let settings = RestoreSettings {
                target: Target::Latest,
                exclusive: false,
                verification: Verification::Normal,
                force: false,
            };
            let (sources, progress) = (self.sources().await?, progress.clone());
            let restore =
                tipline_backup::restore(sources, store(), settings, progress, stop.clone());
            match restore.await {
                Ok(report) => return Ok(Filled::Restored(Box::new(report))),
                Err(RestoreError::NotEmpty { .. }) => return Ok(Filled::AlreadyThere),
                Err(error @ RestoreError::NotFound { .. }) => return Ok(Filled::Nothing(error)),
                Err(error) if is_trimmed(&error) && attempt < ATTEMPTS => {
                    tracing::info!("the log was trimmed meanwhile: starting from scratch");
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Brings a store forward that lags what the log still has. Gives the index that it has then;
    /// `None` if the log was trimmed meanwhile, so that the store may still lag it.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub async fn catch_up(
        &self,
        store: Box<dyn Store>,
        progress: &watch::Sender<RestoreProgress>,
        stop: &CancellationToken,
    ) -> Result<Option<u64>, RestoreError> {
        let sources = self.sources().await?;
        match tipline_backup::catch_up(&sources, store, progress, stop).await {
            Ok(index) => Ok(Some(index)),
            Err(error) if is_trimmed(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn is_trimmed(error: &RestoreError) -> bool {
    matches!(error, RestoreError::Log(LogError::OutOfRange { .. }))
}
