//! What an archive as a store and its readers have in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Archive;
use super::head::ArchiveHead;

/// What a store and its readers have in common.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The archive, once it was opened, and where it is.
    pub(super) opened: Option<Opened>,
    /// Up to which entry there must be an archive; 0 if it may be a new one.
    pub(super) known: u64,
    /// Up to which entry everything was read back from the destination; none if it is only read.
    pub(super) read_to: Option<u64>,
    /// Whether the destination may not be made any more.
    pub(super) prepared: bool,
}

/// An archive that was opened, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    pub(super) archive: Archive,
    pub(super) standing: ArchiveHead,
}

/// Changes are made whole under the lock, which is held for an instant only.
pub(super) type Shared = Arc<Mutex<State>>;

pub(super) fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
