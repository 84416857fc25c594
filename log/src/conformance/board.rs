//! Receipts, the announcement, and following them.

use std::time::Duration;

use bytes::Bytes;
use tipline_proto::{Announcement, Label, Lineage, LogIdentity, Position, Timestamp};
use tokio::time::{Instant, timeout};

use super::script::{consumer, identity, receipt, turns};
use super::{Fixture, PUSH_LIMIT};
use crate::error::LogError;
use crate::spec::Board;

fn announcement_of(log: &LogIdentity, epoch: u64) -> Announcement {
    Announcement {
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 0,
        outbox_max_bytes: 0,
        held_up: None,
        source_failure: None,
        seal: None,
        lineage: log.lineage,
        primary: Label::new("primary").unwrap(),
        epoch,
        tail: Position::origin(log),
        block_tip: None,
        proof_tip: None,
        outbox_events: 3,
        outbox_bytes: 4096,
        time: Timestamp::from_micros(5),
        failure: Some("disk full".to_owned()),
    }
}

/// The newest of each consumer, sorted by name; a consumer can be forgotten.
pub(super) async fn receipts(fixture: &dyn Fixture) {
    let identity = identity("receipts");
    let log = fixture.create(&identity).await;
    let other = fixture.open().await;
    for (name, index) in [("replica-2", 1), ("replica-1", 1), ("replica-1", 2), ("archive", 9)] {
        log.put_receipt(&receipt(&identity, name, index)).await.unwrap();
    }
    // Newest is what was put last, not what is furthest: a store may have been restored.
    other.put_receipt(&receipt(&identity, "archive", 4)).await.unwrap();
    let of = |name, index| receipt(&identity, name, index);
    let all = vec![of("archive", 4), of("replica-1", 2), of("replica-2", 1)];
    assert_board(
        &log.board().await.unwrap(),
        &Board { receipts: all.clone(), primary: None, ..Board::default() },
    );
    assert_eq!(other.board().await.unwrap().receipts, all);

    other.forget(&consumer("replica-1")).await.unwrap();
    other.forget(&consumer("replica-1")).await.unwrap();
    other.forget(&consumer("nobody")).await.unwrap();
    assert_eq!(log.board().await.unwrap().receipts, [of("archive", 4), of("replica-2", 1)]);
    // It may come back.
    log.put_receipt(&of("replica-1", 1)).await.unwrap();
    assert_eq!(other.board().await.unwrap().receipts.len(), 3);
}

/// What is about another log is refused.
pub(super) async fn wrong_lineage(fixture: &dyn Fixture) {
    let identity = identity("wrong_lineage");
    let log = fixture.create(&identity).await;
    let foreign = LogIdentity { lineage: Lineage::from_bytes([0xEE; 16]), ..identity.clone() };
    let answers = [
        log.put_receipt(&receipt(&foreign, "replica-1", 1)).await,
        log.announce(&announcement_of(&foreign, 1)).await,
    ];
    for answer in answers {
        let Err(LogError::WrongLog { expected, found, .. }) = answer else {
            panic!("not refused: {answer:?}");
        };
        assert_eq!((expected, found), (foreign.lineage, identity.lineage));
    }
    assert_eq!(log.board().await.unwrap(), Board::default());
}

/// The newest announcement of the primary.
pub(super) async fn announcement(fixture: &dyn Fixture) {
    let identity = identity("announcement");
    let log = fixture.create(&identity).await;
    for epoch in [1, 2, 3] {
        log.announce(&announcement_of(&identity, epoch)).await.unwrap();
    }
    let expected = Board {
        receipts: Vec::new(),
        primary: Some(announcement_of(&identity, 3)),
        ..Board::default()
    };
    assert_board(&log.board().await.unwrap(), &expected);
    assert_board(&fixture.open().await.board().await.unwrap(), &expected);
}

/// The board first, empty or not, and then each change, pushed, whichever handle makes it.
pub(super) async fn feed(fixture: &dyn Fixture) {
    let identity = identity("feed");
    let log = fixture.create(&identity).await;
    let other = fixture.open().await;
    let mut feed = log.follow_board().await.unwrap();
    assert_eq!(feed.next().await.unwrap(), Board::default());
    let nothing = timeout(Duration::from_millis(50), feed.next()).await;
    assert!(nothing.is_err(), "nothing changed, and the feed gave {nothing:?}");

    for index in 1..=10 {
        let put = async {
            // Let the feed wait first.
            turns(10).await;
            other.put_receipt(&receipt(&identity, "replica-1", index)).await.unwrap();
            Instant::now()
        };
        let (board, put) = tokio::join!(feed.next(), put);
        assert!(put.elapsed() < PUSH_LIMIT, "it took {:?} to be notified", put.elapsed());
        assert_eq!(board.unwrap().receipts, [receipt(&identity, "replica-1", index)]);
    }
    other.announce(&announcement_of(&identity, 1)).await.unwrap();
    assert_eq!(feed.next().await.unwrap().primary, Some(announcement_of(&identity, 1)));
    other.forget(&consumer("replica-1")).await.unwrap();
    let left = Board {
        receipts: Vec::new(),
        primary: Some(announcement_of(&identity, 1)),
        ..Board::default()
    };
    assert_board(&feed.next().await.unwrap(), &left);
    // A feed that starts later has it all at once.
    assert_board(&other.follow_board().await.unwrap().next().await.unwrap(), &left);
}

/// The same, apart from the ages, which are there for each.
fn assert_board(found: &Board, expected: &Board) {
    assert!(found.says_the_same(expected), "{found:#?}, not {expected:#?}");
    let names: Vec<_> = found.receipts.iter().map(|receipt| &receipt.consumer).collect();
    assert_eq!(found.heard.keys().collect::<Vec<_>>(), names);
    assert_eq!(found.primary_heard.is_some(), found.primary.is_some());
}

