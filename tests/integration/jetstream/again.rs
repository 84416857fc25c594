//! A log that was deleted and made again while a primary runs, with as many messages as the one before.
//! All that a server compares of an append is the last sequence, and no other log has that.

use std::sync::Arc;

use tipline_log::jetstream::JetStreamLog;
use tipline_log::{AppendError, Appender, LogError, Receipts};
use tipline_proto::subject::{events_stream, receipts_stream};
use tipline_tests::{Nats, NatsOptions, eventually};

use crate::deployment::{Deployment, WITHIN as SOON};

use super::{
    WITHIN, Writer, identity, name, options, raw, read_all, receipt, seal, sized, started,
};

fn is_another(error: &LogError) -> bool {
    let LogError::WrongLog { expected, found, .. } = error else { return false };
    (*expected, *found) == (identity(1).lineage, identity(2).lineage)
}

/// How many messages the log has.
async fn messages(url: &str) -> u64 {
    let mut stream = raw(url).await.get_stream(events_stream(&name())).await.unwrap();
    stream.info().await.unwrap().state.messages
}

#[tokio::test]
async fn a_log_made_again_with_as_many_messages_takes_nothing_that_is_for_the_one_before() {
    let (server, log) = started().await;
    let options = options(&server.url());
    let mut old = Writer::claim(Arc::new(log)).await;
    old.write([sized(1)]).await;
    old.write((0..5).map(|_| sized(2 << 20))).await;
    let before = messages(&server.url()).await;

    JetStreamLog::delete(&options, identity(1).lineage).await.unwrap();
    let new = JetStreamLog::create(&options, &identity(2), 1).await.unwrap();
    let mut new = Writer::claim(Arc::new(new)).await;
    new.write([sized(3)]).await;
    new.write((0..5).map(|_| sized(2 << 20))).await;
    assert_eq!(messages(&server.url()).await, before);

    // The connection was there all the time, and nobody has asked what log it is.
    for events in [vec![sized(1)], vec![sized(1), sized(2)]] {
        let unit = seal(&old.tail, old.epoch, events);
        let refused = old.log.append(&old.tail, &unit).await.unwrap_err();
        assert!(matches!(refused, AppendError::Conflict), "{refused:?}");
    }
    assert!(is_another(&old.log.tail().await.unwrap_err()));
    // A receipt may be put for a second. It says which log it is of, and counts for no other.
    eventually("its receipts are refused", WITHIN, async || {
        match old.log.put_receipt(&receipt("replica-1", 1)).await {
            Err(error) if is_another(&error) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(new.log.board().await.unwrap().receipts, []);
    assert_eq!(new.log.tail().await.unwrap(), new.tail);
    assert!(read_all(&new.log, new.tail.position.index).await == new.written);
}

#[tokio::test]
async fn a_primary_publishes_nothing_into_a_log_made_again_with_as_many_messages() {
    const BLOCKS: u64 = 5;
    let server = Nats::start(NatsOptions::default()).await;
    let site = Deployment::new();
    let log = format!("--log {}/{} --accept-shortfalls", server.url(), name());
    let init = site.run(&format!("init {log} --replicas 1 --chain test --genesis 00")).await;
    assert_eq!(init.status.code(), Some(0), "{}", init.stderr);
    (1..=BLOCKS).for_each(|height| site.block("node", height, &[height as u8; 1000]));
    let mut primary = site.tipline(&format!("primary {log} --source dir:node")).spawn();
    let opened = JetStreamLog::open(&options(&server.url())).await.unwrap();
    eventually("all is in the log", SOON, async || {
        let tail = opened.tail().await.map_err(|error| error.to_string())?;
        if tail.outbox_sequence == BLOCKS { Ok(()) } else { Err(format!("{tail:?}")) }
    })
    .await;
    let before = messages(&server.url()).await;

    // Awake, it would notice that there is none for a moment.
    primary.process.pause();
    let streams = raw(&server.url()).await;
    for stream in [receipts_stream(&name()), events_stream(&name())] {
        streams.delete_stream(stream).await.unwrap();
    }
    let new = JetStreamLog::create(&options(&server.url()), &identity(2), 1).await.unwrap();
    let mut new = Writer::claim(Arc::new(new)).await;
    while messages(&server.url()).await < before {
        new.write([sized(3)]).await;
    }
    assert_eq!(messages(&server.url()).await, before);
    site.block("node", BLOCKS + 1, b"for the log that is gone");
    primary.process.resume();
    let ended = primary.process.wait(WITHIN).await;
    assert!(!ended.success(), "{}", primary.stderr());
    assert_eq!(new.log.tail().await.unwrap(), new.tail);
    assert!(read_all(&new.log, new.tail.position.index).await == new.written);
}
