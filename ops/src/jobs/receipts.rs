//! Recording the history of receipts, beside an archiver.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tipline_backup::{
    Archive, ArchiveError, Destination, Keys, ReceiptRecording, RecordedReceipts,
};
use tipline_log::{Board, BoardFeed, Clock, Log, error_chain};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::board::JobBoard;

/// How often it is looked whether something is to be written, at least; and when the log is tried
/// again.
const PERIOD: Duration = Duration::from_secs(15);
/// How many objects may wait for their destination: an hour of them. What comes then is not recorded.
const MOST: usize = 60;
/// How long the end of it may take.
const LAST: Duration = Duration::from_secs(10);

/// Records what is acknowledged when, at the place of an archive: see
/// [`ReceiptRecording`]. The archiver needs none of it. While its destination is away, what was seen
/// waits, an hour of it at most.
pub struct ReceiptRecorder {
    log: Arc<dyn Log>,
    destination: Destination,
    keys: Keys,
    clock: Clock,
    jobs: JobBoard,
    recording: ReceiptRecording,
    waiting: VecDeque<RecordedReceipts>,
    /// Something of the run is not recorded. Nothing more of it is: another one begins.
    is_lost: bool,
    /// The error that was logged.
    logged: String,
}

impl ReceiptRecorder {
    /// Begins with this board, which was just read from the log. `jobs` are paused with the archiver:
    /// nothing is written meanwhile.
    pub fn new(
        log: Arc<dyn Log>,
        board: &Board,
        destination: Destination,
        keys: Keys,
        jobs: JobBoard,
        clock: Clock,
    ) -> Self {
        let recording = ReceiptRecording::new(rand::random(), board, clock());
        let (waiting, is_lost, logged) = (VecDeque::new(), false, String::new());
        Self { log, destination, keys, clock, jobs, recording, waiting, is_lost, logged }
    }

    /// Records until it is told to stop, and writes what it has then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut feed = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                board = next(&self.log, &mut feed) => self.see(&board),
                () = sleep(PERIOD) => {}
            }
            if self.recording.is_due((self.clock)()) {
                let recorded = self.recording.take();
                self.wait(recorded);
                self.write().await;
            }
        }
        if let Ok(Ok(board)) = timeout(LAST, self.log.board()).await {
            self.see(&board);
        }
        let recorded = self.recording.take();
        self.wait(recorded);
        if timeout(LAST, self.write()).await.is_err() {
            tracing::warn!("the end of the history of receipts was not written in time");
        }
    }

    fn see(&mut self, board: &Board) {
        let now = (self.clock)();
        if self.is_lost && self.waiting.len() < MOST {
            self.is_lost = false;
            self.recording = ReceiptRecording::new(rand::random(), board, now);
        } else if let Some(before) = self.recording.look(rand::random(), board, now) {
            self.wait(before);
        }
    }

    fn wait(&mut self, recorded: RecordedReceipts) {
        if self.is_lost {
            return;
        }
        if self.waiting.len() < MOST {
            self.waiting.push_back(recorded);
            return;
        }
        tracing::warn!(
            "the destination is away for too long: until it is back, receipts are not in their history"
        );
        self.is_lost = true;
    }

    async fn write(&mut self) {
        if self.jobs.is_paused() {
            return;
        }
        match self.write_all().await {
            Ok(()) => self.logged.clear(),
            // The archiver itself says what is unavailable, and makes what is not there yet.
            Err(error) if error.is_retryable() => {}
            Err(ArchiveError::NotFound { .. }) => {}
            Err(error) => self.complain(&error),
        }
    }

    fn complain(&mut self, error: &ArchiveError) {
        let error = error_chain(error);
        if error != self.logged {
            tracing::error!(error, "the history of receipts is not written");
        }
        self.logged = error;
    }

    async fn write_all(&mut self) -> Result<(), ArchiveError> {
        let archive = Archive::open(self.destination.clone(), self.keys.clone()).await?;
        if archive.identity().lineage != self.log.identity().lineage {
            let (found, expected) = (archive.identity().clone(), self.log.identity().clone());
            let (place, found, expected) =
                (archive.place().to_owned(), Box::new(found), Box::new(expected));
            return Err(ArchiveError::WrongLog { place, found, expected });
        }
        while let Some(recorded) = self.waiting.front() {
            match archive.write_receipts(recorded).await {
                Ok(()) => {}
                // It never can be written. Those after it must not wait for it.
                Err(error @ ArchiveError::BadSegment { .. }) => {
                    self.complain(&error);
                    self.is_lost = true;
                }
                Err(error) => return Err(error),
            }
            self.waiting.pop_front();
        }
        Ok(())
    }
}

