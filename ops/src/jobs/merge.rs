//! Merging small segments, on a timer.

use std::time::Duration;

use tipline_backup::{Archive, ArchiveError, Destination, Keys, MergedReceipts};
use tipline_log::{Clock, error_chain};
use tokio::time::sleep;

use super::board::{JobBoard, JobKind};

/// Time from one attempt to the next.
const PERIOD: Duration = Duration::from_secs(60);
/// A day of the history of receipts is over once a day. After so many attempts it is looked for one.
const RECEIPTS_EVERY: u32 = 60;

/// Merges small segments of an archive once a minute, beside its archiver, which needs none of it.
/// Never ends. With `remove`, segments that merged ones hold are removed, and the history of receipts is
/// merged as well. Success is written on `board`.
pub async fn merge_segments(
    destination: Destination,
    keys: Keys,
    remove: bool,
    board: JobBoard,
    clock: Clock,
) {
    let (mut logged, mut opened, mut idle) = (String::new(), None, RECEIPTS_EVERY);
    board.expect(JobKind::Merge, PERIOD);
    loop {
        sleep(PERIOD).await;
        board.may_begin().await;
        let merged = match merge_once(&mut opened, &destination, &keys, remove).await {
            Ok(()) if remove => merge_receipts(opened.as_ref(), &mut idle).await,
            merged => merged,
        };
        match merged {
            Ok(()) => {
                board.succeeded(JobKind::Merge, clock());
                logged.clear();
            }
            // The archiver itself says what is unavailable.
            Err(error) if error.is_retryable() => {}
            Err(ArchiveError::NotFound { .. }) => {}
            Err(error) => {
                // It may be another one by now.
                opened = None;
                let error = error_chain(&error);
                if error != logged {
                    tracing::error!(error, "small segments are not merged");
                }
                logged = error;
            }
        }
    }
}

/// Once an hour, and at once again while there is something left: one day of it.
async fn merge_receipts(archive: Option<&Archive>, idle: &mut u32) -> Result<(), ArchiveError> {
    *idle += 1;
    let Some(archive) = archive.filter(|_| *idle >= RECEIPTS_EVERY) else { return Ok(()) };
    let MergedReceipts { written, removed } = archive.merge_receipts().await?;
    if (written, removed) == (0, 0) {
        *idle = 0;
    } else {
        tracing::info!(written, removed, "merged the history of receipts");
    }
    Ok(())
}

/// What is opened is kept for the next time: it remembers which segments are large, which would all be
/// read again to find out.
async fn merge_once(
    opened: &mut Option<Archive>,
    destination: &Destination,
    keys: &Keys,
    remove: bool,
) -> Result<(), ArchiveError> {
    let archive = match opened {
        Some(archive) => archive,
        None => opened.insert(Archive::open(destination.clone(), keys.clone()).await?),
    };
    let merged = archive.merge(remove).await?;
    if !merged.written.is_empty() || merged.removed > 0 {
        let (written, removed) = (merged.written.len(), merged.removed);
        tracing::info!(written, from = merged.from, removed, "merged segments");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tipline_backup::{ArchiveStore, ReceiptRecording};
    use tipline_log::Board;
    use tipline_proto::Timestamp;
    use tipline_store::Sink;
    use tipline_store::conformance::history::{History, log};
    use tipline_store::conformance::model::Model;

    use super::*;

    /// Large by what is in it, as merged ones of small payloads are, and not by its stored size.
    const LARGE: usize = 17_000;

    fn filled(destination: &Destination, entries: &[tipline_proto::Entry]) {
        let mut store = ArchiveStore::new(destination.clone(), Keys::default(), 0);
        store.identity().unwrap();
        store.create(&log()).unwrap();
        let mut model = Model::new(&log());
        for some in entries.chunks(LARGE) {
            store.apply(&model.batch(some)).unwrap();
        }
    }

    fn flip(file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        bytes[5_000] ^= 1;
        fs::write(file, bytes).unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_large_is_read_in_the_first_round_only() {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("dir:{}", directory.path().display());
        let destination = Destination::open(&address).unwrap();
        let at = destination.clone();
        let fill = move || filled(&at, &History::blocks(2 * LARGE as u64, 1_000).entries);
        tokio::task::spawn_blocking(fill).await.unwrap();
        let keys = Keys::default();
        let mut opened = None;
        merge_once(&mut opened, &destination, &keys, false).await.unwrap();
        let names = opened.as_ref().unwrap().segments().await.unwrap();
        assert_eq!(names.len(), 3, "nothing was merged");
        flip(&directory.path().join(names[0].to_string()));
        merge_once(&mut opened, &destination, &keys, false).await.unwrap();
        // One that remembers nothing begins after it: that is written down at the destination.
        merge_once(&mut None, &destination, &keys, false).await.unwrap();
        fs::remove_dir_all(directory.path().join("merged")).unwrap();
        let read = merge_once(&mut None, &destination, &keys, false).await.unwrap_err();
        assert!(read.to_string().contains(&names[0].to_string()), "{read}");
    }

    /// Two objects on each of these days.
    async fn recorded(archive: &Archive, days: std::ops::Range<u64>) {
        for day in days {
            let start = Timestamp::from_micros((20_000 + day) * 86_400_000_000);
            let mut recording = ReceiptRecording::new(day, &Board::default(), start);
            for _ in 0..2 {
                archive.write_receipts(&recording.take()).await.unwrap();
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn days_of_receipts_that_are_over_are_merged_and_looked_for_once_an_hour() {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("dir:{}", directory.path().display());
        let destination = Destination::open(&address).unwrap();
        let archive = Archive::create(destination, &log(), Keys::default()).await.unwrap();
        let objects = || {
            let days = fs::read_dir(directory.path().join("receipts")).unwrap();
            let counts = days.map(|day| fs::read_dir(day.unwrap().path()).unwrap().count());
            counts.sum::<usize>()
        };
        recorded(&archive, 0..3).await;
        let mut idle = RECEIPTS_EVERY;
        // A day each, then nothing.
        for left in [5, 4, 4] {
            merge_receipts(Some(&archive), &mut idle).await.unwrap();
            assert_eq!(objects(), left);
        }
        recorded(&archive, 3..5).await;
        for _ in 1..RECEIPTS_EVERY {
            merge_receipts(Some(&archive), &mut idle).await.unwrap();
        }
        assert_eq!(objects(), 8, "it was not looked for");
        for left in [7, 6] {
            merge_receipts(Some(&archive), &mut idle).await.unwrap();
            assert_eq!(objects(), left);
        }
        merge_receipts(None, &mut idle).await.unwrap();
    }
}
