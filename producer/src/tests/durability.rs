//! A log that becomes less durable while it is published to.

use std::time::Duration;

use tipline_log::memory::MemoryLog;
use tipline_log::{Appender, Shortfall};
use tokio::time::Instant;

use super::{block, outbox, settings, start};
use crate::{BackupStatus, EndReason, Keep, Outbox as _, Producer, ProducerSettings};

/// A log that falls short of nothing, as it says.
fn log() -> MemoryLog {
    let log = super::log();
    log.fall_short(&[]);
    log
}

fn accepting(names: &str) -> ProducerSettings {
    let mut settings = settings();
    settings.accept_shortfalls = names.parse().unwrap();
    settings
}

fn names(shortfalls: &[Shortfall]) -> Vec<&'static str> {
    shortfalls.iter().map(Shortfall::name).collect()
}

async fn until(producer: &Producer, unaccepted: &[&str]) -> BackupStatus {
    let mut status = producer.backup_status();
    let is_so = |status: &BackupStatus| names(&status.unaccepted) == unaccepted;
    // By the clock of the test, which does not wait.
    let status = tokio::time::timeout(Duration::from_secs(3600), status.wait_for(is_so)).await;
    status.expect("it is known").unwrap().clone()
}

#[tokio::test]
async fn shortfalls_are_accepted_by_name() {
    let (log, outbox) = (log(), outbox(1));
    log.fall_short(&["single-replica", "sync-interval"]);
    for (accepted, short) in [
        ("no", &["single-replica", "sync-interval"][..]),
        ("single-replica", &["sync-interval"][..]),
        ("sync-interval,max-age", &["single-replica"][..]),
    ] {
        let producer = start(&log, &outbox, accepting(accepted));
        let ended = tokio::time::timeout(Duration::from_secs(60), producer.ended()).await;
        let ended = ended.expect("it is refused");
        let EndReason::NotDurable { shortfalls } = ended else { panic!("{ended:?}") };
        assert_eq!(names(&shortfalls), short, "{accepted}");
    }
    assert_eq!(log.tail().await.unwrap().position.index, 0, "nothing was published");
    let producer = start(&log, &outbox, accepting("sync-interval,single-replica"));
    producer.ready().await.unwrap();
    let status = producer.backup_status().borrow().clone();
    assert_eq!(names(&status.shortfalls), ["single-replica", "sync-interval"]);
    assert_eq!(names(&status.unaccepted), [""; 0]);
}

/// Somebody has altered it, and nothing was interrupted.
#[tokio::test(start_paused = true)]
async fn what_a_log_comes_to_fall_short_of_is_said_and_publishing_goes_on() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, accepting("max-age"));
    producer.committed(outbox.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    let begin = Instant::now();
    log.fall_short(&["single-replica", "max-age"]);
    let status = until(&producer, &["single-replica"]).await;
    assert_eq!(names(&status.shortfalls), ["single-replica", "max-age"]);
    let took = begin.elapsed();
    assert!(took <= Duration::from_secs(601), "{took:?}");
    producer.committed(outbox.enqueue(&block(2)).unwrap()).logged().await.unwrap();
    assert_eq!(log.tail().await.unwrap().outbox_sequence, 2);

    let begin = Instant::now();
    log.fall_short(&["max-age"]);
    let status = until(&producer, &[]).await;
    assert_eq!(names(&status.shortfalls), ["max-age"]);
    let took = begin.elapsed();
    assert!(took <= Duration::from_secs(61), "that it is as it was is known soon: {took:?}");
}

/// Its servers may be others by then.
#[tokio::test(start_paused = true)]
async fn a_log_that_was_away_is_asked_at_once() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, accepting("no"));
    producer.ready().await.unwrap();
    let mut progress = producer.progress();
    for (height, short) in (1..).zip([&["sync-interval"][..], &[][..], &["discard"][..]]) {
        log.set_available(false);
        drop(producer.committed(outbox.enqueue(&block(height)).unwrap()));
        progress.wait_for(|progress| progress.held_up.is_some()).await.unwrap();
        log.fall_short(short);
        log.set_available(true);
        let begin = Instant::now();
        until(&producer, short).await;
        let took = begin.elapsed();
        assert!(took <= Duration::from_secs(15), "{short:?}: {took:?}");
    }
}

/// For as long as such a log may lose what it has.
#[tokio::test]
async fn more_stays_in_the_outbox_from_then_on() {
    for (short, is_lossy) in [(&[][..], false), (&["sync-interval"][..], true)] {
        tokio::time::pause();
        let (log, mut outbox) = (log(), outbox(1));
        let producer = start(&log, &outbox, accepting("no"));
        producer.ready().await.unwrap();
        log.fall_short(short);
        until(&producer, short).await;
        // Else the clock would run on while the outbox's thread works.
        tokio::time::resume();
        for height in 1..=3000 {
            outbox.enqueue(&block(height)).unwrap();
        }
        producer.committed(3000).logged().await.unwrap();
        producer.shutdown(Duration::from_secs(10)).await.unwrap();
        let pending = outbox.pending().unwrap();
        let kept = pending.last + 1 - pending.first;
        assert_eq!(kept > Keep::DURABLE.rows, is_lossy, "{short:?}: {kept} rows are kept");
    }
}
