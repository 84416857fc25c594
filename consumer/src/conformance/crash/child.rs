//! What a child does: it applies a history, and tells of it, until it is stopped.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::{env, io, process, thread};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::check::Expected;
use super::mark::{Mark, tell};
use super::process::{DIRECTORY, TASK};
use super::{Open, log};
use crate::store::Store;

/// What a child is told to do.
#[derive(Debug)]
pub(super) struct Task {
    /// Of the history.
    pub(super) seed: u64,
    /// Entries of the history.
    pub(super) count: usize,
    /// Of everything else: how it is cut into batches.
    pub(super) round: u64,
    /// Entries of a batch at most.
    pub(super) batch: usize,
}

impl Task {
    pub(super) fn to_text(&self) -> String {
        let Self { seed, count, round, batch } = self;
        format!("{seed} {count} {round} {batch}")
    }

    fn parse(text: &str) -> Self {
        let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
        let [seed, count, round, batch] = numbers[..] else { panic!("no task: {text}") };
        Self { seed, count: count as usize, round, batch: batch as usize }
    }
}

/// If this process is a child it does its task here, and ends.
pub(in super::super) fn play(open: Open) {
    let Ok(task) = env::var(TASK) else { return };
    let directory = PathBuf::from(env::var_os(DIRECTORY).unwrap());
    end_with_parent();
    Task::parse(&task).work(open, &directory);
    tell(&Mark::End);
    // To be killed at rest is one of the moments too.
    loop {
        thread::park();
    }
}

/// The parent holds the other end of our input for as long as it lives.
fn end_with_parent() {
    thread::spawn(|| {
        let end = io::stdin().read(&mut [0]);
        assert_eq!(end.unwrap_or(0), 0);
        process::exit(1);
    });
}

impl Task {
    /// Applies what remains of the history.
    fn work(&self, open: Open, directory: &Path) {
        let mut rng = StdRng::seed_from_u64(self.round);
        let mut expected = Expected::random(self.seed, self.count);
        let (mut store, at) = opened(open, directory);
        let mut model = expected.model(at);
        let mut rest = &expected.entries[at as usize..];
        while !rest.is_empty() {
            let size = rng.random_range(1..=self.batch.min(rest.len()));
            let batch = model.batch(&rest[..size]);
            tell(&Mark::Applying(batch.cursor.position.index));
            store.apply(&batch).unwrap();
            tell(&Mark::Applied(batch.cursor.position.index));
            rest = &rest[size..];
            if rng.random_bool(0.1) {
                drop(store);
                (store, _) = opened(open, directory);
            }
        }
    }
}

/// Opens the store, makes it one of the log if it is new, and finds its cursor.
fn opened(open: Open, directory: &Path) -> (Box<dyn Store>, u64) {
    tell(&Mark::Opening);
    let mut store = open(directory).unwrap();
    let cursor = store.reader().unwrap().cursor().unwrap();
    let at = cursor.map(|cursor| cursor.position.index);
    tell(&Mark::Opened(at));
    if at.is_none() {
        tell(&Mark::Creating);
        store.create(&log()).unwrap();
        tell(&Mark::Created);
    }
    (store, at.unwrap_or(0))
}
