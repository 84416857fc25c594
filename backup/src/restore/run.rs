//! The restore itself.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, blocking};
use super::fill::Filled;
use super::plan::Plan;
use super::report::{Achieved, RestoreProgress, RestoreReport, Verification};
use super::stage::{Stage, StorePlace};
use super::target::Target;
use crate::error::RestoreError;
use crate::sources::Sources;

/// What to restore, and how.
#[derive(Debug, Clone)]
pub struct RestoreSettings {
    /// The point.
    pub target: Target,
    /// Without the entry that the target names.
    pub exclusive: bool,
    /// How the result is verified.
    pub verification: Verification,
    /// Replace what is at the place.
    pub force: bool,
}

/// Says what [`restore`] would do, without doing it.
///
/// # Errors
/// Those of [`restore`], as far as they show without reading everything.
pub async fn plan_restore(
    sources: &Sources,
    place: &StorePlace,
    target: &Target,
    exclusive: bool,
) -> Result<Plan, RestoreError> {
    plan_for(sources, &place.kinds(), target, exclusive).await
}

/// The same for a store of these kinds of media (`sqlite`, `rocksdb`, `files`), each of which a
/// checkpoint must have; none: any checkpoint will do.
///
/// # Errors
/// Those of [`plan_restore`].
pub async fn plan_for(
    sources: &Sources,
    kinds: &[String],
    target: &Target,
    exclusive: bool,
) -> Result<Plan, RestoreError> {
    let mut inventory = sources.inventory().await?;
    sources.plan(&mut inventory, target, exclusive, kinds).await
}

/// Restores a store. On `Ok` it is in its place, durable, and closed: a consumer of the log can be
/// started on it as if nothing had happened. `progress` reports how far it is.
///
/// In memory are at most pieces of two segments of an archive, some 40 MiB of each or one entry
/// (an encrypted one whole: 64 MiB, and its stored form beside that), and five pieces of 32 MiB
/// or one entry: two that wait and three in the loop. Dropping the future leaves the place as it
/// is; the next call resumes.
///
/// # Errors
/// See [`RestoreError`]. Nothing at the place has changed then.
pub async fn restore(
    sources: Arc<Sources>,
    place: StorePlace,
    settings: RestoreSettings,
    progress: watch::Sender<RestoreProgress>,
    stop: CancellationToken,
) -> Result<RestoreReport, RestoreError> {
    let began = Instant::now();
    let (name, kinds) = (place.name(), place.kinds());
    let RestoreSettings { target, exclusive, verification, force } = settings;
    let stage = blocking(move || Stage::acquire(place, force)).await?;
    let mut inventory = sources.inventory().await?;
    let plan = sources.plan(&mut inventory, &target, exclusive, &kinds).await?;
    // What is copied is there twice for a while.
    let twice = plan.checkpoint.as_ref().filter(|from| from.of.is_some()).map(|from| from.bytes);
    stage.check_space(plan.bytes + twice.unwrap_or(0))?;
    let mut attempt = Attempt {
        sources,
        stage: Arc::new(stage),
        notes: plan.notes.clone(),
        inventory,
        plan,
        progress,
        stop,
        entries: 0,
    };
    let Filled { start, resumed_at, cursor } = attempt.fill().await?;
    let content = attempt.inspect(&cursor, start.index(), verification).await?;
    let stage = Arc::clone(&attempt.stage);
    blocking(move || stage.install()).await?;
    let checkpoint = attempt.sources.planned(&start).filter(|_| resumed_at.is_none());
    Ok(RestoreReport {
        store: name,
        target: target.to_string(),
        exclusive,
        achieved: Achieved::from(&cursor),
        checkpoint,
        resumed_at,
        entries: attempt.entries,
        verification,
        content,
        notes: attempt.notes,
        duration: began.elapsed(),
    })
}
