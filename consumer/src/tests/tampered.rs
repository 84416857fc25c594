//! A broker that tampers: whatever it does with what a primary signed, nothing of it is applied, and
//! the refusal names the entry and the reason.

use std::sync::Arc;
use std::time::Duration;

use tipline_log::memory::MemoryLog;
use tipline_log::memory::rigged::RiggedLog;
use tipline_log::{Appender, Log, Reader, SignedLog, Signing};
use tipline_proto::{Entry, InstanceId, Position, SignatureError, SigningKey, Trust};
use tipline_store::conformance::history::{self, History, log_with_lineage};
use tipline_store::{ChainView, SqliteReader, SqliteStore};

use super::running::{clock, failure, place, settings, until_index};
use crate::{Consumer, ConsumerError, ConsumerSettings, Refusal};

/// Entries in a unit.
const UNIT: usize = 10;

fn key(seed: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[seed; 32]))
}

fn trusting(log: impl Log + 'static) -> Arc<dyn Log> {
    let trust = Trust::new(vec![key(1).public()], []);
    Arc::new(SignedLog::new(Arc::new(log), Signing { key: None, trust }))
}

/// What a primary with a key makes of a history: the claim alone, then units.
async fn published(entries: &[Entry], by: &Arc<SigningKey>) -> Vec<Entry> {
    let log = MemoryLog::new(history::log());
    let signing = Signing { key: Some(Arc::clone(by)), trust: Trust::default() };
    let signed = SignedLog::new(Arc::new(log.clone()), signing);
    let (claim, rest) = entries.split_at(1);
    for unit in std::iter::once(claim).chain(rest.chunks(UNIT)) {
        let tail = signed.tail().await.unwrap();
        signed.append(&tail, unit).await.unwrap();
    }
    let mut all = Vec::new();
    for index in 1..=entries.len() as u64 {
        all.push(log.entry(index).await.unwrap());
    }
    all
}

/// A history with one claim, the first entry.
fn history() -> Vec<Entry> {
    History::blocks(60, 20).entries
}

/// The same entries with another one at a place, sealed again from there up to the last.
fn resealed(entries: &[Entry], from: u64, to: u64) -> Vec<Entry> {
    let mut forged = entries.to_vec();
    let mut before = entries[from as usize - 2].position();
    for entry in &mut forged[from as usize - 1..to as usize] {
        let Entry { epoch, outbox_sequence, event, signature, .. } = entry.clone();
        let time = tipline_proto::Timestamp::from_micros(entry.time.as_micros() + 1);
        *entry = Entry { signature, ..Entry::seal(&before, epoch, time, outbox_sequence, event) };
        before = entry.position();
    }
    forged
}

/// Follows what the broker makes of the entries of a log, until it ends.
async fn follow(
    kept: &[Entry],
    rig: impl Fn(Entry) -> Vec<Entry> + Send + Sync + 'static,
) -> (Arc<ConsumerError>, Option<Position>) {
    let (_directory, path) = place();
    let log = RiggedLog::new(history::log(), kept).await.rigged(rig).chunked(7);
    let heartbeat = Duration::from_millis(100);
    let settings = ConsumerSettings { heartbeat, ..settings() };
    let store = Box::new(SqliteStore::open(&path).unwrap());
    let instance = InstanceId::from_bytes([5; 16]);
    let consumer = Consumer::start(trusting(log), store, settings, instance, clock());
    let error = failure(&consumer).await;
    drop(consumer);
    let cursor = SqliteReader::open(&path).unwrap().cursor().unwrap();
    (error, cursor.map(|cursor| cursor.position))
}

fn refused(error: &ConsumerError) -> &Refusal {
    let ConsumerError::Refused(refusal) = error else { unreachable!("{error:?}") };
    refusal
}

/// In the place of each entry, the one of the same index of another history.
fn instead(of: Vec<Entry>) -> impl Fn(Entry) -> Vec<Entry> + Send + Sync + 'static {
    move |entry| vec![of.get(entry.index as usize - 1).cloned().unwrap_or(entry)]
}

