//! Reading what the verdict is made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tipline_log::{Board, BoardFeed, Log, LogError, Shortfall, Tail, newest_block};
use tipline_proto::{Digest, Position, Receipt, Timestamp, Tip};

use super::assess::Seen;

/// How far back the newest block is looked for, over proofs and other events.
const LOOK_BACK: u64 = 100;

/// The log's pace is measured over about this many of its newest events.
const PACE_EVENTS: u64 = 10_000;

/// Reads a log for the verdict, and remembers what cannot change.
#[derive(Debug)]
pub struct Observer {
    address: String,
    log: Arc<dyn Log>,
    shortfalls: Vec<Shortfall>,
    digests: BTreeMap<u64, Digest>,
    newest_block: Option<(u64, Option<Tip>)>,
    /// An entry some way back, by which the log's pace is measured.
    milestone: Option<(u64, Timestamp)>,
}

impl Observer {
    /// Of an open log. `address` is shown, so it must have no password in it.
    ///
    /// # Errors
    /// The log's.
    pub async fn new(address: String, log: Arc<dyn Log>) -> Result<Self, LogError> {
        let shortfalls = log.preflight().await?.shortfalls;
        let digests = BTreeMap::from([(0, Position::origin(log.identity()).digest)]);
        Ok(Self { address, log, shortfalls, digests, newest_block: None, milestone: None })
    }

    /// The newest announcement and receipts.
    ///
    /// # Errors
    /// The log's.
    pub async fn board(&self) -> Result<Board, LogError> {
        self.log.board().await
    }

    /// Every change of the board, as it is pushed.
    ///
    /// # Errors
    /// The log's.
    pub async fn follow(&self) -> Result<Box<dyn BoardFeed>, LogError> {
        self.log.follow_board().await
    }

    /// Reads everything else. It is read after the board, so what a receipt names is there by then.
    ///
    /// # Errors
    /// The log's. Trimming meanwhile is no error.
    pub async fn look(&mut self, board: Board) -> Result<Seen, LogError> {
        let tail = self.log.tail().await?;
        let first = self.log.extent().await?.first;
        self.read_digests(&board.receipts, first, &tail).await?;
        let tail_block = self.newest_block(first, &tail).await?;
        let per_event = self.per_event(first, &tail).await?;
        Ok(Seen {
            address: self.address.clone(),
            identity: self.log.identity().clone(),
            first,
            tail,
            tail_block,
            digests: self.digests.clone(),
            per_event,
            shortfalls: self.shortfalls.clone(),
            board,
        })
    }

    async fn read_digests(
        &mut self,
        receipts: &[Receipt],
        first: u64,
        tail: &Tail,
    ) -> Result<(), LogError> {
        let mut known = BTreeMap::from([(0, Position::origin(self.log.identity()).digest)]);
        known.insert(tail.position.index, tail.position.digest);
        let positions = receipts.iter().flat_map(|receipt| receipt.reached.positions());
        for index in positions.map(|position| position.index) {
            if known.contains_key(&index) || index < first || index > tail.position.index {
                continue;
            }
            let digest = match self.digests.get(&index) {
                Some(digest) => *digest,
                None => match self.log.entry(index).await {
                    Ok(entry) => entry.digest,
                    // Trimmed away meanwhile.
                    Err(LogError::OutOfRange { .. }) => continue,
                    Err(error) => return Err(error),
                },
            };
            known.insert(index, digest);
        }
        self.digests = known;
        Ok(())
    }

    async fn newest_block(&mut self, first: u64, tail: &Tail) -> Result<Option<Tip>, LogError> {
        let last = tail.position.index;
        let (seen, newest) = self.newest_block.take().unwrap_or_default();
        let down_to = (seen + 1).max(first).max(last.saturating_sub(LOOK_BACK));
        let mut found = newest.filter(|_| seen <= last);
        if let Some(tip) = newest_block(&*self.log, down_to..=last).await? {
            found = Some(tip);
        }
        self.newest_block = Some((last, found.clone()));
        Ok(found)
    }
}

impl Observer {
    /// Time from one event to the next, since a milestone that is moved on as the log grows.
    async fn per_event(&mut self, first: u64, tail: &Tail) -> Result<Option<Duration>, LogError> {
        let last = tail.position.index;
        let is_fit = |index: u64| index < last && last - index <= 2 * PACE_EVENTS;
        if !self.milestone.is_some_and(|(index, _)| is_fit(index)) {
            let index = first.max(last.saturating_sub(PACE_EVENTS));
            self.milestone = match self.log.entry(index).await {
                Ok(entry) => Some((index, entry.time)),
                // Empty, or trimmed away meanwhile.
                Err(LogError::OutOfRange { .. }) => None,
                Err(error) => return Err(error),
            };
        }
        let Some((index, time)) = self.milestone.filter(|(index, _)| *index < last) else {
            return Ok(None);
        };
        let micros = tail.time.since(time).as_micros() / u128::from(last - index);
        let per_event = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        Ok((!per_event.is_zero()).then_some(per_event))
    }
}
