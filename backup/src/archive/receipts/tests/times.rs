//! When something was seen nobody signs: it must be within the object that says so.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_log::{Board, Forged, ForgedBy};
use tipline_proto::Timestamp;
use tipline_store::conformance::history::log;

use super::fuzzed::seed;
use super::{START, after, board, receipt};
use crate::Keys;
use crate::archive::receipts::format::{ReceiptObject, Unreadable, decode, encode};
use crate::archive::receipts::{ReceiptRecord, ReceiptRecording, ReceiptSaid, RecordedReceipts};

fn object(recorded: RecordedReceipts) -> ReceiptObject {
    let RecordedReceipts { span, records } = recorded;
    ReceiptObject { lineage: log().lineage, span, follows: None, records }
}

fn read_back(object: &ReceiptObject) -> Result<ReceiptObject, Unreadable> {
    decode(&encode(object, &Keys::default()).unwrap(), &Keys::default())
}

/// The first object of a run, and the one after it: `a` has moved, and `b` was forgotten.
fn two() -> [ReceiptObject; 2] {
    let both = |index, second| {
        board(vec![receipt("a", index, after(second)), receipt("b", 1, after(second))])
    };
    let mut recording = ReceiptRecording::new(1, &both(1, 0), START);
    recording.look(1, &both(2, 30), after(30));
    let first = recording.take();
    recording.look(1, &board(vec![receipt("a", 3, after(50))]), after(50));
    [object(first), object(recording.take())]
}

#[test]
fn a_record_is_of_the_time_of_its_object() {
    let [first, second] = two();
    for object in [&first, &second] {
        assert_eq!(read_back(object).as_ref(), Ok(object));
        for at in 0..object.records.len() {
            let is_standing = object.span.number > 0 && at < 2;
            for (seen, is_refused) in [
                (object.span.from, false),
                (object.span.to, false),
                (earlier(object.span.from), !is_standing),
                (after(51), true),
            ] {
                let mut object = object.clone();
                object.records[at].seen = seen;
                let read = read_back(&object);
                let (number, said) = (object.span.number, &object.records[at].said);
                let told = format!("object {number}, {said:?} at {seen:?}: {read:?}");
                assert_eq!(matches!(read, Err(Unreadable::Corrupt(_))), is_refused, "{told}");
            }
        }
    }
}

/// Of each sender one thing stands when an object begins, before anything else, and it is there.
#[test]
fn what_stood_is_said_first_and_once() {
    let [_, second] = two();
    let early = earlier(second.span.from);
    let old = |said| ReceiptRecord { seen: early, said };
    let again = old(second.records[0].said.clone());
    let gone = old(ReceiptSaid::Forgotten("c".parse().unwrap()));
    let other = old(ReceiptSaid::Receipt(Box::new(receipt("c", 1, early))));
    for (at, record, is_read) in [
        (0, other.clone(), true),
        (2, other.clone(), true),
        (second.records.len(), other, false),
        (1, again, false),
        (0, gone, false),
    ] {
        let mut object = second.clone();
        object.records.insert(at, record);
        assert_eq!(read_back(&object).is_ok(), is_read, "{object:?}");
    }
}

/// Consumers come and go, are slow, and are not believed for a while; objects are written at any time.
#[test]
fn whatever_is_recorded_is_read() {
    let mut rng = StdRng::seed_from_u64(seed());
    for run in 0..40 {
        let mut now = START;
        let mut recording = ReceiptRecording::new(run, &random(&mut rng, now), now);
        for _ in 0..200 {
            now = Timestamp::from_micros(now.as_micros() + rng.random_range(0..8_000_000));
            let at = match rng.random_bool(0.1) {
                true => earlier(now),
                false => now,
            };
            let board = random(&mut rng, at);
            let mut written: Vec<_> = recording.look(run, &board, at).into_iter().collect();
            if rng.random_bool(0.2) {
                written.push(recording.take());
            }
            for object in written.into_iter().map(object) {
                assert_eq!(read_back(&object).as_ref(), Ok(&object));
            }
        }
    }
}

fn random(rng: &mut StdRng, now: Timestamp) -> Board {
    let mut found = Board::default();
    for name in ["a", "b", "c", "d"] {
        match rng.random_range(0..4) {
            0 | 1 => found.receipts.push(receipt(name, rng.random_range(1..4), now)),
            2 => found.forged.push(Forged {
                consumer: Some(name.parse().unwrap()),
                why: ForgedBy::Replayed { found: START, newest: START },
            }),
            _ => {}
        }
    }
    found
}

fn earlier(time: Timestamp) -> Timestamp {
    Timestamp::from_micros(time.as_micros() - 20_000_000)
}
