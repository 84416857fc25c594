//! Reading what the verdict is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tipline_log::{
    Board, BoardFeed, DropLimit, DropsAfter, Extent, Log, LogError, Shortfall, Tail, error_chain,
};
use tipline_proto::{Digest, Entry, Event, Position, Timestamp, Tip};
use tokio::time::Instant;

use super::seen::{self, Seen};

/// How far back the newest block is looked for, over proofs and other events.
const LOOK_BACK: u64 = 100;

/// How far back rollbacks are looked for. Whoever is further behind is so in any case.
const ROLLBACKS_BACK: u64 = 20;

/// The log's pace is measured over about this many of its newest events.
const PACE_EVENTS: u64 = 10_000;

/// Settings of the log are read again after this: they change seldom, and may be what is looked for.
const SETTINGS_AGAIN: Duration = Duration::from_secs(60);

/// Reads a log for the verdict, and remembers what cannot change, for as long as the log has not
/// lost its end.
#[derive(Debug)]
pub struct Observer {
    address: String,
    log: Arc<dyn Log>,
    shortfalls: Vec<Shortfall>,
    drops: Vec<DropLimit>,
    settings_read: Instant,
    memory: Memory,
}

/// What is known of one history of the log.
#[derive(Debug, Default)]
struct Memory {
    /// The tail when the log was last looked at.
    tail: Option<Position>,
    /// Entries that were wanted then; what is wrong with those that cannot be read.
    entries: BTreeMap<u64, Result<Brief, String>>,
    newest_block: Option<Tip>,
    /// An entry some way back, by which the log's pace is measured.
    milestone: Option<(u64, Timestamp)>,
}

/// What is of interest of an entry.
#[derive(Debug, Clone)]
struct Brief {
    digest: Digest,
    time: Timestamp,
    block_tip: Option<Tip>,
    rolled_back_to: Option<u64>,
}

impl From<Entry> for Brief {
    fn from(entry: Entry) -> Self {
        let rolled_back_to = match &entry.event {
            Event::RolledBack { to_height, .. } => Some(*to_height),
            _ => None,
        };
        let block_tip = entry.event.block_tip();
        Self { digest: entry.digest, time: entry.time, block_tip, rolled_back_to }
    }
}

