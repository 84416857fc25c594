//! The power is cut: what no fsync had made durable may be lost.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::aftermath::{Left, open_and_finish};
use super::check::{Expected, Promise};
use super::child::{Death, Task};
use super::copies::prepare;
use super::disk::{Disk, Tree};
use super::fault::{Kind, Plan};
use super::file::Keep;
use super::mark::Mark;
use super::process::{Child, command};
use super::reached::Reached;
use super::recorder::{DIED, Recorder};
use super::trace::{self, Event};
use super::{Context, Place, amount};

/// How many states are made of one trace.
const STATES: usize = 50;
const ENTRIES: usize = 150;
const BATCH: usize = 12;
/// Of the processes that write one trace, all but the last die on the way.
const PROCESSES: u64 = 5;

/// Records all that children do to the files of a store, makes of it what a power cut at any
/// point may have left, and looks at it.
pub(in super::super) fn power_cut(place: &Place) {
    let states = amount("TIPLINE_CRASHES", 300);
    let recorder = Recorder::build();
    let (mut start, mut flushed_all) = (Start::default(), false);
    let mut reached = Reached::default();
    for trace in 0..states.div_ceil(STATES) as u64 {
        // Every second one begins with what was left of the one before.
        if trace % 2 == 0 {
            start = Start { seed: trace, ..Start::default() };
        }
        println!("seed {}, trace {trace}", start.seed);
        let mut lab = Lab {
            place,
            recorder: &recorder,
            rng: StdRng::seed_from_u64(trace),
            expected: Expected::random(start.seed, ENTRIES),
            flushed_all: false,
            reached: &mut reached,
        };
        start = lab.run(trace, start);
        flushed_all |= lab.flushed_all;
    }
    reached.assert_all();
    assert!(flushed_all || !place.flushes_all, "it never flushed its whole file system");
}

/// What a trace begins with.
#[derive(Default)]
struct Start {
    seed: u64,
    tree: Tree,
    promise: Promise,
}

struct Lab<'a> {
    place: &'a Place,
    recorder: &'a Recorder,
    rng: StdRng,
    expected: Expected,
    /// A flush of the whole file system was seen.
    flushed_all: bool,
    reached: &'a mut Reached,
}

impl Lab<'_> {
    /// Records a trace and looks at what may be left of it; one of that.
    fn run(&mut self, number: u64, start: Start) -> Start {
        let directory = tempfile::tempdir().unwrap();
        start.tree.write(directory.path());
        prepare(directory.path());
        let disk = Disk::of(directory.path(), self.place.appends);
        let events = self.record(number, &start, directory.path());
        trace::assert_recorded_something(&events);
        self.flushed_all = events.contains(&Event::SyncedAll);
        let root = fs::metadata(directory.path()).unwrap().ino();
        let end = Tree::of(directory.path());
        self.examine(number, start, (disk, root), &events, &end)
    }

    /// Has children apply the history.
    fn record(&mut self, number: u64, start: &Start, directory: &Path) -> Vec<Event> {
        let trace = self.recorder.trace(&number.to_string());
        for process in 1..=PROCESSES {
            let death = (process < PROCESSES).then(|| self.death());
            let round = number * PROCESSES + process;
            let task = Task { seed: start.seed, count: ENTRIES, round, batch: BATCH, death };
            let directory = directory.canonicalize().unwrap();
            let mut command = command(self.place.test, &task.to_text(), &directory);
            self.recorder.watch(&mut command, &directory, &trace);
            let mut child = Child::start(command);
            let status = child.end().code();
            if status != Some(0) && status != Some(DIED) {
                child.fail("did not come to its end");
            }
        }
        trace::read(&trace)
    }

    fn death(&mut self) -> Death {
        let batch = self.rng.random_range(0..4);
        let (kind, most) = match self.rng.random_bool(0.5) {
            true => (Kind::DeathBeforeSync, 5),
            false if batch == 0 => (Kind::Death, 100),
            false => (Kind::Death, 20),
        };
        Death { batch, plan: Plan { kind, at: self.rng.random_range(1..=most) } }
    }

    fn examine(
        &mut self,
        number: u64,
        start: Start,
        (mut disk, root): (Disk, u64),
        events: &[Event],
        end: &Tree,
    ) -> Start {
        let points = self.points(events);
        let (seed, mut promise) = (start.seed, start.promise.clone());
        let mut last = start;
        for (point, event) in events.iter().enumerate() {
            disk.step(event);
            if let Event::Mark(text) = event {
                let _context = Context(format!("seed {seed}, trace {number}, at the mark {text}"));
                Mark::parse(text).iter().for_each(|mark| {
                    promise.hear(mark);
                    self.reached.hear(mark);
                });
            }
            for _ in points.iter().filter(|it| **it == point) {
                let _context = Context(format!(
                    "seed {seed}, trace {number}: the power is cut after operation {point} of {}, {}",
                    events.len(),
                    disk.describe(event)
                ));
                let keep = Keep::any(&mut self.rng);
                let tree = disk.survivor(root, keep, &mut self.rng);
                self.reached.look(tree.files());
                let left = Left { tree: &tree, keep };
                let unsettled = disk.unsettled(root);
                let promise = open_and_finish(
                    self.place.open,
                    &unsettled,
                    left,
                    &promise,
                    &mut self.expected,
                );
                // Rather one that has something to continue with.
                if promise.at < ENTRIES as u64 / 2 {
                    last = Start { seed, tree, promise };
                }
            }
        }
        let everything = disk.survivor(root, Keep::Everything, &mut self.rng);
        end.assert_recorded(&everything);
        last
    }

    /// Where the power is cut: anywhere, and more often where something was just promised.
    fn points(&mut self, events: &[Event]) -> Vec<usize> {
        let mark = |at: &usize| match &events[*at] {
            Event::Mark(text) => Mark::parse(text),
            _ => None,
        };
        let any: Vec<usize> = (0..events.len()).collect();
        let (mut acknowledged, mut shown) = (any.clone(), any.clone());
        acknowledged.retain(|at| {
            matches!(mark(at), Some(Mark::Applied(_) | Mark::Created | Mark::Copied(..)))
        });
        shown.retain(|at| matches!(mark(at), Some(Mark::Opened(_))));
        let point = |number| match number % 4 {
            0 => acknowledged.choose(&mut self.rng).copied().unwrap_or(0),
            1 => shown.choose(&mut self.rng).copied().unwrap_or(0),
            _ => self.rng.random_range(0..events.len()),
        };
        (0..STATES).map(point).collect()
    }
}
