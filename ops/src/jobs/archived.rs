//! Whether an archive has what is in the log, as a job that is done or not.

use std::time::Duration;

use tipline_consumer::{Phase, Progress};
use tipline_log::Clock;
use tokio::sync::watch;
use tokio::time::sleep;

use super::board::{JobBoard, JobKind};

/// It has everything, or more than before, this often, unless something is wrong.
const EVERY: Duration = Duration::from_secs(60);
/// How often it is looked at. What had been written at the end of a pause counts from then on.
const TICK: Duration = Duration::from_secs(1);

/// Writes on the board that an archive had everything that is in the log, or got more of it. Ends with
/// its archiver.
pub async fn note_archived(progress: watch::Receiver<Progress>, board: JobBoard, clock: Clock) {
    board.expect(JobKind::Archive, EVERY);
    let mut reached = None;
    loop {
        let newest = progress.borrow().clone();
        if newest.phase.is_ended() || progress.has_changed().is_err() {
            return;
        }
        let index = newest.cursor.as_ref().map(|cursor| cursor.position.index);
        let has_more = index > reached && reached.is_some();
        let has_all = matches!(newest.phase, Phase::Following) && newest.behind() == Some(0);
        if has_more || has_all {
            board.succeeded(JobKind::Archive, clock());
        }
        reached = index.max(reached);
        sleep(TICK).await;
    }
}