impl Observer {
    /// Of an open log. `address` is shown, so it must have no password in it.
    ///
    /// # Errors
    /// The log's.
    pub async fn new(address: String, log: Arc<dyn Log>) -> Result<Self, LogError> {
        let (shortfalls, drops) = settings(&*log).await?;
        let (settings_read, memory) = (Instant::now(), Memory::default());
        Ok(Self { address, log, shortfalls, drops, settings_read, memory })
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
    /// The log's. Trimming meanwhile is no error, nor is an entry that is corrupt: [`Seen`] names
    /// it.
    pub async fn look(&mut self, board: Board) -> Result<Seen, LogError> {
        if self.settings_read.elapsed() >= SETTINGS_AGAIN {
            (self.shortfalls, self.drops) = settings(&*self.log).await?;
            self.settings_read = Instant::now();
        }
        let tail = self.log.tail().await?;
        let first = self.log.extent().await?.first;
        self.forget_what_was_lost(&tail).await?;
        let wanted = wanted(&board);
        let held = |index: &u64| (first..=tail.position.index).contains(index);
        for index in wanted.iter().copied().filter(held) {
            self.brief(index).await?;
        }
        let tail_block = self.newest_block(first, &tail).await?;
        let rollbacks = self.rollbacks(&board, first, &tail).await?;
        let per_event = self.per_event(first, &tail).await?;
        let recent = tail.position.index.saturating_sub(LOOK_BACK);
        self.memory
            .entries
            .retain(|index, _| *index >= first && (*index > recent || wanted.contains(index)));
        Ok(self.seen(board, tail, first, tail_block, rollbacks, per_event))
    }

    fn seen(
        &self,
        board: Board,
        tail: Tail,
        first: u64,
        tail_block: Option<Tip>,
        rollbacks: BTreeMap<u64, u64>,
        per_event: Option<Duration>,
    ) -> Seen {
        let mut digests = BTreeMap::from([
            (0, Position::origin(self.log.identity()).digest),
            (tail.position.index, tail.position.digest),
        ]);
        let (mut times, mut corrupt) = (BTreeMap::new(), BTreeMap::new());
        for (index, entry) in &self.memory.entries {
            match entry {
                Ok(brief) => {
                    digests.insert(*index, brief.digest);
                    times.insert(*index, brief.time);
                }
                Err(why) => {
                    corrupt.insert(*index, why.clone());
                }
            }
        }
        Seen {
            address: self.address.clone(),
            identity: self.log.identity().clone(),
            first,
            tail,
            tail_block,
            digests,
            times,
            rollbacks,
            corrupt,
            per_event,
            shortfalls: self.shortfalls.clone(),
            drops: self.drops.clone(),
            board,
        }
    }

    /// A log that lost its end may have been written again since. Digests chain: if the old tail
    /// is still there, so is everything before it.
    async fn forget_what_was_lost(&mut self, tail: &Tail) -> Result<(), LogError> {
        let Position { index, digest } = match self.memory.tail.replace(tail.position) {
            Some(before) if before != tail.position => before,
            _ => return Ok(()),
        };
        let is_there = match self.read(index).await? {
            _ if index == 0 => tail.position.index > 0,
            Some(Ok(entry)) => entry.digest == digest,
            Some(Err(_)) | None => false,
        };
        if !is_there {
            self.memory = Memory { tail: Some(tail.position), ..Memory::default() };
        }
        Ok(())
    }

    /// An entry, from memory if it is there; `None` if it was trimmed away meanwhile, or cannot be
    /// read.
    async fn brief(&mut self, index: u64) -> Result<Option<&Brief>, LogError> {
        if !self.memory.entries.contains_key(&index) {
            let Some(read) = self.read(index).await? else { return Ok(None) };
            self.memory.entries.insert(index, read);
        }
        Ok(self.memory.entries.get(&index).and_then(|entry| entry.as_ref().ok()))
    }

    async fn read(&self, index: u64) -> Result<Option<Result<Brief, String>>, LogError> {
        match self.log.entry(index).await {
            Ok(entry) => Ok(Some(Ok(entry.into()))),
            // Not there, or trimmed away meanwhile.
            Err(LogError::OutOfRange { .. }) => Ok(None),
            Err(error @ LogError::Corrupt { .. }) => Ok(Some(Err(error_chain(&error)))),
            Err(error) => Err(error),
        }
    }

    async fn newest_block(&mut self, first: u64, tail: &Tail) -> Result<Option<Tip>, LogError> {
        for index in newest(LOOK_BACK, first, tail).rev() {
            if let Some(tip) = self.brief(index).await?.and_then(|entry| entry.block_tip.clone()) {
                self.memory.newest_block = Some(tip);
                break;
            }
        }
        Ok(self.memory.newest_block.clone())
    }

    /// The newest rollbacks, as far as somebody is still before them.
    async fn rollbacks(
        &mut self,
        board: &Board,
        first: u64,
        tail: &Tail,
    ) -> Result<BTreeMap<u64, u64>, LogError> {
        let next = |receipt| seen::index(receipt).saturating_add(1);
        let near = newest(ROLLBACKS_BACK, first, tail);
        let hindmost = board.receipts.iter().map(next).filter(|next| near.contains(next)).min();
        let mut rollbacks = BTreeMap::new();
        let Some(hindmost) = hindmost else { return Ok(rollbacks) };
        for index in hindmost..=*near.end() {
            if let Some(to) = self.brief(index).await?.and_then(|entry| entry.rolled_back_to) {
                rollbacks.insert(index, to);
            }
        }
        Ok(rollbacks)
    }

    /// Time from one event to the next, since a milestone that is moved on as the log grows.
    async fn per_event(&mut self, first: u64, tail: &Tail) -> Result<Option<Duration>, LogError> {
        let last = tail.position.index;
        let is_fit = |index: u64| index < last && last - index <= 2 * PACE_EVENTS;
        if !self.memory.milestone.is_some_and(|(index, _)| is_fit(index)) {
            let index = first.max(last.saturating_sub(PACE_EVENTS));
            let read = self.read(index).await?;
            self.memory.milestone = read.and_then(Result::ok).map(|entry| (index, entry.time));
        }
        let milestone = self.memory.milestone;
        let Some((index, time)) = milestone.filter(|(index, _)| *index < last) else {
            return Ok(None);
        };
        let micros = tail.time.since(time).as_micros() / u128::from(last - index);
        let per_event = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        Ok((!per_event.is_zero()).then_some(per_event))
    }
}

/// In which ways the log can lose what it acknowledges, and what it drops by itself.
async fn settings(log: &dyn Log) -> Result<(Vec<Shortfall>, Vec<DropLimit>), LogError> {
    let found = log.preflight().await?;
    let drops = match found.drops.is_empty() {
        true => Vec::new(),
        false => in_events(found.drops, log.extent().await?),
    };
    Ok((found.shortfalls, drops))
}

/// Limits of messages and bytes as limits of events, of the size that they have on average.
fn in_events(drops: Vec<DropLimit>, held: Extent) -> Vec<DropLimit> {
    let events = u128::from(held.last.saturating_add(1).saturating_sub(held.first));
    let convert = |DropLimit { setting, after }| {
        let after = match after {
            DropsAfter::Share { held: 0, .. } => DropsAfter::Unknown,
            DropsAfter::Share { most, held } => {
                let fit = u128::from(most) * events / u128::from(held);
                DropsAfter::Events(u64::try_from(fit).unwrap_or(u64::MAX))
            }
            after => after,
        };
        DropLimit { setting, after }
    };
    drops.into_iter().map(convert).collect()
}

/// Every entry that somebody names, and the one after it.
fn wanted(board: &Board) -> BTreeSet<u64> {
    let received = board.receipts.iter().flat_map(|receipt| receipt.reached.positions());
    let announced = board.primary.iter().map(|said| said.tail);
    let named = received.chain(announced).map(|position| position.index);
    // Where nothing is backed up yet, everything from the first on waits.
    named.chain([0]).flat_map(|index| [index, index.saturating_add(1)]).collect()
}

/// The newest entries, as far as they are held.
fn newest(number: u64, first: u64, tail: &Tail) -> RangeInclusive<u64> {
    let last = tail.position.index;
    first.max(last.saturating_sub(number - 1)).max(1)..=last
}
