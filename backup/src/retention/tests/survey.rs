use std::time::Duration;

use tipline_log::memory::MemoryLog;
use tipline_log::{Appender, Extent, Receipts, Trimmer};
use tipline_proto::{Entry, Level, Position, Timestamp};
use tipline_store::conformance::history::{History, log};

use super::super::{Reservation, reservations, survey};
use super::{archive, elsewhere, receipt_at};

const SECOND: u64 = 1_000_000;

/// A log of 100 entries, one every ten seconds from 0 s on.
async fn ten_seconds_apart() -> (MemoryLog, Vec<Position>) {
    let memory = MemoryLog::new(log());
    let mut position = Position::origin(&log());
    let mut positions = vec![position];
    for (entry, number) in History::blocks(99, 10).entries.into_iter().zip(0..) {
        let time = Timestamp::from_micros(number * 10 * SECOND);
        let sealed = Entry::seal(&position, 1, time, entry.outbox_sequence, entry.event);
        position = sealed.position();
        positions.push(position);
        memory.append(&memory.tail().await.unwrap(), &[sealed]).await.unwrap();
    }
    (memory, positions)
}

#[tokio::test]
async fn it_sees_ages_digests_and_the_pace() {
    let (log, positions) = ten_seconds_apart().await;
    log.trim(21).await.unwrap();
    for (name, position) in [("a", positions[50]), ("b", positions[3]), ("c", elsewhere(70))] {
        log.put_receipt(&receipt_at(name, Level::Durable, position)).await.unwrap();
    }
    let proven = [archive(positions[60]), archive(positions[20]), archive(elsewhere(500))];
    let now = Timestamp::from_micros(1000 * SECOND);
    let young_from = async |keep_for| {
        let seen = survey(&log, &proven, Duration::from_secs(keep_for), now).await.unwrap();
        seen.young_from
    };
    // Entry n was committed at (n - 1) × 10 s, the newest at 990 s.
    assert_eq!(young_from(0).await, 101);
    assert_eq!(young_from(5).await, 100);
    assert_eq!(young_from(11).await, 99);
    assert_eq!(young_from(300).await, 71);
    assert_eq!(young_from(100_000).await, 21);

    let seen = survey(&log, &proven, Duration::ZERO, now).await.unwrap();
    assert_eq!(seen.held, Extent { first: 21, last: 100 });
    let digests: Vec<_> = seen.digests.iter().map(|(index, digest)| (*index, *digest)).collect();
    let own = |index: usize| (index as u64, positions[index].digest);
    assert_eq!(digests, [own(50), own(60), own(70), own(100)]);
    assert_eq!(seen.per_event, Some(Duration::from_secs(10)));

    let told: Vec<_> = reservations(&seen, 60).iter().map(|r| (r.behind, r.reservation)).collect();
    let at_risk_in = Some(Duration::from_secs(110));
    let expected = [
        (50, Reservation::Reserved { at_risk_in }),
        (97, Reservation::Lost),
        (30, Reservation::Diverged),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn an_empty_log_and_one_of_one_entry_are_seen() {
    let memory = MemoryLog::new(log());
    let now = Timestamp::from_micros(SECOND);
    let seen = survey(&memory, &[], Duration::from_secs(9), now).await.unwrap();
    assert_eq!((seen.held, seen.per_event), (Extent { first: 1, last: 0 }, None));

    let (memory, _) = ten_seconds_apart().await;
    memory.trim(100).await.unwrap();
    let seen = survey(&memory, &[], Duration::from_secs(9), now).await.unwrap();
    assert_eq!((seen.held, seen.per_event), (Extent { first: 100, last: 100 }, None));
}
