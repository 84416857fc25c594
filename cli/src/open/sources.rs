//! The places that something is restored from or checked against.

use std::sync::Arc;
use std::time::Duration;

use tipline_backup::{Check, CheckedPlace, Destination, Record, RestoreError, Sources};
use tipline_log::{Log, error_chain, system_clock};
use tipline_ops::open_sources;

use crate::open::log::LogLocation;
use crate::options::{LOG, Shared, SourceArgs};
use crate::output::report::Failure;

impl SourceArgs {
    /// The addresses of destinations: all but the log's.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = &String> {
        self.from.iter().filter(|address| *address != LOG)
    }

    /// Whether the log is among them.
    pub(crate) fn has_log(&self) -> bool {
        self.from.iter().any(|address| address == LOG)
    }

    /// Opens every place. One that has nothing is left out; one that does not answer is an error. An
    /// archive that is damaged is none, as long as there is anything else.
    pub(crate) async fn open(&self, shared: &Shared) -> Result<Sources, Failure> {
        let mut sources = Sources::default();
        for address in &self.from {
            if address != LOG {
                sources.extend(self.open_one(address).await?);
            }
        }
        sources.log = self.open_log(shared).await?;
        sources.trust = shared.signing.trust()?;
        if sources.is_empty() {
            if let Some(damaged) = sources.damaged.first() {
                return Err(RestoreError::Archive(damaged.error()).into());
            }
            let places = self.from.join(", ");
            let places = format!("neither an archive nor a checkpoint is at {places}");
            return Err(RestoreError::NotFound { places }.into());
        }
        Ok(sources)
    }

    /// Opens the destination of one address.
    pub(crate) async fn open_one(&self, address: &str) -> Result<Sources, Failure> {
        Ok(self.open_place(address).await?.sources)
    }

    /// Likewise, to be checked.
    pub(crate) async fn open_place(&self, address: &str) -> Result<CheckedPlace, RestoreError> {
        let destination = Destination::open(address)?;
        let sources = open_sources(&destination, &self.identity).await?;
        Ok(CheckedPlace { destination, sources })
    }

    /// Likewise, to be shared.
    pub(crate) async fn open_shared(&self, shared: &Shared) -> Result<Arc<Sources>, Failure> {
        self.open(shared).await.map(Arc::new)
    }

    /// Opens the log, if it is among them.
    pub(crate) async fn open_log(&self, shared: &Shared) -> Result<Option<Arc<dyn Log>>, Failure> {
        if !self.has_log() {
            return Ok(None);
        }
        let place = LogLocation::new(shared, "restore")?;
        Ok(Some(place.open().await.map_err(|error| place.explain(error.into()))?))
    }
}

/// What is kept of a check: a [`Record`] without its time.
pub(crate) struct CheckOutcome {
    pub(crate) ok: bool,
    pub(crate) index: u64,
    pub(crate) summary: String,
    pub(crate) checkpoint: Option<String>,
    /// How long restoring took.
    pub(crate) restored: Option<Duration>,
}

/// Keeps the outcome of a check at the place that was checked. That it cannot be kept takes nothing
/// from the outcome: reading works from media that are read-only.
pub(crate) async fn keep(at: &Destination, check: Check, outcome: CheckOutcome) {
    let CheckOutcome { ok, index, summary, checkpoint, restored } = outcome;
    let restored_ms = restored.and_then(|took| u64::try_from(took.as_millis()).ok());
    let time_us = system_clock()().as_micros();
    let record = Record { time_us, ok, index, summary, checkpoint, restored_ms };
    if let Err(error) = record.keep(at, check).await {
        let (place, error, check) = (at.place(), error_chain(&error), check.as_str());
        tracing::warn!(
            place,
            error,
            "the outcome of this {check} is not kept there, and status does not know of it: \
             --no-record does without"
        );
    }
}
