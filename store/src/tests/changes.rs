//! The net effect of a batch is that of its entries one by one.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::changes::Changes;
use crate::conformance::history::{History, log};
use crate::conformance::model::Model;

/// Puts changes into a model as a store does.
fn put(model: &mut Model, changes: Changes) {
    if let Some(to_height) = changes.rolled_back_to {
        model.blocks.retain(|height, _| *height <= to_height);
        model.proofs.retain(|height, _| *height <= to_height);
        model.transactions.retain(|_, t| t.block_tip.is_none_or(|tip| tip <= to_height));
    }
    for (height, block) in changes.blocks {
        assert_eq!(model.blocks.insert(height, block), None, "nothing is in its place");
    }
    model.proofs.extend(changes.proofs);
    for (id, transaction) in changes.transactions {
        match transaction {
            Some(transaction) => model.transactions.insert(id, transaction),
            None => model.transactions.remove(&id),
        };
    }
    for (key, record) in changes.records {
        match record {
            Some(record) => model.records.insert(key, record),
            None => model.records.remove(&key),
        };
    }
    model.marks.extend(changes.marks);
}

#[test]
fn changes_are_what_the_entries_come_to_one_by_one() {
    for seed in 0..100 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let entries = History::random(seed, 300).entries;
        let (mut expected, mut found) = (Model::new(&log()), Model::new(&log()));
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rng.random_range(1..=rest.len().min(80)));
            rest = later;
            let block_tip = expected.cursor.block_tip.as_ref().map(|tip| tip.height);
            let batch = expected.batch(now);
            put(&mut found, Changes::new(&batch, block_tip));
            (found.cursor, found.base) = (batch.cursor, batch.base);
            // What is gone is no change.
            found.orphans.clone_from(&expected.orphans);
            assert_eq!(found, expected);
        }
    }
}
