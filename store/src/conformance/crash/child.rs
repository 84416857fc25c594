//! What a child does: it applies a history, and tells of it, until it is stopped.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{env, io, process, thread};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::check::Expected;
use super::copies::{Copier, store_in};
use super::endure::Endure;
use super::fault::Plan;
use super::mark::{Mark, Marks};
use super::process::{DIRECTORY, TASK};
use super::{Open, log};
use crate::spec::Store;

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
    pub(super) death: Option<Death>,
}

/// Where the recorder is to end a child.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    /// It is told before this batch, counted from 1; before opening, if that is 0.
    pub(super) batch: u64,
    pub(super) plan: Plan,
}

impl Task {
    pub(super) fn to_text(&self) -> String {
        let Self { seed, count, round, batch, death } = self;
        let death = death.map(|Death { batch, plan }| format!(" {batch} {}", plan.to_text()));
        format!("{seed} {count} {round} {batch}{}", death.unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let words: Vec<_> = text.split(' ').collect();
        let number = |at: usize| words[at].parse().unwrap();
        let (seed, count, round, batch) = (number(0), number(1), number(2), number(3));
        let death =
            words.get(5).map(|plan| Death { batch: number(4), plan: Plan::parse(plan).unwrap() });
        Self { seed, count: count as usize, round, batch: batch as usize, death }
    }
}

/// If this process is a child it does its task here, and ends.
pub(in super::super) fn play(open: Open) {
    let Ok(task) = env::var(TASK) else { return };
    let directory = PathBuf::from(env::var_os(DIRECTORY).unwrap());
    end_with_parent();
    // Whoever called may expect a panic. What it says is the parent's to tell.
    let done = catch_unwind(AssertUnwindSafe(|| {
        let mut marks = marks();
        match Endure::parse(&task) {
            Some(task) => task.work(open, &directory, &mut marks),
            None => Task::parse(&task).work(open, &directory, &mut marks),
        }
        marks.tell(&Mark::End);
        marks
    }));
    match done {
        Ok(Marks::Recorder(_)) => process::exit(0),
        Err(_) => process::exit(1),
        // To be killed at rest is one of the moments too.
        Ok(Marks::Output) => loop {
            thread::park();
        },
    }
}

/// A child that is recorded tells the recorder.
#[cfg(target_os = "linux")]
fn marks() -> Marks {
    let trace = env::var_os(super::recorder::TRACE);
    trace.map_or(Marks::Output, |trace| {
        Marks::to_recorder(&super::recorder::marks(Path::new(&trace)))
    })
}

#[cfg(not(target_os = "linux"))]
fn marks() -> Marks {
    Marks::Output
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
    fn work(&self, open: Open, directory: &Path, marks: &mut Marks) {
        let mut rng = StdRng::seed_from_u64(self.round);
        let mut expected = Expected::random(self.seed, self.count);
        self.prepare_death(0, marks);
        let (mut store, at) = opened(open, directory, marks);
        let mut copier = Copier::new(directory);
        let mut model = expected.model(at);
        let mut rest = &expected.entries[at as usize..];
        for number in 1.. {
            if rest.is_empty() {
                break;
            }
            self.prepare_death(number, marks);
            let size = rng.random_range(1..=self.batch.min(rest.len()));
            let batch = model.batch(&rest[..size]);
            marks.tell(&Mark::Applying(batch.cursor.position.index));
            copier.apply(&mut *store, &batch).unwrap();
            marks.tell(&Mark::Applied(batch.cursor.position.index));
            rest = &rest[size..];
            copier.step(&*store, &mut rng, marks).unwrap();
            if rng.random_bool(0.1) {
                copier.release();
                drop(store);
                (store, _) = opened(open, directory, marks);
            }
        }
    }

    fn prepare_death(&self, batch: u64, marks: &mut Marks) {
        if let Some(death) = self.death.filter(|death| death.batch == batch) {
            marks.tell(&death.plan.command());
        }
    }
}

/// Opens the store, makes it one of the log if it is new, and finds its cursor.
fn opened(open: Open, directory: &Path, marks: &mut Marks) -> (Box<dyn Store>, u64) {
    marks.tell(&Mark::Opening);
    let store = open(&store_in(directory));
    let mut store = store.unwrap_or_else(|e| panic!("it does not open: {e:?}"));
    let cursor = store.reader().unwrap().cursor().unwrap();
    let at = cursor.map(|cursor| cursor.position.index);
    marks.tell(&Mark::Opened(at));
    if at.is_none() {
        marks.tell(&Mark::Creating);
        store.create(&log()).unwrap();
        marks.tell(&Mark::Created);
    }
    (store, at.unwrap_or(0))
}
