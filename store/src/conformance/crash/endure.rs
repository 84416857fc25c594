//! What a child does whose writes fail: it continues as a node would, and insists on the rules.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::check::Expected;
use super::copies::{Copier, store_in};
use super::fault::{BEGIN, COUNTS, OVER, Plan};
use super::mark::{Mark, Marks};
use super::{Context, Open, log};
use crate::batch::Batch;
use crate::error::StoreError;
use crate::reader::StoreReader;
use crate::spec::Store;

/// Entries of the history of each plan.
pub(super) const ENTRIES: usize = 60;
const BATCH: usize = 12;
/// How long a store may take to notice that there is room again.
const RECOVERY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// Carries out plans, each in the directory of its number, with the histories of a seed.
#[derive(Debug)]
pub(super) struct Endure {
    pub(super) seed: u64,
    pub(super) plans: Vec<(usize, Plan)>,
}

impl Endure {
    pub(super) fn to_text(&self) -> String {
        let plan = |(number, plan): &(usize, Plan)| format!(" {number}:{}", plan.to_text());
        format!("endure {}{}", self.seed, self.plans.iter().map(plan).collect::<String>())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (seed, plans) = text.strip_prefix("endure ")?.split_once(' ')?;
        let plan = |text: &str| {
            let (number, plan) = text.split_once(':')?;
            Some((number.parse().ok()?, Plan::parse(plan)?))
        };
        let plans = plans.split(' ').map(plan).collect::<Option<_>>()?;
        Some(Self { seed: seed.parse().ok()?, plans })
    }

    pub(super) fn work(&self, open: Open, directory: &Path, marks: &mut Marks) {
        let mut expected = Expected::random(self.seed, ENTRIES);
        for (number, plan) in &self.plans {
            // To the parent, which waits for some word.
            println!("plan {number}");
            let _context = Context(format!("plan {number}: {plan:?}"));
            marks.tell(&format_args!("{BEGIN} {number}"));
            marks.tell(&plan.command());
            let directory = directory.join(number.to_string());
            let rng = StdRng::seed_from_u64(self.seed);
            Run { open, directory, marks, expected: &mut expected, rng, excused: false }.work();
            marks.tell(&OVER);
            marks.tell(&COUNTS);
        }
    }
}

/// One plan.
struct Run<'a> {
    open: Open,
    directory: PathBuf,
    marks: &'a mut Marks,
    expected: &'a mut Expected,
    rng: StdRng,
    /// The fault has shown itself.
    excused: bool,
}

/// A store that was opened, and a reader from before anything went wrong.
type Opened = (Box<dyn Store>, Box<dyn StoreReader>, Option<u64>);

impl Run<'_> {
    /// To the end of the history, with as many handles as it takes.
    fn work(&mut self) {
        loop {
            self.marks.tell(&Mark::Opening);
            match self.opened() {
                Ok((store, reader, at)) => {
                    self.marks.tell(&Mark::Opened(at));
                    if self.use_up(store, &*reader, at) {
                        return;
                    }
                }
                Err(error) => self.excuse("opening", error, |error| {
                    let unusable = matches!(error, StoreError::Unusable { .. });
                    unusable || is_fault(error)
                }),
            }
        }
    }

    fn opened(&self) -> Result<Opened, StoreError> {
        let store = (self.open)(&store_in(&self.directory))?;
        let reader = store.reader()?;
        let at = reader.cursor()?.map(|cursor| cursor.position.index);
        Ok((store, reader, at))
    }

    /// Whether the history is at its end; if not, this handle is.
    fn use_up(
        &mut self,
        mut store: Box<dyn Store>,
        reader: &dyn StoreReader,
        at: Option<u64>,
    ) -> bool {
        if at.is_none() {
            self.marks.tell(&Mark::Creating);
            if !self.insist(&mut *store, reader, "create", |store| store.create(&log())) {
                return false;
            }
            self.marks.tell(&Mark::Created);
        }
        let mut copier = Copier::new(&self.directory);
        let mut at = at.unwrap_or(0);
        while at < self.expected.end() {
            let batch = self.batch(at);
            at = batch.cursor.position.index;
            self.marks.tell(&Mark::Applying(at));
            if !self.insist(&mut *store, reader, "apply", |store| copier.apply(store, &batch)) {
                return false;
            }
            self.marks.tell(&Mark::Applied(at));
            if let Err(error) = copier.step(&*store, &mut self.rng, self.marks) {
                self.excuse("copying", error, |error| {
                    is_fault(error) || matches!(error, StoreError::Unavailable { .. })
                });
                return false;
            }
            if self.rng.random_bool(0.1) {
                return false;
            }
        }
        true
    }

    fn batch(&mut self, at: u64) -> Batch {
        let mut model = self.expected.model(at);
        let rest = &self.expected.entries[at as usize..];
        let size = self.rng.random_range(1..=BATCH.min(rest.len()));
        model.batch(&rest[..size])
    }

    /// Makes a call that changes the store, again if it fails; whether it has succeeded.
    fn insist(
        &mut self,
        store: &mut dyn Store,
        reader: &dyn StoreReader,
        what: &str,
        mut call: impl FnMut(&mut dyn Store) -> Result<(), StoreError>,
    ) -> bool {
        let before = reader.cursor();
        let Err(error) = call(store) else { return true };
        let is_retryable = error.is_retryable();
        self.excuse(what, error, is_fault);
        // Whoever fails to read it sees nothing.
        if let (Ok(before), Ok(now)) = (before, reader.cursor()) {
            assert_eq!(now, before, "something of it is visible");
        }
        let deadline = Instant::now() + RECOVERY;
        loop {
            match call(store) {
                Ok(()) if is_retryable => return true,
                Err(StoreError::Failed { .. }) if !is_retryable => {
                    let probed = store.probe();
                    let refused = matches!(probed, Err(StoreError::Failed { .. }));
                    assert!(refused, "{what} failed; probed, the handle must say so: {probed:?}");
                    return false;
                }
                // Somebody else's library may look only now and then whether there is room.
                Err(StoreError::NoSpace { .. }) if is_retryable && Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                }
                result if is_retryable => panic!("there is room again, and {what} gave {result:?}"),
                result => panic!("{what} failed; then the handle must refuse, it gave {result:?}"),
            }
        }
    }

    /// Once something may fail.
    fn excuse(&mut self, what: &str, error: StoreError, is_right: impl Fn(&StoreError) -> bool) {
        assert!(!self.excused, "{what}: the fault is over, and it failed with {error:?}");
        assert!(is_right(&error), "{what}: not the kind of error for a fault: {error:?}");
        self.excused = true;
        self.marks.tell(&format_args!("{what} failed: {error:?}"));
        self.marks.tell(&OVER);
    }
}

fn is_fault(error: &StoreError) -> bool {
    matches!(error, StoreError::NoSpace { .. } | StoreError::Failed { .. })
}
