//! Reading while the same heights are written over and over.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{created, place};
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;
use crate::files::FileReader;
use crate::reader::{ChainView, StoreReader};
use crate::spec::{Sink, Store};

#[test]
fn what_is_read_belongs_together_however_often_it_is_replaced() {
    let (_directory, root) = place();
    let (mut store, mut model) = (created(&root), Model::new(&log()));
    let mut history = History::blocks(3, 2000);
    let tip = history.model.cursor.block_tip.clone().unwrap().height;
    let first = history.entries.len();
    for step in 0..300 {
        match step % 3 {
            0 => history.replace_tip(),
            // Of one length, so that only the content tells them apart.
            1 => history.proof_of(tip, 50),
            _ => history.proof_of(tip - 1, 50),
        }
    }
    let entries = &history.entries;
    store.apply(&model.batch(&entries[..first])).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (root, done) = (&root, &done);
                scope.spawn(move || {
                    let reader = FileReader::open(root).unwrap();
                    let mut seen = BTreeSet::new();
                    let payload = |index: u64| entries[index as usize - 1].event.payload();
                    while !done.load(Ordering::Relaxed) {
                        // A batch may end between a tip's removal and its replacement.
                        for block in [reader.block(tip).unwrap(), reader.block(tip - 1).unwrap()] {
                            let Some(block) = block else { continue };
                            assert!(block.payload == payload(block.index), "another block's");
                            seen.insert(block.index);
                        }
                        for proof in [reader.proof(tip).unwrap(), reader.proof(tip - 1).unwrap()] {
                            let Some(proof) = proof else { continue };
                            assert!(proof.payload == payload(proof.index), "another proof's");
                            seen.insert(proof.index);
                        }
                    }
                    seen
                })
            })
            .collect();
        for (number, entries) in entries[first..].chunks(3).enumerate() {
            // What is replaced while the store is snapshot is put aside first.
            let _pinned = (number % 8 < 4).then(|| store.snapshot().unwrap());
            // One by one, and several at once.
            for entries in entries.chunks(1 + 2 * (number % 2)) {
                store.apply(&model.batch(entries)).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            let seen = reader.join().unwrap();
            assert!(seen.len() > 10, "it read meanwhile: {seen:?}");
        }
    });
    model.assert_is(&*store.reader().unwrap(), "afterwards");
}
