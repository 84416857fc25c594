//! Following the log.

use std::sync::Arc;
use std::time::Duration;

use tipline_proto::limits::{MAX_APPLY_BYTES, MAX_APPLY_EVENTS, MAX_UNIT_BYTES};
use tokio::time::{Instant, timeout};

use super::script::{append, assert_same, consumer, filled, identity, take, turns};
use super::{Fixture, PUSH_LIMIT};
use crate::error::LogError;
use crate::spec::Log;

/// How long the end of a subscription that was taken over may take to be noticed.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(30);

/// Everything from the first entry on, in order, each once.
pub(super) async fn from_the_origin(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("from_the_origin")).await;
    let (mut script, mut tail, mut entries) = filled(&*log, 1500).await;
    let mut subscription = log.subscribe(Some(&consumer("replica-1")), 0).await.unwrap();
    assert_same(&take(&mut *subscription, entries.len()).await, &entries);
    // What comes later follows without a seam.
    let before = entries.len();
    for count in [1, 7, 100] {
        let unit = script.blocks(count, 10);
        tail = append(&*log, &tail, &unit).await;
        entries.extend(unit);
    }
    assert_same(&take(&mut *subscription, 108).await, &entries[before..]);
}

/// From any entry on.
pub(super) async fn from_the_middle(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("from_the_middle")).await;
    let (_, _, entries) = filled(&*log, 20).await;
    for after in [1, 2, 10, 20] {
        let mut subscription = log.subscribe(None, after as u64).await.unwrap();
        let rest = &entries[after..];
        assert_same(&take(&mut *subscription, rest.len()).await, rest);
    }
}

/// At the tail a subscription waits, of an empty log too, and then gives what comes.
pub(super) async fn waits_at_the_tail(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("waits_at_the_tail")).await;
    let mut from_empty = log.subscribe(None, 0).await.unwrap();
    let nothing = timeout(Duration::from_millis(50), from_empty.next()).await;
    assert!(nothing.is_err(), "an empty log gave {nothing:?}");

    let (mut script, tail, entries) = filled(&*log, 5).await;
    assert_same(&take(&mut *from_empty, entries.len()).await, &entries);
    let mut from_tail = log.subscribe(None, tail.position.index).await.unwrap();
    let nothing = timeout(Duration::from_millis(50), from_tail.next()).await;
    assert!(nothing.is_err(), "the tail gave {nothing:?}");
    let block = script.block(10);
    append(&*log, &tail, std::slice::from_ref(&block)).await;
    for subscription in [&mut from_empty, &mut from_tail] {
        assert_same(&take(&mut **subscription, 1).await, std::slice::from_ref(&block));
    }
}

/// After the tail there is no place to start from. The log must have been cut off, or it is
/// another one. The consumer's running subscription is not disturbed.
pub(super) async fn beyond_the_tail(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("beyond_the_tail")).await;
    for after in [1, 2, u64::MAX] {
        assert_out_of_range(&*log, after, 0).await;
    }
    let (mut script, tail, _) = filled(&*log, 5).await;
    let mut running = log.subscribe(Some(&consumer("replica-1")), 6).await.unwrap();
    for after in [7, 100, u64::MAX - 1] {
        assert_out_of_range(&*log, after, 6).await;
    }
    let block = script.block(10);
    append(&*log, &tail, std::slice::from_ref(&block)).await;
    assert_same(&take(&mut *running, 1).await, &[block]);
}

async fn assert_out_of_range(log: &dyn Log, after: u64, tail: u64) {
    let result = log.subscribe(Some(&consumer("replica-1")), after).await.map(|_| "a subscription");
    let Err(LogError::OutOfRange { first, last, .. }) = result else {
        panic!("after {after}: {result:?}");
    };
    assert_eq!((first, last), (1, tail));
}

/// No batch is over the limits, by count and by bytes.
pub(super) async fn batch_bounds(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("batch_bounds")).await;
    let (mut script, mut tail, mut entries) = filled(&*log, 2 * MAX_APPLY_EVENTS + 500).await;
    let large = script.blocks(40, 1 << 20);
    for unit in large.chunks(MAX_UNIT_BYTES >> 20) {
        tail = append(&*log, &tail, unit).await;
    }
    // Larger than a batch may be: alone it may come.
    let huge = script.block(MAX_APPLY_BYTES + 1);
    tail = append(&*log, &tail, std::slice::from_ref(&huge)).await;
    let last = script.block(1);
    append(&*log, &tail, std::slice::from_ref(&last)).await;
    entries.extend(large);
    entries.extend([huge, last]);

    let mut subscription = log.subscribe(None, 0).await.unwrap();
    let mut taken = Vec::new();
    while taken.len() < entries.len() {
        let batch = subscription.next().await.unwrap();
        let bytes: usize = batch.iter().map(|entry| entry.event.payload().len()).sum();
        assert!((1..=MAX_APPLY_EVENTS).contains(&batch.len()), "{} entries", batch.len());
        let fits = bytes <= MAX_APPLY_BYTES || batch.len() == 1;
        assert!(fits, "{bytes} bytes in {} entries", batch.len());
        taken.extend(batch);
    }
    assert_same(&taken, &entries);
}

/// A call of next that is dropped anywhere on its way loses nothing and repeats nothing.
pub(super) async fn cancelled_next(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("cancelled_next")).await;
    let (mut script, mut tail, mut entries) = filled(&*log, 1).await;
    let mut subscription = log.subscribe(Some(&consumer("replica-1")), 0).await.unwrap();
    let mut taken = Vec::new();
    for round in 0..200_usize {
        let unit = script.blocks(1 + round % 3, 10);
        tail = append(&*log, &tail, &unit).await;
        entries.extend(unit);
        // Dropped after it was polled a few times: another number in each round.
        tokio::select! {
            biased;
            batch = subscription.next() => taken.extend(batch.unwrap()),
            () = turns(round % 11) => {}
        }
    }
    while taken.len() < entries.len() {
        taken.extend(subscription.next().await.unwrap());
    }
    assert_same(&taken, &entries);
}

