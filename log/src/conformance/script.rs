//! What the cases write: a chain that is made up, always the same.

use std::cmp::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tipline_proto::{
    Chain, ConsumerName, Entry, Event, Hash, InstanceId, Label, Level, Lineage, LogIdentity,
    OutboxId, Position, Reached, Receipt, Role, Timestamp,
};

use crate::error::{AppendError, LogError};
use crate::spec::{Log, Subscription, Tail};

/// The identity of the log of one case.
pub(super) fn identity(case: &str) -> LogIdentity {
    let mut lineage = [7; 16];
    for (at, byte) in case.bytes().enumerate() {
        lineage[at % 16] ^= byte;
    }
    LogIdentity {
        name: case.replace('_', "-").parse().unwrap(),
        chain: Chain::new("Conformance".parse().unwrap(), Hash::new([1; 32]).unwrap()),
        lineage: Lineage::from_bytes(lineage),
    }
}

pub(super) fn consumer(name: &str) -> ConsumerName {
    name.parse().unwrap()
}

/// A receipt of `name` for `log`: durable up to index `index`.
pub(crate) fn receipt(log: &LogIdentity, name: &str, index: u64) -> Receipt {
    let position = Position { index, digest: Position::origin(log).digest };
    Receipt {
        applying: None,
        frozen: None,
        seal: None,
        lineage: log.lineage,
        consumer: consumer(name),
        role: Role::Replica,
        instance: InstanceId::from_bytes([3; 16]),
        reached: Reached::up_to(position, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(index),
        failure: None,
        store: "memory".to_owned(),
    }
}

/// Bytes that do not compress and do not repeat, different for each `seed`.
pub(super) fn payload(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = (0..length.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length).collect::<Vec<u8>>().into()
}

/// How often an append is tried that is in doubt.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// A primary: seals one event after the other.
#[derive(Clone)]
pub(super) struct Script {
    position: Position,
    epoch: u64,
    sequence: u64,
    height: u64,
    outbox: OutboxId,
}

impl Script {
    /// A primary that continues after `tail`, in the epoch after.
    pub(super) fn after(tail: &Tail, outbox: u8) -> Self {
        Self {
            position: tail.position,
            epoch: tail.epoch + 1,
            sequence: tail.outbox_sequence,
            height: tail.outbox_sequence,
            outbox: OutboxId::from_bytes([outbox; 16]),
        }
    }

    /// The same, after so many claims that the log has lost.
    pub(super) fn after_lost_claims(mut self, lost: u64) -> Self {
        self.epoch += lost;
        self
    }

    pub(super) fn seal(&mut self, event: Event) -> Entry {
        let time = Timestamp::from_micros(1_700_000_000_000_000 + self.position.index);
        let entry = Entry::seal(&self.position, self.epoch, time, self.sequence, event);
        self.position = entry.position();
        entry
    }

    pub(super) fn claim(&mut self) -> Entry {
        let outbox = self.outbox;
        self.seal(Event::EpochStarted { primary: Label::new("primary").unwrap(), outbox })
    }

    pub(super) fn publish(&mut self, event: Event) -> Entry {
        self.sequence += 1;
        self.seal(event)
    }

    pub(super) fn block(&mut self, length: usize) -> Entry {
        self.height += 1;
        let (hash, parent_hash) = (hash(self.height), hash(self.height - 1));
        let payload = payload(self.height, length);
        self.publish(Event::BlockCommitted { height: self.height, hash, parent_hash, payload })
    }

    pub(super) fn blocks(&mut self, count: usize, length: usize) -> Vec<Entry> {
        (0..count).map(|_| self.block(length)).collect()
    }
}

pub(super) fn hash(height: u64) -> Hash {
    Hash::new(height.to_be_bytes()).unwrap()
}

/// Claims an empty log and writes `count` small blocks to it. Gives the primary, the tail,
/// and all that is in the log.
pub(super) async fn filled(log: &dyn Log, count: usize) -> (Script, Tail, Vec<Entry>) {
    let tail = log.tail().await.unwrap();
    let mut script = Script::after(&tail, 1);
    let mut entries = vec![script.claim()];
    let mut tail = append(log, &tail, &entries).await;
    let blocks = script.blocks(count, 100);
    for unit in blocks.chunks(500) {
        tail = append(log, &tail, unit).await;
    }
    entries.extend(blocks);
    (script, tail, entries)
}

/// Appends as a publisher does, where appending itself is not what is tried: a cluster may elect
/// at any time, and what is in doubt then the tail decides.
pub(super) async fn append(log: &dyn Log, tail: &Tail, unit: &[Entry]) -> Tail {
    let end = unit.last().map(Entry::position);
    let mut doubted = false;
    for _ in 0..ATTEMPTS {
        match log.append(tail, unit).await {
            Err(AppendError::Doubt(error)) if error.is_retryable() => doubted = true,
            Err(AppendError::Conflict) if doubted => {}
            appended => return appended.unwrap(),
        }
        match log.tail().await {
            Ok(found) if Some(found.position) == end => return found,
            Ok(found) => assert_eq!(found.position, tail.position, "a unit in part"),
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("in doubt without end")
}

/// Follows the log from its origin until `count` entries are there, as a consumer does, where
/// following itself is not what is tried: a subscription that failed for the time being is made
/// again after what came.
pub(super) async fn follow(log: &dyn Log, count: usize) -> Vec<Entry> {
    let mut taken = Vec::new();
    for _ in 0..ATTEMPTS {
        match follow_on(log, &mut taken, count).await {
            Ok(()) if taken.len() >= count => return taken,
            Ok(()) => {}
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{} entries of {count} without end", taken.len());
}

/// Follows the log after what was taken.
async fn follow_on(log: &dyn Log, taken: &mut Vec<Entry>, count: usize) -> Result<(), LogError> {
    let mut subscription = log.subscribe(None, taken.len() as u64).await?;
    while taken.len() < count {
        for entry in subscription.next().await? {
            // It may come twice, and after a fault some may be missing.
            match entry.index.cmp(&(taken.len() as u64 + 1)) {
                Ordering::Less => {}
                Ordering::Equal => taken.push(entry),
                Ordering::Greater => return Ok(()),
            }
        }
    }
    Ok(())
}

/// Takes from the subscription until `count` entries are there.
pub(super) async fn take(subscription: &mut dyn Subscription, count: usize) -> Vec<Entry> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let batch = subscription.next().await.unwrap();
        assert!(!batch.is_empty(), "a batch without an entry");
        taken.extend(batch);
    }
    taken
}

/// Lets other tasks have their turn, this many times.
pub(super) async fn turns(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

/// Compares without printing megabytes.
pub(super) fn assert_same(found: &[Entry], expected: &[Entry]) {
    let indices = |entries: &[Entry]| entries.iter().map(|entry| entry.index).collect::<Vec<_>>();
    assert_eq!(indices(found), indices(expected), "other entries, or in another order");
    let differs = found.iter().zip(expected).find(|(found, expected)| found != expected);
    if let Some((found, expected)) = differs {
        panic!(
            "entry {} is {}, not {}, or not in every byte",
            found.index, found.event, expected.event
        );
    }
}
