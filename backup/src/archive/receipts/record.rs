//! What is recorded of the board: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tipline_log::Board;
use tipline_proto::{Announcement, ConsumerName, Receipt, Timestamp};

use super::name::ReceiptSpan;

/// Of each consumer no more than one change is recorded within this time: the newest.
const RESOLUTION: Duration = Duration::from_secs(5);
/// How long an object may wait in which something has changed.
const FLUSH: Duration = Duration::from_secs(60);
/// How long one may wait in which nothing has: then it says that somebody was there to see it.
const IDLE: Duration = Duration::from_secs(600);
/// Receipts are repeated every few seconds. Whoever heard nothing for so long was cut off, and says
/// nothing of the time between. A clock that goes back by more was set.
const SILENCE: Duration = Duration::from_secs(60);

/// What was seen on the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptRecord {
    /// When the archiver saw it, by its own clock.
    pub seen: Timestamp,
    /// What it was.
    pub said: ReceiptSaid,
}

/// A message of the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptSaid {
    /// A receipt.
    Receipt(Box<Receipt>),
    /// The announcement of the primary.
    Announcement(Box<Announcement>),
    /// A consumer was forgotten: it has no receipt from then on.
    Forgotten(ConsumerName),
}

/// An object of the history that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedReceipts {
    /// Its name.
    pub(super) span: ReceiptSpan,
    /// What it begins with, and what changed.
    pub(super) records: Vec<ReceiptRecord>,
}

/// What is on the board, from moment to moment. Each object begins with what was there when it
/// began, so that one object answers what was there at a time within it.
#[derive(Debug)]
pub struct ReceiptRecording {
    run: String,
    number: u64,
    from: Timestamp,
    /// When the board was seen last.
    last: Timestamp,
    records: Vec<ReceiptRecord>,
    latest: BTreeMap<Option<ConsumerName>, Latest>,
    changed: bool,
}

/// The newest of a consumer, or of the primary.
#[derive(Debug)]
struct Latest {
    said: ReceiptSaid,
    seen: Timestamp,
    /// What was recorded last, and when.
    recorded: ReceiptSaid,
    recorded_at: Timestamp,
}

impl ReceiptRecording {
    /// Begins a run with this board, which was just read. `run` is random.
    pub fn new(run: u64, board: &Board, now: Timestamp) -> Self {
        let mut new = Self {
            run: format!("{run:016x}"),
            number: 0,
            from: now,
            last: now,
            records: Vec::new(),
            latest: BTreeMap::new(),
            changed: false,
        };
        new.see(board, now);
        new
    }

    /// Notes what has changed. If nothing was seen for so long that something may have been missed, or
    /// the clock was set back, gives what was recorded before, and begins another run.
    pub fn look(&mut self, run: u64, board: &Board, now: Timestamp) -> Option<RecordedReceipts> {
        // Waiting for a clock to be where it was once would be a time of which nothing is written.
        if now.since(self.last) <= SILENCE && self.last.since(now) <= SILENCE {
            // A little back is as if it stood still.
            self.see(board, now.max(self.last));
            return None;
        }
        let before = self.take();
        *self = Self::new(run, board, now);
        Some(before)
    }

    fn see(&mut self, board: &Board, now: Timestamp) {
        self.last = now;
        let receipts = board.receipts.iter();
        let receipts = receipts
            .map(|one| (Some(one.consumer.clone()), ReceiptSaid::Receipt(Box::new(one.clone()))));
        let primary = board.primary.iter();
        let primary = primary.map(|one| (None, ReceiptSaid::Announcement(Box::new(one.clone()))));
        for (who, said) in receipts.chain(primary) {
            match self.latest.get_mut(&who) {
                Some(latest) => (latest.said, latest.seen) = (said, now),
                None => {
                    self.records.push(ReceiptRecord { seen: now, said: said.clone() });
                    let recorded = said.clone();
                    let latest = Latest { said, seen: now, recorded, recorded_at: now };
                    self.latest.insert(who, latest);
                    self.changed = true;
                }
            }
        }
        self.forget(board, now);
        self.settle(now, RESOLUTION);
    }

    /// Whoever is not there any more, and is not there unbelieved or unreadable either.
    fn forget(&mut self, board: &Board, now: Timestamp) {
        let receipts = board.receipts.iter().map(|receipt| &receipt.consumer);
        let forged = board.forged.iter().filter_map(|forged| forged.consumer.as_ref());
        let unreadable = board.unreadable.iter().filter_map(|one| one.consumer.as_ref());
        let there: BTreeSet<&ConsumerName> = receipts.chain(forged).chain(unreadable).collect();
        let gone = self.latest.keys().flatten().filter(|name| !there.contains(name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.latest.remove(&Some(name.clone()));
            self.records.push(ReceiptRecord { seen: now, said: ReceiptSaid::Forgotten(name) });
            self.changed = true;
        }
    }

    /// Records what says something else than what was recorded, so long ago.
    fn settle(&mut self, now: Timestamp, after: Duration) {
        for latest in self.latest.values_mut() {
            let is_due = now.since(latest.recorded_at) >= after;
            if is_due && meaning(&latest.said) != meaning(&latest.recorded) {
                (latest.recorded, latest.recorded_at) = (latest.said.clone(), now);
                let (seen, said) = (latest.seen, latest.said.clone());
                self.records.push(ReceiptRecord { seen, said });
                self.changed = true;
            }
        }
    }

    /// Whether there is something to be written by now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        match self.changed {
            true => now.since(self.from) >= FLUSH,
            false => self.last.since(self.from) >= IDLE,
        }
    }

    /// What was recorded until the board was seen last, and goes on from there.
    pub fn take(&mut self) -> RecordedReceipts {
        self.settle(self.last, Duration::ZERO);
        let (run, number) = (self.run.clone(), self.number);
        let span = ReceiptSpan { from: self.from, to: self.last, run, number, last: number };
        let latest = self.latest.values();
        let next = latest
            .map(|latest| ReceiptRecord { seen: latest.seen, said: latest.said.clone() })
            .collect();
        let records = std::mem::replace(&mut self.records, next);
        (self.number, self.from, self.changed) = (self.number + 1, self.last, false);
        RecordedReceipts { span, records }
    }
}

/// What is said, without what changes while nothing happens.
fn meaning(said: &ReceiptSaid) -> ReceiptSaid {
    match said.clone() {
        ReceiptSaid::Receipt(mut receipt) => {
            receipt.time = Timestamp::default();
            receipt.applying = None;
            receipt.frozen = receipt.frozen.map(|_| Duration::ZERO);
            receipt.seal = None;
            ReceiptSaid::Receipt(receipt)
        }
        ReceiptSaid::Announcement(mut said) => {
            said.time = Timestamp::default();
            (said.outbox_events, said.outbox_bytes, said.outbox_waiting_bytes) = (0, 0, 0);
            said.outbox_oldest = None;
            said.seal = None;
            ReceiptSaid::Announcement(said)
        }
        forgotten @ ReceiptSaid::Forgotten(_) => forgotten,
    }
}
