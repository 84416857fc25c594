//! Reading, while the store is applied to and otherwise.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tipline_proto::{Key, Label, TransactionId};

use super::history::{History, hash};
use super::{Place, Subject};

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

pub(super) fn what_is_not_there(place: &Place) {
    let mut subject = place.create();
    subject.check("a new one");
    subject.apply(&History::random(4, 100).entries);
    let reader = &subject.reader;
    assert_eq!(reader.block(u64::MAX).unwrap(), None);
    assert_eq!(reader.block_hash(1 << 63).unwrap(), None);
    assert_eq!(reader.proof(u64::MAX).unwrap(), None);
    assert_eq!(reader.block_by_hash(&hash(&[77; 33])).unwrap(), None);
    assert_eq!(reader.transaction(&TransactionId::new(vec![1; 50]).unwrap()).unwrap(), None);
    let (key, name) = (Key::new(vec![255; 256]).unwrap(), Label::new("no such mark").unwrap());
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