/// The second subscription of a name ends the first, wherever it is; it is the newest one
/// that continues.
pub(super) async fn taken_over(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("taken_over")).await;
    let other = fixture.open().await;
    let (mut script, tail, entries) = filled(&*log, 3).await;
    let name = consumer("replica-1");
    let mut first = log.subscribe(Some(&name), 0).await.unwrap();
    assert_same(&take(&mut *first, entries.len()).await, &entries);
    let waiting = tokio::spawn(async move {
        let ended = first.next().await;
        (ended, first.next().await)
    });
    let mut second = other.subscribe(Some(&name), 0).await.unwrap();
    let (ended, again) = timeout(TAKE_OVER_LIMIT, waiting).await.unwrap().unwrap();
    assert!(matches!(ended, Err(LogError::Unusable { .. })), "the first went on: {ended:?}");
    assert!(again.is_err(), "it came back to life: {again:?}");

    assert_same(&take(&mut *second, entries.len()).await, &entries);
    let block = script.block(10);
    append(&*log, &tail, std::slice::from_ref(&block)).await;
    assert_same(&take(&mut *second, 1).await, &[block]);
}

/// Subscriptions of other names, and those without a name, do not disturb each other.
pub(super) async fn names_are_apart(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("names_are_apart")).await;
    let other = fixture.open().await;
    let (mut script, tail, mut entries) = filled(&*log, 3).await;
    let mut subscriptions = vec![
        log.subscribe(Some(&consumer("replica-1")), 0).await.unwrap(),
        other.subscribe(Some(&consumer("replica-2")), 0).await.unwrap(),
        log.subscribe(None, 0).await.unwrap(),
        other.subscribe(None, 0).await.unwrap(),
        log.subscribe(None, 0).await.unwrap(),
    ];
    let unit = script.blocks(5, 10);
    append(&*log, &tail, &unit).await;
    entries.extend(unit);
    for subscription in &mut subscriptions {
        assert_same(&take(&mut **subscription, entries.len()).await, &entries);
    }
}

/// An append of one handle is pushed to a subscription that waits at another.
pub(super) async fn pushed(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("pushed")).await;
    let other = fixture.open().await;
    let (mut script, mut tail, _) = filled(&*log, 1).await;
    let mut subscription = other.subscribe(Some(&consumer("replica-1")), 2).await.unwrap();
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let block = script.block(10);
        let append = async {
            // Let the subscription wait first.
            turns(10).await;
            let tail = append(&*log, &tail, std::slice::from_ref(&block)).await;
            (tail, Instant::now())
        };
        let receive = timeout(TAKE_OVER_LIMIT, take(&mut *subscription, 1));
        let ((next, appended), received) = tokio::join!(append, receive);
        slowest = slowest.max(appended.elapsed());
        assert_same(&received.unwrap_or_else(|_| panic!("round {round}: nothing")), &[block]);
        tail = next;
    }
    assert!(slowest < PUSH_LIMIT, "it took {slowest:?} to be notified");
}

/// A reader that follows while units with large events are written sees whole units' order
/// and whole events only.
pub(super) async fn never_half_a_unit(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("never_half_a_unit")).await;
    let other = fixture.open().await;
    let (mut script, mut tail, mut entries) = filled(&*log, 1).await;
    let mut subscription = other.subscribe(Some(&consumer("replica-1")), 0).await.unwrap();
    let units: Vec<_> = (0..6).map(|_| [3 << 20, 10, 1 << 20].map(|l| script.block(l))).collect();
    entries.extend(units.iter().flatten().cloned());
    let count = entries.len();
    let writer = Arc::clone(&log);
    let write = tokio::spawn(async move {
        for unit in units {
            tail = append(&*writer, &tail, &unit).await;
        }
    });
    // The tail and single entries are read meanwhile.
    let mut looked = 0;
    while looked < count as u64 {
        let tail = other.tail().await.unwrap().position;
        assert!(tail.index < 3 || (tail.index - 2).is_multiple_of(3), "half a unit at {tail}");
        if tail.index > 0 {
            assert_eq!(other.entry(tail.index).await.unwrap().position(), tail);
        }
        looked = tail.index;
    }
    let taken = take(&mut *subscription, count).await;
    write.await.unwrap();
    assert_same(&taken, &entries);
}

/// Acknowledging is a courtesy. In order, again, and never, all is the same.
pub(super) async fn acknowledged(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("acknowledged")).await;
    let (mut script, tail, entries) = filled(&*log, 10).await;
    let name = consumer("replica-1");
    let mut subscription = log.subscribe(Some(&name), 0).await.unwrap();
    assert_same(&take(&mut *subscription, entries.len()).await, &entries);
    for index in [3, 7, 7, 11] {
        subscription.acknowledge(index).await.unwrap();
    }
    let block = script.block(10);
    append(&*log, &tail, std::slice::from_ref(&block)).await;
    assert_same(&take(&mut *subscription, 1).await, std::slice::from_ref(&block));
    drop(subscription);
    // The consumer's store is the truth, not what was acknowledged.
    let mut again = log.subscribe(Some(&name), 4).await.unwrap();
    let rest = [&entries[4..], &[block]].concat();
    assert_same(&take(&mut *again, rest.len()).await, &rest);
}
