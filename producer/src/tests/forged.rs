//! Where signatures are required, only what a trusted consumer signed backs anything up.

use std::sync::Arc;

use tipline_log::memory::MemoryLog;
use tipline_log::{Log, Reader, Receipts, SignedLog, Signing, system_clock};
use tipline_proto::{Policy, Receipt, SigningKey, Timestamp, Trust};

use super::{block, log, outbox, receipt, settings};
use crate::Producer;

fn key(seed: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[seed; 32]))
}

/// The log as who has this key sees it, and believes `backup-1` with key 2.
fn signed(log: &MemoryLog, seed: u8) -> SignedLog {
    let trust = Trust::new(vec![key(1).public()], [("backup-1".parse().unwrap(), key(2).public())]);
    SignedLog::new(Arc::new(log.clone()), Signing { key: Some(key(seed)), trust })
}

/// Dated: who signs dates what it says.
fn dated(receipt: Receipt, micros: u64) -> Receipt {
    Receipt { time: Timestamp::from_micros(micros), ..receipt }
}

#[tokio::test]
async fn a_forged_receipt_backs_nothing_up_and_a_signed_one_does() {
    let (log, outbox) = (log(), outbox(1));
    let connect = {
        let log = log.clone();
        move || {
            let log: Arc<dyn Log> = Arc::new(signed(&log, 1));
            async move { Ok(log) }
        }
    };
    let mailbox = Box::new(outbox.clone());
    let producer = Producer::start(connect, mailbox, settings(), system_clock()).unwrap();
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
