//! Files that were replaced or removed while there is a snapshot, kept until there is none.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::layout::{Key, Layout, Staged};
use crate::disk::process_number;

/// How many this process ever retained: no two have one name, and none that of another process, so
/// that a snapshot that outlives its writer does not remove what is kept for those of the next.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// What the writer and the snapshots of a store share.
#[derive(Debug)]
pub(super) struct RetainedFiles {
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    snapshots: usize,
    files: BTreeMap<Key, Vec<PathBuf>>,
}

/// While it lives, nothing that the store refers to is lost.
#[derive(Debug)]
pub(super) struct RetainGuard(Arc<RetainedFiles>);

impl RetainedFiles {
    pub(super) fn new(layout: Layout) -> Arc<Self> {
        Arc::new(Self { layout, state: Mutex::default() })
    }

    /// For the thread of the writer: from here on it retains what it takes away.
    pub(super) fn guard(self: &Arc<Self>) -> RetainGuard {
        self.state().snapshots += 1;
        RetainGuard(Arc::clone(self))
    }

    /// Takes the file of a payload out of its place, if it is there and there is a snapshot.
    /// Whether it did.
    pub(super) fn retain(&self, key: Key) -> io::Result<bool> {
        let mut state = self.state();
        if state.snapshots == 0 {
            return Ok(false);
        }
        let number = process_number().wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
        let to = self.layout.staged(&Staged::Retained { key, number });
        match fs::rename(self.layout.file(key), &to) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        }
        state.files.entry(key).or_default().push(to);
        Ok(true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is a single step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RetainGuard {
    /// What was retained of a payload, the newest last.
    pub(super) fn files(&self, key: Key) -> Vec<PathBuf> {
        self.0.state().files.get(&key).cloned().unwrap_or_default()
    }
}

impl Drop for RetainGuard {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.snapshots -= 1;
        if state.snapshots > 0 {
            return;
        }
        for path in std::mem::take(&mut state.files).into_values().flatten() {
            if let Err(error) = fs::remove_file(&path) {
                let (path, error) = (path.display(), &error as &dyn std::error::Error);
                warn!(%path, error, "a file that is needed no more was not removed; the next opening of the store does it");
            }
        }
    }
}
