//! What is published and applied: blocks, the same in every round.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tipline_log::{Accepted, Log, LogError, Tail, system_clock};
use tipline_producer::{Producer, ProducerSettings, SqliteOutbox};
use tipline_proto::{Entry, Event, Label, LogIdentity, OutboxId, Position, Timestamp};
use tipline_tests::{Rng, toy_hash, toy_log, toy_payload};

use crate::Outcome;
use crate::node::Node;

/// How many events of how many bytes, and how many of them at once.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) bytes: usize,
    pub(crate) events: usize,
    pub(crate) at_once: usize,
}

impl Load {
    /// Events per second, if all of them took this long.
    pub(crate) fn rate(self, took: Duration) -> f64 {
        self.events as f64 / took.as_secs_f64()
    }

    /// `1 KiB`.
    pub(crate) fn size(self) -> String {
        format!("{} KiB", self.bytes >> 10)
    }
}

/// A log of this name, always with the same lineage.
pub(crate) fn identity(name: &str) -> LogIdentity {
    toy_log(name, &mut Rng::new(1))
}

pub(crate) fn block(height: u64, bytes: usize) -> Event {
    Event::BlockCommitted {
        height,
        hash: toy_hash(height),
        parent_hash: toy_hash(height - 1),
        payload: toy_payload(height, bytes),
    }
}

/// A log from its beginning: a claim, and blocks up to so many events.
pub(crate) fn entries(log: &LogIdentity, load: Load) -> Outcome<Vec<Entry>> {
    let outbox = OutboxId::from_bytes([1; 16]);
    let claim = Event::EpochStarted { primary: Label::new("bench")?, outbox };
    let blocks = (1..load.events as u64).map(|height| block(height, load.bytes));
    let mut behind = Position::origin(log);
    let sealed = std::iter::once(claim).chain(blocks).zip(0..).map(|(event, sequence)| {
        let time = Timestamp::from_micros(1_700_000_000_000_000 + sequence);
        let entry = Entry::seal(&behind, 1, time, sequence, event);
        behind = entry.position();
        entry
    });
    Ok(sealed.collect())
}

/// A node's database whose outbox holds so many blocks, to be copied.
pub(crate) fn fill_outbox(path: &Path, load: Load) -> Outcome<()> {
    let mut node = Node::open(path, true)?;
    node.commit_many(load.events as u64, load.bytes)?;
    node.fold()
}

/// Appends the entries to an empty log, unit after unit.
pub(crate) async fn append(log: &dyn Log, entries: &[Entry], at_once: usize) -> Outcome<Duration> {
    let mut tail: Tail = log.tail().await?;
    let start = Instant::now();
    for unit in entries.chunks(at_once) {
        tail = log.append(&tail, unit).await?;
    }
    Ok(start.elapsed())
}

/// Publishes a copy of a filled outbox into an empty log, from the start of the producer on
/// until all of it is logged.
pub(crate) async fn publish(log: Arc<dyn Log>, filled: &Path, load: Load) -> Outcome<Duration> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("node.db");
    std::fs::copy(filled, &path)?;
    std::fs::File::open(&path)?.sync_all()?;
    let outbox = Box::new(SqliteOutbox::open(&path)?);
    let start = Instant::now();
    let producer = produce(log, outbox)?;
    producer.committed(load.events as u64).logged().await?;
    let took = start.elapsed();
    let left = producer.shutdown(Duration::from_secs(10)).await?;
    if left > 0 {
        return Err(format!("{left} events were left in the outbox").into());
    }
    Ok(took)
}

/// A producer into a log that is open.
pub(crate) fn produce(log: Arc<dyn Log>, outbox: Box<SqliteOutbox>) -> Outcome<Producer> {
    let mut settings = ProducerSettings::new(Label::new("bench")?);
    // One server is one copy, and one of the servers does not sync: that is measured, too.
    settings.accept_shortfalls = Accepted::Everything;
    let connect = move || {
        let log = Arc::clone(&log);
        async move { Ok::<_, LogError>(log) }
    };
    Ok(Producer::start(connect, outbox, settings, system_clock())?)
}
