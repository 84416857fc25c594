//! What a restore will read, and where it will end. Made before anything is written.

use serde::Serialize;
use tipline_proto::Digest;

use super::target::Target;
use crate::checkpoint::{CheckpointId, Manifest, Sizes};
use crate::error::RestoreError;
use crate::sources::spans::{Gap, Span};
use crate::sources::{Inventory, Sources};
use crate::text::display;

/// A plan: what is read, in which order, and the point that is reached.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// As requested.
    pub target: String,
    /// The entry that the target names is left out.
    pub exclusive: bool,
    /// Index of the last entry that is restored.
    pub index: u64,
    /// The checkpoint to start from; none: from nothing.
    pub checkpoint: Option<PlannedCheckpoint>,
    /// What is read after it, in this order.
    pub reads: Vec<PlannedRead>,
    /// Bytes to be read, as far as the places tell: of a log they do not.
    pub bytes: u64,
    /// What is there but will not be used, and why.
    pub notes: Vec<String>,
    #[serde(skip)]
    pub(super) starts: Vec<Start>,
}

/// Bytes that a restore needs at its place.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// A checkpoint, with all its parts, where the first part is.
    pub(super) fetched: u64,
    pub(super) parts: Vec<PartSpace>,
}

/// Bytes that a part of the store needs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PartSpace {
    /// Of what is fetched, this is moved to its place.
    pub(super) moved: u64,
    /// And this is written there.
    pub(super) written: u64,
}

impl Plan {
    /// Bytes that a store of these kinds needs. Every part holds all entries; what is copied
    /// logically is there twice for a while.
    pub(super) fn space(&self, kinds: &[String]) -> Space {
        let reads: u64 = self.reads.iter().map(|read| read.bytes).sum();
        let Some(Start::Checkpoint { manifest, sizes, copied, .. }) = self.starts.first() else {
            let parts = vec![PartSpace { moved: 0, written: reads }; kinds.len()];
            return Space { fetched: 0, parts };
        };
        let fetched = sizes.plain;
        let part = |kind: &String| {
            let found = manifest.parts.iter().position(|part| part == kind);
            let moved = found.and_then(|number| sizes.parts.get(number)).copied().unwrap_or(0);
            match copied {
                true => PartSpace { moved: 0, written: fetched + reads },
                false => PartSpace { moved, written: reads },
            }
        };
        Space { fetched, parts: kinds.iter().map(part).collect() }
    }
}

/// The checkpoint of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedCheckpoint {
    /// Its id.
    #[serde(serialize_with = "display")]
    pub id: CheckpointId,
    /// The set that has it.
    pub place: String,
    /// Index that it was made at.
    pub index: u64,
    /// Its block tip.
    pub height: Option<u64>,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its own kinds of stores, if the store to restore is of another kind. It is copied logically
    /// then.
    pub of: Option<String>,
}

/// Some entries of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedRead {
    /// What has them: a segment of an archive, or the log.
    pub name: String,
    /// Index of the first one that is needed.
    pub first: u64,
    /// Index of the last one that is needed.
    pub last: u64,
    /// Size in bytes of what has them; 0 if it does not tell.
    pub bytes: u64,
}

/// Where to start.
#[derive(Debug, Clone)]
pub(super) enum Start {
    Nothing,
    /// `copied`: its kinds of stores are different, so it is copied logically.
    Checkpoint {
        set: usize,
        /// Without its files.
        manifest: Box<Manifest>,
        sizes: Sizes,
        copied: bool,
    },
}

impl Start {
    /// Index of the last entry that is in it.
    pub(super) fn index(&self) -> u64 {
        match self {
            Start::Nothing => 0,
            Start::Checkpoint { manifest, .. } => manifest.cursor.position.index,
        }
    }
}

impl Sources {
    /// Plans a restore into a store of these kinds of media (`sqlite`, `rocksdb`, `files`).
    pub(super) async fn plan(
        &self,
        inventory: &mut Inventory,
        target: &Target,
        exclusive: bool,
        kinds: &[String],
    ) -> Result<Plan, RestoreError> {
        let index = self.resolve(inventory, target, exclusive).await?;
        let mut starts = self.starts(inventory, index, kinds);
        starts.push(Start::Nothing);
        let mut gap: Option<Gap> = None;
        let reachable = |start: &Start| match inventory.coverage.cover(start.index(), index) {
            Ok(_) => true,
            Err(found) => {
                // The one after the newest start is the one to report.
                gap.get_or_insert(found);
                false
            }
        };
        starts.retain(reachable);
        if starts.is_empty() {
            return Err(unreachable(inventory, target, index, kinds, gap));
        }
        Ok(self.plan_from(starts, inventory, target.to_string(), exclusive, index))
    }

