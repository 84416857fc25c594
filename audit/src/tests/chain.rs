//! The rules of a consumer, in an audit.

use std::cell::RefCell;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_consumer::{Refusal, Verdict, Verifier, VerifyError};
use tipline_proto::{Cursor, Entry, Event, Position};
use tipline_store::StoredLinks;
use tipline_store::conformance::history::{History, log};
use tipline_store::conformance::model::Model;

use super::seed;
use crate::blocks::Blocks;
use crate::chain::{Chain, NotNext};

/// What a broker could deliver in the place of an entry.
fn tampered(rng: &mut StdRng, entries: &[Entry], at: usize) -> Vec<Entry> {
    let entry = entries[at].clone();
    match rng.random_range(0..40) {
        0 => vec![],
        1 => vec![entry.clone(), entry],
        2 => vec![entries[at.saturating_sub(3)].clone(), entry],
        3 => vec![Entry { epoch: entry.epoch.saturating_sub(1), ..entry }],
        4 => vec![Entry { outbox_sequence: entry.outbox_sequence + 1, ..entry }],
        // Forged: it chains, and does not link.
        5 if at > 0 => {
            let previous = entries[at - 1].position();
            let (to_height, to_hash) = (7, log().chain.genesis);
            let event = Event::RolledBack { to_height, to_hash };
            vec![Entry::seal(&previous, entry.epoch, entry.time, entry.outbox_sequence, event)]
        }
        // Forged: it chains, and rows were left out.
        6 if at > 0 => {
            let Entry { epoch, time, outbox_sequence, event, .. } = entry;
            vec![Entry::seal(&entries[at - 1].position(), epoch, time, outbox_sequence + 2, event)]
        }
        _ => vec![entry],
    }
}

#[test]
fn it_says_of_every_entry_what_a_consumer_says() {
    let seed = seed();
    let mut refused = 0;
    for round in 0..60 {
        let seed = seed.wrapping_add(round);
        let (mut rng, history) = (StdRng::seed_from_u64(seed), History::random(seed, 150));
        let entries = &history.entries;
        let delivered: Vec<Entry> =
            (0..entries.len()).flat_map(|at| tampered(&mut rng, entries, at)).collect();
        let origin = Position::origin(&log());
        // Few in memory, so that many are read from the file.
        let mut chain = Chain::start(log().chain, origin, 0, true, rng.random_range(1..20));
        let cursor = Cursor::origin(&log());
        let mut verifier = Verifier::new(&log().chain, &cursor, StoredLinks::default());
        let model = RefCell::new(Model::new(&log()));
        let stored = |height| Ok(model.borrow().block_hash(height));
        for entry in &delivered {
            let expected = verifier.classify(entry, &stored);
            let found = chain.admit(entry);
            match (expected, found) {
                (Ok(expected), Ok(found)) => {
                    assert_eq!(expected, found, "round {round}: {entry:?}")
                }
                (Err(VerifyError::Refused(expected)), Err(NotNext::Refused(found))) => {
                    assert_eq!(expected, found, "round {round}");
                    refused += 1;
                    break;
                }
                other => panic!("round {round}, entry {}: {other:?}", entry.index),
            }
            if chain.cursor().position.index > model.borrow().cursor.position.index {
                model.borrow_mut().apply(entry);
                verifier.applied(entry.index);
            }
            assert_eq!(chain.cursor(), verifier.cursor(), "round {round}");
        }
    }
    assert!(refused > 10, "nothing was refused: {refused}");
}

