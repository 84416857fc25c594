//! Where signatures are required, only what a trusted consumer signed backs anything up, and nothing is
//! claimed that a trusted primary does not vouch for.

use std::sync::Arc;

use tipline_log::memory::MemoryLog;
use tipline_log::{Appender, Log, Reader, Receipts, SignedLog, Signing, system_clock};
use tipline_proto::{Entry, Policy, Receipt, SigningKey, Timestamp, Trust};

use super::{block, log, outbox, receipt, settings};
use crate::{EndReason, MemoryOutbox, Outbox as _, Producer};

fn key(seed: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[seed; 32]))
}

/// The log as who has this key sees it, and believes `backup-1` with key 2.
fn signed(log: &MemoryLog, seed: u8) -> SignedLog {
    let trust = Trust::new(vec![key(1).public()], [("backup-1".parse().unwrap(), key(2).public())]);
    SignedLog::new(Arc::new(log.clone()), Signing { key: Some(key(seed)), trust })
}

/// A primary with key 1.
fn start(log: &MemoryLog, outbox: &MemoryOutbox) -> Producer {
    let log = log.clone();
    let connect = move || {
        let log: Arc<dyn Log> = Arc::new(signed(&log, 1));
        async move { Ok(log) }
    };
    Producer::start(connect, Box::new(outbox.clone()), settings(), system_clock()).unwrap()
}

/// Rows of the outbox, from the one to the other, as they lie in a log whose servers have stored a unit
/// in part: its end is not there, and with it no signature.
async fn store_in_part(log: &MemoryLog, outbox: &MemoryOutbox, rows: [u64; 2]) {
    for at in rows[0]..=rows[1] {
        let tail = log.tail().await.unwrap();
        let row = outbox.clone().read(at - 1, 1, 0).unwrap().remove(0);
        let entry = Entry::seal(&tail.position, tail.epoch, row.time, row.sequence, row.event);
        log.append(&tail, &[entry]).await.unwrap();
    }
}

/// A log with the first block, and an outbox with four.
async fn published() -> (MemoryLog, MemoryOutbox) {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox);
    producer.committed(outbox.enqueue(&block(1)).unwrap()).logged().await.unwrap();
    producer.shutdown(std::time::Duration::from_secs(10)).await.unwrap();
    for height in 2..=4 {
        outbox.enqueue(&block(height)).unwrap();
    }
    (log, outbox)
}

#[tokio::test]
async fn what_is_left_of_a_unit_is_gone_on_with() {
    let (log, outbox) = published().await;
    store_in_part(&log, &outbox, [2, 3]).await;
    let producer = start(&log, &outbox);
    producer.committed(outbox.enqueue(&block(5)).unwrap()).logged().await.unwrap();
    producer.shutdown(std::time::Duration::from_secs(10)).await.unwrap();
    // A claim, three blocks, a claim, two blocks: each once.
    let mut heights = vec![];
    for index in 1..=log.extent().await.unwrap().last {
        heights.extend(log.entry(index).await.unwrap().event.block_tip().map(|tip| tip.height));
    }
    assert_eq!(heights, [1, 2, 3, 4, 5]);
}

/// A claim vouches for all before it: a primary would sign what somebody else wrote.
#[tokio::test]
async fn what_others_added_to_the_end_is_not_claimed() {
    let cases = ["another block", "rows left out", "another time", "another epoch", "far ahead"];
    for case in cases {
        let (log, outbox) = published().await;
        let tail = log.tail().await.unwrap();
        let row = outbox.clone().read(1, 1, 0).unwrap().remove(0);
        let (mut epoch, mut time, mut sequence, mut event) =
            (tail.epoch, row.time, row.sequence, row.event);
        match case {
            "another block" => event = super::proof(1),
            "rows left out" => {
                (sequence, event) = (3, outbox.clone().read(2, 1, 0).unwrap().remove(0).event);
            }
            "another time" => time = Timestamp::from_micros(time.as_micros() + 1),
            "another epoch" => epoch += 1,
            _ => sequence = u64::MAX,
        }
        let added = Entry::seal(&tail.position, epoch, time, sequence, event);
        log.append(&tail, &[added]).await.unwrap();
        let before = log.extent().await.unwrap();
        let ended = start(&log, &outbox).ended().await;
        assert!(matches!(ended, EndReason::Halted { .. }), "{case}: {ended}");
        assert!(ended.to_string().contains("entry 3 is signed by nobody"), "{case}: {ended}");
        assert_eq!(log.extent().await.unwrap(), before, "{case}: nothing was claimed");
    }
}

/// Dated: who signs dates what it says.
fn dated(receipt: Receipt, micros: u64) -> Receipt {
    Receipt { time: Timestamp::from_micros(micros), ..receipt }
}

#[tokio::test]
async fn a_forged_receipt_backs_nothing_up_and_a_signed_one_does() {
    let (log, outbox) = (log(), outbox(1));
    let producer = start(&log, &outbox);
    let ticket = producer.committed(outbox.enqueue(&block(1)).unwrap());
    assert_eq!(ticket.logged().await.unwrap(), 2);
    for index in 1..=2 {
        assert!(log.entry(index).await.unwrap().signature.is_some(), "entry {index}");
    }
    let policy: Policy = "any 1 of backup-* at durable".parse().unwrap();
    let tail = log.entry(2).await.unwrap().position();
    let mut status = producer.backup_status();
    // One that counts, up to the claim, so that it is known when the status has changed.
    let first = log.entry(1).await.unwrap().position();
    signed(&log, 2).put_receipt(&dated(receipt(&log, "backup-1", first), 10)).await.unwrap();
    status.wait_for(|status| status.backed_up(&policy) == 1).await.unwrap();

    let forgeries = [
        receipt(&log, "backup-1", tail),
        receipt(&log, "backup-2", tail),
        // Of another consumer, under its own name.
        {
            let mut stolen = dated(receipt(&log, "backup-1", tail), 20);
            key(3).sign_receipt(&mut stolen);
            stolen
        },
        // Altered after it was signed.
        {
            let mut raised = dated(receipt(&log, "backup-1", first), 20);
            key(2).sign_receipt(&mut raised);
            Receipt::decode(
                Receipt { reached: receipt(&log, "x", tail).reached, ..raised }.encode(),
            )
            .unwrap()
        },
    ];
    for (number, forged) in forgeries.into_iter().enumerate() {
        log.put_receipt(&forged).await.unwrap();
        // Whatever comes after it has seen it.
        let marker = dated(receipt(&log, "backup-1", first), 100 + number as u64);
        if forged.consumer.as_str() != "backup-1" {
            signed(&log, 2).put_receipt(&marker).await.unwrap();
            let is_there = |status: &crate::BackupStatus| {
                let known = status.consumer("backup-1");
                known.is_some_and(|known| known.receipt.time == marker.time)
            };
            status.wait_for(is_there).await.unwrap();
        } else {
            status.wait_for(|status| status.consumer("backup-1").is_none()).await.unwrap();
            assert_eq!(status.borrow().backed_up(&policy), 0);
            signed(&log, 2).put_receipt(&marker).await.unwrap();
            status.wait_for(|status| status.backed_up(&policy) == 1).await.unwrap();
        }
        assert_eq!(status.borrow().backed_up(&policy), 1, "forgery {number}");
        assert!(status.borrow().consumer("backup-2").is_none());
    }
    signed(&log, 2).put_receipt(&dated(receipt(&log, "backup-1", tail), 1000)).await.unwrap();
    ticket.backed_up(&policy).await.unwrap();
}
