//! What the status reminds of: backups of node identities that are missing or old.

use std::time::Duration;

use tipline_backup::{Destination, Identities, Keys};
use tipline_log::Clock;
use tokio::sync::watch;

use super::PATIENCE;
use crate::commands::identity;
use crate::output::report::{Failure, chain};

/// Keys change seldom.
const AGAIN: Duration = Duration::from_secs(60);

/// Looks now, and again each minute for as long as somebody has what it gives.
///
/// # Errors
/// The address is none.
pub(super) async fn follow(
    address: Option<&str>,
    max_age: Duration,
    clock: Clock,
) -> Result<watch::Receiver<Vec<String>>, Failure> {
    let Some(address) = address else { return Ok(watch::channel(Vec::new()).1) };
    let destination = Destination::open(address)?;
    let (newest, reminders) = watch::channel(look(&destination, max_age, &clock).await);
    tokio::spawn(async move {
        while !newest.is_closed() {
            tokio::time::sleep(AGAIN).await;
            newest.send_replace(look(&destination, max_age, &clock).await);
        }
    });
    Ok(reminders)
}

async fn look(destination: &Destination, max_age: Duration, clock: &Clock) -> Vec<String> {
    let place = destination.place();
    let listing = async { Identities::at(destination.clone(), Keys::default())?.list().await };
    let why = match tokio::time::timeout(PATIENCE, listing).await {
        Ok(Ok(backups)) => return identity::reminders(place, backups, clock(), max_age),
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("{place} has not answered for {} s", PATIENCE.as_secs()),
    };
    vec![format!("whether identities of nodes are backed up is not known: {why}")]
}
