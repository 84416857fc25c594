mod format;
mod kill;
mod producer;
mod rigged;
mod sides;
mod units;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{DBWithThreadMode, MultiThreaded, Options, SingleThreaded, WriteBatch, WriteOptions};
use tempfile::TempDir;
use tipline_log::Clock;
use tipline_proto::{Event, Timestamp};

use super::{OutboxFamily, OutboxThreadMode, RocksDbOutbox};
use crate::outbox::conformance::{self, Subject};
use crate::outbox::{Outbox, OutboxError};

/// The node's own column family.
const BLOCKS: &str = "blocks";

/// A node with its database, and the publisher's side of its outbox.
struct Node<T: OutboxThreadMode = SingleThreaded> {
    db: Arc<DBWithThreadMode<T>>,
    outbox: OutboxFamily,
    publisher: RocksDbOutbox,
    dir: TempDir,
}

impl<T: OutboxThreadMode> Node<T> {
    fn new() -> Self {
        Self::in_dir(tempfile::tempdir().unwrap())
    }

    fn in_dir(dir: TempDir) -> Self {
        let db = open::<T>(dir.path(), &options());
        let outbox = OutboxFamily::open(Arc::clone(&db), &conformance::genesis(), clock()).unwrap();
        let publisher = outbox.publisher();
        Node { db, outbox, publisher, dir }
    }

    /// Closes the database and opens it again, as a new process would.
    fn reopen(self) -> Self {
        let Node { db, outbox, publisher, dir } = self;
        drop((outbox, publisher));
        drop(Arc::into_inner(db).expect("nothing else holds the database"));
        Self::in_dir(dir)
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options
}

fn open<T: OutboxThreadMode>(dir: &Path, options: &Options) -> Arc<DBWithThreadMode<T>> {
    let families = [(OutboxFamily::NAME, OutboxFamily::options()), (BLOCKS, Options::default())];
    Arc::new(DBWithThreadMode::open_cf_with_opts(options, dir, families).unwrap())
}

/// Ticks once per call.
fn clock() -> Clock {
    let now = AtomicU64::new(1);
    Arc::new(move || Timestamp::from_micros(now.fetch_add(1, Ordering::SeqCst)))
}

/// Enqueues and commits one event, without an fsync: these are tests of rules, not of durability.
fn commit(outbox: &OutboxFamily, event: &Event) -> Result<u64, OutboxError> {
    let mut batch = WriteBatch::default();
    let mut unit = outbox.begin()?;
    let sequence = unit.enqueue(&mut batch, event)?;
    unit.commit_opt(batch, WriteOptions::default())?;
    Ok(sequence)
}

impl<T: OutboxThreadMode> Subject for Node<T> {
    fn enqueue(&mut self, event: &Event) -> Result<u64, OutboxError> {
        commit(&self.outbox, event)
    }

    fn set_limits(&mut self, events: u64, bytes: u64) -> Result<(), OutboxError> {
        self.outbox.set_limits(events, bytes)
    }

    fn outbox(&mut self) -> &mut dyn Outbox {
        &mut self.publisher
    }
}

#[test]
fn conforms_in_both_thread_modes() {
    conformance::conforms(Node::<SingleThreaded>::new);
    conformance::conforms(Node::<MultiThreaded>::new);
}
