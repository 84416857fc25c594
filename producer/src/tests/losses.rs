//! A log that loses what it acknowledged, is put back, or is made anew.

use std::time::Duration;

use futures_util::FutureExt;
use tipline_log::memory::{AppendFault, MemoryLog};
use tipline_log::{Appender, Reader, Receipts};
use tipline_proto::{Agreement, Event, Lineage, Policy};

use super::{block, log, outbox, receipt, settings, start};
use crate::{EndReason, Keep, MemoryOutbox, Outbox as _, Producer, ResumeFrom, Stage, Trim};

/// By a clock that does not wait for the outbox's thread.
const LONG: Duration = Duration::from_secs(1_000_000);

async fn publish(
    producer: &Producer,
    outbox: &MemoryOutbox,
    heights: std::ops::RangeInclusive<u64>,
) {
    for height in heights {
        producer.committed(outbox.enqueue(&block(height)).unwrap()).logged().await.unwrap();
    }
}

async fn heights(log: &MemoryLog) -> Vec<u64> {
    let mut found = Vec::new();
    for index in 1..=log.extent().await.unwrap().last {
        if let Event::BlockCommitted { height, .. } = log.entry(index).await.unwrap().event {
            found.push(height);
        }
    }
    found
}

/// Nothing is published, nobody is ahead, and no other primary runs.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_put_back_is_noticed_by_a_primary_with_nothing_to_do() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    publish(&producer, &outbox, 1..=25).await;
    log.truncate(6);
    let mut progress = producer.progress();
    progress.wait_for(|progress| progress.losses == 1).await.unwrap();
    producer.committed(25).logged().await.unwrap();
    assert_eq!(heights(&log).await, Vec::from_iter(1..=25));
}

/// A broker that wants rows left out says that the log has more of the outbox than it has.
#[tokio::test(start_paused = true)]
async fn what_the_log_says_of_its_tail_leaves_no_row_out() {
    for fault in [AppendFault::StoredInDoubt, AppendFault::LostInDoubt] {
        let (log, outbox) = (log(), outbox(1));
        let producer = start(&log, &outbox, settings());
        publish(&producer, &outbox, 1..=5).await;
        log.raise_outbox_sequence(2);
        log.fail_append(fault);
        publish(&producer, &outbox, 6..=6).await;
        log.raise_outbox_sequence(0);
        let rest = publish(&producer, &outbox, 7..=12);
        tokio::time::timeout(LONG, rest).await.expect("a row was left out");
        assert_eq!(heights(&log).await, Vec::from_iter(1..=12), "{fault:?}");
    }
}

/// The same of a log that was put back: nothing shows which rows are to be published again.
#[tokio::test(start_paused = true)]
async fn a_log_that_was_put_back_and_misstates_its_tail_is_published_to_no_more() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    publish(&producer, &outbox, 1..=25).await;
    log.raise_outbox_sequence(2);
    log.truncate(6);
    let ended = tokio::time::timeout(LONG, producer.ended()).await.expect("it publishes");
    assert!(matches!(ended, EndReason::Log(_)), "{ended}");
    assert!(ended.to_string().contains("cannot be used"), "{ended}");
    assert_eq!(heights(&log).await, Vec::from_iter(1..=5));
}

/// The way of a server that is left as it comes: minutes of a fast chain are gone.
#[tokio::test(start_paused = true)]
async fn far_more_than_a_thousand_rows_are_published_again() {
    let (log, outbox) = (log(), outbox(1));
    for height in 1..=5000 {
        outbox.enqueue(&block(height)).unwrap();
    }
    let mut keeping = settings();
    keeping.keep = Some(Keep { time: LONG, ..Keep::LOSSY });
    let producer = start(&log, &outbox, keeping);
    producer.committed(5000).logged().await.unwrap();
    log.truncate(500);
    let mut progress = producer.progress();
    progress.wait_for(|progress| progress.losses == 1).await.unwrap();
    producer.committed(5000).logged().await.unwrap();
    assert_eq!(heights(&log).await, Vec::from_iter(1..=5000));
}

/// The first loss is below all that this run has seen.
#[tokio::test(start_paused = true)]
async fn a_loss_from_before_this_run_is_an_alarm_and_is_made_good() {
    let (log, outbox) = (log(), outbox(1));
    let first = start(&log, &outbox, settings());
    publish(&first, &outbox, 1..=10).await;
    first.shutdown(Duration::from_secs(10)).await.unwrap();
    let second = start(&log, &outbox, settings());
    publish(&second, &outbox, 11..=12).await;
    log.truncate(5);
    let mut progress = second.progress();
    progress.wait_for(|progress| progress.losses > 0).await.unwrap();
    second.committed(12).logged().await.unwrap();
    assert_eq!(heights(&log).await, Vec::from_iter(1..=12));
}

