//! Merging small segments, on a timer.

use std::time::Duration;

use tipline_backup::{Archive, ArchiveError, Destination, Keys};
use tipline_log::error_chain;
use tokio::time::sleep;

/// Time from one attempt to the next.
const PERIOD: Duration = Duration::from_secs(60);

/// Merges small segments of an archive once a minute, beside its archiver, which needs none of it.
/// Ends only if `keys` cannot open what is encrypted. With `remove`, segments that merged ones hold
/// are removed.
pub async fn merge_segments(destination: Destination, keys: Keys, remove: bool) {
    let mut logged = String::new();
    loop {
        sleep(PERIOD).await;
        match merge_once(&destination, &keys, remove).await {
            Ok(true) => logged.clear(),
            Ok(false) => return,
            // The archiver itself says what is unavailable.
            Err(error) if error.is_retryable() => {}
            Err(ArchiveError::NotFound { .. }) => {}
            Err(error) => {
                let error = error_chain(&error);
                if error != logged {
                    tracing::error!(error, "small segments are not merged");
                }
                logged = error;
            }
        }
    }
}

/// Whether it is worth trying again.
async fn merge_once(
    destination: &Destination,
    keys: &Keys,
    remove: bool,
) -> Result<bool, ArchiveError> {
    let archive = Archive::open(destination.clone(), keys.clone()).await?;
    if !archive.recipients().is_empty() && !keys.can_open() {
        tracing::info!("encrypted segments are not merged: that needs --identity");
        return Ok(false);
    }
    let merged = archive.merge(remove).await?;
    if !merged.written.is_empty() || merged.removed > 0 {
        let (written, removed) = (merged.written.len(), merged.removed);
        tracing::info!(written, from = merged.from, removed, "merged segments");
    }
    Ok(true)
}
