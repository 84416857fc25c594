//! The log on JetStream, against real servers.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a helper of a test fails it by panicking, and says how often a fault struck"
)]

mod again;
mod conformance;
mod cut;
mod dropping;
mod events;
mod faults;
mod fencing;
mod following;
mod making;
mod trimming;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{AppendError, Appender, LogError, Reader, Subscription, Tail};
use tipline_proto::{
    Chain, Entry, Event, Hash, InstanceId, Key, Kind, Label, Level, Lineage, LogIdentity, LogName,
    OutboxId, Position, Reached, Receipt, Role, Timestamp,
};
use tipline_tests::{Nats, NatsOptions, eventually};

/// For what takes a moment; an election takes 5 to 9 s.
const WITHIN: Duration = Duration::from_secs(60);

fn name() -> LogName {
    "store".parse().unwrap()
}

fn identity(lineage: u8) -> LogIdentity {
    LogIdentity {
        name: name(),
        chain: Chain::new("test".parse().unwrap(), Hash::new(&b"genesis"[..]).unwrap()),
        lineage: Lineage::from_bytes([lineage; 16]),
    }
}

fn options(url: &str) -> JetStreamOptions {
    JetStreamOptions::new(url, name()).purpose("test")
}

async fn started() -> (Nats, JetStreamLog) {
    let server = Nats::start(NatsOptions::default()).await;
    let log = JetStreamLog::create(&options(&server.url()), &identity(1), 1).await.unwrap();
    (server, log)
}

fn claim() -> Event {
    Event::EpochStarted {
        primary: Label::new("primary").unwrap(),
        outbox: OutboxId::from_bytes([7; 16]),
    }
}

fn record(payload: Bytes) -> Event {
    Event::StateRecorded { key: Key::new(&b"key"[..]).unwrap(), value: Some(payload) }
}

fn sized(bytes: usize) -> Event {
    let payload: Vec<u8> = (0..bytes).map(|i| (i / 251) as u8 ^ i as u8).collect();
    record(payload.into())
}

fn seal(after: &Tail, epoch: u64, events: impl IntoIterator<Item = Event>) -> Vec<Entry> {
    let (mut position, mut sequence) = (after.position, after.outbox_sequence);
    let entries = events.into_iter().map(|event| {
        sequence += u64::from(event.kind() != Kind::EpochStarted);
        let time = Timestamp::from_micros(1_000_000 + position.index);
        let entry = Entry::seal(&position, epoch, time, sequence, event);
        position = entry.position();
        entry
    });
    entries.collect()
}

/// A writer as a primary is one, without its outbox: the tail decides.
struct Writer {
    log: Arc<JetStreamLog>,
    tail: Tail,
    epoch: u64,
    written: Vec<Entry>,
}

impl Writer {
    /// A cluster may be without a leader at any moment, so this insists, as a primary does.
    async fn claim(log: Arc<JetStreamLog>) -> Writer {
        let tail = eventually("the tail", WITHIN, async || log.tail().await).await;
        let mut writer = Writer { log, epoch: tail.epoch + 1, tail, written: Vec::new() };
        writer.insist([claim()]).await;
        writer
    }

    async fn write(&mut self, events: impl IntoIterator<Item = Event>) {
        let unit = seal(&self.tail, self.epoch, events);
        self.tail = self.log.append(&self.tail, &unit).await.unwrap();
        self.written.extend(unit);
    }

    /// Writes whatever happens. Gives how often it was in doubt.
    async fn insist(&mut self, events: impl IntoIterator<Item = Event>) -> usize {
        let unit = seal(&self.tail, self.epoch, events);
        let end = unit.last().unwrap().position();
        let mut doubts = 0;
        loop {
            match self.log.append(&self.tail, &unit).await {
                Ok(tail) => {
                    self.tail = tail;
                    break;
                }
                Err(AppendError::Refused(error)) => panic!("refused: {error}"),
                Err(AppendError::Conflict) => {}
                Err(AppendError::Doubt(error)) => {
                    assert!(error.is_retryable(), "{error:?}");
                    doubts += 1;
                }
                Err(error) => panic!("{error}"),
            }
            let log = self.log.clone();
            let tail = eventually("the tail", WITHIN, async || log.tail().await).await;
            if tail.position == end {
                self.tail = tail;
                break;
            }
            assert_eq!(tail.position, self.tail.position, "neither before nor behind the unit");
            assert_eq!(tail.fence, self.tail.fence);
        }
        self.written.extend(unit);
        doubts
    }
}

/// Reads up to `last` and checks that it chains from the origin on.
async fn read_all(log: &JetStreamLog, last: u64) -> Vec<Entry> {
    let mut read = Vec::new();
    while (read.len() as u64) < last {
        let mut subscription = match log.subscribe(None, read.len() as u64).await {
            Ok(subscription) => subscription,
            Err(error) if error.is_retryable() => continue,
            Err(error) => panic!("{error}"),
        };
        while (read.len() as u64) < last {
            match next(&mut subscription).await {
                Ok(batch) => read.extend(batch),
                Err(error) if error.is_retryable() => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    let mut position = Position::origin(log.identity());
    for entry in &read {
        assert!(entry.follows(&position), "entry {} behind {position}", entry.index);
        position = entry.position();
    }
    read
}

async fn next(subscription: &mut Box<dyn Subscription>) -> Result<Vec<Entry>, LogError> {
    let entries = tokio::time::timeout(WITHIN, subscription.next()).await;
    entries.expect("entries come in time")
}

async fn raw(url: &str) -> async_nats::jetstream::Context {
    let servers: Vec<String> = url.split(',').map(str::to_owned).collect();
    async_nats::jetstream::new(async_nats::connect(servers).await.unwrap())
}

fn receipt(consumer: &str, index: u64) -> Receipt {
    let position = Position { index, ..Position::origin(&identity(1)) };
    Receipt {
        applying: None,
        frozen: None,
        seal: None,
        lineage: identity(1).lineage,
        consumer: consumer.parse().unwrap(),
        role: Role::Replica,
        instance: InstanceId::from_bytes([2; 16]),
        reached: Reached::up_to(position, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time: Timestamp::from_micros(index),
        failure: None,
        store: "test".into(),
    }
}
