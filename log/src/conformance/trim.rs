//! Trimming: what is gone, what stays, and who notices.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Fixture;
use super::script::{Script, append, assert_same, consumer, filled, identity, take};
use crate::error::LogError;
use crate::spec::{Extent, Log, Subscription};

/// How long a reader that was left behind may take to notice it.
const NOTICE_LIMIT: Duration = Duration::from_secs(30);

/// The oldest entries go, up to where it was asked; never the newest one; never twice.
pub(super) async fn trimmed(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("trimmed")).await;
    let empty = Extent { first: 1, last: 0 };
    assert_eq!(log.trim(5).await.unwrap(), empty, "an empty log has nothing to trim");
    let (mut script, tail, mut entries) = filled(&*log, 2999).await;
    let other = fixture.open().await;
    // (where to, what is the oldest one then)
    let steps = [(0, 1), (1, 1), (2, 2), (2, 2), (1, 2), (7, 7), (2500, 2500), (3, 2500)];
    for (first, oldest) in steps {
        let expected = Extent { first: oldest, last: 3000 };
        assert_eq!(log.trim(first).await.unwrap(), expected, "to {first}");
        for log in [&log, &other] {
            assert_eq!(log.extent().await.unwrap(), expected, "to {first}");
            assert_eq!(log.tail().await.unwrap(), tail);
            assert_holds(&**log, &entries, oldest).await;
        }
    }
    for beyond in [3000, 3001, u64::MAX] {
        assert_eq!(log.trim(beyond).await.unwrap(), Extent { first: 3000, last: 3000 });
    }
    let block = script.block(10);
    append(&*log, &tail, std::slice::from_ref(&block)).await;
    entries.push(block);
    assert_eq!(other.extent().await.unwrap(), Extent { first: 3000, last: 3001 });
    assert_holds(&*fixture.open().await, &entries, 3000).await;
}

/// Single entries and a new reader see what is held, and get the range outside of it.
async fn assert_holds(log: &dyn Log, entries: &[tipline_proto::Entry], oldest: u64) {
    let held = &entries[oldest as usize - 1..];
    let last = entries.len() as u64;
    for index in [oldest, oldest + 1, last].map(|index| index.min(last)) {
        let found = log.entry(index).await.unwrap();
        assert_same(&[found], &entries[index as usize - 1..index as usize]);
    }
    assert_same(&read(log, oldest - 1, held.len()).await, held);
    for gone in [0, 1, oldest / 2, oldest - 1].into_iter().filter(|gone| *gone < oldest) {
        let answer = log.entry(gone).await.map(drop);
        assert_out_of_range(answer, gone, Extent { first: oldest, last });
    }
    for after in [0, oldest / 2, oldest.saturating_sub(2)].into_iter().filter(|n| n + 1 < oldest) {
        let answer = log.subscribe(Some(&consumer("late")), after).await.map(drop);
        assert_out_of_range(answer, after + 1, Extent { first: oldest, last });
    }
}

/// Reads this many entries, as a consumer does: subscribing again where it has to.
async fn read(log: &dyn Log, after: u64, count: usize) -> Vec<tipline_proto::Entry> {
    let mut read = Vec::new();
    while read.len() < count {
        let mut subscription = log.subscribe(None, after + read.len() as u64).await.unwrap();
        while read.len() < count {
            match subscription.next().await {
                Ok(batch) => read.extend(batch),
                Err(error) if error.is_retryable() => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    read
}

fn assert_out_of_range(answer: Result<(), LogError>, asked: u64, held: Extent) {
    let Err(LogError::OutOfRange { asked: said, first, last }) = answer else {
        panic!("entry {asked} is gone: {answer:?}");
    };
    assert_eq!((said, Extent { first, last }), (asked, held));
}

/// The newest claim is trimmed away. The tail names its outbox and epoch all the same, and
/// a primary that continues there is fenced by the next claim as ever.
pub(super) async fn trimmed_claim(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("trimmed_claim")).await;
    let (mut script, mut tail, _) = filled(&*log, 10).await;
    for outbox in [2, 3, 4] {
        log.trim(tail.position.index - 3).await.unwrap();
        let read = fixture.open().await.tail().await.unwrap();
        assert_eq!(read, tail);
        assert_eq!(read.outbox.map(|outbox| *outbox.as_bytes()), Some([outbox - 1; 16]));
        // The old primary continues, then a new one claims after what it read.
        let later = append(&*log, &read, &script.blocks(3, 10)).await;
        let other = fixture.open().await;
        script = Script::after(&other.tail().await.unwrap(), outbox);
        let claimed = append(&*other, &later, &[script.claim()]).await;
        assert_eq!(claimed.epoch, read.epoch + 1);
        tail = append(&*other, &claimed, &script.blocks(9, 10)).await;
        assert_eq!(log.tail().await.unwrap(), tail);
    }
    // Several claims go at once.
    for outbox in [5, 6, 7] {
        script = Script::after(&tail, outbox);
        tail = append(&*log, &tail, &[script.claim()]).await;
        tail = append(&*log, &tail, &script.blocks(2, 10)).await;
    }
    let last = log.trim(u64::MAX).await.unwrap();
    assert_eq!(last, Extent { first: tail.position.index, last: tail.position.index });
    assert_eq!(fixture.open().await.tail().await.unwrap(), tail);
    // Trimming never touches the board.
    assert_eq!(log.board().await.unwrap(), crate::Board::default());
}

/// Large events are trimmed with all that they are made of.
pub(super) async fn trimmed_large(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("trimmed_large")).await;
    let (mut script, mut tail, mut entries) = filled(&*log, 1).await;
    for lengths in [[3 << 20, 10, 5 << 20], [10, 3 << 20, 1 << 20], [20 << 20, 0, 2 << 20]] {
        for length in lengths {
            let entry = script.block(length);
            tail = append(&*log, &tail, std::slice::from_ref(&entry)).await;
            entries.push(entry);
        }
    }
    let other = fixture.open().await;
    for first in 2..=entries.len() as u64 {
        let last = entries.len() as u64;
        assert_eq!(log.trim(first).await.unwrap(), Extent { first, last });
        assert_eq!(other.tail().await.unwrap(), tail);
        assert_holds(&*other, &entries, first).await;
    }
}

/// A reader that has everything up to the new beginning continues without noticing; one that
/// was further back gets the range.
pub(super) async fn trimmed_under_readers(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("trimmed_under_readers")).await;
    let other = fixture.open().await;
    let (mut script, mut tail, mut entries) = filled(&*log, 3999).await;
    let mut ahead = other.subscribe(Some(&consumer("ahead")), 2500).await.unwrap();
    let mut behind = other.subscribe(Some(&consumer("behind")), 0).await.unwrap();
    let early = behind.next().await.unwrap();
    assert_same(&early, &entries[..early.len()]);
    let mut at_tail = other.subscribe(Some(&consumer("at-tail")), 4000).await.unwrap();

    assert_eq!(log.trim(2501).await.unwrap().first, 2501);
    let block = script.block(3 << 20);
    tail = append(&*log, &tail, std::slice::from_ref(&block)).await;
    entries.push(block);
    assert_eq!(log.trim(4001).await.unwrap(), Extent { first: 4001, last: 4001 });
    let block = script.block(10);
    append(&*log, &tail, std::slice::from_ref(&block)).await;
    entries.push(block);

    assert_same(&take(&mut *at_tail, 2).await, &entries[4000..]);
    // What was under way to the others may still come; what is missing is noticed.
    let held = Extent { first: 4001, last: 4002 };
    for (name, subscription, had) in
        [("ahead", &mut ahead, 2500), ("behind", &mut behind, early.len())]
    {
        let reading = read_to_the_gap(&mut **subscription, had as u64);
        let read = timeout(NOTICE_LIMIT, reading).await.unwrap();
        assert_same(&read, &entries[had..had + read.len()]);
        let at = (had + read.len()) as u64;
        if at < 4000 {
            let again = other.subscribe(Some(&consumer(name)), at).await.map(drop);
            assert_out_of_range(again, at + 1, held);
        }
    }
}

