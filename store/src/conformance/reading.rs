//! Reading, while the store is applied to and otherwise.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tipline_proto::{Key, Label, TransactionId};

use super::history::{History, hash};
use super::{Place, Subject};
use crate::error::StoreError;
use crate::snapshot::{Copied, Throttle};

/// Readers see nothing between two batches, and are not held up.
pub(super) fn whole_batches(place: &Place) {
    const SIZE: u64 = 50;
    let Subject { mut store, mut model, .. } = place.create();
    let entries = History::blocks(2000, 2000).entries;
    store.apply(&model.batch(&entries[..1])).unwrap();
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let readers = [store.reader().unwrap(), store.reader().unwrap()].map(|reader| {
            let done = &done;
            scope.spawn(move || {
                let mut seen = BTreeSet::new();
                while !done.load(Ordering::Relaxed) {
                    let cursor = reader.cursor().unwrap().unwrap();
                    seen.insert(cursor.position.index);
                    let Some(tip) = cursor.block_tip else { continue };
                    let block = reader.block(tip.height).unwrap().unwrap();
                    assert_eq!(block.hash, tip.hash);
                    assert_eq!(block.payload.len(), 2000);
                    let (_, highest) = reader.heights().unwrap().unwrap();
                    assert!(highest >= tip.height, "never back");
                    assert_eq!((highest - tip.height) % SIZE, 0, "never a part of a batch");
                }
                seen
            })
        });
        for batch in entries[1..].chunks(SIZE as usize) {
            store.apply(&model.batch(batch)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap())
    });
    for seen in seen {
        assert!(seen.iter().all(|index| (index - 1) % SIZE == 0), "half a batch: {seen:?}");
        assert!(seen.len() > 2, "the readers read meanwhile: {seen:?}");
    }
}

/// Readers see one state or another while blocks are rolled back and replaced: what has a hash has
/// that one, and nothing is taken for damage.
pub(super) fn beside_rollbacks(place: &Place) {
    let Subject { mut store, mut model, .. } = place.create();
    let mut history = History::blocks(20, 100);
    let batches: Vec<Vec<_>> = (0..150)
        .map(|round| {
            let from = if round == 0 { 0 } else { history.entries.len() };
            let tip = history.model.cursor.block_tip.clone().unwrap().height;
            history.roll_back_to(tip - 10);
            // One by one, so that the chain is shorter for a while.
            let end = history.entries.len() + 11;
            while history.entries.len() < end {
                history.block();
            }
            history.entries[from..].to_vec()
        })
        .collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in [store.reader().unwrap(), store.reader().unwrap()] {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    for found in reader.blocks_with_proofs(0..=u64::MAX).unwrap() {
                        let (block, proof) = found.unwrap();
                        assert!(proof.is_none_or(|proof| proof.height == block.height));
                        let hash = block.hash;
                        let again = reader.block_by_hash(&hash).unwrap();
                        assert!(again.is_none_or(|again| again.hash == hash));
                        let proof = reader.proof_by_hash(&hash).unwrap();
                        assert!(proof.is_none_or(|proof| proof.block_hash == hash));
                    }
                }
            });
        }
        for entries in batches {
            entries.chunks(7).for_each(|entries| store.apply(&model.batch(entries)).unwrap());
        }
        done.store(true, Ordering::Relaxed);
    });
    model.assert_is(&*store.reader().unwrap(), "in the end");
}

/// A snapshot is of the batch after which it was taken, whatever is applied before it is copied.
/// Kinds of stores without snapshots say so.
pub(super) fn snapshots(place: &Place) {
    let mut subject = place.create();
    let entries = History::random_of(8, 240, 1000).entries;
    let (first, rest) = entries.split_at(120);
    subject.apply(first);
    let (before, taken) = (subject.model.clone(), subject.store.snapshot());
    let parts = match taken {
        Ok(parts) => parts,
        Err(StoreError::Unusable { .. }) => return,
        Err(error) => panic!("{error:?}"),
    };
    rest.chunks(30).for_each(|entries| subject.apply(entries));
    for mut part in parts {
        assert_eq!(*part.cursor(), before.cursor);
        let copy = tempfile::tempdir().unwrap();
        let copied = part.copy(copy.path(), &Freely).unwrap();
        assert_eq!(copied, Copied::Whole);
        before.assert_is(&*part.open(copy.path()).unwrap(), "a copy of a snapshot");
    }
    subject.check("when it was copied");
    subject.reopened(place).check("opened again");
}

/// A copy that nobody slows down.
struct Freely;

impl Throttle for Freely {
    fn moved(&self, _bytes: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

pub(super) fn what_is_not_there(place: &Place) {
    let mut subject = place.create();
    subject.check("a new one");
    subject.apply(&History::random(4, 100).entries);
    let reader = &subject.reader;
    assert_eq!(reader.block(u64::MAX).unwrap(), None);
    assert_eq!(reader.block_hash(1 << 63).unwrap(), None);
    assert_eq!(reader.proof(u64::MAX).unwrap(), None);
    assert_eq!(reader.block_by_hash(&hash(&[77; 33])).unwrap(), None);
    assert_eq!(reader.transaction(&TransactionId::new([1; 50]).unwrap()).unwrap(), None);
    let (key, name) = (Key::new([255; 256]).unwrap(), Label::new("no such mark").unwrap());
    assert_eq!(reader.record(&key).unwrap(), None);
    assert_eq!(reader.mark(&name).unwrap(), None);
    assert_eq!(reader.keys(Some(&key), 10).unwrap(), []);
    // In portions it is the same list.
    let all = reader.keys(None, usize::MAX).unwrap();
    let mut portions = reader.keys(None, 2).unwrap();
    while let Some(last) = portions.last() {
        let more = reader.keys(Some(last), 2).unwrap();
        if more.is_empty() {
            break;
        }
        portions.extend(more);
    }
    assert_eq!(portions, all);
}

pub(super) fn opened_again(place: &Place) {
    let mut subject = place.create();
    for entries in History::random(6, 200).entries.chunks(40) {
        subject.apply(entries);
        subject = subject.reopened(place);
        subject.check("opened again");
    }
}
