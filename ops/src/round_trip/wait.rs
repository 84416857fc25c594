//! Waiting for a mark in the log, and for the receipts.

use std::sync::Arc;

use tipline_log::{Backoff, Board, BoardFeed, Log, LogError, Tail, error_chain};
use tipline_proto::{Entry, Event};
use tokio::time::{Instant, sleep, timeout_at};

use super::legs::{Legs, Logged, Probe, RoundTrip};

/// A log, as it was before the primary was asked for the mark.
#[derive(Debug)]
pub struct Prober {
    log: Arc<dyn Log>,
    tail: Tail,
    board: Board,
}

impl Prober {
    /// Reads where the log ends and who follows it. Ask the primary after that.
    ///
    /// # Errors
    /// The log's.
    pub async fn new(log: Arc<dyn Log>) -> Result<Self, LogError> {
        let board = log.board().await?;
        let tail = log.tail().await?;
        Ok(Self { log, tail, board })
    }

    /// Waits for the mark and for everybody's receipt of it, until `probe.within` after `asked`:
    /// when the primary was asked. A log that is unavailable meanwhile is asked again. What did
    /// not come in time is in the answer.
    ///
    /// # Errors
    /// The log's, unless it may pass.
    pub async fn wait(self, probe: &Probe, asked: Instant) -> Result<RoundTrip, LogError> {
        let until = asked + probe.within;
        let mut legs = Legs::new(probe, self.board);
        let mut trouble = Trouble::default();
        let found = find(&*self.log, &self.tail, probe, &mut trouble);
        let found = timeout_at(until, found).await;
        // In vain: the board as it was says who is there.
        let Ok(found) = found else {
            return Ok(legs.finish(trouble.why));
        };
        let entry = found?;
        let seen = Instant::now();
        legs.logged = Some(Logged { position: entry.position(), after: seen - asked });
        legs.digests.insert(entry.index, entry.digest);
        let answers = answers(&*self.log, &mut legs, seen, &mut trouble);
        match timeout_at(until, answers).await {
            Ok(answered) => answered?,
            Err(_late) => {}
        }
        Ok(legs.finish(trouble.why))
    }
}

/// What keeps the log from being asked.
#[derive(Debug, Default)]
struct Trouble {
    backoff: Backoff,
    why: Option<String>,
}

impl Trouble {
    fn is_over(&mut self) {
        self.backoff.reset();
        self.why = None;
    }

    /// Waits a little, if it may pass.
    async fn bear(&mut self, error: LogError) -> Result<(), LogError> {
        if !error.is_retryable() {
            return Err(error);
        }
        self.why = Some(error_chain(&error));
        sleep(self.backoff.failed()).await;
        Ok(())
    }
}

/// The entry of the mark. What an older primary wrote after a newer one claimed the log is void.
async fn find(
    log: &dyn Log,
    tail: &Tail,
    probe: &Probe,
    trouble: &mut Trouble,
) -> Result<Entry, LogError> {
    let (mut after, mut epoch) = (tail.position.index, tail.epoch);
    loop {
        let error = match search(log, &mut after, &mut epoch, probe, trouble).await {
            Ok(entry) => return Ok(entry),
            Err(error) => error,
        };
        trouble.bear(error).await?;
    }
}

async fn search(
    log: &dyn Log,
    after: &mut u64,
    epoch: &mut u64,
    probe: &Probe,
    trouble: &mut Trouble,
) -> Result<Entry, LogError> {
    let mut entries = log.subscribe(None, *after).await?;
    loop {
        for entry in entries.next().await? {
            if entry.epoch < *epoch {
                continue;
            }
            (*after, *epoch) = (entry.index.max(*after), entry.epoch);
            if matches!(&entry.event, Event::Marked { name } if *name == probe.name) {
                trouble.is_over();
                return Ok(entry);
            }
        }
        trouble.is_over();
    }
}

/// Until everybody has acknowledged.
async fn answers(
    log: &dyn Log,
    legs: &mut Legs<'_>,
    seen: Instant,
    trouble: &mut Trouble,
) -> Result<(), LogError> {
    loop {
        let error = match follow(log, legs, seen, trouble).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        trouble.bear(error).await?;
    }
}

async fn follow(
    log: &dyn Log,
    legs: &mut Legs<'_>,
    seen: Instant,
    trouble: &mut Trouble,
) -> Result<(), LogError> {
    let mut feed: Box<dyn BoardFeed> = log.follow_board().await?;
    loop {
        legs.board = feed.next().await?;
        let came = seen.elapsed();
        for index in legs.wanted() {
            match log.head(index).await {
                Ok(head) => _ = legs.digests.insert(index, head.position.digest),
                // After the tail: the log lost it, or trimmed it away meanwhile.
                Err(LogError::OutOfRange { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        trouble.is_over();
        legs.note(came);
        if legs.is_done() {
            return Ok(());
        }
    }
}
