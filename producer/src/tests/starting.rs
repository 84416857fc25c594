//! What is compared before anything is published, or bound.

use tipline_log::{Appender, Reader, Receipts};
use tipline_proto::{Lineage, LogIdentity, Position};

use super::{
    block, log, outbox, proof, receipt, refuses_the_log_of_another_chain, settings, start,
};
use crate::{EndReason, Outbox as _, ResumeFrom, Stage};

#[tokio::test]
async fn the_log_of_another_chain_is_refused() {
    let mut outbox = outbox(1);
    refuses_the_log_of_another_chain(Box::new(outbox.clone())).await;
    assert_eq!(outbox.lineage().unwrap(), None, "it is bound to nothing");
}

#[tokio::test]
async fn a_new_outbox_is_bound_only_to_a_log_that_it_fits() {
    let (log, first) = (log(), outbox(1));
    let producer = start(&log, &first, settings());
    producer.committed(first.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    producer.shutdown(std::time::Duration::from_secs(10)).await.unwrap();
    let mut second = outbox(2);
    let refused = start(&log, &second, settings()).ready().await;
    assert!(matches!(refused, Err(EndReason::WrongOutbox { .. })), "{refused:?}");
    assert_eq!(second.lineage().unwrap(), None);
}

/// Left in the settings, it must not switch off what notices a log that was made anew.
#[tokio::test]
async fn where_it_continues_is_compared_with_an_empty_log_too() {
    let log = log();
    let mut outbox = outbox(1);
    outbox.enqueue(&block(1)).unwrap();
    let before = Lineage::from_bytes([8; 16]);
    outbox.bind(before).unwrap();
    let mut resuming = settings();
    let origin = Position::origin(&LogIdentity { lineage: before, ..log.identity().clone() });
    resuming.continue_at = Some(ResumeFrom { position: origin, sequence: 0 });
    let ended = start(&log, &outbox, resuming).ended().await;
    assert!(matches!(ended, EndReason::Halted { .. }), "{ended}");
    assert_eq!(outbox.lineage().unwrap(), Some(before));
    assert_eq!(log.extent().await.unwrap().last, 0);
}

/// The log that it published to before has its rows, too. Settings that were left over do not take it
/// back there.
#[tokio::test]
async fn the_log_of_another_time_is_not_continued_by_settings_that_were_left_over() {
    let (before, mut outbox) = (log(), outbox(1));
    let producer = start(&before, &outbox, settings());
    producer.committed(outbox.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    producer.shutdown(std::time::Duration::from_secs(10)).await.unwrap();
    let bound = Lineage::from_bytes([8; 16]);
    outbox.bind(bound).unwrap();
    let mut resuming = settings();
    let origin = Position::origin(&LogIdentity { lineage: bound, ..before.identity().clone() });
    resuming.continue_at = Some(ResumeFrom { position: origin, sequence: 1 });
    let last = before.extent().await.unwrap().last;
    let producer = start(&before, &outbox, resuming);
    let soon = std::time::Duration::from_secs(30);
    let ended = tokio::time::timeout(soon, producer.ended()).await.expect("it is refused");
    assert!(matches!(ended, EndReason::Halted { .. }), "{ended}");
    assert_eq!(outbox.lineage().unwrap(), Some(bound));
    assert_eq!(before.extent().await.unwrap().last, last, "it has claimed nothing");
}

/// Rows that come later would be taken for logged, and never be published.
#[tokio::test]
async fn where_it_continues_is_a_row_that_there_is() {
    let (log, outbox) = (log(), outbox(1));
    outbox.enqueue(&block(1)).unwrap();
    for sequence in [2, u64::MAX] {
        let mut resuming = settings();
        let position = Position::origin(log.identity());
        resuming.continue_at = Some(ResumeFrom { position, sequence });
        let producer = start(&log, &outbox, resuming);
        let mut progress = producer.progress();
        let waits = |progress: &crate::Progress| match &progress.stage {
            Stage::Retrying { why, .. } => why.contains("it ends at row 1"),
            _ => progress.claim.is_some() || matches!(progress.stage, Stage::Ended(_)),
        };
        let progress = progress.wait_for(waits).await.unwrap().clone();
        assert!(matches!(progress.stage, Stage::Retrying { .. }), "{progress:?}");
        assert_eq!(log.extent().await.unwrap().last, 0, "it has claimed nothing");
    }
}

/// A rebuilt node has the same number of rows, in another order. Its claim is the newest entry, and
/// what is before it is the other outbox's.
#[tokio::test]
async fn rows_of_the_outbox_before_are_not_compared_with_its_own() {
    let (log, first) = (log(), outbox(1));
    let producer = start(&log, &first, settings());
    for event in [block(1), block(2), proof(1), proof(2)] {
        producer.committed(first.enqueue(&event).unwrap()).logged().await.unwrap();
    }
    producer.shutdown(std::time::Duration::from_secs(10)).await.unwrap();
    let second = outbox(2);
    for event in [block(1), block(2), proof(2), proof(1)] {
        second.enqueue(&event).unwrap();
    }
    let mut resuming = settings();
    let position = log.tail().await.unwrap().position;
    resuming.continue_at = Some(ResumeFrom { position, sequence: 4 });
    let producer = start(&log, &second, resuming);
    producer.ready().await.unwrap();
    producer.shutdown(std::time::Duration::from_secs(10)).await.unwrap();
    let again = start(&log, &second, settings());
    again.committed(second.enqueue(&block(3)).unwrap()).logged().await.unwrap();
    again.shutdown(std::time::Duration::from_secs(10)).await.unwrap();

    // A node that was restored has other rows under the same numbers: that is still found, also
    // behind a claim with nothing after it.
    start(&log, &second, settings()).ready().await.unwrap();
    let restored = outbox(2);
    for event in [block(1), block(2), proof(2), proof(1), proof(1)] {
        restored.enqueue(&event).unwrap();
    }
    let ended = start(&log, &restored, settings()).ended().await;
    assert!(ended.to_string().contains("was it restored"), "{ended}");
}

/// A claim that the log has lost was seen by others: its number is not given twice.
#[tokio::test]
async fn an_epoch_that_was_announced_is_not_used_again() {
    let (log, outbox) = (log(), outbox(1));
    let first = start(&log, &outbox, settings());
    first.ready().await.unwrap();
    first.shutdown(std::time::Duration::from_secs(10)).await.unwrap();
    let mut announced = log.board().await.unwrap().primary.unwrap();
    announced.epoch = 7;
    log.announce(&announced).await.unwrap();
    start(&log, &outbox, settings()).ready().await.unwrap();
    assert_eq!(log.tail().await.unwrap().epoch, 8);
}

/// What consumers of another version, or other programs, have put on the board stops no primary, and
/// hides nobody's receipt.
#[tokio::test]
async fn a_board_that_cannot_be_read_in_part_stops_nobody() {
    let (log, outbox) = (log(), outbox(1));
    log.garble_receipt("replica-1", "hello");
    log.garble_receipt("No consumer's name", "");
    let producer = start(&log, &outbox, settings());
    let ticket = producer.committed(outbox.enqueue(&block(1)).unwrap());
    let index = ticket.logged().await.unwrap();
    let position = log.entry(index).await.unwrap().position();
    log.put_receipt(&receipt(&log, "backup-1", position)).await.unwrap();
    ticket.backed_up(&"any 1 of backup-1 at durable".parse().unwrap()).await.unwrap();
    log.garble_receipt("replica-2", "hello");
    let ticket = producer.committed(outbox.enqueue(&block(2)).unwrap());
    let index = ticket.logged().await.unwrap();
    let position = log.entry(index).await.unwrap().position();
    log.put_receipt(&receipt(&log, "backup-1", position)).await.unwrap();
    ticket.backed_up(&"any 1 of backup-1 at durable".parse().unwrap()).await.unwrap();
}

/// The newest block is only announced: no start waits for it to be found, entry by entry, over a slow
/// link.
#[tokio::test]
async fn the_newest_block_is_not_looked_for_for_long() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox, settings());
    outbox.enqueue(&block(1)).unwrap();
    let proofs: Vec<u64> = (0..280).map(|_| outbox.enqueue(&proof(1)).unwrap()).collect();
    producer.committed(proofs[279]).logged().await.unwrap();
    producer.shutdown(std::time::Duration::from_secs(10)).await.unwrap();
    for (delay, is_found) in [(0, true), (100, false)] {
        log.delay_reads(std::time::Duration::from_millis(delay));
        let begin = std::time::Instant::now();
        let producer = start(&log, &outbox, settings());
        producer.ready().await.unwrap();
        let (took, found) = (begin.elapsed(), producer.progress().borrow().block_tip.is_some());
        // All of them take 28 s.
        assert!(took < std::time::Duration::from_secs(15), "{delay} ms an entry: {took:?}");
        assert_eq!(found, is_found, "{delay} ms an entry");
        producer.shutdown(std::time::Duration::from_secs(10)).await.unwrap();
    }
}
