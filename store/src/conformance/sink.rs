//! What every sink promises, whether it is a whole store or not.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tipline_proto::{Cursor, Entry, LogIdentity};

use super::history::{History, hash, late_log, log, log_with_lineage};
use super::model::Model;
use super::{Open, OpenSink};
use crate::batch::Batch;
use crate::error::StoreError;
use crate::spec::{Sink, Store};

/// How what is under test is opened.
#[derive(Clone, Copy)]
pub(super) enum Opener {
    Store(Open),
    Sink(OpenSink),
}

impl Opener {
    fn open(self, directory: &Path) -> Medium {
        let mut medium = match self {
            Opener::Store(open) => Medium::Store(open(directory).unwrap()),
            Opener::Sink(open) => Medium::Sink(open(directory).unwrap()),
        };
        // Asked first, as a consumer does.
        medium.sink().identity().unwrap();
        medium
    }
}

/// What is under test: a store is compared as a whole, a sink by its view.
enum Medium {
    Store(Box<dyn Store>),
    Sink(Box<dyn Sink>),
}

impl Medium {
    fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Medium::Store(store) => &mut **store,
            Medium::Sink(sink) => &mut **sink,
        }
    }

    fn cursor(&mut self) -> Option<Cursor> {
        self.sink().view().unwrap().cursor().unwrap()
    }
}

struct Subject {
    medium: Medium,
    model: Model,
}

impl Subject {
    fn create(opener: Opener, directory: &Path) -> Self {
        Self::of(opener, directory, &log())
    }

    fn of(opener: Opener, directory: &Path, log: &LogIdentity) -> Self {
        let mut medium = opener.open(directory);
        medium.sink().create(log).unwrap();
        Self { medium, model: Model::new(log) }
    }

    fn apply(&mut self, entries: &[Entry]) {
        let batch = self.model.batch(entries);
        self.medium.sink().apply(&batch).unwrap();
        self.medium.sink().probe().unwrap();
    }

    fn refused(&mut self, batch: &Batch) -> StoreError {
        self.medium.sink().apply(batch).unwrap_err()
    }

