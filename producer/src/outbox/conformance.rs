//! The suite that every outbox must pass: what [`Outbox`] promises, as tests.
//!
//! An outbox with a way to enqueue is a [`Subject`], for [`conforms`]. One that a node fills in
//! another way can still be held to [`gives`].

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken promise is a failed test, with its place; nothing else calls this"
)]

use bytes::Bytes;
use tipline_proto::limits::MAX_PAYLOAD_BYTES;
use tipline_proto::{Event, Hash, Key, Label, LinkError, OutboxId, TransactionId};

use super::{Outbox, OutboxError, Row, Waiting};

/// The genesis of the chain that the outboxes under test belong to.
pub fn genesis() -> Hash {
    hash(0, 0)
}

/// A hash of height and variant.
pub fn hash(height: u64, variant: u8) -> Hash {
    Hash::new(blake3::hash(&[&height.to_be_bytes()[..], &[variant]].concat()).as_bytes()).unwrap()
}

/// Block `height` of one variant, on its parent of another.
pub fn block(height: u64, variant: u8, parent: u8) -> Event {
    Event::BlockCommitted {
        height,
        hash: hash(height, variant),
        parent_hash: hash(height.wrapping_sub(1), parent),
        payload: Bytes::from(format!("block {height} {variant}")),
    }
}

/// A proof of that block.
pub fn proof(height: u64, variant: u8) -> Event {
    let payload = Bytes::new();
    Event::BlockProven { height, block_hash: hash(height, variant), payload }
}

/// A rollback to that block.
pub fn rollback(to_height: u64, variant: u8) -> Event {
    Event::RolledBack { to_height, to_hash: hash(to_height, variant) }
}

/// An outbox with both its sides.
pub trait Subject {
    /// Enqueues and commits.
    fn enqueue(&mut self, event: &Event) -> Result<u64, OutboxError>;
    /// Sets how much may wait.
    fn set_limits(&mut self, events: u64, bytes: u64) -> Result<(), OutboxError>;
    /// The publisher's side.
    fn outbox(&mut self) -> &mut dyn Outbox;
}

/// Runs every check, each on an outbox of its own.
pub fn conforms<S: Subject>(new: impl Fn() -> S) {
    starts_empty(&mut new());
    gives_back_every_kind(&mut new());
    keeps_to_the_limits_of_a_read(&mut new());
    never_uses_a_sequence_twice(&mut new());
    refuses_what_does_not_link(&mut new());
    refuses_what_is_no_event_of_a_node(&mut new());
    says_when_it_is_full(&mut new());
    what_is_logged_does_not_count(&mut new());
    an_event_fits_if_nothing_waits(&mut new());
    limits_that_cannot_work_are_refused(&mut new());
    counts_what_waits(&mut new());
}

/// Every outbox, however it is filled: gives these events, in any portions, again and again.
pub fn gives(outbox: &mut dyn Outbox, expected: &[Event]) -> Vec<Row> {
    let pending = outbox.pending().unwrap();
    let bytes = expected.iter().map(|event| event.payload().len() as u64).sum();
    let last = expected.len() as u64;
    assert_eq!((pending.first, pending.last, pending.bytes), (1, last, bytes));
    let oldest = outbox.read(0, 1, 0).unwrap().first().map(|row| row.time);
    assert_eq!(outbox.waiting(0).unwrap(), Waiting { events: last, bytes, oldest });
    let all = outbox.read(0, usize::MAX, usize::MAX).unwrap();
    let events: Vec<_> = all.iter().map(|row| row.event.clone()).collect();
    assert_eq!(events, expected);
    assert!(all.iter().map(|row| row.sequence).eq(1..=last), "sequences are dense from 1");
    for rows in [1, 3] {
        let mut after = 0;
        while after < last {
            let some = outbox.read(after, rows, usize::MAX).unwrap();
            let upto = (after as usize + rows).min(all.len());
            assert_eq!(some, all[after as usize..upto]);
            after = upto as u64;
        }
    }
    assert_eq!(outbox.read(last, 10, 10).unwrap(), []);
    all
}

/// Enqueues them all.
pub fn fill(subject: &mut dyn Subject, events: &[Event]) {
    for event in events {
        subject.enqueue(event).unwrap();
    }
}

fn starts_empty(subject: &mut impl Subject) {
    assert_eq!(gives(subject.outbox(), &[]), []);
    subject.outbox().trim(0).unwrap();
    assert_eq!(gives(subject.outbox(), &[]), []);
}

