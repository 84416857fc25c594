//! Removing the oldest segments, once a checkpoint leads to what comes after them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tipline_log::{Extent, error_chain};
use tipline_proto::{Timestamp, Trust};
use tipline_store::StoreIdentity;

use super::expiry_plan::{ArchivePlan, Reasons};
use super::listing::{REACH, holding};
use super::{Archive, ArchiveError, SegmentName, coverage};
use crate::checkpoint::{CheckpointError, CheckpointId, Checkpoints, Listed, Manifest};
use crate::destination::DestinationError;
use crate::throttle::Throttle;

/// The folder of the checkpoints at the place of an archive.
const CHECKPOINTS: &str = "checkpoints";
/// The folder of what says from which entry on the archive counts: an empty object, named by the
/// index in 20 digits. The highest one holds.
pub(super) const FROM: &str = "from";

/// Why an archive's old segments were not planned, or not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpireError {
    /// The archive is damaged or unavailable. As its error says.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The checkpoints beside it are unavailable or in use. As their error says.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Checkpoints that the archive cannot start with, and why.
type Rejected = BTreeMap<CheckpointId, String>;

/// Whether the archive can start with a checkpoint.
enum StartCheck {
    Fits,
    /// It is damaged, or not of this history. Says how.
    Rejected(String),
}

/// The plan, and the checkpoint that it relies on.
struct Decided {
    plan: ArchivePlan,
    floor: u64,
    start: Option<Manifest>,
}