    /// The plan that begins with the first of these starts.
    fn plan_from(
        &self,
        starts: Vec<Start>,
        inventory: &Inventory,
        target: String,
        exclusive: bool,
        index: u64,
    ) -> Plan {
        let first = starts.first().unwrap_or(&Start::Nothing);
        let reads = inventory.coverage.cover(first.index(), index).unwrap_or_default();
        let checkpoint = self.planned(first);
        let bytes = reads.iter().map(|span| span.bytes).sum::<u64>()
            + checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.bytes);
        let mut at = first.index();
        let mut read = |span: &Span| {
            let (first, last) = (at + 1, span.last.min(index));
            at = last;
            PlannedRead { name: self.name(span), first, last, bytes: span.bytes }
        };
        Plan {
            target,
            exclusive,
            index,
            checkpoint,
            reads: reads.iter().map(&mut read).collect(),
            bytes,
            notes: inventory.notes.clone(),
            starts,
        }
    }

    /// Holds a plan to a digest that is known from elsewhere: it begins with nothing then. Entries
    /// are chained to the digest; what is in a checkpoint is not, its digest is written beside it.
    ///
    /// # Errors
    /// [`RestoreError::Verification`] if the places say already that it ends with another, or no
    /// longer have the first entries; a place does not answer.
    pub async fn hold(&self, plan: Plan, expected: Digest) -> Result<Plan, RestoreError> {
        let mut starts = plan.starts.clone();
        starts.retain(|start| matches!(start, Start::Nothing));
        if starts.is_empty() {
            let what = "it can be held to a digest only from the first entry on, and those that a \
                        checkpoint stands for are not kept";
            return Err(RestoreError::Verification { what: what.to_owned() });
        }
        self.begin_with(plan, expected, starts).await
    }

    /// The same plan with these starts, if the places do not say already that it ends with another
    /// digest.
    pub(super) async fn begin_with(
        &self,
        plan: Plan,
        expected: Digest,
        starts: Vec<Start>,
    ) -> Result<Plan, RestoreError> {
        self.check_digest(plan.index, expected).await?;
        let Plan { target, exclusive, index, .. } = plan;
        Ok(self.plan_from(starts, &self.inventory().await?, target, exclusive, index))
    }

    /// The checkpoints that can be started from, the newest first; those of other kinds of stores
    /// after all that are used as they are.
    fn starts(&self, inventory: &mut Inventory, index: u64, kinds: &[String]) -> Vec<Start> {
        let (mut starts, mut copied) = (Vec::new(), Vec::new());
        for (set, manifest, sizes) in &inventory.checkpoints {
            if manifest.cursor.position.index > index {
                continue;
            }
            let (set, manifest, sizes) = (*set, Box::new(manifest.clone()), sizes.clone());
            if fills(&manifest, kinds) {
                starts.push(Start::Checkpoint { set, manifest, sizes, copied: false });
            } else if can_copy(&manifest) {
                copied.push(Start::Checkpoint { set, manifest, sizes, copied: true });
            } else {
                let place = self.checkpoints.get(set).map_or("", |set| set.place());
                inventory.notes.push(format!(
                    "checkpoint {} at {place} is of {}, which this program was built without",
                    manifest.id,
                    manifest.parts.join("+"),
                ));
            }
        }
        starts.append(&mut copied);
        starts
    }

    pub(super) fn planned(&self, start: &Start) -> Option<PlannedCheckpoint> {
        let Start::Checkpoint { set, manifest, sizes, copied } = start else { return None };
        Some(PlannedCheckpoint {
            id: manifest.id.clone(),
            place: self.checkpoints.get(*set).map(|set| set.place().to_owned()).unwrap_or_default(),
            index: manifest.cursor.position.index,
            height: manifest.cursor.block_tip.as_ref().map(|tip| tip.height),
            bytes: sizes.kept,
            of: copied.then(|| manifest.parts.join("+")),
        })
    }
}

/// Whether its parts are those of a store of these kinds.
fn fills(manifest: &Manifest, kinds: &[String]) -> bool {
    kinds.iter().all(|kind| manifest.parts.contains(kind))
}

/// Whether it can be copied logically into a store of any kind.
#[cfg(feature = "sqlite")]
fn can_copy(manifest: &Manifest) -> bool {
    tipline_store::can_open(&manifest.parts)
}

#[cfg(not(feature = "sqlite"))]
fn can_copy(_: &Manifest) -> bool {
    false
}

fn unreachable(
    inventory: &Inventory,
    target: &Target,
    index: u64,
    kinds: &[String],
    gap: Option<Gap>,
) -> RestoreError {
    let target = target.to_string();
    let usable = |manifest: &Manifest| fills(manifest, kinds) || can_copy(manifest);
    let earliest = inventory.checkpoints.iter().rfind(|(_, manifest, _)| usable(manifest));
    let gap = gap.unwrap_or(Gap { first: 1, last: index });
    match earliest {
        // Nothing that is kept goes back that far.
        Some((_, manifest, _)) if gap.first == 1 && manifest.cursor.position.index > index => {
            let height = manifest.cursor.block_tip.as_ref().map(|tip| tip.height);
            let height = height.map(|height| format!(", height {height}")).unwrap_or_default();
            let index = manifest.cursor.position.index;
            RestoreError::TooOld { target, earliest: format!("index {index}{height}") }
        }
        _ => inventory.missing(target, gap),
    }
}
