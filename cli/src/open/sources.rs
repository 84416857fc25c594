//! The places that something is restored from or checked against.

use std::sync::Arc;

use tipline_backup::{Check, Destination, Record, RestoreError, Sources};
use tipline_log::system_clock;
use tipline_ops::open_sources;

use crate::open::log::LogLocation;
use crate::options::{LOG, Shared, SourceArgs};
use crate::output::report::Failure;

impl SourceArgs {
    /// The addresses of destinations: all but the log's.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = &String> {
        self.from.iter().filter(|address| *address != LOG)
    }

    /// Opens every place. One that has nothing is left out; one that does not answer is an error.
    pub(crate) async fn open(&self, shared: &Shared) -> Result<Sources, Failure> {
        let mut sources = Sources::default();
        for address in &self.from {
            if address == LOG {
                let place = LogLocation::new(shared, "restore")?;
                let log = place.open().await.map_err(|error| place.explain(error.into()))?;
                sources.log = Some(log);
                continue;
            }
            let one = self.open_one(address).await?;
            sources.archives.extend(one.archives);
            sources.checkpoints.extend(one.checkpoints);
        }
        if sources.archives.is_empty() && sources.checkpoints.is_empty() && sources.log.is_none() {
            let places = self.from.join(", ");
            let places = format!("neither an archive nor a checkpoint is at {places}");
            return Err(RestoreError::NotFound { places }.into());
        }
        Ok(sources)
    }

    /// Opens the destination of one address.
    pub(crate) async fn open_one(&self, address: &str) -> Result<Sources, Failure> {
        let destination = Destination::open(address).map_err(RestoreError::from)?;
        let opened = open_sources(&destination, &self.identity).await;
        Ok(opened.map_err(RestoreError::from)?)
    }

    /// Likewise, to be shared.
    pub(crate) async fn open_shared(&self, shared: &Shared) -> Result<Arc<Sources>, Failure> {
        self.open(shared).await.map(Arc::new)
    }
}

/// Keeps the outcome of a check at every place.
pub(crate) async fn keep(
    sources: &SourceArgs,
    check: Check,
    ok: bool,
    index: u64,
    summary: String,
) -> Result<(), Failure> {
    let record = Record { time_us: system_clock()().as_micros(), ok, index, summary };
    for address in sources.destinations() {
        record.keep(&Destination::open(address)?, check).await?;
    }
    Ok(())
}