impl Archive {
    /// What [`Archive::expire`] would do now, and for every range why it is kept. Nothing is
    /// changed, and of checkpoints only manifests are read. `now` is what the clock of this machine
    /// shows.
    ///
    /// # Errors
    /// [`ArchiveError::Gap`] and [`ArchiveError::Fork`], in which case nothing is decided; a
    /// place does not answer.
    pub async fn plan_expiry(
        &self,
        keep_for: Duration,
        now: Timestamp,
    ) -> Result<ArchivePlan, ExpireError> {
        let Decided { mut plan, floor, .. } = self.decide(keep_for, now, &Rejected::new()).await?;
        self.each_before(floor, async |goes| {
            plan.count(&goes);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(plan)
    }

    /// It is shortened only to a checkpoint that a trusted consumer has signed, if the history must be
    /// signed by this trust: a restore refuses others.
    pub fn requiring(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Removes the oldest segments, merged ones and those that they were made of alike, so that
    /// everything that was the case within `keep_for` before the newest entry, or before `now` if
    /// that is earlier, can still be restored: from the newest checkpoint at this place that is at
    /// least that old, and the entries after it. Without such a checkpoint nothing is removed. Every
    /// byte of it is read before, and it is marked so that it does not expire while the archive
    /// starts with it.
    ///
    /// If it is ended at any instant, by any means, it leaves an archive without a gap, and the next
    /// run continues. It needs the permission to delete.
    ///
    /// # Errors
    /// Those of [`Archive::plan_expiry`]; [`ArchiveError::NeedsKey`] if the segment at the
    /// checkpoint is encrypted and cannot be compared with it; [`CheckpointError::InUse`];
    /// [`CheckpointError::Cancelled`] if `throttle` ends the reading: nothing was removed.
    pub async fn expire(
        &self,
        keep_for: Duration,
        now: Timestamp,
        throttle: &Throttle,
    ) -> Result<ArchivePlan, ExpireError> {
        let mut rejected = Rejected::new();
        loop {
            let Decided { mut plan, floor, start } = self.decide(keep_for, now, &rejected).await?;
            let Some(start) = start else { return Ok(plan) };
            if !self.has_any_before(floor).await? {
                return Ok(plan);
            }
            let set = self.checkpoints();
            // On this machine none may be made or expire meanwhile.
            let _lock = if set.is_local() { Some(set.lock().await?) } else { None };
            let is_new_pin = set.pin_for_archive(&start.id).await?;
            match self.check_start(&set, &start, throttle).await? {
                StartCheck::Fits => {}
                StartCheck::Rejected(why) => {
                    tracing::error!(checkpoint = %start.id, place = set.place(), why, "the archive cannot start with this checkpoint");
                    // If an earlier run pinned it, the archive starts with it.
                    if is_new_pin {
                        set.unpin_for_archive(&start.id).await?;
                    }
                    rejected.insert(start.id, why);
                    continue;
                }
            }
            self.remove_oldest(floor, &mut plan).await?;
            set.unpin_for_archive_before(&start.id).await?;
            plan.applied = true;
            return Ok(plan);
        }
    }

    fn checkpoints(&self) -> Checkpoints {
        Checkpoints::at(self.destination.folder(CHECKPOINTS)).requiring(self.trust.clone())
    }

    async fn decide(
        &self,
        keep_for: Duration,
        now: Timestamp,
        rejected: &Rejected,
    ) -> Result<Decided, ExpireError> {
        // What lies within longer ones goes and stays with them.
        let names = self.longest().await?;
        let path = coverage::path(&names).map_err(|error| self.path_error(error))?;
        let held = Extent {
            first: path.first().map_or(1, |name| name.first),
            last: path.last().map_or(0, |name| name.last),
        };
        let ages = self.ages(&path, now).await?;
        let old = self.old_to(&path, keep_for, &ages).await?;
        let (start, why) = self.start(old, rejected).await?;
        let reasons = Reasons {
            held,
            keep_for,
            ages,
            old,
            unproven: self.unproven_from(&path).await?,
            start: start.as_ref().map(|start| (start.id.clone(), start.cursor.position.index)),
            why,
            media: start.as_ref().map(|start| start.parts.join("+")),
        };
        let floor = reasons.floor();
        let kept = names.iter().filter(|name| name.last >= floor);
        let from = kept.map(|name| name.first).min().unwrap_or(held.first);
        let plan = reasons.plan(self.place(), from);
        Ok(Decided { plan, floor, start })
    }

    async fn has_any_before(&self, floor: u64) -> Result<bool, ArchiveError> {
        let mut found = false;
        self.each_before(floor, async |_| {
            found = true;
            Ok(ControlFlow::Break(()))
        })
        .await?;
        Ok(found)
    }

    /// The first entry of the segment that may hold the oldest block without a proof: the archiver
    /// looks up there what the proof refers to. Of a chain that never had a proof, none is awaited,
    /// unless its log says from which block on there are some.
    async fn unproven_from(&self, path: &[&SegmentName]) -> Result<Option<u64>, ArchiveError> {
        let Some(newest) = path.last() else { return Ok(None) };
        let outline = self.outline(newest).await?;
        // What counts as proven without a proof.
        let start = outline.links.base.as_ref().map_or(0, |base| base.height);
        let proven = outline.after.proof_tip;
        let is_late = self.identity().chain.proofs_from.late().is_some();
        if !is_late && proven <= Some(start) && outline.links.proven_above.is_empty() {
            return Ok(None);
        }
        let oldest = proven.map_or(0, |proven| proven.saturating_add(1));
        if outline.after.block_tip.as_ref().is_none_or(|tip| tip.height < oldest) {
            return Ok(None);
        }
        // After the newest commit of a height that stands, no tip was below it.
        for name in path.iter().rev().skip(1) {
            let tip = self.outline(name).await?.after.block_tip;
            if tip.is_none_or(|tip| tip.height < oldest) {
                return Ok(Some(name.last.saturating_add(1)));
            }
        }
        Ok(path.first().map(|name| name.first))
    }

    /// The newest checkpoint up to an index, as far as the manifests tell; or why there is none.
    async fn start(
        &self,
        old: u64,
        rejected: &Rejected,
    ) -> Result<(Option<Manifest>, Vec<String>), ExpireError> {
        let mut why = Vec::new();
        let set = self.checkpoints();
        let mut each = set.each().await?;
        while let Some(listed) = each.try_next().await? {
            let id = listed.id().clone();
            let manifest = match listed {
                Listed::Whole(manifest) => manifest,
                Listed::Corrupt { why: broken, .. } => {
                    why.push(format!("{id} is damaged: {broken}"));
                    continue;
                }
            };
            if let Some(rejected) = rejected.get(&id) {
                why.push(rejected.clone());
            } else if manifest.log != StoreIdentity::from(self.identity()) {
                why.push(format!("{id} is of another log"));
            } else if manifest.cursor.position.index > old {
                why.push(format!("{id} is younger than what is to be kept"));
            } else if manifest.cursor.position.index > 0 {
                return Ok((Some(manifest), why));
            }
        }
        Ok((None, why))
    }

    /// Reads every byte of a checkpoint, and the segment that continues from it.
    async fn check_start(
        &self,
        set: &Checkpoints,
        start: &Manifest,
        throttle: &Throttle,
    ) -> Result<StartCheck, ExpireError> {
        match set.verify(start, throttle).await {
            Ok(()) => {}
            Err(error @ CheckpointError::Corrupt { .. }) => {
                return Ok(StartCheck::Rejected(error_chain(&error)));
            }
            Err(error) => return Err(error.into()),
        }
        let position = start.cursor.position;
        let names = self.around(position.index, REACH).await?;
        let Some(name) = holding(&names, position.index) else {
            let why = format!("{}: the archive does not hold entry {}", start.id, position.index);
            return Ok(StartCheck::Rejected(why));
        };
        let digest = if name.last == position.index {
            Some(self.outline(name).await?.after.position.digest)
        } else {
            let (_, entries) = self.entries(name).await?;
            entries.iter().find(|entry| entry.index == position.index).map(|e| e.digest)
        };
        Ok(match digest {
            Some(digest) if digest == position.digest => StartCheck::Fits,
            _ => {
                StartCheck::Rejected(format!("{} holds another history than the archive", start.id))
            }
        })
    }

    /// Index that segments must reach to count: what retention removes does not.
    pub(crate) async fn from(&self) -> Result<u64, ArchiveError> {
        let found = self.destination.list(FROM, None).await?;
        Ok(found.iter().filter_map(|object| from_index(&object.name)).max().unwrap_or(0))
    }

    /// Removes segments that end before `floor`. From the first step on they do not count: one that
    /// is back after a power cut, or that was being merged meanwhile, counts for nothing.
    async fn remove_oldest(&self, floor: u64, plan: &mut ArchivePlan) -> Result<(), ArchiveError> {
        let name = format!("{FROM}/{floor:020}");
        match self.destination.create(&name, Bytes::new()).await {
            Ok(()) => {}
            Err(DestinationError::Exists { .. }) => self.destination.sync_existing(&name).await?,
            Err(error) => return Err(error.into()),
        }
        // The ends of what is left rise, so that there is never a gap in it, even for a copy of the
        // segments alone.
        self.each_before(floor, async |goes| {
            for name in &goes {
                self.destination.remove(&name.to_string()).await?;
            }
            plan.count(&goes);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        for object in self.destination.list(FROM, None).await? {
            if from_index(&object.name).is_some_and(|index| index < floor) {
                self.destination.remove(&object.name).await?;
            }
        }
        Ok(())
    }
}

fn from_index(object: &str) -> Option<u64> {
    object.strip_prefix(FROM)?.strip_prefix('/')?.parse().ok()
}
