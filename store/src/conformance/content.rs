//! A store holds what its entries come to, whatever batches they come in.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::history::History;
use super::{Place, Subject};
use crate::content::content_digest;

/// Applies the history in all the ways to cut it that matter, each into a store of its own.
fn in_any_batches(place: &Place, history: &History) {
    for size in [1, 2, 7, usize::MAX] {
        let place = place.another();
        let mut subject = place.create();
        for entries in history.entries.chunks(size.min(history.entries.len())) {
            subject.apply(entries);
        }
        subject.check(&format!("in batches of {size}"));
        subject.reopened(&place).check(&format!("in batches of {size}, opened again"));
    }
}

pub(super) fn any_history(place: &Place) {
    for seed in 0..20 {
        println!("seed {seed}");
        let place = place.another();
        let mut rng = StdRng::seed_from_u64(seed);
        let entries = History::random_of(seed, 300, 1000).entries;
        let mut subject = place.create();
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rng.random_range(1..=rest.len().min(60)));
            subject.apply(now);
            rest = later;
            if rng.random_bool(0.2) {
                subject.check(&format!("seed {seed}"));
            }
            if rng.random_bool(0.2) {
                subject = subject.reopened(&place);
            }
        }
        subject.check(&format!("seed {seed}"));
    }
}

pub(super) fn any_batches(place: &Place) {
    let entries = History::random(5, 400).entries;
    let digest = |size: usize, count: usize| {
        let place = place.another();
        let mut subject = place.create();
        entries[..count].chunks(size).for_each(|entries| subject.apply(entries));
        content_digest(&*subject.reader).unwrap()
    };
    assert_eq!(digest(1, 400), digest(77, 400), "the same, however it was cut");
    assert_ne!(digest(77, 400), digest(77, 399), "a digest of the content");
}

pub(super) fn empty_payloads(place: &Place) {
    let mut history = History::blocks(3, 0);
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    history.proof_of(tip, 0);
    history.record_of(1, Some(Bytes::new()));
    in_any_batches(place, &history);
}

pub(super) fn large_payloads(place: &Place) {
    let mut history = History::blocks(3, 5 << 20);
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    history.proof_of(tip - 1, 3 << 20);
    history.record_of(1, Some(vec![7; 1 << 20].into()));
    in_any_batches(place, &history);
}

/// More than are read at once, however a store counts that: so many rows, and so many bytes.
pub(super) fn many_rows(place: &Place) {
    let mut history = History::blocks(2100, 10);
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    for (number, height) in (tip - 2099..=tip).enumerate() {
        match number {
            0..1200 => history.proof_of(height, 20),
            // A page of proofs ends in the middle of a page of blocks, and the next one is empty.
            1800..1900 if number % 7 == 0 => history.proof_of(height, 300_000),
            _ => {}
        }
    }
    let mut subject = place.create();
    history.entries.chunks(500).for_each(|entries| subject.apply(entries));
    subject.check("read in pages");
}

pub(super) fn late_proofs(place: &Place) {
    let mut history = History::blocks(40, 10);
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    for step in 0..40 {
        // 17 and 40 have no common divisor: every height once, in no order.
        history.proof_of(tip - step * 17 % 40, 5);
    }
    assert_eq!(history.model.cursor.proof_tip, Some(tip));
    in_any_batches(place, &history);
}

pub(super) fn proven_again(place: &Place) {
    let mut history = History::blocks(3, 10);
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    for bytes in [20, 0, 3000, 9000, 10, 5000, 0] {
        history.proof_of(tip, bytes);
        history.block();
    }
    in_any_batches(place, &history);
}

/// During a bulk load, and after it, the store holds the same as without.
pub(super) fn bulk_load(place: &Place) {
    let history = History::random_of(7, 200, 1000);
    // Readers from before may keep it from beginning.
    let Subject { mut store, mut model, reader } = place.create();
    drop(reader);
    store.end_bulk_load().unwrap();
    for (number, entries) in history.entries.chunks(25).enumerate() {
        match number % 4 {
            0 => (0..2).for_each(|_| store.begin_bulk_load().unwrap()),
            2 => (0..2).for_each(|_| store.end_bulk_load().unwrap()),
            _ => {}
        }
        store.apply(&model.batch(entries)).unwrap();
        store.probe().unwrap();
        model.assert_is(&*store.reader().unwrap(), "in a bulk load, or after it");
    }
    let reader = store.reader().unwrap();
    Subject { store, reader, model }.reopened(place).check("opened again");
}

pub(super) fn rolled_back(place: &Place) {
    let mut history = History::blocks(20, 100);
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    for height in tip - 10..=tip {
        history.proof_of(height, 50);
    }
    history.transaction_of(1);
    history.block();
    history.transaction_of(2);
    // Below the tip; then everything; then it starts again.
    for to_height in [tip, tip - 5, 0] {
        history.roll_back_to(to_height);
        history.mark();
        history.transaction_of(3);
        history.block();
        history.transaction_of(4);
        let tip = history.model.cursor.block_tip.clone().unwrap().height;
        history.proof_of(tip, 10);
    }
    in_any_batches(place, &history);
}

/// What was replaced by something that is rolled back again does not come back.
pub(super) fn rolled_back_within_a_batch(place: &Place) {
    let mut history = History::blocks(5, 100);
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    history.transaction_of(1);
    history.record_of(1, None);
    history.block();
    history.transaction_of(1);
    history.record_of(1, Some(Bytes::from_static(b"stays")));
    history.proof_of(tip + 1, 10);
    history.roll_back_to(tip);
    history.block();
    history.block();
    history.roll_back_to(tip - 2);
    history.block();
    in_any_batches(place, &history);
}

pub(super) fn replaced_tip(place: &Place) {
    let mut history = History::blocks(3, 100);
    for _ in 0..3 {
        let tip = history.model.cursor.block_tip.clone().unwrap().height;
        history.proof_of(tip, 30);
        history.replace_tip();
        history.replace_tip();
        assert_eq!(history.model.cursor.block_tip.clone().unwrap().height, tip);
    }
    in_any_batches(place, &history);
}

pub(super) fn transactions(place: &Place) {
    let mut history = History::new(1);
    history.claim();
    history.transaction_of(200);
    history.block();
    for id in [3, 255, 0, 7, 3, 200] {
        history.transaction_of(id);
        history.block();
    }
    in_any_batches(place, &history);
}

pub(super) fn records(place: &Place) {
    let mut history = History::new(2);
    history.claim();
    let value = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    for (key, value) in [
        (9, value("first")),
        (1, value("other")),
        (9, value("second")),
        (1, None),
        (5, None),
        (9, value("")),
        (1, value("again")),
    ] {
        history.record_of(key, value);
    }
    in_any_batches(place, &history);
}

pub(super) fn marks(place: &Place) {
    let mut history = History::new(3);
    history.claim();
    for _ in 0..15 {
        history.mark();
        history.block();
    }
    in_any_batches(place, &history);
}