    fn check(&self, context: &str) {
        match &self.medium {
            Medium::Store(store) => self.model.assert_is(&*store.reader().unwrap(), context),
            Medium::Sink(sink) => self.model.assert_chain(&*sink.view().unwrap(), context),
        }
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The chain is what the entries say, in whatever batches they come, and also once it is opened
/// again.
pub(super) fn chain(opener: Opener) {
    for seed in 0..5 {
        println!("seed {seed}");
        chain_of(opener, &log(), seed);
    }
}

/// The same of a chain that began to prove in its middle: rollbacks across that, proofs before it,
/// and a first block above it.
pub(super) fn proofs_begin_late(opener: Opener) {
    for seed in 0..6 {
        let log = late_log(10 * (seed % 3) + 2);
        println!("seed {seed}, {:?}", log.chain.proofs_from);
        chain_of(opener, &log, seed);
    }
    let (directory, log) = (directory(), late_log(8));
    let mut subject = Subject::of(opener, directory.path(), &log);
    let mut history = History::of(&log, 1);
    history.claim();
    history.block_at(3);
    let mut debts = vec![];
    let mut apply = |history: &History| {
        let at = subject.model.cursor.position.index as usize;
        subject.apply(&history.entries[at..]);
        subject.check(&format!("after entry {}", history.entries.len()));
        debts.push(subject.medium.cursor().unwrap().proof_debt());
    };
    apply(&history);
    (4..=12).for_each(|_| history.block());
    apply(&history);
    history.proof_of(5, 100);
    history.proof_of(9, 100);
    apply(&history);
    history.proof_of(8, 100);
    apply(&history);
    history.roll_back_to(6);
    apply(&history);
    (7..=9).for_each(|_| history.block());
    apply(&history);
    // Across the whole of it within one batch.
    history.roll_back_to(4);
    (5..=10).for_each(|_| history.block());
    history.proof_of(8, 100);
    apply(&history);
    assert_eq!(debts, [0, 5, 5, 3, 0, 2, 2]);
}

fn chain_of(opener: Opener, log: &LogIdentity, seed: u64) {
    let (directory, mut rng) = (directory(), StdRng::seed_from_u64(seed));
    let entries = History::random_in(log, seed, 200, 200).entries;
    let mut subject = Subject::of(opener, directory.path(), log);
    subject.check("a new one");
    let mut rest = &entries[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rng.random_range(1..=rest.len().min(60)));
        subject.apply(now);
        subject.check(&format!("seed {seed}, at entry {}", now[now.len() - 1].index));
        rest = later;
    }
    let Subject { medium, model } = subject;
    drop(medium);
    let mut subject = Subject { medium: opener.open(directory.path()), model };
    subject.medium.sink().probe().unwrap();
    assert_eq!(subject.medium.sink().identity().unwrap(), Some(log.into()));
    subject.check(&format!("seed {seed}, opened again"));
}

pub(super) fn of_no_log(opener: Opener) {
    let directory = directory();
    let mut medium = opener.open(directory.path());
    assert_eq!(medium.sink().identity().unwrap(), None);
    assert_eq!(medium.cursor(), None);
    let early = Model::new(&log()).batch(&History::blocks(1, 1).entries);
    assert!(medium.sink().apply(&early).is_err(), "it was not created for a log");
    medium.sink().create(&log()).unwrap();
    medium.sink().create(&log()).unwrap();
    drop(medium);
    let mut medium = opener.open(directory.path());
    assert_eq!(medium.sink().identity().unwrap(), Some((&log()).into()));
    assert_eq!(medium.cursor(), Some(Cursor::origin(&log())));
}

pub(super) fn of_another_log(opener: Opener) {
    let directory = directory();
    let mut subject = Subject::create(opener, directory.path());
    subject.apply(&History::blocks(3, 10).entries);
    let error = subject.medium.sink().create(&log_with_lineage(8)).unwrap_err();
    assert!(matches!(error, StoreError::WrongLog { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("07070707") && message.contains("08080808"), "{message}");
    // Nor one that says to be the same, of a chain that begins elsewhere.
    let mut elsewhere = log();
    elsewhere.chain.genesis = hash(&[9; 32]);
    let error = subject.medium.sink().create(&elsewhere).unwrap_err();
    assert!(matches!(error, StoreError::WrongLog { .. }), "{error:?}");
    subject.check("after another log was refused");
}

/// The same chain and lineage, but proofs from another height on: no two of them are one log, and
/// the error says which is which.
pub(super) fn of_other_proofs(opener: Opener) {
    for (first, second) in [(log(), late_log(8)), (late_log(8), log()), (late_log(8), late_log(9))]
    {
        let directory = directory();
        let mut subject = Subject::of(opener, directory.path(), &first);
        let error = subject.medium.sink().create(&second).unwrap_err();
        assert!(matches!(error, StoreError::WrongLog { .. }), "{error:?}");
        for log in [&first, &second] {
            let height = log.chain.proofs_from.late();
            let says = height.map(|height| format!("proofs from block {height} on"));
            let message = error.to_string();
            assert!(says.is_none_or(|says| message.contains(&says)), "{message}");
        }
        drop(subject);
        let mut medium = opener.open(directory.path());
        assert_eq!(medium.sink().identity().unwrap(), Some((&first).into()));
        medium.sink().create(&first).unwrap();
        assert_eq!(medium.cursor(), Some(Cursor::origin(&first)));
    }
}

/// Duplicates, gaps, and a cursor that is not that of the entries.
pub(super) fn out_of_order(opener: Opener) {
    let directory = directory();
    let mut subject = Subject::create(opener, directory.path());
    let entries = History::blocks(9, 10).entries;
    let first = subject.model.clone().batch(&entries[..4]);
    subject.apply(&entries[..4]);
    let again = subject.refused(&first);
    assert!(matches!(again, StoreError::OutOfOrder { first: 1, .. }), "{again:?}");
    let gap = subject.refused(&Batch { entries: entries[5..].to_vec(), ..first.clone() });
    assert!(matches!(gap, StoreError::OutOfOrder { first: 6, .. }), "{gap:?}");
    let overlap = subject.refused(&Batch { entries: entries[3..].to_vec(), ..first.clone() });
    assert!(matches!(overlap, StoreError::OutOfOrder { first: 4, .. }), "{overlap:?}");
    let other_cursor = subject.refused(&Batch { entries: entries[4..].to_vec(), ..first.clone() });
    assert!(matches!(other_cursor, StoreError::OutOfOrder { .. }), "{other_cursor:?}");
    let empty = subject.refused(&Batch { entries: vec![], ..first });
    assert!(matches!(empty, StoreError::OutOfOrder { .. }), "{empty:?}");
    subject.check("after refusals");
    subject.apply(&entries[4..]);
    subject.check("after the right one");
}
