//! What a log in memory remembers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tipline_proto::limits::{MAX_APPLY_BYTES, MAX_APPLY_EVENTS};
use tipline_proto::{Announcement, ConsumerName, Entry, Lineage, LogIdentity, Receipt, split};
use tokio::time::Instant;

use super::MAX_MESSAGE_BYTES;
use super::faults::{AppendFault, DeliveryFault};
use crate::board::read_receipt;
use crate::error::AppendError;
use crate::spec::{Board, Extent, Tail};

pub(super) struct State {
    /// How many entries were trimmed away.
    trimmed: u64,
    /// Those that are held.
    entries: Vec<Entry>,
    /// The tails before the first entry held, after it, and after each one after.
    tails: Vec<Tail>,
    /// With when they were put, by tokio's clock.
    receipts: BTreeMap<ConsumerName, (Receipt, Instant)>,
    /// What something else put in the place of a receipt.
    garbled: BTreeMap<String, Bytes>,
    primary: Option<(Announcement, Instant)>,
    /// How often each consumer has subscribed: only the newest subscription continues.
    generations: BTreeMap<ConsumerName, u64>,
    /// The lineage of the log that is in the place of this one.
    pub(super) recreated: Option<Lineage>,
    pub(super) available: bool,
    pub(super) read_delay: Duration,
    /// See [`super::MemoryLog::raise_outbox_sequence`].
    pub(super) raised: u64,
    /// Entries that cannot be read by their index.
    pub(super) corrupt: BTreeSet<u64>,
    /// How it says to fall short, instead of being in memory.
    pub(super) shortfalls: Option<Vec<&'static str>>,
    /// Whoever follows the board panics.
    pub(super) feeds_panic: bool,
    pub(super) append_faults: VecDeque<AppendFault>,
    /// An append that arrives with the next one.
    pub(super) late: Option<(Tail, Vec<Entry>)>,
    pub(super) delivery_faults: Vec<DeliveryFault>,
}

impl State {
    pub(super) fn new(identity: &LogIdentity) -> Self {
        Self {
            trimmed: 0,
            entries: Vec::new(),
            tails: vec![Tail::origin(identity)],
            receipts: BTreeMap::new(),
            garbled: BTreeMap::new(),
            primary: None,
            generations: BTreeMap::new(),
            recreated: None,
            available: true,
            read_delay: Duration::ZERO,
            raised: 0,
            corrupt: BTreeSet::new(),
            shortfalls: None,
            feeds_panic: false,
            append_faults: VecDeque::new(),
            late: None,
            delivery_faults: Vec::new(),
        }
    }

    pub(super) fn tail(&self) -> Tail {
        self.tails[self.entries.len()].clone()
    }

    pub(super) fn extent(&self) -> Extent {
        Extent { first: self.trimmed + 1, last: self.trimmed + self.entries.len() as u64 }
    }

    pub(super) fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.checked_sub(self.trimmed + 1)?).ok()?)
    }

    pub(super) fn trim(&mut self, first: u64) {
        let Extent { first: held, last } = self.extent();
        let first = first.min(last).max(held);
        let gone = usize::try_from(first - held).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries.drain(..gone);
        self.tails.drain(..gone);
        self.trimmed += gone as u64;
    }

    pub(super) fn next_fault(&mut self) -> Option<AppendFault> {
        self.append_faults.pop_front()
    }

    /// Stores a unit that was checked, if the tail is the expected one.
    pub(super) fn store(&mut self, after: &Tail, unit: &[Entry]) -> Result<Tail, AppendError> {
        let mut tail = self.tail();
        if (tail.position, tail.fence) != (after.position, after.fence) {
            return Err(AppendError::Conflict);
        }
        for entry in unit {
            // Like a broker's, the fence counts messages, so that nobody takes it for an index.
            let messages = split(entry, MAX_MESSAGE_BYTES).len() as u64;
            tail = tail.after(entry, tail.fence + messages);
            self.tails.push(tail.clone());
            self.entries.push(entry.clone());
        }
        Ok(tail)
    }

    /// Stores the append that was held back. Its sender heard nothing but doubt, so
    /// nobody hears that it was too late either.
    pub(super) fn store_late(&mut self) {
        if let Some((after, unit)) = self.late.take() {
            _ = self.store(&after, &unit);
        }
    }

    pub(super) fn truncate(&mut self, last: u64) {
        let last = last.saturating_sub(self.trimmed);
        let last = usize::try_from(last).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries.truncate(last);
        self.tails.truncate(last + 1);
    }

    /// The entries after `after`, as many as one batch may have.
    pub(super) fn batch(&self, after: u64) -> Vec<Entry> {
        let start = after.saturating_sub(self.trimmed);
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(self.entries.len());
        let mut batch = Vec::new();
        let mut bytes = 0;
        for entry in self.entries[start..].iter().take(MAX_APPLY_EVENTS) {
            bytes += entry.event.payload().len();
            if bytes > MAX_APPLY_BYTES && !batch.is_empty() {
                break;
            }
            batch.push(entry.clone());
        }
        batch
    }

    /// Makes a new subscription the only one of this consumer.
    pub(super) fn take_over(&mut self, name: &ConsumerName) -> u64 {
        let generation = self.generations.entry(name.clone()).or_default();
        *generation += 1;
        *generation
    }

    pub(super) fn generation(&self, name: &ConsumerName) -> Option<u64> {
        self.generations.get(name).copied()
    }

    pub(super) fn put_receipt(&mut self, receipt: &Receipt) {
        self.garbled.remove(receipt.consumer.as_str());
        self.receipts.insert(receipt.consumer.clone(), (receipt.clone(), Instant::now()));
    }

    pub(super) fn garble(&mut self, name: &str, bytes: Bytes) {
        self.receipts.retain(|held, _| held.as_str() != name);
        self.garbled.insert(name.to_owned(), bytes);
    }

    pub(super) fn announce(&mut self, said: &Announcement) {
        self.primary = Some((said.clone(), Instant::now()));
    }

    pub(super) fn forget(&mut self, consumer: &ConsumerName) {
        self.garbled.remove(consumer.as_str());
        self.receipts.remove(consumer);
    }

    pub(super) fn board(&self, log: Lineage) -> Board {
        let heard = self.receipts.iter().map(|(name, (_, at))| (name.clone(), at.elapsed()));
        let unreadable = self.garbled.iter().filter_map(|(name, bytes)| {
            read_receipt(log, &format!("the receipt of {name}"), name, bytes.clone()).err()
        });
        Board {
            receipts: self.receipts.values().map(|(receipt, _)| receipt.clone()).collect(),
            primary: self.primary.as_ref().map(|(said, _)| said.clone()),
            heard: heard.collect(),
            primary_heard: self.primary.as_ref().map(|(_, at)| at.elapsed()),
            forged: vec![],
            unreadable: unreadable.collect(),
        }
    }
}
