//! A claim vouches for all before it, so what nobody vouches for is not claimed.

use std::sync::Arc;

use tipline_proto::{Entry, Event, OutboxId, SigningKey, Timestamp, Trust};

use super::{block, clock, label, log};
use crate::memory::MemoryLog;
use crate::{
    Appender, LogError, Reader, SignedLog, Signing, Tail, Trimmer, VouchedTail, check_claim, claim,
    vouched_block, vouched_tail,
};

fn key(seed: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[seed; 32]))
}

/// The log as who has this key sees it, and trusts key 1.
fn signed(log: &MemoryLog, seed: u8) -> SignedLog {
    let trust = Trust::new(vec![key(1).public()], []);
    SignedLog::new(Arc::new(log.clone()), Signing { key: Some(key(seed)), trust })
}

/// The next entry of the same epoch and outbox.
fn next(tail: &Tail, event: Event) -> Entry {
    let sequence = tail.outbox_sequence + 1;
    Entry::seal(&tail.position, tail.epoch, Timestamp::from_micros(3), sequence, event)
}

/// Blocks up to this height, after a claim: all signed, unit by unit of two.
async fn signed_log(height: u64) -> MemoryLog {
    let log = log();
    let trusted = signed(&log, 1);
    claim(&trusted, label("node"), &clock()).await.unwrap();
    for at in (1..=height).step_by(2) {
        let tail = log.tail().await.unwrap();
        let first = next(&tail, block(at));
        let after = Tail { position: first.position(), outbox_sequence: at, ..tail.clone() };
        trusted.append(&tail, &[first, next(&after, block(at + 1))]).await.unwrap();
    }
    log
}

/// What somebody adds who may write to the log and has no key.
async fn add(log: &MemoryLog, height: u64) {
    let tail = log.tail().await.unwrap();
    log.append(&tail, &[next(&tail, block(height))]).await.unwrap();
}

async fn found(log: &MemoryLog) -> VouchedTail {
    vouched_tail(&signed(log, 1), &log.tail().await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_signed_tail_is_vouched_for_and_what_follows_it_is_not() {
    let log = signed_log(4).await;
    let tail = log.tail().await.unwrap();
    let well = found(&log).await;
    assert_eq!(well.signed.as_ref().map(|head| head.position), Some(tail.position));
    assert_eq!(well.unsigned, []);
    add(&log, 5).await;
    add(&log, 6).await;
    let added = found(&log).await;
    assert_eq!(added.signed, well.signed);
    let unsigned: Vec<u64> = added.unsigned.iter().map(|head| head.position.index).collect();
    assert_eq!(unsigned, [tail.position.index + 1, tail.position.index + 2]);
    // Who requires no signatures is not told.
    let plain = vouched_tail(&log, &log.tail().await.unwrap()).await.unwrap();
    assert_eq!(plain, VouchedTail { signed: None, unsigned: vec![] });
}

#[tokio::test]
async fn an_empty_log_has_nothing_to_vouch_for_and_an_unsigned_one_nobody_who_does() {
    let empty = log();
    assert_eq!(found(&empty).await, VouchedTail { signed: None, unsigned: vec![] });
    super::start_epoch(&empty).await;
    add(&empty, 1).await;
    let unsigned = found(&empty).await;
    assert_eq!((unsigned.signed, unsigned.unsigned.len()), (None, 2));
}

#[tokio::test]
async fn what_nobody_vouches_for_is_not_claimed() {
    let log = signed_log(2).await;
    claim(&signed(&log, 1), label("next"), &clock()).await.unwrap();
    add(&log, 3).await;
    let before = log.tail().await.unwrap();
    let checked = check_claim(&signed(&log, 1)).await.unwrap_err();
    let refused = claim(&signed(&log, 1), label("next"), &clock()).await.unwrap_err();
    for refused in [checked, refused] {
        assert!(matches!(refused, LogError::Unusable { .. }), "{refused:?}");
        assert!(refused.to_string().contains("entries from 5 to 5"), "{refused}");
    }
    assert_eq!(log.tail().await.unwrap(), before, "nothing was written");
    // Whoever decides that it is right vouches for it.
    let key = Some(key(1));
    let vouching = SignedLog::new(Arc::new(log.clone()), Signing { key, trust: Trust::default() });
    check_claim(&vouching).await.unwrap();
    claim(&vouching, label("next"), &clock()).await.unwrap();
    assert_eq!(found(&log).await.unsigned, []);
}

#[tokio::test]
async fn a_tail_that_says_what_the_signed_entry_does_not_is_refused() {
    let log = signed_log(2).await;
    let tail = log.tail().await.unwrap();
    let mut other = tail.position;
    other.digest = log.entry(1).await.unwrap().digest;
    let lies = [
        Tail { outbox_sequence: tail.outbox_sequence + 1, ..tail.clone() },
        Tail { epoch: tail.epoch + 1, ..tail.clone() },
        Tail { position: other, ..tail.clone() },
    ];
    for lie in lies {
        let refused = vouched_tail(&signed(&log, 1), &lie).await;
        assert!(matches!(refused, Err(LogError::Corrupt { .. })), "{lie:?}: {refused:?}");
    }
}

#[tokio::test]
async fn what_a_stranger_signed_or_nobody_can_compare_is_refused() {
    let log = signed_log(2).await;
    let tail = log.tail().await.unwrap();
    signed(&log, 9).append(&tail, &[next(&tail, block(3))]).await.unwrap();
    let refused = vouched_tail(&signed(&log, 1), &log.tail().await.unwrap()).await;
    assert!(matches!(refused, Err(LogError::Corrupt { .. })), "{refused:?}");
    // Of the last entry that is left the content is compared with nothing.
    let log = signed_log(2).await;
    log.trim(u64::MAX).await.unwrap();
    let refused = vouched_tail(&signed(&log, 1), &log.tail().await.unwrap()).await;
    assert!(matches!(refused, Err(LogError::Corrupt { .. })), "{refused:?}");
}

/// A claim that nobody signed stands between nothing: it is an entry like others.
#[tokio::test]
async fn the_claim_of_a_stranger_is_not_vouched_for() {
    let log = signed_log(2).await;
    let tail = log.tail().await.unwrap();
    let (primary, outbox) = (label("thief"), OutboxId::from_bytes([9; 16]));
    let event = Event::EpochStarted { primary, outbox };
    let taken = Entry::seal(&tail.position, tail.epoch + 1, tail.time, 0, event);
    log.append(&tail, &[taken]).await.unwrap();
    assert_eq!(found(&log).await.unsigned.len(), 1);
    assert!(claim(&signed(&log, 1), label("node"), &clock()).await.is_err());
}

/// It goes into announcements, which are signed.
#[tokio::test]
async fn a_block_is_announced_if_it_chains_up_to_a_vouched_tail() {
    let log = signed_log(4).await;
    let block = |log: &MemoryLog, back| {
        let log = log.clone();
        async move {
            let tail = log.tail().await.unwrap();
            vouched_block(&signed(&log, 1), &tail, back).await.unwrap().map(|tip| tip.height)
        }
    };
    assert_eq!(block(&log, 300).await, Some(4));
    // Over what is no block.
    let tail = log.tail().await.unwrap();
    let mark = Event::Marked { name: label("m") };
    signed(&log, 1).append(&tail, &[next(&tail, mark)]).await.unwrap();
    assert_eq!((block(&log, 300).await, block(&log, 1).await), (Some(4), None));
    add(&log, 5).await;
    assert_eq!(block(&log, 300).await, None);
    assert_eq!(block(&super::log(), 300).await, None);
}