/// What cannot be read is named, and stops neither the others nor those who follow.
pub(super) async fn unreadable(fixture: &dyn Fixture) {
    let identity = identity("unreadable");
    let log = fixture.create(&identity).await;
    let other = fixture.open().await;
    let of = |name, index| receipt(&identity, name, index);
    let foreign = LogIdentity { lineage: Lineage::from_bytes([0xEE; 16]), ..identity.clone() };
    log.put_receipt(&of("archive", 1)).await.unwrap();
    log.announce(&announcement_of(&identity, 1)).await.unwrap();
    let mut feed = other.follow_board().await.unwrap();
    feed.next().await.unwrap();
    let nonsense = [
        ("newer", Bytes::from_static(b"hello")),
        ("other", of("archive", 2).encode()),
        ("Foo", of("archive", 2).encode()),
        ("old", receipt(&foreign, "old", 7).encode()),
    ];
    for (name, bytes) in nonsense {
        fixture.garble_receipt(name, bytes).await;
    }
    log.put_receipt(&of("replica-1", 2)).await.unwrap();
    let mut boards = vec![log.board().await.unwrap(), fixture.open().await.board().await.unwrap()];
    while boards.last().is_none_or(|board| board.receipts.len() < 2) {
        boards.push(feed.next().await.unwrap());
    }
    for board in [&boards[0], &boards[1], &boards[boards.len() - 1]] {
        assert_eq!(board.receipts, [of("archive", 1), of("replica-1", 2)]);
        assert_eq!(board.primary, Some(announcement_of(&identity, 1)));
        let mut places: Vec<_> = board.unreadable.iter().map(|found| &found.place).collect();
        places.sort();
        let names = ["Foo", "newer", "old", "other"];
        assert_eq!(places.len(), names.len(), "{board:#?}");
        for (place, name) in places.iter().zip(names) {
            assert!(place.ends_with(name), "{place} is not of {name}");
        }
        let mut consumers: Vec<_> =
            board.unreadable.iter().filter_map(|found| found.consumer.clone()).collect();
        consumers.sort();
        assert_eq!(consumers, ["newer", "old", "other"].map(consumer));
    }
    // One that has a name can be forgotten, or puts a good one.
    other.forget(&consumer("newer")).await.unwrap();
    other.put_receipt(&of("other", 3)).await.unwrap();
    let left = log.board().await.unwrap();
    assert_eq!(left.receipts, [of("archive", 1), of("other", 3), of("replica-1", 2)]);
    assert_eq!(left.unreadable.len(), 2, "{left:#?}");
}

/// How long something has been there is by the log's clock, whatever a receipt says.
pub(super) async fn ages(fixture: &dyn Fixture) {
    const SLACK: Duration = Duration::from_secs(1);
    let identity = identity("ages");
    let log = fixture.create(&identity).await;
    let other = fixture.open().await;
    let name = consumer("replica-1");
    let begun = Instant::now();
    log.put_receipt(&receipt(&identity, "replica-1", 1)).await.unwrap();
    log.announce(&announcement_of(&identity, 1)).await.unwrap();
    let mut feed = other.follow_board().await.unwrap();
    for board in [log.board().await.unwrap(), feed.next().await.unwrap()] {
        assert!(board.heard[&name] <= begun.elapsed() + SLACK, "{board:?}");
        assert!(board.primary_heard.unwrap() <= begun.elapsed() + SLACK, "{board:?}");
    }
    // It grows, until a new one is put.
    let put = Instant::now();
    let grown = 2 * SLACK;
    while other.board().await.unwrap().heard[&name] < grown {
        turns(10).await;
    }
    assert!(put.elapsed() + SLACK >= grown, "after {:?}", put.elapsed());
    let begun = Instant::now();
    log.put_receipt(&receipt(&identity, "replica-1", 2)).await.unwrap();
    for board in [other.board().await.unwrap(), feed.next().await.unwrap()] {
        assert!(board.heard[&name] <= begun.elapsed() + SLACK, "{board:?}");
        let since = board.primary_heard.unwrap();
        assert!(since + SLACK >= grown, "the announcement is as old as it was: {since:?}");
    }
}

/// However many receipts come, the newest of each arrives; what was seen never goes back.
pub(super) async fn flood(fixture: &dyn Fixture) {
    let identity = identity("flood");
    let log = fixture.create(&identity).await;
    let other = fixture.open().await;
    let mut feed = log.follow_board().await.unwrap();
    assert_eq!(feed.next().await.unwrap(), Board::default());
    let names = ["archive", "replica-1", "replica-2", "replica-3"];
    let newest: Vec<_> = names.iter().map(|name| receipt(&identity, name, 250)).collect();
    let flooding = tokio::spawn(async move {
        for index in 1..=250 {
            for name in names {
                other.put_receipt(&receipt(&identity, name, index)).await.unwrap();
            }
        }
    });
    let mut seen: Vec<u64> = Vec::new();
    loop {
        // Given up midway now and then: nothing may be lost by it.
        let Ok(board) = timeout(Duration::from_millis(1), feed.next()).await else { continue };
        let receipts = board.unwrap().receipts;
        let times: Vec<u64> = receipts.iter().map(|r| r.time.as_micros()).collect();
        let back = seen.iter().zip(&times).any(|(before, now)| before > now);
        assert!(!back && times.len() >= seen.len(), "went back from {seen:?} to {times:?}");
        seen = times;
        if receipts == newest {
            break;
        }
    }
    flooding.await.unwrap();
    assert_eq!(log.board().await.unwrap().receipts, newest);
}