/// Reads for as long as the entries are in a row after `after`, or to the newest one.
async fn read_to_the_gap(
    subscription: &mut dyn Subscription,
    after: u64,
) -> Vec<tipline_proto::Entry> {
    let mut read = Vec::new();
    while after + (read.len() as u64) < 4002 {
        match subscription.next().await {
            Ok(batch) => {
                for entry in batch {
                    if entry.index != after + read.len() as u64 + 1 {
                        return read;
                    }
                    read.push(entry);
                }
            }
            Err(LogError::OutOfRange { first: 4001.., .. }) => return read,
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                return read;
            }
        }
    }
    read
}

/// Appending, following the tail and trimming at the same time, by three handles: nobody is
/// disturbed, and every claim is there whenever it is asked for.
pub(super) async fn trimmed_while_written(fixture: &dyn Fixture) {
    let log = fixture.create(&identity("trimmed_while_written")).await;
    let (script, tail, _) = filled(&*log, 1).await;
    let name = consumer("replica-1");
    let mut subscription = fixture.open().await.subscribe(Some(&name), 2).await.unwrap();
    let writer = fixture.open().await;
    let writing = tokio::spawn(write_epochs(writer, script, tail));
    let trimmers = [fixture.open().await, fixture.open().await];
    let mut trimmed = 0;
    let mut at = 2;
    while at < ROUNDS * PER_ROUND + 2 {
        let batch = subscription.next().await.unwrap();
        for entry in &batch {
            assert_eq!(entry.index, at + 1, "a reader at the tail is not disturbed");
            at = entry.index;
        }
        // Two trim at once, to different places; neither is past the reader.
        let (a, b) = tokio::join!(trimmers[0].trim(at), trimmers[1].trim(at.saturating_sub(3)));
        trimmed = a.unwrap().first.max(b.unwrap().first).max(trimmed);
        let tail = log.tail().await.unwrap();
        let outbox = tail.outbox.map(|outbox| u64::from(outbox.as_bytes()[0]));
        assert_eq!(outbox, Some(tail.epoch), "the outbox of another epoch");
    }
    let end = writing.await.unwrap();
    assert_eq!(log.tail().await.unwrap(), end);
    assert_eq!(trimmed, end.position.index);
    assert_eq!(log.extent().await.unwrap(), Extent { first: trimmed, last: trimmed });
}

const ROUNDS: u64 = 40;
const PER_ROUND: u64 = 5;

/// Every round a new primary, whose outbox has the number of its epoch.
async fn write_epochs(
    log: Arc<dyn Log>,
    mut script: Script,
    mut tail: crate::spec::Tail,
) -> crate::spec::Tail {
    for round in 0..ROUNDS {
        if round > 0 {
            let number = u8::try_from(tail.epoch + 1).unwrap();
            script = Script::after(&tail, number);
            tail = append(&*log, &tail, &[script.claim()]).await;
        }
        let count = if round > 0 { PER_ROUND - 1 } else { PER_ROUND };
        tail = append(&*log, &tail, &script.blocks(count as usize, 10)).await;
    }
    tail
}
