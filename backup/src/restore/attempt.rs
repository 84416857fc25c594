//! A restore under way.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use super::report::RestoreProgress;
use super::stage::Stage;
use crate::error::RestoreError;
use crate::sources::{Inventory, Sources};

/// What a restore has, and how far it is. It fills the staged store (`fill.rs`), applies entries to
/// it (`apply.rs`), and inspects it (`inspect.rs`).
pub(super) struct Attempt {
    pub(super) sources: Arc<Sources>,
    pub(super) stage: Arc<Stage>,
    pub(super) inventory: Inventory,
    pub(super) plan: Plan,
    pub(super) notes: Vec<String>,
    pub(super) progress: watch::Sender<RestoreProgress>,
    pub(super) stop: CancellationToken,
    pub(super) entries: u64,
}

/// Blocking work, away from the runtime's own threads. It always runs to its end.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    let ended = |e| RestoreError::internal("a step of the restore panicked", e);
    spawn_blocking(work).await.map_err(ended)?
}
