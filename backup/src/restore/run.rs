//! The restore itself.

use std::sync::Arc;
use std::time::Instant;

use tipline_proto::Digest;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, blocking};
use super::fill::Filled;
use super::plan::Plan;
use super::report::{Achieved, RestoreProgress, RestoreReport, Verification};
use super::resolve::check_digest;
use super::stage::{Stage, StorePlace};
use super::target::Target;
use crate::error::RestoreError;
use crate::sources::{Inventory, Sources};

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
    let plan = sources.plan(&mut inventory, target, exclusive, kinds).await?;
    Ok(Arc::new(sources.clone()).vouch(plan).await?.0)
}

/// Restores a store. On `Ok` it is in its place, durable, and closed: a consumer of the log can be
/// started on it as if nothing had happened. `progress` reports how far it is.
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
    let prepared = PreparedRestore::new(sources, place, settings).await?;
    let report = prepared.run(progress, stop).await?;
    Ok(RestoreReport { duration: began.elapsed(), ..report })
}

/// A restore for which everything was checked that can be before something is written: the place
/// is free, and locked for it, there is a plan, and there is space. So what cannot be taken back
/// comes after it.
#[derive(Debug)]
pub struct PreparedRestore {
    sources: Arc<Sources>,
    pub(super) stage: Stage,
    inventory: Inventory,
    plan: Plan,
    settings: RestoreSettings,
    expected: Option<Digest>,
    /// The digest that a trusted primary vouches for, where signatures are required.
    vouched: Option<Digest>,
}

impl PreparedRestore {
    /// Checks, and locks the place.
    ///
    /// # Errors
    /// Those of [`restore`] that show without reading everything.
    pub async fn new(
        sources: Arc<Sources>,
        place: StorePlace,
        settings: RestoreSettings,
    ) -> Result<Self, RestoreError> {
        let (kinds, force) = (place.kinds(), settings.force);
        let stage = blocking(move || Stage::acquire(place, force)).await?;
        let (inventory, plan) = plan(&sources, &kinds, &settings).await?;
        let (plan, vouched) = sources.vouch(plan).await?;
        Stage::check_space(stage.place(), &plan.space(&kinds))?;
        Ok(Self { sources, stage, inventory, plan, settings, expected: None, vouched })
    }

    /// Holds it to a digest that is known from elsewhere: from a receipt, a status, or an earlier
    /// report. The digest at an entry stands for all entries up to it. So whatever the places say,
    /// nothing is installed that these entries do not make. It is made of them alone: no checkpoint
    /// is used, nor what an earlier attempt staged. From now on the target is the entry that was
    /// planned.
    ///
    /// # Errors
    /// Those of [`Sources::hold`]; there is no space for it.
    pub async fn expecting(mut self, digest: Digest) -> Result<Self, RestoreError> {
        self.plan = self.sources.hold(self.plan, digest).await?;
        let kinds = self.stage.place().kinds();
        Stage::check_space(self.stage.place(), &self.plan.space(&kinds))?;
        (self.settings.target, self.settings.exclusive) = (Target::Index(self.plan.index), false);
        self.expected = Some(digest);
        Ok(self)
    }

    /// The same checks without locking the place, or changing anything: whether a restore would
    /// begin now. Gives its plan.
    ///
    /// # Errors
    /// Those of [`PreparedRestore::new`], but for a place that someone else is using.
    pub async fn rehearse(
        sources: &Sources,
        place: &StorePlace,
        settings: &RestoreSettings,
    ) -> Result<Plan, RestoreError> {
        let place = &place.resolved();
        Stage::check_free(place, settings.force)?;
        let (_, plan) = plan(sources, &place.kinds(), settings).await?;
        let (plan, _) = Arc::new(sources.clone()).vouch(plan).await?;
        Stage::check_space(place, &plan.space(&place.kinds()))?;
        Ok(plan)
    }

    /// Plans again, with what the places have got since. Call it after a claim: the old primary may
    /// have logged more until then.
    ///
    /// # Errors
    /// Those of [`PreparedRestore::new`].
    pub async fn refresh(&mut self) -> Result<(), RestoreError> {
        let kinds = self.stage.place().kinds();
        let (inventory, plan) = plan(&self.sources, &kinds, &self.settings).await?;
        self.inventory = inventory;
        (self.plan, self.vouched) = self.sources.vouch(plan).await?;
        if let Some(digest) = self.expected {
            self.plan = self.sources.hold(self.plan.clone(), digest).await?;
        }
        Stage::check_space(self.stage.place(), &self.plan.space(&kinds))
    }

    /// Restores.
    ///
    /// In memory are at most pieces of two segments of an archive, some 40 MiB of each or one
    /// entry (an encrypted one whole: 64 MiB, and its stored form beside that), and five pieces of
    /// 32 MiB or one entry: two that wait and three in the loop. Dropping the future cancels it, and
    /// leaves the place as it is; the next call resumes. The place is locked until what is under way
    /// then has ended.
    ///
    /// # Errors
    /// Those of [`restore`].
    pub async fn run(
        self,
        progress: watch::Sender<RestoreProgress>,
        stop: CancellationToken,
    ) -> Result<RestoreReport, RestoreError> {
        let stop = stop.child_token();
        let _cancels = stop.clone().drop_guard();
        // A task of its own: the staged store is closed before the place is given up, whoever waits.
        let ended = tokio::spawn(self.run_to_end(progress, stop)).await;
        ended.map_err(|e| RestoreError::internal("the restore panicked", e))?
    }

    async fn run_to_end(
        self,
        progress: watch::Sender<RestoreProgress>,
        stop: CancellationToken,
    ) -> Result<RestoreReport, RestoreError> {
        let began = Instant::now();
        let Self { sources, stage, inventory, plan, settings, expected, vouched } = self;
        let expected = expected.or(vouched);
        let verification = settings.verification;
        let (target, exclusive) = (plan.target.clone(), plan.exclusive);
        let name = stage.place().name();
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
        if expected.is_some() {
            // It may have begun with a checkpoint.
            let stage = Arc::clone(&attempt.stage);
            blocking(move || stage.clear()).await?;
        }
        let Filled { start, resumed_at, cursor } = attempt.fill().await?;
        if let Some(expected) = expected
            && let Err(error) = check_digest(&cursor.position, expected)
        {
            // The next attempt must not resume it.
            let stage = Arc::clone(&attempt.stage);
            blocking(move || stage.clear()).await?;
            return Err(error);
        }
        let content = attempt.inspect(&cursor, &start, verification).await?;
        attempt.install(&cursor, content, verification).await?;
        let checkpoint = attempt.sources.planned(&start).filter(|_| resumed_at.is_none());
        Ok(RestoreReport {
            store: name,
            target,
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
}

async fn plan(
    sources: &Sources,
    kinds: &[String],
    settings: &RestoreSettings,
) -> Result<(Inventory, Plan), RestoreError> {
    let mut inventory = sources.inventory().await?;
    let RestoreSettings { target, exclusive, .. } = settings;
    let plan = sources.plan(&mut inventory, target, *exclusive, kinds).await?;
    Ok((inventory, plan))
}
