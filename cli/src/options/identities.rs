//! Where identities of nodes are backed up.

use std::sync::Arc;

use tipline_backup::Destination;
use tipline_log::Clock;
use tipline_ops::{IdentityReview, follow_identities};
use tokio::sync::watch::{Receiver, channel};

use super::DEFAULT_MAX_AGE;
use crate::output::report::Failure;
use crate::settings::Parsed;

/// Options of whoever judges a fleet.
#[derive(Debug, clap::Args)]
pub(crate) struct IdentitiesArgs {
    /// Where node identities are backed up. Reminds if there is no backup, or an old one
    #[arg(long, env = "TIPLINE_IDENTITIES", value_name = "ADDRESS")]
    identities: Option<String>,

    /// Remind of identity backups that are older
    #[arg(long, env = "TIPLINE_IDENTITIES_MAX_AGE", value_name = "TIME")]
    #[arg(default_value = DEFAULT_MAX_AGE, value_parser = Parsed::<humantime::Duration>::new())]
    identities_max_age: humantime::Duration,
}

impl IdentitiesArgs {
    /// Where they are, if that was said.
    ///
    /// # Errors
    /// The address cannot be used.
    pub(crate) fn place(&self) -> Result<Option<Destination>, Failure> {
        Ok(self.identities.as_deref().map(Destination::open).transpose()?)
    }

    /// What is there, read now and again; nothing if no place is named.
    pub(crate) async fn follow(
        &self,
        place: Option<Destination>,
        clock: &Clock,
    ) -> Receiver<IdentityReview> {
        match place {
            Some(place) => {
                follow_identities(place, self.identities_max_age.into(), Arc::clone(clock)).await
            }
            None => channel(IdentityReview::default()).1,
        }
    }
}
