//! `--bootstrap`: a consumer starts from the newest checkpoint and archive, and joins the log.

use std::path::PathBuf;
use std::sync::Arc;

use tipline_backup::{
    RestoreError, RestoreProgress, RestoreSettings, Sources, Target, Verification,
};
use tipline_log::{Log, LogError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::address::StoreAddress;
use crate::open::store;
use crate::options::SourceArgs;
use crate::output::progress;
use crate::output::report::Failure;

/// How often it starts anew when the log was trimmed while it worked.
const ATTEMPTS: u32 = 5;

/// Options of a consumer that may start from what is kept elsewhere.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Bootstrap")]
pub(crate) struct BootstrapArgs {
    /// Where archives and checkpoints are: a new store is filled from there, and one that is
    /// behind what the log still has is brought forward, before it joins the log
    #[arg(long, env = "TIPLINE_BOOTSTRAP", value_name = "ADDRESS", value_delimiter = ',')]
    bootstrap: Vec<String>,

    /// File with the age identity (secret key) that an encrypted archive is read with
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
}

impl BootstrapArgs {
    /// Whether there is a place to start from.
    pub(crate) fn is_given(&self) -> bool {
        !self.bootstrap.is_empty()
    }

    async fn sources(&self, log: &Arc<dyn Log>) -> Result<Arc<Sources>, Failure> {
        let (from, identity) = (self.bootstrap.clone(), self.identity.clone());
        let mut sources = Sources { log: Some(Arc::clone(log)), ..Sources::default() };
        let places = SourceArgs { from, identity };
        for address in places.destinations() {
            let one = places.open_one(address).await?;
            sources.archives.extend(one.archives);
            sources.checkpoints.extend(one.checkpoints);
        }
        Ok(Arc::new(sources))
    }

    /// Fills a store that is not there yet; leaves one alone that is.
    pub(crate) async fn fill(
        &self,
        address: &StoreAddress,
        log: &Arc<dyn Log>,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        for attempt in 1.. {
            let sources = self.sources(log).await?;
            let settings = RestoreSettings {
                target: Target::Latest,
                exclusive: false,
                verification: Verification::Normal,
                force: false,
            };
            let (sender, hears) = watch::channel(RestoreProgress::default());
            let place = store::location(address);
            let filling = tipline_backup::restore(sources, place, settings, sender, stop.clone());
            let filled = tokio::select! {
                filled = filling => filled,
                () = progress::show(|| progress::restoring(*hears.borrow())) => return Ok(()),
            };
            progress::done();
            match filled {
                Ok(report) => {
                    let (index, seconds) = (report.achieved.index, report.duration.as_secs_f64());
                    tracing::info!(store = %address, index, seconds, "filled from what is kept");
                }
                Err(RestoreError::NotEmpty { .. }) => {}
                // Of a chain that has nothing kept of it yet.
                Err(error @ RestoreError::NotFound { .. }) => tracing::info!("{error}"),
                Err(error) if is_trimmed(&error) && attempt < ATTEMPTS => {
                    tracing::info!("the log was trimmed meanwhile: starting anew");
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            break;
        }
        Ok(())
    }

    /// Brings a store forward that is behind what the log still has.
    pub(crate) async fn catch_up(
        &self,
        address: &StoreAddress,
        log: &Arc<dyn Log>,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let sources = self.sources(log).await?;
        let opened = address.clone();
        let store = tokio::task::spawn_blocking(move || store::open(&opened)).await??;
        let (sender, hears) = watch::channel(RestoreProgress::default());
        let index = tokio::select! {
            index = tipline_backup::catch_up(&sources, store, &sender, stop) => index,
            () = progress::show(|| progress::restoring(*hears.borrow())) => return Ok(()),
        };
        progress::done();
        match index {
            Ok(index) => {
                tracing::info!(store = %address, index, "brought forward from what is kept")
            }
            // The next look at the log tells how far that was.
            Err(error) if is_trimmed(&error) => tracing::info!("the log was trimmed meanwhile"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn is_trimmed(error: &RestoreError) -> bool {
    matches!(error, RestoreError::Log(LogError::OutOfRange { .. }))
}
