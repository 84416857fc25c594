//! Histories that a primary could have written, by chance.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tipline_proto::{
    Chain, Entry, Event, Hash, Key, Label, Lineage, LogIdentity, OutboxId, ProofsFrom, Timestamp,
    Tip, TransactionId,
};

use super::model::Model;

/// Payloads of up to so many bytes have a few among them that are larger.
const SOME: usize = 1000;
/// And so large these may be.
const LARGE: usize = 20_000;

/// The log that the suite's stores are created for.
pub fn log() -> LogIdentity {
    log_with_lineage(7)
}

/// A log with a lineage of this byte.
pub fn log_with_lineage(byte: u8) -> LogIdentity {
    LogIdentity {
        name: "store".parse().unwrap(),
        chain: Chain::new("test".parse().unwrap(), hash(&[0; 32])),
        lineage: Lineage::from_bytes([byte; 16]),
    }
}

/// The suite's log, of a chain that began to prove at a height.
///
/// # Panics
/// There can be no such height.
pub fn late_log(proofs_from: u64) -> LogIdentity {
    let mut log = log();
    log.chain.proofs_from = ProofsFrom::new(proofs_from).unwrap();
    log
}

/// A hash of these bytes as they are.
///
/// # Panics
/// There are none, or more than 64.
pub fn hash(bytes: &[u8]) -> Hash {
    Hash::new(bytes).unwrap()
}

/// Writes entries as a primary does, keeping the model of what they make.
#[derive(Debug)]
pub struct History {
    /// Its log.
    pub log: LogIdentity,
    /// What a store holds that has applied all of it.
    pub model: Model,
    /// All entries so far.
    pub entries: Vec<Entry>,
    rng: StdRng,
    max_payload: usize,
    /// Whether a few payloads are larger.
    has_large: bool,
}

impl History {
    /// An empty history of the suite's log.
    pub fn new(seed: u64) -> Self {
        Self::of(&log(), seed)
    }

    /// An empty history of a log.
    pub fn of(log: &LogIdentity, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self {
            log: log.clone(),
            model: Model::new(log),
            entries: Vec::new(),
            rng,
            max_payload: 200,
            has_large: false,
        }
    }

    /// Another writer with the same history so far.
    pub fn twin(&self, seed: u64) -> Self {
        let (model, entries) = (self.model.clone(), self.entries.clone());
        Self { model, entries, ..Self::of(&self.log, seed) }
    }

    /// Any number of blocks, one after the other, each of this many bytes, after a claim.
    pub fn blocks(count: u64, bytes: usize) -> Self {
        let mut history = Self::new(count);
        history.claim();
        (0..count).for_each(|_| history.block_of(bytes));
        history
    }

    /// A history of `count` entries in which everything happens.
    pub fn random(seed: u64, count: usize) -> Self {
        Self::random_of(seed, count, 200)
    }

    /// One with payloads of up to this many bytes. From 1,000 on, a few have up to 20,000.
    pub fn random_of(seed: u64, count: usize, max_payload: usize) -> Self {
        Self::random_in(&log(), seed, count, max_payload)
    }

    /// One like that of another log than the suite's.
    pub fn random_in(log: &LogIdentity, seed: u64, count: usize, max_payload: usize) -> Self {
        let has_large = max_payload >= SOME;
        let new = || Self { max_payload, has_large, ..Self::of(log, seed) };
        let history = new().grown(count);
        if history.entries.len() == count {
            return history;
        }
        // Its last step has written two.
        let mut history = new().grown(count - 1);
        history.block();
        history
    }

    /// The entries of one with large payloads, of which the first block has one, so that every part of
    /// it has some.
    pub(super) fn with_large(seed: u64, count: usize, max_payload: usize) -> Vec<Entry> {
        let mut history = Self { max_payload, has_large: true, ..Self::new(seed) };
        history.claim();
        history.block_of(LARGE);
        while history.entries.len() < count {
            history.step();
        }
        history.entries.truncate(count);
        history.entries
    }

    fn grown(self, count: usize) -> Self {
        let mut history = self;
        history.claim();
        while history.entries.len() < count {
            history.step();
        }
        history
    }