/// The board, once it has changed. Whoever is cut off tries again.
async fn next(log: &Arc<dyn Log>, feed: &mut Option<Box<dyn BoardFeed>>) -> Board {
    loop {
        let seen = match feed {
            Some(feed) => feed.next().await,
            None => match log.follow_board().await {
                Ok(new) => {
                    *feed = Some(new);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        match seen {
            Ok(board) => return board,
            Err(_) => {
                *feed = None;
                sleep(PERIOD).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use tipline_backup::ReceiptSpan;
    use tipline_log::memory::MemoryLog;
    use tipline_proto::{Digest, InstanceId, Level, Position, Reached, Receipt, Role, Timestamp};
    use tipline_store::conformance::history::log;

    use super::*;

    /// The middle of a day.
    const START: u64 = 1_800_000_000_000_000;
    const MINUTE: u64 = 60_000_000;

    /// A recorder whose clock is moved by hand.
    struct Recorder {
        at: Destination,
        now: Arc<AtomicU64>,
        recorder: ReceiptRecorder,
    }

    impl Recorder {
        fn new(directory: &Path) -> Self {
            let at = Destination::open(&format!("dir:{}", directory.display())).unwrap();
            let now = Arc::new(AtomicU64::new(START));
            let hand = Arc::clone(&now);
            let clock: Clock = Arc::new(move || Timestamp::from_micros(hand.load(Relaxed)));
            let (log, keys) = (Arc::new(MemoryLog::new(log())), Keys::default());
            let (board, jobs) = (Board::default(), JobBoard::default());
            let recorder = ReceiptRecorder::new(log, &board, at.clone(), keys, jobs, clock);
            Self { at, now, recorder }
        }

        async fn archive(&self) -> Archive {
            Archive::create(self.at.clone(), &log(), Keys::default()).await.unwrap()
        }

        /// A minute later this is on the board, and an object is due.
        async fn minute(&mut self, board: &Board) {
            self.now.fetch_add(MINUTE, Relaxed);
            self.recorder.see(board);
            let recorded = self.recorder.recording.take();
            self.recorder.wait(recorded);
            self.recorder.write().await;
        }
    }

    async fn spans(archive: &Archive) -> Vec<ReceiptSpan> {
        let day = Archive::receipt_day(Timestamp::from_micros(START));
        archive.receipt_spans(&day).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_first_hour_in_which_a_destination_is_away_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(directory.path());
        for _ in 0..3 * MOST {
            recorder.minute(&board(0)).await;
        }
        recorder.recorder.see(&board(0));
        assert!(recorder.recorder.is_lost, "that would be warned of again");
        let archive = recorder.archive().await;
        recorder.minute(&board(0)).await;
        let written = spans(&archive).await;
        let numbers: Vec<u64> = written.iter().map(|span| span.number).collect();
        assert_eq!(numbers, (0..MOST as u64).collect::<Vec<_>>());
        let within = (written[0].from.as_micros(), written[MOST - 1].to.as_micros());
        assert_eq!(within, (START, START + MOST as u64 * MINUTE));
        // What comes then is another run, which has no hole.
        for _ in 0..2 {
            recorder.minute(&board(0)).await;
        }
        let next = spans(&archive).await.split_off(MOST);
        assert_eq!(next.iter().map(|span| span.number).collect::<Vec<_>>(), [0, 1]);
        assert!(next.iter().all(|span| span.run == next[0].run && span.run != written[0].run));
        assert_eq!(archive.lost_receipts(true).await.unwrap(), Vec::<String>::new());
    }

    /// Of so many consumers.
    fn board(count: usize) -> Board {
        let position = Position { index: 1, digest: Digest::from_bytes([1; 32]) };
        let receipt = |number| Receipt {
            lineage: log().lineage,
            consumer: format!("c{number}").parse().unwrap(),
            role: Role::Replica,
            instance: InstanceId::from_bytes([1; 16]),
            reached: Reached::up_to(position, Level::Durable),
            block_tip: None,
            proof_tip: None,
            time: Timestamp::from_micros(START),
            failure: None,
            store: "sqlite:a.db".to_owned(),
            applying: None,
            frozen: None,
            seal: None,
        };
        Board { receipts: (0..count).map(receipt).collect(), ..Board::default() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_written_holds_up_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(directory.path());
        let archive = recorder.archive().await;
        recorder.minute(&board(0)).await;
        // All come and go: of each that is a record. An object may have 2^17.
        let (none, all) = (board(0), board(1 << 10));
        for _ in 0..65 {
            recorder.recorder.see(&all);
            recorder.recorder.see(&none);
        }
        recorder.minute(&none).await;
        assert_eq!(spans(&archive).await.len(), 1, "it was written");
        for _ in 0..2 {
            recorder.minute(&board(0)).await;
        }
        let written = spans(&archive).await;
        let numbers: Vec<u64> = written.iter().map(|span| span.number).collect();
        assert_eq!(numbers, [0, 0, 1], "another run has no hole");
        assert_eq!(archive.lost_receipts(true).await.unwrap(), Vec::<String>::new());
    }
}