#[tokio::test]
async fn a_loss_while_no_primary_ran_is_an_alarm_too() {
    let (log, outbox) = (log(), outbox(1));
    let first = start(&log, &outbox, settings());
    publish(&first, &outbox, 1..=10).await;
    first.shutdown(Duration::from_secs(10)).await.unwrap();
    log.truncate(5);
    let second = start(&log, &outbox, settings());
    second.committed(10).logged().await.unwrap();
    assert_eq!(second.progress().borrow().losses, 1);
    assert_eq!(heights(&log).await, Vec::from_iter(1..=10));
}

/// A primary that cannot publish must not fence one that can.
#[tokio::test]
async fn a_loss_of_more_than_is_kept_ends_before_the_claim() {
    let (log, mut outbox) = (log(), outbox(1));
    let first = start(&log, &outbox, settings());
    publish(&first, &outbox, 1..=10).await;
    first.shutdown(Duration::from_secs(10)).await.unwrap();
    outbox.trim(8).unwrap();
    log.truncate(5);
    let ended = start(&log, &outbox, settings()).ended().await;
    assert!(matches!(ended, EndReason::Halted { .. }), "{ended}");
    assert!(ended.to_string().contains("row 5"), "{ended}");
    assert_eq!(log.extent().await.unwrap().last, 5, "it has claimed nothing");
}

/// Outbox 2 continues after row 50 of outbox 1 with row 2. Its claim is lost with all it wrote, and
/// the log's numbers are those of outbox 1 again.
#[tokio::test(start_paused = true)]
async fn no_ticket_is_ok_by_the_numbers_of_another_outbox() {
    let (log, first) = (log(), outbox(1));
    let producer = start(&log, &first, settings());
    publish(&producer, &first, 1..=50).await;
    producer.shutdown(Duration::from_secs(10)).await.unwrap();
    let end = log.tail().await.unwrap();

    let second = outbox(2);
    for height in 49..=50 {
        second.enqueue(&block(height)).unwrap();
    }
    let mut resuming = settings();
    resuming.continue_at = Some(ResumeFrom { position: end.position, sequence: 2 });
    let producer = start(&log, &second, resuming);
    publish(&producer, &second, 51..=55).await;
    let not_there = producer.committed(40);
    log.truncate(end.position.index);
    for _ in 0..5 {
        log.fail_append(AppendFault::LostInDoubt);
    }
    let mut progress = producer.progress();
    progress.wait_for(|progress| progress.losses == 1).await.unwrap();
    assert_eq!(progress.borrow().logged, 0, "the log has nothing of this outbox");
    assert!(not_there.logged().now_or_never().is_none());
    producer.committed(7).logged().await.unwrap();
    assert!(not_there.logged().now_or_never().is_none());
    assert_eq!(heights(&log).await, Vec::from_iter(1..=55));
}

/// What a consumer has of the lost history agrees with nothing any more.
#[tokio::test(start_paused = true)]
async fn a_receipt_for_what_was_lost_counts_no_more() {
    let (log, outbox) = (log(), outbox(1));
    let first = start(&log, &outbox, settings());
    publish(&first, &outbox, 1..=3).await;
    first.shutdown(Duration::from_secs(10)).await.unwrap();
    let producer = start(&log, &outbox, settings());
    publish(&producer, &outbox, 4..=6).await;
    let policy: Policy = "any 1 of backup at durable".parse().unwrap();
    let tail = log.tail().await.unwrap().position;
    log.put_receipt(&receipt(&log, "backup", tail)).await.unwrap();
    let ticket = producer.committed(6);
    ticket.backed_up(&policy).await.unwrap();

    log.truncate(4);
    let mut status = producer.backup_status();
    let diverged = |status: &crate::BackupStatus| {
        matches!(status.consumer("backup").map(|c| c.agreement), Some(Agreement::Diverged { .. }))
    };
    // The claim that was lost is made again at another time: another history.
    status.wait_for(diverged).await.unwrap();
    ticket.logged().await.unwrap();
    assert!(ticket.backed_up(&policy).now_or_never().is_none(), "nothing of that is backed up");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_into_a_log_that_was_made_anew_under_a_running_primary() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    publish(&producer, &outbox, 1..=3).await;
    log.recreate(Lineage::from_bytes([9; 16]));
    let ticket = producer.committed(outbox.enqueue(&block(4)).unwrap());
    assert!(matches!(ticket.logged().await, Err(EndReason::WrongLog { .. })));
}

