//! The same way, made of nothing but the libraries.

use std::time::Instant;

use async_nats::Subscriber;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::StreamExt;
use rusqlite::{Connection, params};
use tokio::task::{JoinSet, block_in_place};

use crate::Outcome;
use crate::bare_nats::Bare;
use crate::bare_sqlite::synced;
use crate::latency::{BYTES, EVENTS, EVERY, WARM_UP};
use crate::node::Node;

const ROWS: &str = "CREATE TABLE event (number INTEGER PRIMARY KEY, payload BLOB)";

fn insert(connection: &mut Connection, number: u64, payload: &[u8]) -> Outcome<()> {
    let transaction = connection.transaction()?;
    transaction
        .prepare_cached("INSERT INTO event VALUES (?, ?)")?
        .execute(params![number.cast_signed(), payload])?;
    Ok(transaction.commit()?)
}

/// The node's commit, the log's and the store's, one behind the other in one thread.
pub(crate) fn three_commits() -> Outcome<Vec<f64>> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    let mut node = Node::open(&path("node.db"), false)?;
    let mut log = synced(&path("log.db"), ROWS)?;
    let mut store = synced(&path("store.db"), ROWS)?;
    let mut micros = vec![];
    let begin = Instant::now();
    for number in 1..=WARM_UP + EVENTS {
        let block = node.next(BYTES);
        // As far apart as the events of the other contestant: the disk idles in between.
        let due = EVERY * u32::try_from(number)?;
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        let start = Instant::now();
        node.commit(&block)?;
        insert(&mut log, number, block.payload())?;
        insert(&mut store, number, block.payload())?;
        if number > WARM_UP {
            micros.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(micros)
}

/// Commits and publishes into a stream, at the pace of the other contestant whatever is under
/// way; the clock stops at the reply of a consumer that inserts.
pub(crate) async fn jetstream(url: &str) -> Outcome<Vec<f64>> {
    let dir = tempfile::tempdir()?;
    let stream = Bare::create(url, "bare-latency").await?;
    let replies = format!("{}-replies", stream.name);
    let replied = stream.client.subscribe(replies.clone()).await?;
    stream.client.flush().await?;
    let store = synced(&dir.path().join("store.db"), ROWS)?;
    let consumer = tokio::spawn(consume(url.to_owned(), stream.name.clone(), replies, store));
    let arrivals = tokio::spawn(arrivals(replied));
    let mut node = Node::open(&dir.path().join("node.db"), false)?;
    let (mut starts, mut acks) = (vec![], JoinSet::new());
    let mut ticks = tokio::time::interval(EVERY);
    for _ in 0..WARM_UP + EVENTS {
        ticks.tick().await;
        let block = node.next(BYTES);
        starts.push(Instant::now());
        block_in_place(|| node.commit(&block))?;
        let payload = block.payload().clone();
        let ack = stream.context.publish(stream.name.clone(), payload).await?;
        acks.spawn(ack.into_future());
    }
    while let Some(ack) = acks.join_next().await {
        ack??;
    }
    let arrivals = arrivals.await?;
    consumer.await??;
    stream.delete().await?;
    if arrivals.len() != starts.len() {
        return Err("some events were never replied to".into());
    }
    let took = starts.iter().zip(arrivals).map(|(start, end)| (end - *start).as_secs_f64() * 1e6);
    Ok(took.skip(WARM_UP as usize).collect())
}

/// When each reply came: they come in the order of the events.
async fn arrivals(replied: Subscriber) -> Vec<Instant> {
    replied.take((WARM_UP + EVENTS) as usize).map(|_| Instant::now()).collect().await
}

async fn consume(
    url: String,
    stream: String,
    replies: String,
    mut store: Connection,
) -> Outcome<()> {
    let client = async_nats::connect(url).await?;
    let context = jetstream::new(client.clone());
    let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer = context.get_stream(&stream).await?.create_consumer(config).await?;
    let mut messages = consumer.messages().await?;
    for number in 1..=WARM_UP + EVENTS {
        let message = messages.next().await.ok_or("the messages ended")??;
        block_in_place(|| insert(&mut store, number, &message.payload))?;
        client.publish(replies.clone(), "".into()).await?;
    }
    client.flush().await?;
    Ok(())
}
