use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_proto::{Cursor, Digest, Entry, Event, LinkError, LogIdentity};
use tipline_store::conformance::history::{History, hash, log};
use tipline_store::conformance::model::Model;
use tipline_store::{StoreError, StoredLinks};

use crate::refusal::{Refusal, VerifyError};
use crate::verify::{Verdict, Verifier};

fn verifier(log: &LogIdentity) -> Verifier {
    Verifier::new(&log.chain, &Cursor::origin(log), StoredLinks::default())
}

fn classify(verifier: &mut Verifier, entry: &Entry, stored: &Model) -> Result<Verdict, Refusal> {
    let look_up = |height| Ok::<_, StoreError>(stored.block_hash(height));
    verifier.classify(entry, &look_up).map_err(|e| match e {
        VerifyError::Refused(refusal) => refusal,
        VerifyError::Store(error) => panic!("{error}"),
    })
}

/// Classifies all of them while the store lags far behind; the verdict of the last one.
fn judge_all(entries: &[Entry]) -> Result<Verdict, Refusal> {
    let mut verifier = verifier(&log());
    let nothing = Model::new(&log());
    let (last, before) = entries.split_last().unwrap();
    for entry in before {
        assert_eq!(classify(&mut verifier, entry, &nothing), Ok(Verdict::Apply), "{entry:?}");
    }
    classify(&mut verifier, last, &nothing)
}

/// Seals the entry again after the one before it, so that only its content is wrong.
fn resealed(entries: &[Entry], change: impl FnOnce(&mut Entry)) -> Vec<Entry> {
    let (last, before) = entries.split_last().unwrap();
    let mut last = last.clone();
    change(&mut last);
    let after = before.last().unwrap().position();
    let Entry { epoch, time, outbox_sequence, event, .. } = last;
    let mut entries = before.to_vec();
    entries.push(Entry::seal(&after, epoch, time, outbox_sequence, event));
    entries
}

#[test]
fn any_history_is_good_while_the_store_lags() {
    for seed in 0..120 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let writer = History::random(seed, 400);
        let (mut model, mut stored) = (Model::new(&log()), Model::new(&log()));
        let mut verifier = verifier(&log());
        for (at, entry) in writer.entries.iter().enumerate() {
            assert_eq!(
                classify(&mut verifier, entry, &stored),
                Ok(Verdict::Apply),
                "seed {seed}: {entry:?}"
            );
            model.apply(entry);
            assert_eq!(verifier.cursor(), model.cursor, "seed {seed} at {}", entry.index);
            assert_eq!(verifier.batch(vec![]).base, model.base, "seed {seed} at {}", entry.index);
            if rng.random_bool(0.2) {
                let again = &writer.entries[rng.random_range(0..=at)];
                assert_eq!(
                    classify(&mut verifier, again, &stored),
                    Ok(Verdict::Duplicate),
                    "seed {seed}"
                );
            }
            if rng.random_bool(0.05) {
                let had = stored.cursor.position.index as usize;
                let to = rng.random_range(had..=at + 1);
                writer.entries[had..to].iter().for_each(|entry| stored.apply(entry));
                // Sometimes the store has them before the verifier is told.
                if rng.random_bool(0.7) {
                    verifier.applied(to as u64);
                }
            }
        }
        assert_eq!(verifier.cursor(), writer.model.cursor, "seed {seed}");
    }
}

#[test]
fn a_verifier_that_resumes_anywhere_judges_the_rest_as_one_that_did_not_stop() {
    for seed in 0..100 {
        println!("seed {seed}");
        let writer = History::random(seed, 300);
        let at = StdRng::seed_from_u64(seed).random_range(0..300);
        let mut stored = Model::of(&log(), &writer.entries[..at]);
        let tip = stored.cursor.proof_tip;
        let above = |height: &&u64| tip.is_none_or(|tip| **height > tip);
        let proven_above = stored.proofs.keys().filter(above).copied().collect();
        let links = StoredLinks { base: stored.base.clone(), proven_above };
        let mut verifier = Verifier::new(&log().chain, &stored.cursor, links);
        for entry in &writer.entries[at..] {
            assert_eq!(
                classify(&mut verifier, entry, &stored),
                Ok(Verdict::Apply),
                "seed {seed}: {entry:?}"
            );
            stored.apply(entry);
            verifier.applied(entry.index);
        }
        assert_eq!(verifier.cursor(), writer.model.cursor, "seed {seed}");
    }
}