    /// Writes an entry, or a few, of any kind.
    pub fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..45 => self.block(),
            45..75 => self.proof(),
            75..83 => self.transaction(),
            83..90 => self.record(),
            90..93 => self.mark(),
            93..95 => self.rollback(),
            95..97 => self.replace_tip(),
            _ => self.claim(),
        }
    }

    /// Writes an entry with this event.
    pub fn seal(&mut self, event: Event) {
        let claim = u64::from(matches!(event, Event::EpochStarted { .. }));
        let epoch = self.model.cursor.epoch + claim;
        let index = self.model.cursor.position.index + 1;
        let time = Timestamp::from_micros(1_700_000_000_000_000 + index * 1000);
        let entry = Entry::seal(&self.model.cursor.position, epoch, time, index, event);
        self.model.apply(&entry);
        self.entries.push(entry);
    }

    /// Starts the next epoch.
    pub fn claim(&mut self) {
        let primary = Label::new("primary").unwrap();
        self.seal(Event::EpochStarted { primary, outbox: OutboxId::from_bytes([1; 16]) });
    }

    fn payload(&mut self) -> Bytes {
        let length = self.length();
        self.payload_of(length)
    }

    /// Where payloads may be of some size, a few are large: a store may keep those elsewhere.
    fn length(&mut self) -> usize {
        let is_large = self.has_large && self.rng.random_ratio(1, 12);
        self.rng.random_range(0..=if is_large { LARGE } else { self.max_payload })
    }

    /// A huge one not by the generator itself: what it inlines is many times slower in a debug
    /// build.
    fn payload_of(&mut self, length: usize) -> Bytes {
        let mut payload = vec![0; length];
        if length <= LARGE {
            self.rng.fill_bytes(&mut payload);
            return payload.into();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.rng.next_u64().to_le_bytes()).finalize_xof().fill(&mut payload);
        payload.into()
    }

    fn any_hash(&mut self) -> Hash {
        let mut bytes = vec![0; self.rng.random_range(8..=64)];
        self.rng.fill_bytes(&mut bytes);
        hash(&bytes)
    }

    /// Commits the next block.
    pub fn block(&mut self) {
        let length = self.length();
        self.block_of(length);
    }

    /// Commits the next block, with a payload of this many bytes.
    pub fn block_of(&mut self, bytes: usize) {
        let (height, parent_hash) = match &self.model.cursor.block_tip {
            Some(Tip { height, hash }) => (height + 1, hash.clone()),
            // The first block may be the genesis, the one above it, or any.
            None => match self.rng.random_range(0..3) {
                0 => (0, hash(&[9; 20])),
                1 => (1, hash(&[0; 32])),
                _ => (1000, hash(&[9; 20])),
            },
        };
        let hash = if height == 0 { hash(&[0; 32]) } else { self.any_hash() };
        let payload = self.payload_of(bytes);
        self.seal(Event::BlockCommitted { height, hash, parent_hash, payload });
    }

    /// The first block, at this height.
    pub fn block_at(&mut self, height: u64) {
        let (hash, parent_hash) = (self.any_hash(), self.any_hash());
        self.seal(Event::BlockCommitted { height, hash, parent_hash, payload: Bytes::new() });
    }

    /// A proof of this block.
    pub fn proof_of(&mut self, height: u64, bytes: usize) {
        let block_hash = self.model.block_hash(height).unwrap();
        let payload = self.payload_of(bytes);
        self.seal(Event::BlockProven { height, block_hash, payload });
    }

    /// A proof of any block: late, out of order, sometimes again.
    pub fn proof(&mut self) {
        let Some((lowest, highest)) = self.heights() else { return };
        // Mostly one of the oldest that has none, so that the proof tip moves.
        let next = self.model.cursor.proof_tip.map_or(0, |tip| tip + 1).clamp(lowest, highest);
        let height = match self.rng.random_range(0..10) {
            0 => self.rng.random_range(lowest..=highest),
            _ => self.rng.random_range(next..=highest.min(next + 4)),
        };
        let block_hash = self.model.block_hash(height).unwrap();
        let payload = self.payload();
        self.seal(Event::BlockProven { height, block_hash, payload });
    }

    fn heights(&self) -> Option<(u64, u64)> {
        let blocks = &self.model.blocks;
        blocks.keys().next().copied().zip(blocks.keys().next_back().copied())
    }

    /// A transaction that may have been there before.
    pub fn transaction(&mut self) {
        let id = self.rng.random_range(0..50);
        self.transaction_of(id);
    }

    /// Validates a transaction with an id of this byte.
    pub fn transaction_of(&mut self, id: u8) {
        let id = TransactionId::new([id]).unwrap();
        let payload = self.payload();
        self.seal(Event::TransactionValidated { id, payload });
    }

    /// Records or erases some state.
    pub fn record(&mut self) {
        let value = if self.rng.random_bool(0.3) { None } else { Some(self.payload()) };
        let key = self.rng.random_range(0..20);
        self.record_of(key, value);
    }

    /// Records or erases the state with a key of this byte.
    pub fn record_of(&mut self, key: u8, value: Option<Bytes>) {
        let key = Key::new([b'k', key]).unwrap();
        self.seal(Event::StateRecorded { key, value });
    }

    /// Sets a mark.
    pub fn mark(&mut self) {
        let name = Label::new(&format!("mark {}", self.rng.random_range(0..10))).unwrap();
        self.seal(Event::Marked { name });
    }

    /// Another block in the place of the newest one.
    pub fn replace_tip(&mut self) {
        let Some((_, highest)) = self.heights() else { return };
        self.roll_back_to(highest.saturating_sub(1));
        self.block();
    }

    /// Mostly by a few blocks, sometimes by all of them.
    pub fn rollback(&mut self) {
        let Some((_, highest)) = self.heights() else { return };
        let depth = if self.rng.random_bool(0.1) { u64::MAX } else { self.rng.random_range(1..5) };
        self.roll_back_to(highest.saturating_sub(depth));
    }

    /// To the height, or to the lowest that there is above it.
    pub fn roll_back_to(&mut self, height: u64) {
        let Some((lowest, highest)) = self.heights() else { return };
        let to_height = height.max(lowest.saturating_sub(1));
        let base = self.model.base.clone().filter(|base| base.height == to_height);
        let remaining = self.model.block_hash(to_height).or(base.map(|base| base.hash));
        let Some(to_hash) = remaining.filter(|_| to_height < highest) else { return };
        self.seal(Event::RolledBack { to_height, to_hash });
    }
}
