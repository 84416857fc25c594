//! The process is killed.

use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_proto::limits::MAX_APPLY_EVENTS;

use super::check::{Expected, Promise};
use super::child::Task;
use super::copies::{prepare, store_in};
use super::mark::Mark;
use super::process::{Child, command};
use super::reached::Reached;
use super::{Context, Place, amount};
use crate::content::content_digest;

/// How often a store is killed before the next one is begun.
const KILLS_OF_A_STORE: usize = 10;
const ENTRIES: usize = 2000;
const BATCH: usize = 40;
/// The longest pause between a mark and the kill, as a power of two of microseconds: 16 ms.
const LONGEST: f64 = 14.0;

/// Kills a child that opens the store, creates it and applies batches, again and again at any
/// moment, and looks at what is left each time.
pub(in super::super) fn killed(place: &Place) {
    let kills = amount("TIPLINE_KILLS", 20);
    let (mut done, mut reached) = (0, Reached::default());
    for seed in 0.. {
        if done >= kills {
            break;
        }
        println!("seed {seed}");
        let mut life = Life {
            place: place.another(),
            seed,
            rng: StdRng::seed_from_u64(seed),
            expected: Expected::random(seed, ENTRIES),
            promise: Promise::default(),
            reached: &mut reached,
        };
        prepare(life.place.directory.path());
        done += life.lead(KILLS_OF_A_STORE.min(kills - done));
        life.compare();
    }
    reached.assert_all();
}

/// One store, from its first opening to the end of its history.
struct Life<'a> {
    place: Place,
    seed: u64,
    rng: StdRng,
    expected: Expected,
    promise: Promise,
    reached: &'a mut Reached,
}

impl Life<'_> {
    /// How many times it was killed, before the history was at its end.
    fn lead(&mut self, kills: usize) -> usize {
        for kill in 0..kills {
            let seed = self.seed;
            let _context = Context(format!("seed {seed}, kill {kill}, {:?}", self.promise));
            if self.kill(kill as u64) {
                assert!(kill > 0, "{ENTRIES} entries are too few for one kill");
                return kill;
            }
            self.reached.look_into(self.place.directory.path());
            self.expected.check(self.place.open, self.place.directory.path(), &self.promise);
        }
        kills
    }

    /// Starts a child, and kills it after some mark at any moment. Whether it had come to the
    /// end before.
    fn kill(&mut self, round: u64) -> bool {
        let task = Task { seed: self.seed, count: ENTRIES, round, batch: BATCH, death: None };
        let (text, directory) = (task.to_text(), self.place.directory.path());
        let mut child = Child::start(command(self.place.test, &text, directory));
        // Opening, opened and perhaps created are three of them.
        let marks = self.rng.random_range(1..30);
        let moment = Duration::from_nanos(1000 * self.rng.random_range(0.0..LONGEST).exp2() as u64);
        let mut ended = false;
        for heard in 0.. {
            if heard == marks {
                thread::sleep(moment);
                child.kill();
            }
            match child.mark() {
                Some(mark) => {
                    self.promise.hear(&mark);
                    self.reached.hear(&mark);
                    ended |= mark == Mark::End;
                }
                None if heard < marks => child.fail("ended by itself"),
                None => break,
            }
            if ended && heard < marks {
                break;
            }
        }
        ended
    }

    /// With one that was built in one go.
    fn compare(mut self) {
        let digest = |place: &Place| {
            let store = (place.open)(&store_in(place.directory.path())).unwrap();
            content_digest(&*store.reader().unwrap()).unwrap()
        };
        let store = (self.place.open)(&store_in(self.place.directory.path())).unwrap();
        self.expected.finish(store, 500);
        let reference = self.place.another();
        prepare(reference.directory.path());
        let store = (reference.open)(&store_in(reference.directory.path())).unwrap();
        self.expected.finish(store, MAX_APPLY_EVENTS);
        assert_eq!(digest(&self.place), digest(&reference), "the same as one built in one go");
    }
}