fn gives_back_every_kind(subject: &mut impl Subject) {
    let payload = Bytes::from_static(b"payload");
    let key = Key::new([7; 256]).unwrap();
    let events = [
        block(1, 0, 0),
        proof(1, 0),
        Event::TransactionValidated {
            id: TransactionId::new([1]).unwrap(),
            payload: payload.clone(),
        },
        Event::StateRecorded { key: key.clone(), value: Some(payload) },
        Event::StateRecorded { key: key.clone(), value: Some(Bytes::new()) },
        Event::StateRecorded { key, value: None },
        block(2, 0, 0),
        rollback(1, 0),
        block(2, 1, 0),
        Event::Marked { name: Label::new("before the mövé").unwrap() },
    ];
    for (event, sequence) in events.iter().zip(1..) {
        assert_eq!(subject.enqueue(event).unwrap(), sequence);
    }
    let rows = gives(subject.outbox(), &events);
    assert!(rows.is_sorted_by_key(|row| row.time), "commit times from the clock of the test");
    assert!(rows[0].time.as_micros() > 0);
    let id = subject.outbox().id();
    assert_ne!(id, OutboxId::from_bytes([0; 16]));
    assert_eq!(id, subject.outbox().id());
}

fn keeps_to_the_limits_of_a_read(subject: &mut impl Subject) {
    fill(subject, &[1, 2, 3, 4, 5].map(|height| block(height, 0, 0)));
    let each = block(1, 0, 0).payload().len();
    let count = |rows: Result<Vec<Row>, OutboxError>| rows.unwrap().len();
    let outbox = subject.outbox();
    assert_eq!(count(outbox.read(0, 10, 2 * each)), 2, "exactly fits");
    assert_eq!(count(outbox.read(0, 10, 3 * each - 1)), 2, "one byte too few for the third");
    assert_eq!(count(outbox.read(0, 10, 1)), 1, "the first comes even if it is larger");
    assert_eq!(count(outbox.read(3, 10, usize::MAX)), 2);
    assert_eq!(count(outbox.read(3, 1, usize::MAX)), 1);
    assert_eq!(count(outbox.read(9, 1, usize::MAX)), 0, "after the end");
}

fn never_uses_a_sequence_twice(subject: &mut impl Subject) {
    let add = |subject: &mut dyn Subject, height| subject.enqueue(&block(height, 0, 0)).unwrap();
    (1..=3).for_each(|height| assert_eq!(add(subject, height), height));
    let outbox = subject.outbox();
    outbox.trim(2).unwrap();
    outbox.trim(1).unwrap();
    let left = block(3, 0, 0).payload().len() as u64;
    let held = |outbox: &mut dyn Outbox| {
        let pending = outbox.pending().unwrap();
        assert_eq!(pending.counted_bytes, pending.bytes, "what is trimmed counts no more");
        (pending.first, pending.last, pending.bytes)
    };
    assert_eq!(held(outbox), (3, 3, left));
    let trimmed = outbox.read(1, 1, 1).unwrap_err();
    assert!(matches!(trimmed, OutboxError::Trimmed { asked: 2, first: 3, .. }), "{trimmed}");
    assert_eq!(outbox.read(2, 1, 1).unwrap()[0].sequence, 3);
    outbox.trim(3).unwrap();
    assert_eq!(held(outbox), (4, 3, 0));
    assert_eq!(add(subject, 4), 4, "emptied, it still counts on");
    assert_eq!(subject.outbox().read(3, 1, 1).unwrap()[0].sequence, 4);
}

fn refuses_what_does_not_link(subject: &mut impl Subject) {
    let refuse = |subject: &mut dyn Subject, event: &Event| match subject.enqueue(event) {
        Err(OutboxError::DoesNotLink { source, .. }) => *source,
        other => panic!("{event} gave {other:?}"),
    };
    let before = refuse(subject, &proof(1, 0));
    assert!(matches!(before, LinkError::UnknownBlock { found: None, .. }), "{before}");
    let foreign = refuse(subject, &block(1, 0, 9));
    assert!(matches!(foreign, LinkError::WrongGenesis { .. }), "{foreign}");
    let events = [block(1, 0, 0), block(2, 0, 0), proof(2, 0)];
    fill(subject, &events);
    let gap = refuse(subject, &block(4, 0, 0));
    assert!(matches!(gap, LinkError::WrongHeight { height: 4, tip: 2 }), "{gap}");
    let fork = refuse(subject, &block(3, 0, 9));
    assert!(matches!(fork, LinkError::WrongParent { .. }), "{fork}");
    let other = refuse(subject, &proof(2, 9));
    assert!(matches!(other, LinkError::UnknownBlock { found: Some(_), .. }), "{other}");
    let nowhere = refuse(subject, &rollback(2, 0));
    assert!(matches!(nowhere, LinkError::WrongRollback { .. }), "{nowhere}");
    gives(subject.outbox(), &events);
}

fn refuses_what_is_no_event_of_a_node(subject: &mut impl Subject) {
    let primary = Label::new("primary").unwrap();
    let claim = Event::EpochStarted { primary, outbox: OutboxId::from_bytes([1; 16]) };
    let refused = subject.enqueue(&claim).unwrap_err();
    assert!(matches!(refused, OutboxError::Refused { .. }), "{refused}");
    let Event::BlockCommitted { height, hash, parent_hash, .. } = block(1, 0, 0) else { return };
    let payload = Bytes::from(vec![0; MAX_PAYLOAD_BYTES + 1]);
    let large = subject.enqueue(&Event::BlockCommitted { height, hash, parent_hash, payload });
    assert!(matches!(large, Err(OutboxError::TooLarge(_))), "{large:?}");
    gives(subject.outbox(), &[]);
}