#[tokio::test]
async fn what_a_primary_signed_is_followed() {
    let (_directory, path) = place();
    let kept = published(&history(), &key(1)).await;
    let log = RiggedLog::new(history::log(), &kept).await.chunked(7);
    let store = Box::new(SqliteStore::open(&path).unwrap());
    let instance = InstanceId::from_bytes([5; 16]);
    let consumer = Consumer::start(trusting(log), store, settings(), instance, clock());
    let last = kept.len() as u64;
    until_index(&consumer, last).await;
    consumer.shutdown().await.unwrap();
    let cursor = SqliteReader::open(&path).unwrap().cursor().unwrap().unwrap();
    assert_eq!(cursor.position, kept[kept.len() - 1].position());
}

#[tokio::test]
async fn an_edited_history_is_refused_before_any_of_it_is_applied() {
    let honest = published(&history(), &key(1)).await;
    // From entry 15 on, in the unit of 12 to 21, all digests fit again. Up to where the signature is,
    // which stays, is taken away, or is by the broker.
    let forged = resealed(&honest, 15, 21);
    let (error, at) = follow(&honest, instead(forged)).await;
    let wrong = SignatureError::Wrong { key: key(1).public() };
    assert!(
        matches!(refused(&error), Refusal::Forged { index: 21, source, .. } if *source == wrong),
        "{error:?}"
    );
    assert_eq!(at, Some(honest[10].position()), "the unit before it is there, and no more");

    let mut own = resealed(&honest, 15, 21);
    key(9).sign_entry(history::log().lineage, &mut own[20]);
    let (error, at) = follow(&honest, instead(own)).await;
    let untrusted = SignatureError::Untrusted { key: key(9).public() };
    assert!(
        matches!(refused(&error), Refusal::Forged { index: 21, source, .. } if *source == untrusted),
        "{error:?}"
    );
    assert_eq!(at, Some(honest[10].position()));

    // The entry that is signed does not continue what was edited before it.
    let (error, at) = follow(&honest, instead(resealed(&honest, 15, 20))).await;
    assert!(matches!(refused(&error), Refusal::Fork { index: 21, .. }), "{error:?}");
    assert_eq!(at, Some(honest[10].position()));
}

#[tokio::test]
async fn what_is_not_signed_is_refused() {
    let honest = published(&history(), &key(1)).await;
    let strip = |from: u64| {
        move |mut entry: Entry| {
            if entry.index >= from {
                entry.signature = None;
            }
            vec![entry]
        }
    };
    // A claim is a unit alone: refused at once.
    let (error, at) = follow(&honest, strip(1)).await;
    assert!(matches!(refused(&error), Refusal::Unsigned { index: 1, .. }), "{error:?}");
    assert_eq!(at.map_or(0, |at| at.index), 0);
    // The rest could be a unit that is being stored. Its signature does not come.
    let (error, at) = follow(&honest, strip(32)).await;
    assert!(matches!(refused(&error), Refusal::Unsigned { index: 32, .. }), "{error:?}");
    assert_eq!(at, Some(honest[30].position()));
    assert!(error.to_string().contains("entry 32"), "{error}");
}

#[tokio::test]
async fn what_is_dropped_repeated_reordered_or_withheld_is_no_history() {
    let honest = published(&history(), &key(1)).await;
    let (error, at) = follow(&honest, |e| if e.index == 33 { vec![] } else { vec![e] }).await;
    assert!(matches!(refused(&error), Refusal::Gap { expected: 33, found: 34 }), "{error:?}");
    assert_eq!(at, Some(honest[30].position()));

    let swapped = {
        let mut swapped = honest.clone();
        swapped.swap(32, 33);
        swapped
    };
    let (error, _) = follow(&honest, instead(swapped)).await;
    assert!(matches!(refused(&error), Refusal::Gap { expected: 33, found: 34 }), "{error:?}");

    // The end of a unit is withheld: what came of it is not applied.
    let (error, at) = follow(&honest, |e| if e.index > 47 { vec![] } else { vec![e] }).await;
    assert!(matches!(refused(&error), Refusal::Unsigned { index: 42, .. }), "{error:?}");
    assert_eq!(at, Some(honest[40].position()));

    // What is repeated is ignored, as always; with other content it is refused.
    let edited = resealed(&honest, 15, 15);
    let again = move |entry: Entry| match entry.index {
        25 => vec![entry, edited[14].clone()],
        _ => vec![entry],
    };
    let (error, _) = follow(&honest, again).await;
    assert!(matches!(refused(&error), Refusal::Replaced { index: 15, .. }), "{error:?}");
}

