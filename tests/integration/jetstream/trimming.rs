//! A log that is trimmed while its servers are killed.

use std::sync::Arc;
use std::time::Duration;

use tipline_log::jetstream::JetStreamLog;
use tipline_log::{Appender, Extent, LogError, Reader, Trimmer};
use tipline_proto::subject::events_stream;
use tipline_proto::{Entry, Event, Label, OutboxId};
use tipline_tests::{Cluster, NatsOptions, Rng, eventually};

use super::{WITHIN, Writer, identity, name, next, options, sized, started};

/// Events of every size, behind a claim whose outbox has the number of its epoch.
async fn write_epoch(writer: &mut Writer) {
    writer.epoch += 1;
    let outbox = OutboxId::from_bytes([writer.epoch as u8; 16]);
    let primary = Label::new("primary").unwrap();
    writer.insist([Event::EpochStarted { primary, outbox }]).await;
    writer.insist((0..40).map(|_| sized(300))).await;
    writer.insist([sized(10), sized(3 << 20), sized(1 << 20), sized(10)]).await;
}

/// Trims as retention does: whatever happens, it tries again.
async fn insist_trim(log: &JetStreamLog, first: u64) -> Extent {
    eventually("trimmed", WITHIN, async || log.trim(first).await).await
}

/// What is held is whole and ends in the tail, and the tail names the newest claim.
async fn check(log: &JetStreamLog, writer: &Writer, at_most: u64) -> Extent {
    let tail = eventually("the tail", WITHIN, async || log.tail().await).await;
    assert_eq!(tail, writer.tail);
    assert_eq!(u64::from(tail.outbox.unwrap().as_bytes()[0]), tail.epoch % 256);
    let held = eventually("the extent", WITHIN, async || log.extent().await).await;
    assert_eq!(held.last, tail.position.index);
    assert!(held.first <= at_most, "{held:?}: trimmed behind {at_most}");
    for index in [held.first, (held.first + held.last) / 2, held.last] {
        let read = async || log.entry(index).await;
        let entry = eventually("an entry", WITHIN, read).await;
        assert!(entry == writer.written[index as usize - 1], "entry {index}");
    }
    if held.first > 1 {
        let read = async || match log.entry(held.first - 1).await {
            Err(LogError::OutOfRange { first, .. }) => Ok(first),
            Err(error) => Err(error),
            Ok(entry) => panic!("entry {} is there", entry.index),
        };
        assert_eq!(eventually("no entry", WITHIN, read).await, held.first);
    }
    held
}

#[tokio::test]
async fn a_server_is_killed_while_the_log_is_trimmed() {
    let (mut server, log) = started().await;
    let other = JetStreamLog::open(&options(&server.url())).await.unwrap();
    let mut rng = Rng::from_env();
    let mut writer = Writer::claim(Arc::new(log)).await;
    let mut reached = 1;
    let mut cut_short = 0;
    let rounds = std::env::var("TIPLINE_KILLS").map_or(25, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        write_epoch(&mut writer).await;
        // Into the last epoch, so that its claim goes, or before.
        let target = writer.tail.position.index.saturating_sub(rng.within(0..=60));
        let target = target.max(reached);
        let pause = Duration::from_micros(rng.within(0..=4_000));
        let killing = async {
            tokio::time::sleep(pause).await;
            server.kill();
            server.restart().await;
        };
        let (trimmed, ()) = tokio::join!(other.trim(target), killing);
        cut_short += usize::from(trimmed.is_err());
        let held = check(&other, &writer, target).await;
        assert!(held.first >= reached, "round {round}: {held:?} behind {reached}");
        if let Ok(trimmed) = trimmed {
            assert!(held.first >= trimmed.first, "round {round}: {held:?} behind {trimmed:?}");
        }
        // Nothing is in the way of the next one.
        assert_eq!(insist_trim(&other, target).await.first, target);
        reached = check(&other, &writer, target).await.first;
        assert_eq!(reached, target);
    }
    println!("{cut_short} of {rounds} trims were cut short");
    assert!(cut_short * 10 > rounds, "the kills came too late to show anything: {cut_short}");
    let rest = read_held(&other).await;
    assert!(rest == writer.written[reached as usize - 1..]);
}

/// All that is held, from its beginning to the tail.
async fn read_held(log: &JetStreamLog) -> Vec<Entry> {
    let held = log.extent().await.unwrap();
    let mut subscription = log.subscribe(None, held.first - 1).await.unwrap();
    let mut read = Vec::new();
    while (read.len() as u64) < held.last + 1 - held.first {
        read.extend(next(&mut subscription).await.unwrap());
    }
    read
}

#[tokio::test]
async fn a_cluster_loses_its_leader_while_the_log_is_trimmed() {
    let mut cluster = Cluster::start(NatsOptions::default()).await;
    let options = options(&cluster.url());
    let log = JetStreamLog::create(&options, &identity(1), 3).await.unwrap();
    let other = JetStreamLog::open(&options).await.unwrap();
    let mut rng = Rng::from_env();
    let mut writer = Writer::claim(Arc::new(log)).await;
    let stream = events_stream(&name());
    let mut reached = 1;
    for _ in 0..8 {
        write_epoch(&mut writer).await;
        let target = writer.tail.position.index.saturating_sub(rng.within(0..=60)).max(reached);
        let leader = cluster.stream_leader(&stream).await;
        let pause = Duration::from_micros(rng.within(0..=60_000));
        let killing = async {
            tokio::time::sleep(pause).await;
            cluster.node(leader).kill();
        };
        let (trimmed, ()) = tokio::join!(other.trim(target), killing);
        println!("trim to {target}: {trimmed:?}");
        // What was written goes on while one of three is away.
        write_epoch(&mut writer).await;
        check(&other, &writer, target).await;
        assert_eq!(insist_trim(&other, target).await.first, target);
        cluster.node(leader).restart().await;
        cluster.wait_ready().await;
        reached = check(&other, &writer, target).await.first;
        assert_eq!(reached, target);
    }
    let rest = read_held(&other).await;
    assert!(rest == writer.written[reached as usize - 1..]);
}