fn says_when_it_is_full(subject: &mut impl Subject) {
    let events = [block(1, 0, 0), block(2, 0, 0)];
    let each = events[0].payload().len() as u64;
    subject.set_limits(2, 100).unwrap();
    fill(subject, &events);
    let expect_full = |subject: &mut dyn Subject| {
        let full = subject.enqueue(&block(3, 0, 0)).unwrap_err();
        let OutboxError::Full { events: 2, bytes, .. } = full else { panic!("{full:?}") };
        assert_eq!(bytes, 2 * each);
    };
    expect_full(subject);
    subject.set_limits(10, 3 * each - 1).unwrap();
    expect_full(subject);
    gives(subject.outbox(), &events);
    subject.outbox().trim(1).unwrap();
    assert_eq!(subject.enqueue(&block(3, 0, 0)).unwrap(), 3, "there is room again");
}

/// Logged rows that are kept are nobody's business but the publisher's: with limits far below what
/// is kept the node goes on for ever.
fn what_is_logged_does_not_count(subject: &mut impl Subject) {
    let each = block(1, 0, 0).payload().len() as u64;
    subject.set_limits(3, 3 * each).unwrap();
    for height in 1..=9 {
        assert_eq!(subject.enqueue(&block(height, 0, 0)).unwrap(), height);
        subject.outbox().release(height).unwrap();
    }
    let outbox = subject.outbox();
    let pending = outbox.pending().unwrap();
    assert_eq!((pending.first, pending.last, pending.bytes), (1, 9, 9 * each), "all are kept");
    assert_eq!((pending.released, pending.counted_bytes), (9, 0));
    assert_eq!(outbox.read(0, 99, usize::MAX).unwrap().len(), 9, "and given out again");
    outbox.release(5).unwrap();
    outbox.trim(2).unwrap();
    let pending = outbox.pending().unwrap();
    assert_eq!((pending.first, pending.released, pending.counted_bytes), (3, 9, 0), "never back");
    outbox.release(u64::MAX).unwrap();
    assert_eq!(outbox.pending().unwrap().released, 9, "no further than there are rows");
    for height in [10, 11] {
        subject.enqueue(&block(height, 0, 0)).unwrap();
    }
    let full = subject.enqueue(&block(12, 0, 0)).unwrap_err();
    let OutboxError::Full { events: 2, bytes, .. } = full else { panic!("{full:?}") };
    let counted: u64 = [10, 11].iter().map(|h| block(*h, 0, 0).payload().len() as u64).sum();
    assert_eq!(bytes, counted, "it says what is not logged");
    assert_eq!(subject.outbox().pending().unwrap().counted_bytes, counted);
    subject.outbox().trim(10).unwrap();
    assert_eq!(subject.enqueue(&block(12, 0, 0)).unwrap(), 12, "trimmed is logged");
    let pending = subject.outbox().pending().unwrap();
    assert_eq!((pending.released, pending.counted_events()), (10, 2));
}

fn an_event_fits_if_nothing_waits(subject: &mut impl Subject) {
    subject.set_limits(5, 1).unwrap();
    subject.enqueue(&block(1, 0, 0)).unwrap();
    let full = subject.enqueue(&block(2, 0, 0)).unwrap_err();
    assert!(matches!(full, OutboxError::Full { events: 1, .. }), "{full:?}");
    subject.outbox().release(1).unwrap();
    assert_eq!(subject.enqueue(&block(2, 0, 0)).unwrap(), 2);
}

fn limits_that_cannot_work_are_refused(subject: &mut impl Subject) {
    for (events, bytes) in [(0, 100), (100, 0)] {
        let refused = subject.set_limits(events, bytes).unwrap_err();
        assert!(matches!(refused, OutboxError::Unusable { .. }), "{refused:?}");
    }
    subject.enqueue(&block(1, 0, 0)).unwrap();
}

fn counts_what_waits(subject: &mut impl Subject) {
    let events: Vec<_> = (1..=20).map(|height| block(height, 0, 0)).collect();
    fill(subject, &events);
    let outbox = subject.outbox();
    let rows = outbox.read(0, usize::MAX, usize::MAX).unwrap();
    outbox.trim(2).unwrap();
    for released in [2, 3, 11, 20] {
        outbox.release(released).unwrap();
        for after in 0..=21 {
            let rest: Vec<_> = rows.iter().filter(|row| row.sequence > after.max(2)).collect();
            let expected = Waiting {
                events: rest.len() as u64,
                bytes: rest.iter().map(|row| row.event.payload().len() as u64).sum(),
                oldest: rest.first().map(|row| row.time),
            };
            assert_eq!(outbox.waiting(after).unwrap(), expected, "after {after}, {released}");
        }
    }
}