/// The entries of another log of the same primary and key, which fit in digest: whoever copies a log
/// makes another lineage, so its digests differ. Its signatures alone do not make them fit.
#[tokio::test]
async fn entries_of_another_log_are_refused() {
    let honest = published(&history(), &key(1)).await;
    let other = log_with_lineage(9);
    let mut spliced = resealed(&honest, 15, 21);
    // Signed by the trusted key, as the last entry of a unit of another log.
    key(1).sign_entry(other.lineage, &mut spliced[20]);
    let (error, at) = follow(&honest, instead(spliced)).await;
    let wrong = SignatureError::Wrong { key: key(1).public() };
    assert!(
        matches!(refused(&error), Refusal::Forged { index: 21, source, .. } if *source == wrong),
        "{error:?}"
    );
    assert_eq!(at, Some(honest[10].position()));
}

#[tokio::test]
async fn a_key_is_rotated_while_it_is_followed_and_the_old_one_signs_no_more() {
    let (_directory, path) = place();
    let (mut entries, next) =
        (history(), Arc::new(key(1).succeeded_by(SigningKey::from_seed(&[2; 32]))));
    let more = {
        let before = entries.last().unwrap();
        let primary = "next".parse().unwrap();
        let outbox = tipline_proto::OutboxId::from_bytes([3; 16]);
        let event = tipline_proto::Event::EpochStarted { primary, outbox };
        let claim = Entry::seal(&before.position(), before.epoch + 1, before.time, 0, event);
        let name = "rotated".parse().unwrap();
        let event = tipline_proto::Event::Marked { name };
        let mark = Entry::seal(&claim.position(), claim.epoch, claim.time, 1, event);
        [claim, mark]
    };
    let log = MemoryLog::new(history::log());
    let by = |key: &Arc<SigningKey>| {
        let signing = Signing { key: Some(Arc::clone(key)), trust: Trust::default() };
        SignedLog::new(Arc::new(log.clone()), signing)
    };
    let (claim, rest) = entries.split_at(1);
    for unit in std::iter::once(claim).chain(rest.chunks(UNIT)) {
        by(&key(1)).append(&log.tail().await.unwrap(), unit).await.unwrap();
    }
    let store = Box::new(SqliteStore::open(&path).unwrap());
    let instance = InstanceId::from_bytes([5; 16]);
    let consumer = Consumer::start(trusting(log.clone()), store, settings(), instance, clock());
    for entry in &more {
        let tail = log.tail().await.unwrap();
        by(&next).append(&tail, std::slice::from_ref(entry)).await.unwrap();
    }
    entries.extend(more);
    until_index(&consumer, entries.len() as u64).await;
    // Whoever has the old key has nothing.
    let last = entries.last().unwrap();
    let event = tipline_proto::Event::Marked { name: "stolen".parse().unwrap() };
    let stolen = Entry::seal(&last.position(), last.epoch, last.time, 2, event);
    by(&key(1)).append(&log.tail().await.unwrap(), &[stolen]).await.unwrap();
    let error = failure(&consumer).await;
    let replaced = SignatureError::Replaced { key: key(1).public(), by: next.public() };
    assert!(
        matches!(refused(&error), Refusal::Forged { source, .. } if *source == replaced),
        "{error:?}"
    );
}