#[test]
fn an_altered_entry_is_refused_at_its_index_and_nothing_changes() {
    for seed in 0..120 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let writer = History::random(seed, 60);
        let at = rng.random_range(1..60);
        let mut altered = writer.entries[at].clone();
        match rng.random_range(0..5) {
            0 => altered.digest = Digest::from_bytes([3; 32]),
            1 => altered.outbox_sequence += 1,
            2 => altered.epoch += 1,
            3 => altered.time = Default::default(),
            _ => altered.event = Event::Marked { name: "altered".parse().unwrap() },
        }
        let (mut verifier, nothing) = (verifier(&log()), Model::new(&log()));
        for entry in &writer.entries[..at] {
            assert_eq!(classify(&mut verifier, entry, &nothing), Ok(Verdict::Apply), "seed {seed}");
        }
        let before = verifier.cursor();
        let refusal = classify(&mut verifier, &altered, &nothing).unwrap_err();
        assert!(matches!(refusal, Refusal::Fork { .. }), "seed {seed}: {refusal:?}");
        assert_eq!(refusal.index(), altered.index, "seed {seed}");
        assert_eq!(verifier.cursor(), before, "seed {seed}");
        let good = classify(&mut verifier, &writer.entries[at], &nothing);
        assert_eq!(good, Ok(Verdict::Apply), "seed {seed}");
    }
}

#[test]
fn a_missing_entry_is_a_gap_that_names_both_indices() {
    let writer = History::blocks(5, 10);
    let mut entries = writer.entries;
    entries.remove(3);
    let refusal = judge_all(&entries[..4]).unwrap_err();
    assert_eq!(refusal, Refusal::Gap { expected: 4, found: 5 });
    assert_eq!(refusal.to_string(), "entry 4 is missing: entry 5 came in its place");
}

#[test]
fn a_fork_names_its_index_and_both_digests() {
    let ours = History::blocks(5, 10);
    let mut theirs = History::of(&log(), 99);
    theirs.claim();
    theirs.block();
    theirs.block();
    let mut entries = ours.entries[..3].to_vec();
    entries.push(Entry { index: 4, ..theirs.entries[2].clone() });
    let refusal = judge_all(&entries).unwrap_err();
    let Refusal::Fork { index: 4, expected, found, .. } = &refusal else {
        panic!("{refusal:?}");
    };
    assert_eq!(*found, theirs.entries[2].digest);
    let message = refusal.to_string();
    assert!(message.contains("entry 4 (block"), "{message}");
    assert!(message.contains(&expected.to_string()), "{message}");
    assert!(message.contains(&found.to_string()), "{message}");
}

#[test]
fn an_entry_that_comes_again_with_another_digest_is_a_fork() {
    let mut writer = History::blocks(5, 10);
    let changed = Entry { digest: Digest::from_bytes([1; 32]), ..writer.entries[2].clone() };
    writer.entries.push(changed);
    let refusal = judge_all(&writer.entries).unwrap_err();
    assert!(matches!(refusal, Refusal::Replaced { index: 3, .. }), "{refusal:?}");
}

#[test]
fn what_a_fenced_primary_wrote_after_a_higher_claim_is_void_wherever_it_stands() {
    let mut old = History::blocks(3, 10);
    let mut new = old.twin(1);
    new.claim();
    (0..10).for_each(|_| old.block());
    let (mut verifier, nothing) = (verifier(&log()), Model::new(&log()));
    for entry in &new.entries {
        assert_eq!(classify(&mut verifier, entry, &nothing), Ok(Verdict::Apply));
    }
    let before = verifier.cursor();
    // In the claim's own place, directly after it, and far after it.
    for entry in &old.entries[4..] {
        assert_eq!(classify(&mut verifier, entry, &nothing), Ok(Verdict::Void), "{entry:?}");
    }
    // What both share came again.
    for entry in &old.entries[..4] {
        assert_eq!(classify(&mut verifier, entry, &nothing), Ok(Verdict::Duplicate));
    }
    assert_eq!(verifier.cursor(), before);
    new.block();
    assert_eq!(classify(&mut verifier, new.entries.last().unwrap(), &nothing), Ok(Verdict::Apply));
}

