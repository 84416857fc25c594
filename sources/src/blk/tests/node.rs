//! A node that writes `blk*.dat` files, and what became of them in the outbox.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tipline_log::{Clock, system_clock};
use tipline_producer::{Outbox, OutboxError};
use tipline_proto::{Event, Hash};
use tokio::sync::Notify;

use super::{block, hash};
use crate::blk::rows::SCHEMA;
use crate::blk::scan::{BlkScan, Files, sync_directory};
use crate::files::Index;
use crate::{BlkSettings, FileOutbox};

const DEADLINE: Duration = Duration::from_secs(60);

/// A node with `blk*.dat` files.
pub(super) struct Node {
    dir: TempDir,
    wake: Arc<Notify>,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Node { dir, wake: Arc::new(Notify::new()), runtime }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn open(&self, path: PathBuf, genesis: Hash) -> FileOutbox {
        self.try_open(path, genesis).unwrap()
    }

    pub(super) fn try_open(&self, path: PathBuf, genesis: Hash) -> Result<FileOutbox, OutboxError> {
        let settings = BlkSettings { path, index: None, genesis };
        FileOutbox::blk(settings, system_clock(), Arc::clone(&self.wake))
    }

    /// What looks at the files, without the thread that tells it when.
    pub(super) fn scan(&self, genesis: Hash, clock: Clock) -> BlkScan {
        let (path, wake) = (self.path().join(".tipline-outbox.sqlite"), Arc::clone(&self.wake));
        let place = "blk:here".to_owned();
        let index = Index::open(&path, &place, SCHEMA, &genesis, Arc::clone(&clock), wake).unwrap();
        let key = super::super::record::read_key(self.path()).unwrap();
        let root = self.path().to_owned();
        let files = Files { root, only: None, key, sync: sync_directory };
        BlkScan::new(index, files, clock, genesis, place).unwrap()
    }

    /// What is wrong with the files, once it says this.
    pub(super) fn failure(&self, outbox: &FileOutbox, says: &str) -> String {
        let mut failure = outbox.failure();
        let said = async {
            let is_said = |now: &Option<String>| now.as_ref().is_some_and(|now| now.contains(says));
            let said = failure.wait_for(is_said).await.unwrap().clone();
            said.unwrap()
        };
        let said = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, said).await });
        said.unwrap_or_else(|_| panic!("never said {says:?}, but {:?}", outbox.failure().borrow()))
    }

    /// Waits until nothing is wrong.
    pub(super) fn well(&self, outbox: &FileOutbox) {
        let mut failure = outbox.failure();
        let well = async { failure.wait_for(Option::is_none).await.unwrap().clone() };
        let well = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, well).await });
        well.expect("something stays wrong");
    }

    pub(super) fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let answer = async {
            loop {
                if let Some(answer) = look() {
                    return answer;
                }
                self.wake.notified().await;
            }
        };
        let answered = async { tokio::time::timeout(DEADLINE, answer).await };
        self.runtime.block_on(answered).expect("nothing more happened before the deadline")
    }

    pub(super) fn events(&self, outbox: &mut FileOutbox, count: usize) -> Vec<Event> {
        let events = self.until(|| {
            let rows = outbox.read(0, usize::MAX, usize::MAX).unwrap();
            (rows.len() >= count).then(|| rows.into_iter().map(|row| row.event).collect::<Vec<_>>())
        });
        assert_eq!(events.len(), count, "{events:?}");
        events
    }
}

pub(super) fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

pub(super) fn settle(path: &Path) {
    let long_ago = SystemTime::from(system_clock()()) - Duration::from_secs(60);
    File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
}

pub(super) fn committed(height: u64, parent: &Hash, payload: &[u8]) -> Event {
    let (hash, parent_hash) = (hash(payload), parent.clone());
    Event::BlockCommitted { height, hash, parent_hash, payload: payload.to_vec().into() }
}

pub(super) fn genesis() -> Hash {
    Hash::new([9; 32]).unwrap()
}

/// Blocks one on the other.
pub(super) fn branch(from: &Hash, bodies: &[&str]) -> Vec<Vec<u8>> {
    let mut parent = from.clone();
    let on_parent = |body: &&str| {
        let block = block(&parent, body);
        parent = hash(&block);
        block
    };
    bodies.iter().map(on_parent).collect()
}
