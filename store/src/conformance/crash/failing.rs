//! Writes, fsyncs and other operations fail.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::aftermath::{Left, in_memory, open_and_finish};
use super::check::{Expected, Promise};
use super::copies::prepare;
use super::disk::{Disk, Tree};
use super::endure::{ENTRIES, Endure};
use super::fault::{BEGIN, COUNTS, Kind, Plan};
use super::file::Keep;
use super::mark::Mark;
use super::process::{Child, command};
use super::reached::Reached;
use super::recorder::Recorder;
use super::trace::{self, Event};
use super::{Context, Place, amount};

/// How many plans one child carries out.
const PLANS: usize = 50;

/// Has each kind of operation fail, one in each run, and sees that the store says so, refuses or
/// continues as it says, and has lost nothing: after the process ended, and after a power cut.
pub(in super::super) fn failing_writes(place: &Place) {
    let faults = amount("TIPLINE_FAULTS", 10);
    let seed = amount("TIPLINE_SEED", 1) as u64;
    let recorder = Recorder::build();
    let mut lab = Lab {
        place,
        recorder: &recorder,
        seed,
        rng: StdRng::seed_from_u64(seed),
        expected: Expected::random(seed, ENTRIES),
        struck: 0,
        stopped: 0,
        flushed_all: false,
        failed_to: false,
        reached: Reached::default(),
    };
    let counts = lab.run("none", &[(0, Plan::NONE)]);
    let mut waits_for_space = false;
    for kind in Kind::FAULTS {
        let there = kind.among(counts);
        let count = faults.min(there);
        println!("seed {seed}, {kind:?}: {there} operations, {count} of them fail");
        // Those of the first opening are all different.
        let first = count / 4;
        let later = rand::seq::index::sample(&mut lab.rng, there - first, count - first);
        let chosen = (0..first).chain(later.into_iter().map(|at| first + at));
        let plan = |(number, at)| (number, Plan { kind, at: at + 1 });
        let plans: Vec<_> = chosen.enumerate().map(plan).collect();
        (lab.struck, lab.stopped) = (0, 0);
        for (batch, plans) in plans.chunks(PLANS).enumerate() {
            lab.run(&format!("{kind:?}-{batch}"), plans);
        }
        // What threads of its own do is not the same each time.
        let struck = lab.struck;
        assert!(struck * 2 >= plans.len(), "{struck} of {} faults have come about", plans.len());
        match kind {
            Kind::NoSpaceLasting => waits_for_space = lab.stopped == 0,
            Kind::Quota if waits_for_space => {
                assert_eq!(lab.stopped, 0, "it waits for space, and stops at a quota");
            }
            _ => {}
        }
    }
    lab.reached.assert_all();
    let seen = lab.flushed_all && lab.failed_to;
    assert!(
        seen || !place.flushes_all,
        "no flush of the whole file system was seen, and seen to fail"
    );
}

struct Lab<'a> {
    place: &'a Place,
    recorder: &'a Recorder,
    seed: u64,
    rng: StdRng,
    expected: Expected,
    struck: usize,
    /// How often a store stopped while it applied.
    stopped: usize,
    /// A flush of the whole file system was seen, and one that failed.
    flushed_all: bool,
    failed_to: bool,
    reached: Reached,
}