#[test]
fn an_epoch_changes_by_a_claim_and_a_claim_raises_it() {
    let mut writer = History::blocks(2, 10);
    let unclaimed = resealed(&writer.entries, |entry| entry.epoch = 2);
    let refusal = judge_all(&unclaimed).unwrap_err();
    assert!(
        matches!(refusal, Refusal::Unclaimed { index: 3, claimed: 1, found: 2, .. }),
        "{refusal:?}"
    );

    writer.claim();
    let same = resealed(&writer.entries, |entry| entry.epoch = 1);
    assert_eq!(judge_all(&same), Err(Refusal::NotRaised { index: 4, epoch: 1 }));

    let mut headless = History::new(1);
    headless.block();
    let refusal = judge_all(&headless.entries).unwrap_err();
    assert!(matches!(refusal, Refusal::Unclaimed { index: 1, claimed: 0, .. }), "{refusal:?}");
}

#[test]
fn what_does_not_link_is_refused_with_its_event() {
    let writer = History::blocks(4, 10);
    let wrong = |change: fn(&mut Event)| {
        let entries = resealed(&writer.entries, |entry| change(&mut entry.event));
        match judge_all(&entries).unwrap_err() {
            Refusal::Link { index: 5, source, .. } => *source,
            other => panic!("{other:?}"),
        }
    };
    let parent = wrong(|event| {
        if let Event::BlockCommitted { parent_hash, .. } = event {
            *parent_hash = hash(&[8]);
        }
    });
    assert!(matches!(parent, LinkError::WrongParent { .. }), "{parent:?}");
    let height = wrong(|event| {
        if let Event::BlockCommitted { height, .. } = event {
            *height += 1;
        }
    });
    assert!(matches!(height, LinkError::WrongHeight { .. }), "{height:?}");
    let proof = wrong(|event| {
        *event = Event::BlockProven { height: 2, block_hash: hash(&[8]), payload: "".into() };
    });
    assert!(matches!(proof, LinkError::UnknownBlock { .. }), "{proof:?}");
    let rollback = wrong(|event| {
        *event = Event::RolledBack { to_height: 2, to_hash: hash(&[8]) };
    });
    assert!(matches!(rollback, LinkError::WrongRollback { .. }), "{rollback:?}");
}

/// Also if it is sealed as it should be: by a primary that was led astray.
#[test]
fn a_row_that_was_left_out_or_comes_twice_within_an_epoch_is_refused() {
    let writer = History::blocks(3, 10);
    for (wrong, change) in [(5, 1), (3, -1)] {
        let other = resealed(&writer.entries, |entry| {
            entry.outbox_sequence = entry.outbox_sequence.strict_add_signed(change);
        });
        let refusal = judge_all(&other).unwrap_err();
        let Refusal::WrongRow { index: 4, expected: 4, found, .. } = refusal else {
            panic!("{refusal:?}");
        };
        assert_eq!(found, wrong);
        // A store does not remember the row of its newest entry.
        let stored = Model::of(&log(), &other[..3]);
        let mut resumed = Verifier::new(&log().chain, &stored.cursor, StoredLinks::default());
        assert_eq!(classify(&mut resumed, &other[3], &stored), Ok(Verdict::Apply));
    }
    // A claim names another outbox, or another row of it.
    for sequence in [0, 4, 99] {
        let mut writer = History::blocks(3, 10);
        writer.claim();
        let claimed = resealed(&writer.entries, |entry| entry.outbox_sequence = sequence);
        assert_eq!(judge_all(&claimed), Ok(Verdict::Apply));
        let after = claimed.last().unwrap();
        let event = Event::Marked { name: "next".parse().unwrap() };
        for (next, is_good) in [(sequence + 1, true), (sequence, false), (sequence + 2, false)] {
            let entry =
                Entry::seal(&after.position(), after.epoch, after.time, next, event.clone());
            let judged = judge_all(&[&claimed[..], &[entry]].concat());
            assert_eq!(judged.is_ok(), is_good, "row {next} after {sequence}: {judged:?}");
        }
    }
}
