//! Snapshots, taken and copied in the middle of it all.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;

use super::super::model::Model;
use super::mark::{Mark, Marks};
use crate::batch::Batch;
use crate::error::StoreError;
use crate::reader::StoreReader;
use crate::snapshot::{Copied, Snapshot, Throttle};
use crate::spec::Store;
use crate::{can_open, open_copy};

/// How many batches are applied before a snapshot is copied, at most.
const HELD: u32 = 3;

/// Where the store is, in the directory of a child.
pub(super) fn store_in(directory: &Path) -> PathBuf {
    directory.join("store")
}

/// Where a copy of it is made, beside the store.
fn copies_in(directory: &Path) -> PathBuf {
    directory.join("copies")
}

fn copy_in(directory: &Path) -> PathBuf {
    copies_in(directory).join("copy")
}

/// Makes the directory of a child what it has to be, if it is not yet.
pub(super) fn prepare(directory: &Path) {
    for path in [store_in(directory), copies_in(directory)] {
        fs::create_dir_all(path).unwrap();
    }
}

/// Takes snapshots of a store while it is applied to, holds each for some batches, and copies it.
#[derive(Debug)]
pub(super) struct Copier {
    directory: PathBuf,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    parts: Vec<Box<dyn Snapshot>>,
    /// So many batches more.
    batches: u32,
}

impl Copier {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), held: None }
    }

    /// Lets go of a snapshot; whether there was one.
    pub(super) fn release(&mut self) -> bool {
        self.held.take().is_some()
    }

    /// Applies a batch. A store that is being filled waits for whoever reads it: then it lets go of
    /// its snapshot, and applies it again.
    pub(super) fn apply(&mut self, store: &mut dyn Store, batch: &Batch) -> Result<(), StoreError> {
        match store.apply(batch) {
            Err(StoreError::InUse { .. }) if self.release() => store.apply(batch),
            result => result,
        }
    }

    /// After each batch.
    ///
    /// # Errors
    /// Those of taking and copying a snapshot, and of what is around a copy.
    pub(super) fn step(
        &mut self,
        store: &dyn Store,
        rng: &mut StdRng,
        marks: &mut Marks,
    ) -> Result<(), StoreError> {
        match self.held.take() {
            None if rng.random_bool(0.2) => self.held = take(store, rng)?,
            None => {}
            Some(Held { parts, batches: 0 }) => self.copy(parts, marks)?,
            Some(Held { parts, batches }) => self.held = Some(Held { parts, batches: batches - 1 }),
        }
        Ok(())
    }

    /// In place of the one before. When that is told, it is durable.
    fn copy(&self, mut parts: Vec<Box<dyn Snapshot>>, marks: &mut Marks) -> Result<(), StoreError> {
        let Some(index) = parts.first().map(|part| part.cursor().position.index) else {
            return Ok(());
        };
        marks.tell(&Mark::Copying);
        let copy = copy_in(&self.directory);
        match fs::remove_dir_all(&copy) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        for (number, part) in parts.iter_mut().enumerate() {
            let into = part_in(&copy, number);
            fs::create_dir_all(&into).map_err(failed)?;
            match part.copy(&into, &Freely)? {
                Copied::Whole => sync(&into)?,
                Copied::Cancelled | Copied::Overtaken { .. } => return Ok(()),
            }
        }
        sync(&copy)?;
        sync(&copies_in(&self.directory))?;
        let kinds: Vec<_> = parts.iter().map(|part| part.kind()).collect();
        marks.tell(&Mark::Copied(index, kinds.join("+")));
        Ok(())
    }
}

fn take(store: &dyn Store, rng: &mut StdRng) -> Result<Option<Held>, StoreError> {
    // Of parts that are not in step there is no snapshot.
    if !store.ahead().is_empty() {
        return Ok(None);
    }
    match store.snapshot() {
        Ok(parts) => Ok(Some(Held { parts, batches: rng.random_range(0..HELD) })),
        // Its kind has none.
        Err(StoreError::Unusable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the copy that is in the directory of a child, and sees that it is whole.
///
/// # Panics
/// It is not.
pub(super) fn check(directory: &Path, kinds: &str, store: &dyn Store, model: &Model) {
    let copy = copy_in(directory);
    for (number, kind) in kinds.split('+').enumerate() {
        match open(&copy, number, kind, store) {
            Ok(Some(reader)) => model.assert_is(&*reader, &format!("the copy, part {number}")),
            Ok(None) => {}
            Err(error) => panic!("part {number} of the copy, of {kind}, does not open: {error:?}"),
        }
    }
}

/// `None` if only the store could open it, and cannot for now: its parts are not in step.
fn open(
    copy: &Path,
    number: usize,
    kind: &str,
    store: &dyn Store,
) -> Result<Option<Box<dyn StoreReader>>, StoreError> {
    // It is found by its number.
    let mut kinds = vec![String::new(); number];
    kinds.push(kind.to_owned());
    if can_open(&kinds) {
        return open_copy(&kinds, copy).map(Some);
    }
    match store.snapshot() {
        Ok(parts) => parts[number].open(&part_in(copy, number)).map(Some),
        Err(_) => Ok(None),
    }
}

fn part_in(copy: &Path, number: usize) -> PathBuf {
    copy.join(format!("part-{number}"))
}

fn sync(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// The suite's own work beside a copy.
fn failed(error: io::Error) -> StoreError {
    let (place, what) = ("a copy".to_owned(), "making it".to_owned());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::NoSpace { place, source: Some(Box::new(error)) }
        }
        _ => StoreError::Failed { place, what, source: Some(Box::new(error)) },
    }
}

/// A copy that nobody slows down.
struct Freely;

impl Throttle for Freely {
    fn moved(&self, _bytes: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
