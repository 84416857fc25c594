//! What was acknowledged at a past time is told as it was; what is forged, put back, damaged or lost is
//! named, and is never taken for nothing.

use std::fs;

use tipline_backup::{Archive, Check, Destination, ReceiptRecording, ReceiptSpan, Record};
use tipline_log::Board;
use tipline_proto::{
    Digest, Entry, InstanceId, Level, Position, Reached, Receipt, Role, SigningKey, Timestamp,
    Trust,
};
use tipline_store::conformance::history::{History, log};

use super::Place;
use crate::{
    AuditError, Compared, ReceiptChange, ReceiptGap, ReceiptsAt, ReceiptsBetween, Recorded, Why,
    checks_at, receipts_at, receipts_between,
};

/// The middle of a day.
pub(super) const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub(super) fn after(seconds: u64) -> Timestamp {
    Timestamp::from_micros(START.as_micros() + seconds * 1_000_000)
}

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

pub(super) fn trust() -> Trust {
    Trust::new(
        vec![],
        [("a", 1), ("b", 2)].map(|(name, seed)| (name.parse().unwrap(), key(seed).public())),
    )
}

pub(super) fn at(name: &str, position: Position, time: Timestamp, signer: u8) -> Receipt {
    let mut receipt = Receipt {
        lineage: log().lineage,
        consumer: name.parse().unwrap(),
        role: Role::Replica,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(position, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time,
        failure: None,
        store: "sqlite:a.db".to_owned(),
        applying: None,
        frozen: None,
        seal: None,
    };
    key(signer).sign_receipt(&mut receipt);
    receipt
}

pub(super) fn board(receipts: Vec<Receipt>) -> Board {
    Board { receipts, ..Board::default() }
}

/// An archive of 40 entries, with three minutes of receipts: `a` is at entry 5, later at 20, then at
/// 30, and `b` at 30 always.
pub(super) struct History3 {
    pub(super) place: Place,
    pub(super) entries: Vec<Entry>,
    spans: Vec<ReceiptSpan>,
}

pub(super) async fn three_minutes() -> History3 {
    let entries = History::blocks(39, 10).entries;
    let place = Place::filled(&entries, 7).await;
    let position = |index: usize| entries[index - 1].position();
    let seen = |index, time| {
        board(vec![at("a", position(index), time, 1), at("b", position(30), time, 2)])
    };
    let mut recording = ReceiptRecording::new(1, &seen(5, START), START);
    for (index, second) in [(5, 30), (20, 60), (20, 90), (20, 120), (30, 150), (30, 180)] {
        recording.look(1, &seen(index, after(second)), after(second));
        if second % 60 == 0 {
            place.archive.write_receipts(&recording.take()).await.unwrap();
        }
    }
    let spans = place.archive.receipt_spans(&Archive::receipt_day(START)).await.unwrap();
    assert_eq!(spans.len(), 3);
    History3 { place, entries, spans }
}

pub(super) async fn told(archive: &Archive, second: u64, trust: &Trust) -> ReceiptsAt {
    receipts_at(archive, Some(after(second)), trust, None).await.unwrap()
}

/// How far each consumer was.
pub(super) fn indexes(report: &ReceiptsAt) -> Vec<(&str, u64)> {
    let each = report.consumers.iter();
    each.map(|one| (&*one.consumer, one.reached["durable"].index)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_time_is_told_as_it_was() {
    let History3 { place, .. } = three_minutes().await;
    for (second, index) in [(0u64, 5u64), (59, 5), (60, 20), (149, 20), (150, 30), (180, 30)] {
        for trust in [trust(), Trust::default()] {
            let report = told(&place.archive, second, &trust).await;
            assert_eq!(indexes(&report), [("a", index), ("b", 30)], "{second} s: {report:?}");
            assert_eq!((report.ok, report.recorded), (true, Recorded::Yes), "{report:?}");
            let trusted = trust.requires_receipts().then_some(true);
            let same = |one: &crate::Acknowledged| {
                (one.history, one.trusted) == (Compared::Agrees, trusted)
            };
            assert!(report.consumers.iter().all(same), "{report:?}");
        }
    }
    let newest = receipts_at(&place.archive, None, &trust(), None).await.unwrap();
    assert_eq!(newest.at_us, after(180).as_micros());
    let name = "a".parse().unwrap();
    let one = receipts_at(&place.archive, None, &trust(), Some(&name)).await.unwrap();
    assert_eq!(indexes(&one), [("a", 30)]);
    // What is not known is not told as if nobody had anything.
    let before = Timestamp::from_micros(START.as_micros() - 1);
    let early = receipts_at(&place.archive, Some(before), &trust(), None).await.unwrap();
    assert_eq!((early.recorded, early.as_of_us), (Recorded::TooOld, None));
    let late = told(&place.archive, 181, &trust()).await;
    assert_eq!((late.recorded, late.as_of_us), (Recorded::NotYet, Some(after(180).as_micros())));
    assert_eq!(indexes(&late), [("a", 30), ("b", 30)]);
    let none = Place::new().await;
    let none = receipts_at(&none.archive, None, &trust(), None).await;
    assert!(matches!(none, Err(AuditError::NoReceipts { .. })), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_come_once_and_in_order() {
    let History3 { place, .. } = three_minutes().await;
    let (from, to) = (START, after(180));
    let mut between = receipts_between(&place.archive, from, to, &trust(), None).await.unwrap();
    assert_eq!(between.extent(), (from, to));
    let mut found = Vec::new();
    while let Some(change) = between.next().await.unwrap() {
        let ReceiptChange::Acknowledged(row) = change else { unreachable!("{change:?}") };
        found.push((row.consumer, row.reached["durable"].index, row.seen_us));
    }
    let expected = [("a", 5, 0), ("b", 30, 0), ("a", 20, 60), ("a", 30, 150)];
    let expected =
        expected.map(|(name, index, at)| (name.to_owned(), index, after(at).as_micros()));
    assert_eq!(found, expected);
}

/// One run of an archiver: at these seconds `a` is at this entry, in a receipt that it sent then by its own
/// clock. Without an entry it has none.
async fn recorded(place: &Place, run: u64, looks: &[(u64, Option<(u64, u64)>)]) {
    let seen = |looked: Option<(u64, u64)>| {
        let receipt = |(index, sent)| {
            let digest = Digest::from_bytes([u8::try_from(index).unwrap(); 32]);
            at("a", Position { index, digest }, after(sent), 1)
        };
        board(looked.map(receipt).into_iter().collect())
    };
    let (first, looks) = looks.split_first().unwrap();
    let mut recording = ReceiptRecording::new(run, &seen(first.1), after(first.0));
    for (second, looked) in looks {
        assert_eq!(recording.look(run, &seen(*looked), after(*second)), None);
        if recording.is_due(after(*second)) {
            place.archive.write_receipts(&recording.take()).await.unwrap();
        }
    }
    place.archive.write_receipts(&recording.take()).await.unwrap();
}

/// When each change was seen, and where the consumer was then.
fn rows(changes: &[ReceiptChange]) -> Vec<(u64, Option<u64>)> {
    let seconds = |us: u64| (us - START.as_micros()) / 1_000_000;
    let rows = changes.iter().filter_map(|change| match change {
        ReceiptChange::Acknowledged(row) => {
            Some((seconds(row.seen_us), Some(row.reached["durable"].index)))
        }
        ReceiptChange::Forgotten(row) => Some((seconds(row.seen_us), None)),
        _ => None,
    });
    rows.collect()
}

/// All that it does afterwards was sent before what it did until then.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_clock_was_set_back_is_heard() {
    let place = Place::new().await;
    let sent = |second: u64| if second < 30 { second + 3_600 } else { second };
    let saw = |seconds: std::ops::RangeInclusive<u64>| {
        let looks = seconds.step_by(10).map(|second| (second, Some((second, sent(second)))));
        looks.collect::<Vec<_>>()
    };
    recorded(&place, 1, &saw(0..=100)).await;
    let expected: Vec<_> = (0..=100).step_by(10).map(|at| (at, Some(at))).collect();
    assert_eq!(rows(&period(&place.archive, 0, 200).await), expected);
    // One that saw the same, and more of what was before and after; it is told once.
    recorded(&place, 2, &saw(1..=131)).await;
    let mut told = rows(&period(&place.archive, 0, 200).await);
    assert!(told.is_sorted(), "{told:?}");
    told.retain(|(at, _)| at % 10 == 0);
    assert_eq!(told, expected);
    // Whoever begins later did not see it go back, and is heard.
    recorded(&place, 3, &saw(143..=193)).await;
    let told = rows(&period(&place.archive, 0, 200).await);
    assert!(told.is_sorted() && told.ends_with(&[(183, Some(183)), (193, Some(193))]), "{told:?}");
}

/// The object in which it begins may begin ten minutes before.
#[tokio::test(flavor = "multi_thread")]
async fn a_period_begins_with_what_stood_then() {
    let place = Place::new().await;
    let looks = [0, 10, 20, 30, 40, 59].map(|second| match second {
        20 => (second, None),
        59 => (second, Some((40, 40))),
        _ => (second, Some((second, second))),
    });
    recorded(&place, 1, &looks).await;
    for (from, expected) in [
        (0, &[(0, Some(0)), (10, Some(10)), (20, None), (30, Some(30)), (40, Some(40))][..]),
        (5, &[(0, Some(0)), (10, Some(10)), (20, None), (30, Some(30)), (40, Some(40))]),
        (10, &[(10, Some(10)), (20, None), (30, Some(30)), (40, Some(40))]),
        (15, &[(10, Some(10)), (20, None), (30, Some(30)), (40, Some(40))]),
        (20, &[(30, Some(30)), (40, Some(40))]),
        (25, &[(30, Some(30)), (40, Some(40))]),
        (35, &[(30, Some(30)), (40, Some(40))]),
        (50, &[(40, Some(40))]),
    ] {
        assert_eq!(rows(&period(&place.archive, from, 200).await), expected, "from {from} s");
        assert_eq!(rows(&period(&place.archive, from, 55).await), expected, "from {from} to 55 s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_lost_is_named() {
    let History3 { place, spans, .. } = three_minutes().await;
    let file = place.directory.path().join(spans[1].to_string());
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[60] ^= 1;
    fs::write(&file, damaged).unwrap();
    let report = told(&place.archive, 100, &trust()).await;
    assert!(!report.ok && report.problems[0].contains(&spans[1].to_string()), "{report:?}");
    // The last that is known before, and when that was.
    assert_eq!((report.recorded, report.as_of_us), (Recorded::Gap, Some(after(60).as_micros())));
    assert_eq!(indexes(&report), [("a", 20), ("b", 30)]);
    let wrong = changes(&place.archive, &trust()).await;
    let is_named = |change: &ReceiptChange| matches!(change, ReceiptChange::Wrong { problem } if problem.contains(&spans[1].to_string()));
    assert!(wrong.iter().any(is_named), "{wrong:?}");

    fs::remove_file(&file).unwrap();
    let report = told(&place.archive, 100, &trust()).await;
    let (from_us, to_us) = (after(60).as_micros(), after(120).as_micros());
    let gap = ReceiptGap { from_us, to_us, why: Why::Lost };
    assert_eq!((report.ok, report.recorded, report.gap), (false, Recorded::Gap, Some(gap)));
    assert!(changes(&place.archive, &trust()).await.contains(&ReceiptChange::Gap(gap)));
    fs::write(&file, whole).unwrap();
    assert!(told(&place.archive, 100, &trust()).await.ok);

    // An archiver that did not run is no loss, but a gap.
    let late = ReceiptRecording::new(2, &board(vec![]), after(7_200)).take();
    place.archive.write_receipts(&late).await.unwrap();
    let report = told(&place.archive, 3_600, &trust()).await;
    let (from_us, to_us) = (after(180).as_micros(), after(7_200).as_micros());
    let gap = ReceiptGap { from_us, to_us, why: Why::NotRecorded };
    assert_eq!((report.ok, report.recorded, report.gap), (true, Recorded::Gap, Some(gap)));
    assert_eq!(indexes(&report), [("a", 30), ("b", 30)]);
}

/// It was removed by hand, or the disk was full when its first object was written.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_objects_is_none() {
    const DAY: u64 = 86_400;
    let History3 { place, .. } = three_minutes().await;
    let late = ReceiptRecording::new(2, &board(vec![]), after(3 * DAY)).take();
    place.archive.write_receipts(&late).await.unwrap();
    let answers = async || {
        let mut answers = Vec::new();
        for second in [0, 60, 180, DAY + 60, 2 * DAY, 3 * DAY, 4 * DAY] {
            answers.push(told(&place.archive, second, &trust()).await);
        }
        let before = Timestamp::from_micros(START.as_micros() - 1);
        answers.push(receipts_at(&place.archive, Some(before), &trust(), None).await.unwrap());
        let all = changes(&place.archive, &trust()).await;
        (answers, all, period(&place.archive, 2 * DAY + 60, 3 * DAY).await)
    };
    let expected = answers().await;
    let recorded: Vec<Recorded> = expected.0.iter().map(|answer| answer.recorded).collect();
    let (yes, gap) = (Recorded::Yes, Recorded::Gap);
    assert_eq!(recorded, [yes, yes, yes, gap, gap, yes, Recorded::NotYet, Recorded::TooOld]);
    let [ReceiptChange::Gap(gap)] = expected.2[..] else { unreachable!("{:?}", expected.2) };
    assert_eq!((gap.from_us, gap.to_us), (after(180).as_micros(), after(3 * DAY).as_micros()));
    let empty =
        ["1999-01-01", "2027-01-14", "2027-01-16", "2027-01-17", "2027-01-19", "2999-01-01"];
    for day in empty {
        fs::create_dir(place.directory.path().join("receipts").join(day)).unwrap();
        assert_eq!(answers().await, expected, "{day}");
    }
    let nothing = Place::new().await;
    fs::create_dir_all(nothing.directory.path().join("receipts").join(empty[0])).unwrap();
    let none = receipts_at(&nothing.archive, None, &trust(), None).await;
    assert!(matches!(none, Err(AuditError::NoReceipts { .. })), "{none:?}");
}

/// Objects that were merged answer as they did, and what is damaged in one costs its own minute.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_merged_is_told_as_before() {
    let History3 { place, spans: merged_of, .. } = three_minutes().await;
    let read = |span: ReceiptSpan| {
        let bytes = fs::read(place.directory.path().join(span.to_string())).unwrap();
        (span, bytes)
    };
    let merged_of: Vec<_> = merged_of.into_iter().map(read).collect();
    // Its day is over when something begins on the next.
    let late = ReceiptRecording::new(2, &board(vec![]), after(86_400)).take();
    place.archive.write_receipts(&late).await.unwrap();
    let seconds = [0, 59, 60, 100, 120, 149, 150, 180, 3_600, 86_400, 90_000];
    let mut before = Vec::new();
    for second in seconds {
        before.push(told(&place.archive, second, &trust()).await);
    }
    let as_before = told(&place.archive, 100, &trust()).await;
    let changed = changes(&place.archive, &trust()).await;
    let merged = place.archive.merge_receipts().await.unwrap();
    assert_eq!((merged.written, merged.removed), (1, 3));
    for (second, before) in seconds.into_iter().zip(before) {
        assert_eq!(told(&place.archive, second, &trust()).await, before, "{second} s");
    }
    assert_eq!(changes(&place.archive, &trust()).await, changed);

    let spans = place.archive.receipt_spans(&Archive::receipt_day(START)).await.unwrap();
    let file = place.directory.path().join(spans[0].to_string());
    let mut bytes = fs::read(&file).unwrap();
    // In the second of three.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let report = told(&place.archive, 100, &trust()).await;
    assert!(!report.ok && report.problems[0].contains(&spans[0].to_string()), "{report:?}");
    assert_eq!((report.recorded, report.as_of_us), (Recorded::Gap, Some(after(60).as_micros())));
    assert_eq!(indexes(&report), [("a", 20), ("b", 30)]);
    for (second, index) in [(30, 5), (150, 30)] {
        let report = told(&place.archive, second, &trust()).await;
        assert_eq!((report.ok, indexes(&report)), (true, vec![("a", index), ("b", 30)]));
    }
    let wrong = changes(&place.archive, &trust()).await;
    let wrong = wrong.iter().filter(|change| matches!(change, ReceiptChange::Wrong { .. }));
    assert_eq!(wrong.count(), 1);
    // As long as what it was merged of is there, that answers.
    for (file, bytes) in merged_of {
        fs::write(place.directory.path().join(file.to_string()), bytes).unwrap();
    }
    assert_eq!(told(&place.archive, 100, &trust()).await, as_before);
    assert_eq!(changes(&place.archive, &trust()).await, changed);
}

/// Whoever records next says what was there before.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_run_that_is_gone_is_missed() {
    let History3 { place, spans, .. } = three_minutes().await;
    let file = place.directory.path().join(spans[2].to_string());
    let late = ReceiptRecording::new(2, &board(vec![]), after(7_200)).take();
    place.archive.write_receipts(&late).await.unwrap();
    let (to_us, why) = (after(7_200).as_micros(), Why::NotRecorded);
    let silence = ReceiptGap { from_us: after(180).as_micros(), to_us, why };
    assert_eq!(told(&place.archive, 200, &trust()).await.gap, Some(silence));
    fs::remove_file(&file).unwrap();
    let lost = ReceiptGap { from_us: after(120).as_micros(), to_us, why: Why::Lost };
    let report = told(&place.archive, 150, &trust()).await;
    assert_eq!((report.ok, report.recorded, report.gap), (false, Recorded::Gap, Some(lost)));
    assert_eq!(indexes(&report), [("a", 20), ("b", 30)]);
    assert!(changes(&place.archive, &trust()).await.contains(&ReceiptChange::Gap(lost)));
}

async fn changes(archive: &Archive, trust: &Trust) -> Vec<ReceiptChange> {
    all(receipts_between(archive, START, after(180), trust, None).await.unwrap()).await
}

pub(super) async fn all(mut between: ReceiptsBetween) -> Vec<ReceiptChange> {
    let mut found = Vec::new();
    while let Some(change) = between.next().await.unwrap() {
        found.push(change);
    }
    found
}

/// What changed from one second to another, whoever signed it.
async fn period(archive: &Archive, from: u64, to: u64) -> Vec<ReceiptChange> {
    let (from, to) = (after(from), after(to));
    all(receipts_between(archive, from, to, &Trust::default(), None).await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_trusted_signed_and_what_was_put_there_again_does_not_count() {
    let History3 { place, entries, .. } = three_minutes().await;
    let position = |index: usize| entries[index - 1].position();
    // A quarter of an hour later: forged, put there again, and of another history.
    let [true_one, old] =
        [(30, 900), (5, 10)].map(|(index, at_s)| at("a", position(index), after(at_s), 1));
    let forged = at("b", position(40), after(930), 1);
    let other = Position { index: 30, digest: Digest::from_bytes([9; 32]) };
    let mut recording = ReceiptRecording::new(4, &board(vec![true_one]), after(900));
    recording.look(4, &board(vec![old, forged]), after(930));
    recording.look(4, &board(vec![at("a", other, after(955), 1)]), after(955));
    place.archive.write_receipts(&recording.take()).await.unwrap();

    let report = told(&place.archive, 940, &trust()).await;
    assert_eq!(indexes(&report), [("a", 30)], "{report:?}");
    let wrong = report.problems.join("; ");
    for says in ["a receipt of a was put there again", "a receipt of b does not count"] {
        assert!(wrong.contains(says), "{says}: {wrong}");
    }
    // Whoever trusts nobody is told what was there.
    let report = told(&place.archive, 940, &Trust::default()).await;
    assert_eq!(indexes(&report), [("a", 5), ("b", 40)], "{report:?}");
    let report = told(&place.archive, 955, &trust()).await;
    assert_eq!(report.consumers[0].history, Compared::Diverged, "{report:?}");
    assert!(report.problems.iter().any(|what| what.contains("another history")), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_are_told_as_they_were_at_a_past_time() {
    let place = Place::new().await;
    let at = Destination::open(&format!("dir:{}", place.directory.path().display())).unwrap();
    let keep = async |check, second: u64, ok| {
        let (time_us, summary) = (after(second).as_micros(), format!("up to {second}"));
        let (checkpoint, restored_ms) = (None, None);
        let record = Record { time_us, ok, index: second, summary, checkpoint, restored_ms };
        record.keep(&at, check).await.unwrap();
    };
    for (second, ok) in [(10, true), (20, false), (30, false), (40, true)] {
        keep(Check::Verify, second, ok).await;
    }
    keep(Check::Drill, 25, true).await;
    // Of what came later only the newest is read: the name says when it ended.
    keep(Check::Verify, 1_000, true).await;
    let name = format!("checks/verify-{:020}.json", after(500).as_micros());
    let told = format!(r#"{{"time_us":{},"ok":true,"index":5,"summary":""}}"#, START.as_micros());
    fs::write(place.directory.path().join(name), told).unwrap();
    for (second, wanted) in [
        (9, &[][..]),
        (10, &[("verify", 10, true)]),
        (24, &[("verify", 20, false), ("verify", 10, true)]),
        (39, &[("verify", 30, false), ("verify", 10, true), ("drill", 25, true)]),
        (40, &[("verify", 40, true), ("drill", 25, true)]),
        (90, &[("verify", 40, true), ("drill", 25, true)]),
    ] {
        let found = checks_at(&at, after(second)).await.unwrap();
        let found: Vec<_> = found.iter().map(|one| (one.check, one.index, one.ok)).collect();
        assert_eq!(found, wanted, "{second} s");
    }
}
