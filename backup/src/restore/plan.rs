//! What a restore will read, and where it will end: made before anything is written.

use serde::Serialize;

use super::target::Target;
use crate::checkpoint::Manifest;
use crate::error::RestoreError;
use crate::sources::spans::{Gap, Span};
use crate::sources::{Found, Sources};

/// A plan: what is read, in which order, and the point that is reached.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// As asked.
    pub target: String,
    /// The entry that the target names is left out.
    pub exclusive: bool,
    /// Index of the last entry that is restored.
    pub index: u64,
    /// The checkpoint to start from; none: from nothing.
    pub checkpoint: Option<PlannedCheckpoint>,
    /// What is read behind it, in this order.
    pub reads: Vec<PlannedRead>,
    /// Bytes to be read, as far as the places tell: of a log they do not.
    pub bytes: u64,
    /// What is there and will not be used, and why.
    pub notes: Vec<String>,
    #[serde(skip)]
    pub(super) starts: Vec<Start>,
}

/// The checkpoint of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedCheckpoint {
    /// Its id.
    pub id: String,
    /// The set that has it.
    pub place: String,
    /// Index that it was made at.
    pub index: u64,
    /// Its block tip.
    pub height: Option<u64>,
    /// Its size in bytes.
    pub bytes: u64,
    /// The kinds of stores that it is of, if the store is of another kind: then its content is
    /// carried over.
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
    /// `carried`: it is of other kinds of stores.
    Checkpoint {
        set: usize,
        manifest: Box<Manifest>,
        carried: bool,
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
        found: &mut Found,
        target: &Target,
        exclusive: bool,
        kinds: &[String],
    ) -> Result<Plan, RestoreError> {
        let index = self.resolve(found, target, exclusive).await?;
        let mut starts = self.starts(found, index, kinds);
        starts.push(Start::Nothing);
        let mut hole: Option<Gap> = None;
        let reachable = |start: &Start| match found.holdings.cover(start.index(), index) {
            Ok(_) => true,
            Err(found) => {
                // The one behind the newest start is the one to be told.
                hole.get_or_insert(found);
                false
            }
        };
        starts.retain(reachable);
        let Some(first) = starts.first() else {
            return Err(unreachable(found, target, index, kinds, hole));
        };
        let reads = found.holdings.cover(first.index(), index).unwrap_or_default();
        let checkpoint = self.planned(first);
        let bytes = reads.iter().map(|span| span.bytes).sum::<u64>()
            + checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.bytes);
        let mut at = first.index();
        let mut read = |span: &Span| {
            let (first, last) = (at + 1, span.last.min(index));
            at = last;
            PlannedRead { name: self.name(span), first, last, bytes: span.bytes }
        };
        Ok(Plan {
            target: target.to_string(),
            exclusive,
            index,
            checkpoint,
            reads: reads.iter().map(&mut read).collect(),
            bytes,
            notes: found.notes.clone(),
            starts,
        })
    }

    /// The checkpoints that can be started from, the newest first; those of other kinds of stores
    /// behind all that are copied as they are.
    fn starts(&self, found: &mut Found, index: u64, kinds: &[String]) -> Vec<Start> {
        let (mut starts, mut carried) = (Vec::new(), Vec::new());
        for (set, manifest) in &found.checkpoints {
            if manifest.cursor.position.index > index {
                continue;
            }
            let (set, manifest) = (*set, Box::new(manifest.clone()));
            if fills(&manifest, kinds) {
                starts.push(Start::Checkpoint { set, manifest, carried: false });
            } else if can_carry(&manifest) {
                carried.push(Start::Checkpoint { set, manifest, carried: true });
            } else {
                let place = self.checkpoints.get(set).map_or("", |set| set.place());
                found.notes.push(format!(
                    "checkpoint {} at {place} is of {}, which this program was built without",
                    manifest.id,
                    manifest.parts.join("+"),
                ));
            }
        }
        starts.append(&mut carried);
        starts
    }

    pub(super) fn planned(&self, start: &Start) -> Option<PlannedCheckpoint> {
        let Start::Checkpoint { set, manifest, carried } = start else { return None };
        Some(PlannedCheckpoint {
            id: manifest.id.to_string(),
            place: self.checkpoints.get(*set).map(|set| set.place().to_owned()).unwrap_or_default(),
            index: manifest.cursor.position.index,
            height: manifest.cursor.block_tip.as_ref().map(|tip| tip.height),
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            of: carried.then(|| manifest.parts.join("+")),
        })
    }
}

/// Whether its parts are those of a store of these kinds.
fn fills(manifest: &Manifest, kinds: &[String]) -> bool {
    kinds.iter().all(|kind| manifest.parts.contains(kind))
}

/// Whether its content can be carried over into a store of any kind.
#[cfg(feature = "sqlite")]
fn can_carry(manifest: &Manifest) -> bool {
    tipline_store::can_open(&manifest.parts)
}

#[cfg(not(feature = "sqlite"))]
fn can_carry(_: &Manifest) -> bool {
    false
}

fn unreachable(
    found: &Found,
    target: &Target,
    index: u64,
    kinds: &[String],
    hole: Option<Gap>,
) -> RestoreError {
    let target = target.to_string();
    let usable = |manifest: &Manifest| fills(manifest, kinds) || can_carry(manifest);
    let earliest = found.checkpoints.iter().rfind(|(_, manifest)| usable(manifest));
    let hole = hole.unwrap_or(Gap { first: 1, last: index });
    match earliest {
        // Nothing that is kept goes back so far.
        Some((_, manifest)) if hole.first == 1 && manifest.cursor.position.index > index => {
            let height = manifest.cursor.block_tip.as_ref().map(|tip| tip.height);
            let height = height.map(|height| format!(", height {height}")).unwrap_or_default();
            let index = manifest.cursor.position.index;
            RestoreError::TooOld { target, earliest: format!("index {index}{height}") }
        }
        _ => RestoreError::Gap { target, first: hole.first, last: hole.last },
    }
}
