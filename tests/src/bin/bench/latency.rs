//! From the node's commit to the receipt that says that a backup has it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tipline_consumer::{Consumer, ConsumerSettings};
use tipline_log::embedded::EmbeddedLog;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions};
use tipline_log::{Log, system_clock};
use tipline_producer::SqliteOutbox;
use tipline_proto::{InstanceId, Policy, Role};
use tipline_store::SqliteStore;
use tipline_tests::{Nats, NatsOptions, SyncInterval};
use tokio::task::{JoinSet, block_in_place};

use crate::jetstream::SYNCS;
use crate::node::Node;
use crate::table::Times;
use crate::{Outcome, latency_bare, load};

/// Bytes of an event.
pub(crate) const BYTES: usize = 1 << 10;
/// 200 per second.
pub(crate) const EVERY: Duration = Duration::from_millis(5);
/// The first ones meet cold caches; they are not counted.
pub(crate) const WARM_UP: u64 = 40;
/// Two seconds of a round.
pub(crate) const EVENTS: u64 = 400;

pub(crate) async fn measure(rounds: usize) -> Outcome<()> {
    embedded(rounds).await?;
    for (sync, named) in SYNCS {
        let nats = Nats::start(NatsOptions { sync, ..NatsOptions::default() }).await;
        let (mut ours, mut bare) = (Times::default(), Times::default());
        for _ in 0..rounds {
            let identity = load::identity("latency");
            let options = JetStreamOptions::new(nats.url(), identity.name.clone());
            let primary = JetStreamLog::create(&options, &identity, 1).await?;
            let replica = JetStreamLog::open(&options).await?;
            ours.add(&commit_to_receipt(Arc::new(primary), Arc::new(replica)).await?);
            JetStreamLog::delete(&options, identity.lineage).await?;
            bare.add(&latency_bare::jetstream(&nats.url()).await?);
        }
        let durable = match sync {
            SyncInterval::Always => "the event in the node, the log and the store, fsynced",
            SyncInterval::ServerDefault => "the event in the node and the store, fsynced",
        };
        let what = format!("1 KiB at 200/s, {named}: commit to `backed_up`");
        ours.print(&bare, &what, "commit, publish, insert, core reply", durable);
    }
    Ok(())
}

async fn embedded(rounds: usize) -> Outcome<()> {
    let (mut ours, mut bare) = (Times::default(), Times::default());
    for _ in 0..rounds {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("embedded.log");
        let primary = EmbeddedLog::create(&path, &load::identity("latency")).await?;
        let replica = EmbeddedLog::open(&path).await?;
        ours.add(&commit_to_receipt(Arc::new(primary), Arc::new(replica)).await?);
        bare.add(&block_in_place(latency_bare::three_commits)?);
    }
    let what = "1 KiB at 200/s, embedded: commit to `backed_up`";
    let durable = "the event in the node, the log and the store, fsynced";
    ours.print(&bare, what, "three commits in a row, one thread", durable);
    Ok(())
}

/// Microseconds of each event, from the beginning of its commit until its ticket says so.
pub(crate) async fn commit_to_receipt(
    primary: Arc<dyn Log>,
    replica: Arc<dyn Log>,
) -> Outcome<Vec<f64>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("node.db");
    let mut node = Node::open(&path, true)?;
    let producer = load::produce(primary, Box::new(SqliteOutbox::open(&path)?))?;
    let store = Box::new(SqliteStore::open(dir.path().join("store.db"))?);
    let settings = ConsumerSettings::new("backup".parse()?, Role::Backup);
    let instance = InstanceId::from_bytes([2; 16]);
    let consumer = Consumer::start(replica, store, settings, instance, system_clock());
    producer.ready().await?;

    let policy: Arc<Policy> = Arc::new("any 1 of backup at durable".parse()?);
    let mut waiting = JoinSet::new();
    let mut ticks = tokio::time::interval(EVERY);
    for _ in 0..WARM_UP + EVENTS {
        ticks.tick().await;
        let block = node.next(BYTES);
        let start = Instant::now();
        let sequence = block_in_place(|| node.commit(&block))?;
        let (ticket, policy) = (producer.committed(sequence), Arc::clone(&policy));
        waiting.spawn(async move {
            ticket.backed_up(&policy).await.map(|()| (sequence, start.elapsed()))
        });
    }
    let mut micros = vec![];
    while let Some(backed_up) = waiting.join_next().await {
        let (sequence, took) = backed_up??;
        if sequence > WARM_UP {
            micros.push(took.as_secs_f64() * 1e6);
        }
    }
    producer.shutdown(Duration::from_secs(10)).await?;
    consumer.shutdown().await?;
    Ok(micros)
}
