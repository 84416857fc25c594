mod damage;
mod genesis;
mod kept;
mod open;
mod order;
mod raced;
mod replaced;
mod spoiled;
mod writers;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tipline_log::{Clock, system_clock};
use tipline_producer::{Outbox, OutboxError, Row};
use tipline_proto::{Event, Hash};
use tokio::sync::Notify;

use super::layout::{Key, Layout};
use super::scan::{DirectoryScan, SCHEMA};
use super::{BlockFormat, ContentHash, DirectorySettings};
use crate::FileOutbox;
use crate::files::Index;

/// Longer than anything here takes; only a failing test waits that long.
const DEADLINE: Duration = Duration::from_secs(60);

/// A node that keeps its blocks as files.
pub(in crate::directory) struct Node {
    dir: TempDir,
    wake: Arc<Notify>,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    pub(in crate::directory) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Node { dir, wake: Arc::new(Notify::new()), runtime }
    }

    pub(in crate::directory) fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    pub(in crate::directory) fn root(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(in crate::directory) fn path(&self, key: Key) -> PathBuf {
        let path = Layout::below(self.dir.path()).path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Writes a file that has been there for a while.
    pub(in crate::directory) fn settled(&self, key: Key, content: &str) {
        let mut file = File::create(self.path(key)).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file.set_modified(long_ago()).unwrap();
    }

    /// Writes a file elsewhere, and renames it into place.
    pub(in crate::directory) fn rename_in(&self, key: Key, content: &str) {
        let path = self.path(key);
        let temporary = path.with_extension("dat.tmp");
        fs::write(&temporary, content).unwrap();
        fs::rename(&temporary, &path).unwrap();
    }

    pub(in crate::directory) fn settings(&self) -> DirectorySettings {
        DirectorySettings {
            root: self.root(),
            index: None,
            genesis: genesis(),
            tip_is_final: false,
        }
    }

    pub(in crate::directory) fn open(&self) -> FileOutbox {
        self.open_as(Box::new(ContentHash)).unwrap()
    }

    pub(in crate::directory) fn open_as(
        &self,
        format: Box<dyn BlockFormat>,
    ) -> Result<FileOutbox, OutboxError> {
        FileOutbox::directory(self.settings(), format, system_clock(), Arc::clone(&self.wake))
    }

    pub(super) fn open_with(&self, settings: DirectorySettings) -> FileOutbox {
        let wake = Arc::clone(&self.wake);
        FileOutbox::directory(settings, Box::new(ContentHash), system_clock(), wake).unwrap()
    }

    /// What looks at the files, without the thread that tells it when.
    pub(in crate::directory) fn scan(&self) -> DirectoryScan {
        self.scan_as(Box::new(ContentHash), system_clock())
    }

    pub(in crate::directory) fn scan_as(
        &self,
        format: Box<dyn BlockFormat>,
        clock: Clock,
    ) -> DirectoryScan {
        let path = self.root().join(".tipline-outbox.sqlite");
        let wake = Arc::clone(&self.wake);
        let index =
            Index::open(&path, "dir:here", SCHEMA, &genesis(), Arc::clone(&clock), wake).unwrap();
        let layout = Layout::below(&self.root());
        DirectoryScan::new(index, layout, format, clock, genesis(), "dir:here".to_owned(), false)
            .unwrap()
    }

    /// Waits for the answer of `look`, asking again whenever the outbox wakes its publisher.
    pub(in crate::directory) fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
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

    /// The rows, once there are that many.
    pub(in crate::directory) fn rows(&self, outbox: &mut FileOutbox, count: usize) -> Vec<Row> {
        let rows = self.until(|| {
            let rows = outbox.read(0, usize::MAX, usize::MAX).unwrap();
            (rows.len() >= count).then_some(rows)
        });
        assert_eq!(rows.len(), count, "{rows:?}");
        assert!(rows.iter().map(|row| row.sequence).eq(1..=count as u64));
        rows
    }

    pub(in crate::directory) fn events(&self, outbox: &mut FileOutbox, count: usize) -> Vec<Event> {
        self.rows(outbox, count).into_iter().map(|row| row.event).collect()
    }

    /// What is wrong with the files, once it says this.
    pub(super) fn said(&self, outbox: &FileOutbox, says: &str) -> String {
        let mut failure = outbox.failure();
        let said = async {
            let is_said = |now: &Option<String>| now.as_ref().is_some_and(|now| now.contains(says));
            failure.wait_for(is_said).await.unwrap().clone().unwrap()
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

    /// What stopped the outbox, once something has.
    pub(in crate::directory) fn failure(&self, outbox: &FileOutbox) -> OutboxError {
        self.until(|| outbox.ended())
    }
}

pub(in crate::directory) fn long_ago() -> SystemTime {
    SystemTime::from(system_clock()()) - Duration::from_secs(60)
}

pub(in crate::directory) fn genesis() -> Hash {
    hash("genesis")
}

pub(in crate::directory) fn hash(content: &str) -> Hash {
    Hash::new(blake3::hash(content.as_bytes()).as_bytes()).unwrap()
}

pub(in crate::directory) fn block(height: u64, content: &str, parent: &str) -> Event {
    let payload = content.to_owned().into();
    Event::BlockCommitted { height, hash: hash(content), parent_hash: hash(parent), payload }
}

pub(in crate::directory) fn proof(height: u64, content: &str, of: &str) -> Event {
    Event::BlockProven { height, block_hash: hash(of), payload: content.to_owned().into() }
}

/// An error with its sources.
pub(in crate::directory) fn text(error: &OutboxError) -> String {
    tipline_log::error_chain(error)
}