impl Lab<'_> {
    /// Has a child carry out the plans, and looks at what is left by each. How many operations
    /// of each class there were in the last.
    fn run(&mut self, name: &str, plans: &[(usize, Plan)]) -> [usize; 4] {
        let home = in_memory();
        let root = home.path().canonicalize().unwrap();
        let directory = |number: usize| root.join(number.to_string());
        plans.iter().for_each(|(number, _)| prepare(&directory(*number)));
        let mut disk = Disk::of(&root, self.place.appends);
        let events = self.record(name, plans, &root);
        let mut counts = [0; 4];
        let is_begin =
            |event: &Event| matches!(event, Event::Mark(text) if text.starts_with(BEGIN));
        let mut parts = events.split(is_begin);
        assert_eq!(parts.next().map(<[Event]>::len), Some(0), "it begins with a plan");
        for ((number, plan), events) in plans.iter().zip(parts) {
            let _context = Context(format!("seed {}, {plan:?}", self.seed));
            counts = self.examine(&mut disk, events, &directory(*number));
        }
        counts
    }

    fn record(&mut self, name: &str, plans: &[(usize, Plan)], root: &Path) -> Vec<Event> {
        let trace: PathBuf = self.recorder.trace(name);
        let task = Endure { seed: self.seed, plans: plans.to_vec() };
        let mut command = command(self.place.test, &task.to_text(), root);
        self.recorder.watch(&mut command, root, &trace);
        let mut child = Child::start(command);
        if !child.end().success() {
            child.fail("did not come to its end");
        }
        let events = trace::read(&trace);
        trace::assert_recorded_something(&events);
        self.flushed_all |= events.contains(&Event::SyncedAll);
        self.failed_to |= events.contains(&Event::NotSyncedAll);
        events
    }

    /// When the power is cut, and what is kept then: at the end, anywhere, and where something
    /// was just promised.
    fn cuts(&mut self, events: &[Event], from: usize) -> Vec<(usize, Keep)> {
        let rng = &mut self.rng;
        let promises: Vec<_> = (0..events.len()).filter(|at| is_promise(&events[*at])).collect();
        let end = events.len() - 1;
        let anywhere = rng.random_range(0..=end);
        let mut cuts =
            vec![(end, Keep::Nothing), (end, Keep::any(rng)), (anywhere, Keep::any(rng))];
        let promised = promises.first().into_iter().chain(promises.choose(rng));
        cuts.extend(promised.map(|at| (*at, Keep::Nothing)));
        cuts.into_iter().map(|(at, keep)| (from + at, keep)).collect()
    }

    /// What is left by one plan: when the power is cut at any point after the fault and at the
    /// end, and when it is not.
    fn examine(&mut self, disk: &mut Disk, events: &[Event], directory: &Path) -> [usize; 4] {
        let root = fs::metadata(directory).unwrap().ino();
        let fault = events.iter().position(|event| matches!(event, Event::Fault(_)));
        self.struck += usize::from(fault.is_some());
        let cuts = self.cuts(&events[fault.unwrap_or(0)..], fault.unwrap_or(0));
        let mut promise = Promise::default();
        let (mut counts, mut told) = ([0; 4], vec![]);
        for (point, event) in events.iter().enumerate() {
            disk.step(event);
            if let Event::Fault(_) | Event::Mark(_) = event {
                told.push(disk.describe(event));
            }
            let _context = Context(told.join("\n"));
            if let Event::Fault(_) = event {
                let there = disk.survivor(root, Keep::Everything, &mut self.rng);
                self.reached.look(there.files());
            }
            if let Event::Mark(text) = event {
                Mark::parse(text).iter().for_each(|mark| {
                    promise.hear(mark);
                    self.reached.hear(mark);
                });
                counts = read_counts(text).unwrap_or(counts);
                self.stopped += usize::from(text.starts_with("apply failed: Failed"));
            }
            for (_, keep) in cuts.iter().filter(|(cut, _)| *cut == point) {
                let _context = Context(format!("the power is cut after {}", disk.describe(event)));
                let tree = disk.survivor(root, *keep, &mut self.rng);
                let left = Left { tree: &tree, keep: *keep };
                open_and_finish(
                    self.place.open,
                    &disk.unsettled(root),
                    left,
                    &promise,
                    &mut self.expected,
                );
            }
        }
        let everything = disk.survivor(root, Keep::Everything, &mut self.rng);
        Tree::of(directory).assert_recorded(&everything);
        let _context = Context(format!("{}\nthe power stays on", told.join("\n")));
        let store = self.expected.check(self.place.open, directory, &promise);
        self.expected.finish(store, ENTRIES);
        counts
    }
}

/// Whether something is promised by it.
fn is_promise(event: &Event) -> bool {
    let Event::Mark(text) = event else { return false };
    let mark = Mark::parse(text);
    matches!(
        mark,
        Some(Mark::Applied(_) | Mark::Created | Mark::Opened(Some(_)) | Mark::Copied(..))
    )
}

fn read_counts(mark: &str) -> Option<[usize; 4]> {
    let numbers = mark.strip_prefix(COUNTS)?.split_whitespace().map(str::parse);
    numbers.collect::<Result<Vec<_>, _>>().ok()?.try_into().ok()
}
