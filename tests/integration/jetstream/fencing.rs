//! Of two writers one loses.

use std::sync::Arc;

use tipline_log::jetstream::JetStreamLog;
use tipline_log::{AppendError, Appender};

use super::{Writer, claim, options, read_all, record, seal, sized, started};

#[tokio::test]
async fn of_two_writers_one_loses_each_time() {
    let (server, log) = started().await;
    let log = Arc::new(log);
    let claimed = Writer::claim(log.clone()).await;
    let mut writers = Vec::new();
    for writer in 0..2u8 {
        let other = JetStreamLog::open(&options(&server.url())).await.unwrap();
        writers.push(tokio::spawn(race(other, writer, 60)));
    }
    let mut won = 0;
    for writer in writers {
        won += writer.await.unwrap();
    }
    let tail = log.tail().await.unwrap();
    assert_eq!(tail.position.index, claimed.tail.position.index + won);
    read_all(&log, tail.position.index).await;
}

/// Appends singles and batches until `times` of them are in.
async fn race(log: JetStreamLog, writer: u8, times: usize) -> u64 {
    let (mut entries, mut conflicts) = (0, 0);
    for turn in 0..times {
        loop {
            let tail = log.tail().await.unwrap();
            let events = (0..1 + turn % 3).map(|_| record(vec![writer; 300].into()));
            let unit = seal(&tail, tail.epoch, events);
            match log.append(&tail, &unit).await {
                Ok(_) => {
                    entries += unit.len() as u64;
                    break;
                }
                Err(AppendError::Conflict) => conflicts += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    println!("writer {writer}: {conflicts} conflicts");
    entries
}

#[tokio::test]
async fn a_stale_tail_is_a_conflict_and_writes_nothing() {
    let (_server, log) = started().await;
    let origin = log.tail().await.unwrap();
    let unit = seal(&origin, 1, [claim()]);
    let tail = log.append(&origin, &unit).await.unwrap();
    for events in [vec![claim()], vec![claim(), sized(3)], vec![sized(3 << 20)]] {
        let stale = seal(&origin, 1, events);
        let refused = log.append(&origin, &stale).await.unwrap_err();
        assert!(matches!(refused, AppendError::Conflict), "{refused:?}");
    }
    assert_eq!(log.tail().await.unwrap(), tail);
}
