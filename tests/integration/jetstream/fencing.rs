//! Of two writers one loses.

use std::sync::Arc;

use tipline_log::jetstream::JetStreamLog;
use tipline_log::{AppendError, Appender, system_clock};
use tipline_proto::Label;
use tokio::sync::oneshot;

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

/// A primary that never rests does not keep the next one out: the claim falls into one of the gaps
/// between its units, and nothing of it is stored behind that.
#[tokio::test]
async fn a_claim_gets_through_between_the_units_of_a_busy_primary() {
    let (server, log) = started().await;
    let mut old = Writer::claim(Arc::new(log)).await;
    let new = JetStreamLog::open(&options(&server.url())).await.unwrap();
    let (busy, is_busy) = oneshot::channel();
    let mut busy = Some(busy);
    let writing = tokio::spawn(async move {
        loop {
            if old.tail.position.index > 500 {
                busy.take().map(|busy| busy.send(()));
            }
            let unit = seal(&old.tail, old.tail.epoch, (0..100).map(|_| sized(100)));
            match old.log.append(&old.tail, &unit).await {
                Ok(tail) => old.tail = tail,
                Err(AppendError::Conflict) => return old.tail,
                Err(error) => panic!("{error}"),
            }
        }
    });
    is_busy.await.unwrap();
    let label = Label::new("new").unwrap();
    let claim = tipline_log::claim(&new, label, &system_clock()).await.unwrap();
    let last = writing.await.unwrap();
    println!("claimed behind {} entries", last.position.index);
    assert_eq!(claim.position.index, last.position.index + 1);
    assert_eq!(new.tail().await.unwrap().position, claim.position);
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
