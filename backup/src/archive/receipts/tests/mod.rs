//! What was on the board is there later, as it was; and what cannot be read is not taken for nothing.

mod fuzzed;
mod merging;
mod seen;
mod times;

use std::fs;
use std::path::Path;
use std::time::Duration;

use tipline_log::Board;
use tipline_proto::{
    ConsumerName, Digest, InstanceId, Level, Position, Reached, Receipt, Role, SigningKey,
    Timestamp, Trust,
};
use tipline_store::conformance::history::{log, log_with_lineage};

use crate::archive::receipts::{ReceiptRecord, ReceiptRecording, ReceiptSaid, ReceiptSpan};
use crate::keys::make_identity;
use crate::{Archive, ArchiveError, Destination, Keys};

const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn after(seconds: u64) -> Timestamp {
    Timestamp::from_micros(START.as_micros() + seconds * 1_000_000)
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

/// A signed receipt of a consumer that is at this entry.
fn receipt(name: &str, index: u64, time: Timestamp) -> Receipt {
    let digest = Digest::from_bytes([u8::try_from(index % 251).unwrap(); 32]);
    let mut receipt = Receipt {
        lineage: log().lineage,
        consumer: name.parse().unwrap(),
        role: Role::Replica,
        instance: InstanceId::from_bytes([1; 16]),
        reached: Reached::up_to(Position { index, digest }, Level::Durable),
        block_tip: None,
        proof_tip: None,
        time,
        failure: None,
        store: "sqlite:a.db".to_owned(),
        applying: None,
        frozen: None,
        seal: None,
    };
    key().sign_receipt(&mut receipt);
    receipt
}

fn board(receipts: Vec<Receipt>) -> Board {
    Board { receipts, ..Board::default() }
}

fn destination(directory: &Path) -> Destination {
    Destination::open(&format!("dir:{}", directory.display())).unwrap()
}

/// The index that each record says, and of whom.
fn told(records: &[ReceiptRecord]) -> Vec<(String, Option<u64>)> {
    let told = records.iter().map(|record| match &record.said {
        ReceiptSaid::Receipt(one) => {
            (one.consumer.to_string(), one.reached.at(Level::Applied).map(|at| at.index))
        }
        ReceiptSaid::Forgotten(name) => (name.to_string(), None),
        ReceiptSaid::Announcement(_) => ("primary".to_owned(), None),
    });
    told.collect()
}

fn at(name: &str, index: u64) -> (String, Option<u64>) {
    (name.to_owned(), Some(index))
}

#[test]
fn what_changes_is_recorded_and_what_is_repeated_is_not() {
    let mut recording = ReceiptRecording::new(1, &board(vec![receipt("a", 5, START)]), START);
    for second in 1..40 {
        let seen = board(vec![receipt("a", 5, after(second))]);
        assert_eq!(recording.look(2, &seen, after(second)), None);
    }
    // Of what comes within 5 s the newest.
    for second in 40..44 {
        let seen = board(vec![receipt("a", second, after(second)), receipt("b", 1, after(second))]);
        recording.look(2, &seen, after(second));
    }
    assert!(!recording.is_due(after(59)));
    assert!(recording.is_due(after(60)));
    let first = recording.take();
    assert_eq!(told(&first.records), [at("a", 5), at("b", 1), at("a", 40), at("a", 43)]);
    assert_eq!((first.span.from, first.span.to), (START, after(43)));
    // Each begins with what is there.
    recording.look(2, &board(vec![receipt("b", 1, after(50))]), after(50));
    let second = recording.take();
    assert_eq!(told(&second.records), [at("a", 43), at("b", 1), ("a".to_owned(), None)]);
    assert_eq!((second.span.from, second.span.number), (after(43), 1));
    let third = recording.take();
    assert_eq!(told(&third.records), [at("b", 1)], "who was forgotten is not there any more");
}

#[test]
fn a_time_in_which_nothing_was_heard_is_not_part_of_it() {
    let there = board(vec![receipt("a", 5, START)]);
    let mut recording = ReceiptRecording::new(1, &there, START);
    assert_eq!(recording.look(2, &there, after(30)), None);
    let before = recording.look(2, &there, after(3_600)).unwrap();
    assert_eq!((before.span.from, before.span.to), (START, after(30)));
    let next = recording.take();
    assert_eq!((next.span.from, next.span.number), (after(3_600), 0));
    assert_ne!(next.span.run, before.span.run);
    // A clock that goes back a little makes nothing that ends before it begins.
    assert_eq!(recording.look(3, &there, after(3_590)), None);
    let span = recording.take().span;
    assert_eq!((span.from, span.to), (after(3_600), after(3_600)));
}

#[test]
fn a_clock_that_is_set_back_is_followed() {
    let seen = |index, second| board(vec![receipt("a", index, after(second))]);
    let mut recording = ReceiptRecording::new(1, &seen(5, 3_600), after(3_600));
    assert_eq!(recording.look(1, &seen(6, 3_610), after(3_610)), None);
    let before = recording.look(2, &seen(7, 5), after(5)).unwrap();
    assert_eq!((before.span.from, before.span.to), (after(3_600), after(3_610)));
    assert_eq!(told(&before.records), [at("a", 5), at("a", 6)]);
    // A minute by that clock is an object, as always.
    for second in 6..65 {
        assert_eq!(recording.look(2, &seen(7 + second, second), after(second)), None);
        assert!(!recording.is_due(after(second)));
    }
    assert!(recording.is_due(after(65)));
    let next = recording.take();
    assert_ne!(next.span.run, before.span.run);
    assert_eq!((next.span.from, next.span.to, next.span.number), (after(5), after(64), 0));
    assert_eq!(told(&next.records).last(), Some(&at("a", 71)));
}

#[test]
fn an_hour_of_one_receipt_a_second_is_60_objects() {
    let mut recording = ReceiptRecording::new(1, &Board::default(), START);
    let (mut objects, mut records) = (0, 0);
    for second in 1..=3_600 {
        let seen = ["a", "b", "c"].map(|name| receipt(name, second, after(second)));
        recording.look(2, &board(seen.to_vec()), after(second));
        if recording.is_due(after(second)) {
            objects += 1;
            records += recording.take().records.len();
        }
    }
    assert_eq!(objects, 60);
    assert!(records <= 60 * 3 * 14, "{records}");
}

/// An archive with one object of its history of receipts.
async fn recorded(directory: &Path, keys: Keys) -> (Archive, ReceiptSpan, Vec<ReceiptRecord>) {
    let archive = Archive::create(destination(directory), &log(), keys).await.unwrap();
    let mut recording = ReceiptRecording::new(3, &board(vec![receipt("a", 5, START)]), START);
    recording.look(3, &board(vec![receipt("a", 9, after(20))]), after(20));
    let recorded = recording.take();
    archive.write_receipts(&recorded).await.unwrap();
    // Its answer may have been lost.
    archive.write_receipts(&recorded).await.unwrap();
    (archive, recorded.span, recorded.records)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_read_with_its_signatures() {
    let directory = tempfile::tempdir().unwrap();
    let (archive, span, records) = recorded(directory.path(), Keys::default()).await;
    let day = Archive::receipt_day(START);
    assert_eq!(archive.receipt_days().await.unwrap(), std::slice::from_ref(&day));
    assert_eq!(archive.receipt_spans(&day).await.unwrap(), std::slice::from_ref(&span));
    let read = archive.receipt_records(&span).await.unwrap();
    assert_eq!(read, records);
    let name: ConsumerName = "a".parse().unwrap();
    let trust = Trust::new(vec![], [(name, key().public())]);
    for record in &read {
        let ReceiptSaid::Receipt(receipt) = &record.said else { continue };
        trust.check_receipt(receipt).unwrap();
    }
    assert!(archive.cursor().await.is_ok(), "it is no segment");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (archive, span, _) = recorded(directory.path(), Keys::default()).await;
    let file = directory.path().join(span.to_string());
    let whole = fs::read(&file).unwrap();
    for position in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        fs::write(&file, bytes).unwrap();
        let error = archive.receipt_records(&span).await.unwrap_err();
        let is_named =
            matches!(&error, ArchiveError::Corrupt { object, .. } if *object == span.to_string());
        assert!(is_named, "byte {position}: {error}");
    }
    for length in [0, 8, 31, 40, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        let error = archive.receipt_records(&span).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Corrupt { .. }), "{length} bytes: {error}");
    }
    // Another one in its place.
    let other = ReceiptSpan { number: 1, last: 1, ..span.clone() };
    fs::write(directory.path().join(other.to_string()), &whole).unwrap();
    let error = archive.receipt_records(&other).await.unwrap_err().to_string();
    assert!(error.contains("it should be called"), "{error}");
    // A later version's, whole.
    let mut newer = whole.clone();
    newer[7] = b'3';
    let sealed = newer.len() - 32;
    let hash = blake3::hash(&newer[..sealed]);
    newer[sealed..].copy_from_slice(hash.as_bytes());
    fs::write(&file, newer).unwrap();
    let error = archive.receipt_records(&span).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Newer { found: 3, .. }), "{error}");
    fs::remove_file(&file).unwrap();
    let error = archive.receipt_records(&span).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Corrupt { .. }), "gone: {error}");

    // Of another log.
    let elsewhere = tempfile::tempdir().unwrap();
    let of = log_with_lineage(9);
    let other = Archive::create(destination(elsewhere.path()), &of, Keys::default()).await.unwrap();
    let at = elsewhere.path().join(span.to_string());
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(&at, &whole).unwrap();
    let error = other.receipt_records(&span).await.unwrap_err().to_string();
    assert!(error.contains("another log"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_encrypted_where_the_archive_is() {
    let [directory, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let file = elsewhere.path().join("age.key");
    let writer = Keys::default().recipient(&make_identity(&file)).unwrap();
    let (archive, span, records) = recorded(directory.path(), writer).await;
    let bytes = fs::read(directory.path().join(span.to_string())).unwrap();
    assert!(!bytes.windows(11).any(|part| part == b"sqlite:a.db"));
    let error = archive.receipt_records(&span).await.unwrap_err();
    assert!(matches!(error, ArchiveError::NeedsKey { .. }), "{error}");
    let keys = Keys::default().identity_file(&file).unwrap();
    let archive = Archive::open(destination(directory.path()), keys).await.unwrap();
    assert_eq!(archive.receipt_records(&span).await.unwrap(), records);
}

#[test]
fn a_name_is_read_as_it_is_written() {
    let (run, number) = ("0123456789abcdef".to_owned(), 7);
    let span = ReceiptSpan { from: START, to: after(60), run, number, last: number };
    let name = span.to_string();
    assert_eq!(ReceiptSpan::parse(&name), Some(span.clone()));
    let merged = ReceiptSpan { last: 9, ..span.clone() };
    assert_eq!(ReceiptSpan::parse(&merged.to_string()), Some(merged.clone()));
    assert!(merged.holds(&span) && !span.holds(&merged) && !merged.holds(&merged));
    for wrong in [
        name.replace("2027-01-15", "2027-01-16"),
        name.replace(".tipr", ""),
        name.replace("receipts/", ""),
        name.replace('f', "F"),
        format!("{name}-"),
        // It is merged of one.
        name.replace(".tipr", "-00000000000000000007.tipr"),
        merged.to_string().replace("9.tipr", "6.tipr"),
        merged.to_string().replace(".tipr", "-1.tipr"),
    ] {
        assert_ne!(wrong, name);
        assert_eq!(ReceiptSpan::parse(&wrong), None, "{wrong}");
    }
    assert_eq!(after(60).since(START), Duration::from_secs(60));
}
