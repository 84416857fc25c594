//! Removing what killed archivers left, on a timer.

use std::time::Duration;

use tipline_backup::{Archive, ArchiveError, Destination, Keys};
use tipline_log::{Clock, error_chain};
use tokio::time::sleep;

use super::board::JobBoard;

/// Time from one attempt to the next.
const PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
/// The same if the archive is not there yet, or does not answer.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// Removes what killed archivers left in the directory of an archive, at the start and once a day,
/// beside its archiver, which needs none of it.
pub async fn tidy_archive(destination: Destination, board: JobBoard, clock: Clock) {
    let place = destination.place();
    loop {
        board.may_begin().await;
        let pause = match tidy_once(&destination, &clock).await {
            Ok(removed) => {
                if removed > 0 {
                    tracing::info!(place, removed, "removed files that were never finished");
                }
                PERIOD
            }
            // The archiver itself says what is unavailable.
            Err(error) if error.is_retryable() => AGAIN,
            Err(ArchiveError::NotFound { .. }) => AGAIN,
            Err(error) => {
                let error = error_chain(&error);
                tracing::warn!(place, error, "files that were never finished are not removed");
                PERIOD
            }
        };
        sleep(pause).await;
    }
}

async fn tidy_once(destination: &Destination, clock: &Clock) -> Result<u64, ArchiveError> {
    let archive = Archive::open(destination.clone(), Keys::default()).await?;
    // What is being written is young by the clock there.
    let now = archive.now(clock()).await?;
    archive.collect(now).await
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use tipline_proto::{Chain, Hash, Lineage, LogIdentity, Timestamp};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_done_at_the_start_or_as_soon_as_there_is_an_archive() {
        let chain = Chain::new("test".parse().unwrap(), Hash::new([1; 32]).unwrap());
        let lineage = Lineage::from_bytes([7; 16]);
        let log = LogIdentity { name: "test".parse().unwrap(), chain, lineage };
        let directory = tempfile::tempdir().unwrap();
        let at = Destination::open(&format!("dir:{}", directory.path().display())).unwrap();
        let left = directory.path().join("segments/.tipline-a1b2c3");
        fs::create_dir(directory.path().join("segments")).unwrap();
        fs::write(&left, "half").unwrap();
        // In the year 2096: that is our clock, and not the one that dates files.
        let clock: Clock = Arc::new(|| Timestamp::from_micros(4_000_000_000_000_000));
        let tidied = async |time| {
            _ = timeout(time, tidy_archive(at.clone(), JobBoard::default(), Arc::clone(&clock)))
                .await;
            !left.exists()
        };
        assert!(!tidied(PERIOD).await, "it may be anything");
        fs::remove_file(&left).unwrap();
        Archive::create(at.clone(), &log, Keys::default()).await.unwrap();
        let write = |age: Duration| {
            fs::write(&left, "half").unwrap();
            let file = fs::File::options().write(true).open(&left).unwrap();
            let written = file.metadata().unwrap().modified().unwrap();
            file.set_modified(written - age).unwrap();
        };
        write(PERIOD - AGAIN);
        assert!(!tidied(AGAIN).await, "it may be written still");
        write(PERIOD + AGAIN);
        assert!(tidied(AGAIN).await);
        let segments = fs::read_dir(directory.path().join("segments")).unwrap();
        assert_eq!(segments.count(), 0);
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "what the clock was read from is still there: {left:?}");
    }
}