/// Where the log cannot tell that it is another one.
#[tokio::test(start_paused = true)]
async fn nothing_is_published_into_a_log_that_is_empty_all_at_once() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    publish(&producer, &outbox, 1..=3).await;
    log.truncate(0);
    let ended = producer.ended().await;
    assert!(ended.to_string().contains("created again"), "{ended}");
    assert_eq!(log.extent().await.unwrap().last, 0);
    assert_eq!(producer.progress().borrow().losses, 1);
    // Opened anew it is the same log after all, and the outbox has everything.
    start(&log, &outbox, settings()).committed(3).logged().await.unwrap();
    assert_eq!(heights(&log).await, [1, 2, 3]);
}

/// A primary with nothing to publish notices that the log is away, and that it is back.
#[tokio::test(start_paused = true)]
async fn what_holds_it_up_is_said_and_taken_back() {
    let (log, outbox) = (log(), outbox(1));
    let mut keeping = settings();
    keeping.keep = Some(Keep::DURABLE);
    let producer = start(&log, &outbox, keeping);
    publish(&producer, &outbox, 1..=3).await;
    log.set_available(false);
    let mut progress = producer.progress();
    progress.wait_for(|progress| progress.held_up.is_some()).await.unwrap();
    log.set_available(true);
    let again = |progress: &crate::Progress| {
        progress.held_up.is_none() && matches!(progress.stage, Stage::Publishing)
    };
    progress.wait_for(again).await.unwrap();
}

/// What the outbox was told is logged is not, any more.
#[tokio::test(start_paused = true)]
async fn what_the_log_has_lost_is_published_before_it_stops() {
    let (log, outbox) = (log(), outbox(1));
    let first = start(&log, &outbox, settings());
    publish(&first, &outbox, 1..=3).await;
    first.shutdown(Duration::from_secs(10)).await.unwrap();
    let second = start(&log, &outbox, settings());
    publish(&second, &outbox, 4..=6).await;
    let told = async {
        let mut outbox = outbox.clone();
        while outbox.pending().unwrap().released < 6 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, told).await.expect("the outbox is told");
    // The claim of the second one is lost, too. It claims the log again, once it can.
    for _ in 0..5 {
        log.fail_append(AppendFault::LostInDoubt);
    }
    log.truncate(3);
    let mut progress = second.progress();
    progress.wait_for(|progress| progress.losses == 1).await.unwrap();
    assert_eq!(second.shutdown(LONG).await.unwrap(), 0);
    assert_eq!(heights(&log).await, Vec::from_iter(1..=6));
}

/// A receipt says that a row may leave. Whether the log still has it nobody has asked.
#[tokio::test(start_paused = true)]
async fn rows_that_the_log_has_lost_do_not_leave_by_a_receipt() {
    let (log, outbox) = (log(), outbox(1));
    let mut trimming = settings();
    trimming.trim = Trim::BackedUp("any 1 of backup at durable".parse().unwrap());
    trimming.keep = Some(Keep { rows: 8, time: Duration::ZERO, bytes: u64::MAX });
    trimming.announce_every = LONG;
    let producer = start(&log, &outbox, trimming);
    publish(&producer, &outbox, 1..=100).await;
    let tail = log.tail().await.unwrap().position;
    log.truncate(50);
    log.put_receipt(&receipt(&log, "backup", tail)).await.unwrap();
    let released = async {
        let mut outbox = outbox.clone();
        while outbox.pending().unwrap().released < 100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, released).await.expect("the receipt counts");
    publish(&producer, &outbox, 101..=101).await;
    assert_eq!(producer.progress().borrow().losses, 1);
    assert_eq!(heights(&log).await, Vec::from_iter(1..=101));
}

/// A server that is down for longer than rows stay comes back without what it had not synced.
#[tokio::test(start_paused = true)]
async fn nothing_leaves_by_its_age_while_the_log_is_away() {
    let (log, mut outbox) = (log(), outbox(1));
    let mut keeping = settings();
    let stays = Duration::from_secs(600);
    keeping.keep = Some(Keep { rows: 8, time: stays, bytes: u64::MAX });
    for height in 1..=100 {
        outbox.enqueue(&block(height)).unwrap();
    }
    let producer = start(&log, &outbox, keeping);
    producer.committed(100).logged().await.unwrap();
    log.set_available(false);
    log.truncate(50);
    tokio::time::sleep(2 * stays).await;
    assert_eq!(outbox.pending().unwrap().first, 1);
    log.set_available(true);
    let mut progress = producer.progress();
    progress.wait_for(|progress| progress.losses == 1).await.unwrap();
    producer.committed(100).logged().await.unwrap();
    assert_eq!(heights(&log).await, Vec::from_iter(1..=100));
    // The log has them, and is asked now and then, whether there is something to publish or not.
    let leave = async {
        while outbox.pending().unwrap().first < 90 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(LONG, leave).await.expect("they leave when they are old again");
}
