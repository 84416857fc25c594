//! What an archiver says of receipts is its word, and nobody signs it: what cannot be so does not count, and
//! the rest is shown for what it is.

use tipline_backup::ReceiptRecording;
use tipline_log::Board;
use tipline_proto::{Announcement, Position, Timestamp, Trust};
use tipline_store::conformance::history::log;

use super::receipts::{History3, after, all, at, board, indexes, key, three_minutes, told, trust};
use crate::{ForgottenRow, ReceiptChange, ReceiptsAt, receipts_between};

/// When a receipt was seen is what an archiver says, and nobody signs. It was not before it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_dated_back_before_it_was_sent_does_not_count() {
    let History3 { place, entries, .. } = three_minutes().await;
    let position = |index: usize| entries[index - 1].position();
    let [late, ahead] = [("a", 20_000, 1), ("b", 1_200, 2)]
        .map(|(name, sent_s, signer)| at(name, position(40), after(sent_s), signer));
    // Hours before the one was sent, and within what clocks may differ of the other.
    let mut recording = ReceiptRecording::new(4, &board(vec![late, ahead]), after(900));
    place.archive.write_receipts(&recording.take()).await.unwrap();

    let report = told(&place.archive, 900, &trust()).await;
    assert_eq!(indexes(&report), [("b", 40)], "{report:?}");
    assert!(report.problems.iter().any(|what| what.contains("dated back")), "{report:?}");
    // Whoever trusts nobody is told what was there.
    let report = told(&place.archive, 900, &Trust::default()).await;
    assert_eq!(indexes(&report), [("a", 40), ("b", 40)], "{report:?}");
}

/// The same of the primary.
#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_that_is_dated_back_does_not_count() {
    let History3 { place, entries, .. } = three_minutes().await;
    let of_primary = Trust::new(vec![key(3).public()], []);
    let tail = |index: usize| entries[index - 1].position();
    let seen = |index, sent_s| Board {
        primary: Some(announced(tail(index), after(sent_s))),
        ..Board::default()
    };
    let mut recording = ReceiptRecording::new(4, &seen(30, 900), after(900));
    recording.look(4, &seen(40, 20_000), after(930));
    place.archive.write_receipts(&recording.take()).await.unwrap();
    let said = |report: &ReceiptsAt| report.primary.as_ref().map(|row| row.tail.index);

    let report = told(&place.archive, 930, &of_primary).await;
    assert_eq!((said(&report), report.ok), (Some(30), false), "{report:?}");
    assert!(report.problems.iter().any(|what| what.contains("dated back")), "{report:?}");
    let report = told(&place.archive, 930, &Trust::default()).await;
    assert_eq!((said(&report), report.ok), (Some(40), true), "{report:?}");
}

fn announced(tail: Position, time: Timestamp) -> Announcement {
    let mut said = Announcement {
        lineage: log().lineage,
        primary: "primary-1".parse().unwrap(),
        epoch: 1,
        tail,
        block_tip: None,
        proof_tip: None,
        outbox_events: 0,
        outbox_bytes: 0,
        outbox_waiting_bytes: 0,
        outbox_oldest: None,
        outbox_max_events: 0,
        outbox_max_bytes: 0,
        held_up: None,
        source_failure: None,
        time,
        failure: None,
        seal: None,
    };
    key(3).sign_announcement(&mut said);
    said
}

/// Nobody signs it: it is shown as such, and makes no room for a receipt that was replaced before.
#[tokio::test(flavor = "multi_thread")]
async fn that_somebody_was_forgotten_is_the_word_of_the_archiver() {
    let History3 { place, entries, .. } = three_minutes().await;
    let receipt = |name, index: usize, sent_s, signer| {
        at(name, entries[index - 1].position(), after(sent_s), signer)
    };
    let b = || receipt("b", 30, 900, 2);
    let mut recording =
        ReceiptRecording::new(4, &board(vec![receipt("a", 30, 900, 1), b()]), after(900));
    recording.look(4, &board(vec![b()]), after(930));
    recording.look(4, &board(vec![receipt("a", 5, 10, 1), b()]), after(940));
    recording.look(4, &board(vec![receipt("a", 40, 950, 1), b()]), after(950));
    place.archive.write_receipts(&recording.take()).await.unwrap();

    let forgotten = |trusted| ForgottenRow {
        consumer: "a".to_owned(),
        seen_us: after(930).as_micros(),
        trusted,
    };
    for (trust, trusted) in [(trust(), Some(false)), (Trust::default(), None)] {
        let report = told(&place.archive, 930, &trust).await;
        assert_eq!(indexes(&report), [("b", 30)], "{report:?}");
        assert_eq!((report.ok, &report.forgotten), (true, &vec![forgotten(trusted)]));
        let changes = receipts_between(&place.archive, after(900), after(935), &trust, None).await;
        let changes = all(changes.unwrap()).await;
        assert!(changes.contains(&ReceiptChange::Forgotten(forgotten(trusted))), "{changes:?}");
    }
    let report = told(&place.archive, 940, &trust()).await;
    assert_eq!((indexes(&report), report.forgotten.len()), (vec![("b", 30)], 1));
    assert!(report.problems.iter().any(|what| what.contains("put there again")), "{report:?}");
    let report = told(&place.archive, 940, &Trust::default()).await;
    assert_eq!((indexes(&report), report.ok), (vec![("a", 5), ("b", 30)], true), "{report:?}");
    // Whoever comes back is there again.
    let report = told(&place.archive, 950, &trust()).await;
    assert_eq!(indexes(&report), [("a", 40), ("b", 30)]);
    assert!(report.forgotten.is_empty(), "{report:?}");
}