#[test]
fn a_history_that_starts_in_the_middle_is_checked_as_far_as_it_can_be() {
    let seed = seed();
    for round in 0..40 {
        let history = History::random(seed.wrapping_add(round), 200);
        let (before, after) = history.entries.split_at(60);
        let mut chain = Chain::from_entry(log().chain, before.last().unwrap());
        for entry in after {
            assert_eq!(chain.admit(entry).unwrap(), Verdict::Apply, "round {round}");
        }
        let (found, expected) = (chain.cursor(), &history.model.cursor);
        assert_eq!(found.position, expected.position);
        if found.block_tip.is_some() {
            assert_eq!(found.block_tip, expected.block_tip, "round {round}");
        }
        let mut forged = after[100].clone();
        forged.outbox_sequence += 1;
        let mut chain = Chain::from_entry(log().chain, before.last().unwrap());
        after[..100].iter().for_each(|entry| assert!(chain.admit(entry).is_ok()));
        assert!(matches!(chain.admit(&forged), Err(NotNext::Refused(Refusal::Fork { .. }))));
    }
}

#[test]
fn a_proof_of_an_unknown_block_is_refused_from_the_start_on() {
    let mut history = History::new(1);
    history.claim();
    history.block();
    history.block();
    let (height, position) =
        (history.model.cursor.block_tip.clone().unwrap().height, history.entries[2].position());
    let block_hash = log().chain.genesis;
    let event = Event::BlockProven { height, block_hash, payload: Default::default() };
    let forged = Entry::seal(&position, 1, history.entries[2].time, 4, event);
    let mut chain = Chain::from_origin(log().chain, Position::origin(&log()));
    history.entries.iter().for_each(|entry| assert!(chain.admit(entry).is_ok()));
    assert!(matches!(chain.admit(&forged), Err(NotNext::Refused(Refusal::Link { .. }))));
    // Also if only the two blocks are known.
    let mut chain = Chain::from_entry(log().chain, &history.entries[0]);
    history.entries[1..].iter().for_each(|entry| assert!(chain.admit(entry).is_ok()));
    assert!(matches!(chain.admit(&forged), Err(NotNext::Refused(Refusal::Link { .. }))));
    assert_eq!(chain.unchecked(), 0);
}

#[test]
fn blocks_are_what_they_were_wherever_they_are_kept() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..20 {
        let (mut blocks, mut model) = (Blocks::new(rng.random_range(1..9)), Vec::new());
        let lowest = rng.random_range(0..5);
        for step in 0..200_u64 {
            if rng.random_ratio(1, 10) {
                // The genesis is never rolled back.
                let least = usize::from(lowest == 0).min(model.len());
                let remaining = rng.random_range(least..=model.len());
                model.truncate(remaining);
                blocks.roll_back((lowest + remaining as u64).saturating_sub(1));
            }
            let mut bytes = vec![0; rng.random_range(1..=64)];
            rng.fill(&mut bytes[..]);
            bytes[0] = step as u8;
            let hash = tipline_proto::Hash::new(bytes).unwrap();
            blocks.push(lowest + model.len() as u64, hash.clone()).unwrap();
            model.push(hash);
            let at = rng.random_range(0..model.len());
            assert_eq!(blocks.get(lowest + at as u64).unwrap().as_ref(), model.get(at));
            assert_eq!(blocks.get(lowest + model.len() as u64).unwrap(), None);
            assert_eq!(blocks.lowest(), Some(lowest));
        }
    }
}

/// Also of one that starts in the middle.
#[test]
fn a_row_that_was_left_out_is_refused() {
    let mut history = History::new(1);
    history.claim();
    history.block();
    history.block();
    let Entry { epoch, time, outbox_sequence, event, .. } = history.entries[2].clone();
    let after = history.entries[1].position();
    let forged = Entry::seal(&after, epoch, time, outbox_sequence + 1, event);
    let mut whole = Chain::from_origin(log().chain, Position::origin(&log()));
    history.entries[..2].iter().for_each(|entry| assert!(whole.admit(entry).is_ok()));
    for mut chain in [whole, Chain::from_entry(log().chain, &history.entries[1])] {
        let refused = chain.admit(&forged);
        assert!(matches!(refused, Err(NotNext::Refused(Refusal::WrongRow { index: 3, .. }))));
        assert_eq!(chain.admit(&history.entries[2]).unwrap(), Verdict::Apply);
    }
}
