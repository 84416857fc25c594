//! The power is cut under anything that keeps files, for tests of what is no store.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::super::Appends;
use super::Context;
use super::aftermath::in_memory;
use super::disk::{Disk, Tree};
use super::file::Keep;
use super::mark::Marks;
use super::recorder::{self, ROOT, Recorder, TRACE};
use super::trace::{self, Event};

/// Records all that processes do to the files of a directory, and what they promise meanwhile, to
/// see what a power cut may leave of it: as the case `power_cut` of the suite does with a store. See
/// there for what it can follow. For Linux.
#[derive(Debug)]
pub struct Recording {
    recorder: Recorder,
    directory: PathBuf,
    disk: Disk,
}

/// What a power cut left.
#[derive(Debug)]
pub struct Left<'a> {
    /// The directory, as it is afterwards. What is done to it has no consequence.
    pub directory: &'a Path,
    /// The last number that was promised before; 0 before the first.
    pub promised: u64,
}

impl Recording {
    /// Of this directory. What is in it is taken for durable.
    pub fn of(directory: &Path) -> Self {
        let directory = directory.canonicalize().unwrap();
        let disk = Disk::of(&directory, Appends::Torn);
        Self { recorder: Recorder::build(), directory, disk }
    }

    /// Has the recorder record what this command does there, one command after another.
    pub fn watch(&self, command: &mut Command) {
        self.recorder.watch(command, &self.directory, &self.trace());
    }

    /// In a process that is recorded: the directory, and what tells of promises. `None` in any other.
    pub fn of_this_process() -> Option<(PathBuf, Promises)> {
        let (root, trace) = (env::var_os(ROOT)?, env::var_os(TRACE)?);
        Some((root.into(), Promises(Marks::to_recorder(&recorder::marks(Path::new(&trace))))))
    }

    /// Cuts the power so many times, at any point of what was recorded and more often right after a
    /// promise, and looks at what is left each time.
    ///
    /// # Panics
    /// Nothing was recorded, or something else has changed the directory.
    pub fn cut(mut self, times: usize, seed: u64, mut look: impl FnMut(Left<'_>)) {
        let events = trace::read(&self.trace());
        trace::assert_recorded_something(&events);
        let root = fs::metadata(&self.directory).unwrap().ino();
        let mut rng = StdRng::seed_from_u64(seed);
        let points = points(&events, times, &mut rng);
        let mut promised = 0;
        for (point, event) in events.iter().enumerate() {
            self.disk.step(event);
            if let Event::Mark(text) = event {
                promised = text.trim().parse().unwrap();
            }
            for _ in points.iter().filter(|it| **it == point) {
                let keep = Keep::any(&mut rng);
                let _context = Context(format!(
                    "seed {seed}: the power is cut after operation {point} of {}, {}; kept: \
                     {keep:?}, of: {}",
                    events.len(),
                    self.disk.describe(event),
                    self.disk.unsettled(root)
                ));
                let directory = in_memory();
                self.disk.survivor(root, keep, &mut rng).write(directory.path());
                look(Left { directory: directory.path(), promised });
            }
        }
        let everything = self.disk.survivor(root, Keep::Everything, &mut rng);
        Tree::of(&self.directory).assert_recorded(&everything);
    }

    fn trace(&self) -> PathBuf {
        self.recorder.trace("trace")
    }
}

fn points(events: &[Event], times: usize, rng: &mut StdRng) -> Vec<usize> {
    let any: Vec<usize> = (0..events.len()).collect();
    let mut promises = any.clone();
    promises.retain(|at| matches!(events[*at], Event::Mark(_)));
    let point = |number: usize| match number % 2 {
        0 => promises.choose(rng).copied().unwrap_or(0),
        _ => rng.random_range(0..events.len()),
    };
    (0..times).map(point).collect()
}

/// Where a process that is recorded tells what it has promised.
pub struct Promises(Marks);

impl Promises {
    /// From now on everything up to this number is promised.
    pub fn promise(&mut self, number: u64) {
        self.0.tell(&number);
    }
}

impl fmt::Debug for Promises {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promises").finish_non_exhaustive()
    }
}
