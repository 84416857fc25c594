//! From a target to the index of the last entry to restore.

use std::ops::ControlFlow;

use futures_util::StreamExt;
use tipline_proto::{Digest, Position, Timestamp};

use super::seek::{Found, Seek};
use super::target::Target;
use crate::archive::Row;
use crate::error::RestoreError;
use crate::sources::{Inventory, ReadError, Sources};
use crate::time::{TimeDigits, time_text};

impl Sources {
    /// The index of the last entry that belongs to the target.
    pub(super) async fn resolve(
        &self,
        inventory: &mut Inventory,
        target: &Target,
        exclusive: bool,
    ) -> Result<u64, RestoreError> {
        let newest = inventory.newest();
        match target {
            Target::Latest => Ok(newest),
            Target::Index(index) if *index - u64::from(exclusive && *index > 0) > newest => {
                let target = target.to_string();
                Err(RestoreError::NotYet { target, latest: format!("index {newest}") })
            }
            Target::Index(index) => Ok(index - u64::from(exclusive && *index > 0)),
            _ => self.search(inventory, target, exclusive).await,
        }
    }

    /// Whether a history that ends at this index ends with this digest, as far as a checkpoint or an
    /// entry there tells. Nothing is found wrong if neither is at hand.
    ///
    /// # Errors
    /// [`RestoreError::Verification`] if it ends with another; a place does not answer.
    pub(super) async fn check_digest(
        &self,
        index: u64,
        expected: Digest,
    ) -> Result<(), RestoreError> {
        let inventory = self.inventory().await?;
        let before = index.checked_sub(1);
        if let Some(span) = before.and_then(|before| inventory.coverage.next(before)) {
            match self.entry(span, index).await {
                Ok(Some(entry)) => return check_digest(&entry.position(), expected),
                Err(ReadError::Unavailable(error)) => return Err(error),
                // Restoring finds it out.
                Ok(None) | Err(_) => {}
            }
        }
        let at = inventory.checkpoints.iter().map(|(_, manifest, _)| manifest.cursor.position);
        let mut checked = at.filter(|at| at.index == index).map(|at| check_digest(&at, expected));
        match checked.next() {
            Some(Err(error)) if checked.all(|checked| checked.is_err()) => Err(error),
            _ => Ok(()),
        }
    }

    async fn search(
        &self,
        inventory: &mut Inventory,
        target: &Target,
        exclusive: bool,
    ) -> Result<u64, RestoreError> {
        // What turns out to be damaged is missed, wherever it is.
        let newest = inventory.newest();
        let oldest = inventory.coverage.extent().map_or(newest + 1, |(oldest, _)| oldest);
        loop {
            let mut seek = Seek::new(target, exclusive, oldest..=newest);
            let mut all = self.rows_of(inventory.coverage.newest_first());
            let (mut bad, mut found) = (None, None);
            while let Some((span, rows)) = all.next().await {
                match rows {
                    Ok(rows) => {
                        if let ControlFlow::Break(answer) = see_all(&mut seek, &rows) {
                            found = Some(answer);
                            break;
                        }
                    }
                    Err(ReadError::Corrupt(why)) => {
                        bad = Some((span, why));
                        break;
                    }
                    Err(ReadError::Unavailable(error)) => return Err(error),
                    Err(ReadError::ReceiverGone) => {}
                }
            }
            drop(all);
            if let Some((span, why)) = bad {
                // Another source may have the same entries: search again without it.
                inventory.give_up(&span, why);
                self.list_within(&span, &mut inventory.coverage).await?;
                continue;
            }
            return match found.unwrap_or_else(|| seek.end()) {
                Found::At(index) => Ok(index),
                Found::Nowhere => Err(not_found(target, &seek)),
                Found::Missing(gap) => Err(inventory.missing(target.to_string(), gap)),
            };
        }
    }
}

/// Whether a position has this digest.
pub(super) fn check_digest(found: &Position, expected: Digest) -> Result<(), RestoreError> {
    if found.digest == expected {
        return Ok(());
    }
    let Position { index, digest } = found;
    let what = format!("at entry {index} it has digest {digest}, and {expected} was expected");
    Err(RestoreError::Verification { what })
}

/// The newest row first.
fn see_all(seek: &mut Seek<'_>, rows: &[Row]) -> ControlFlow<Found> {
    rows.iter().rev().try_for_each(|row| seek.see(row))
}

fn not_found(target: &Target, seek: &Seek<'_>) -> RestoreError {
    let requested = target.to_string();
    let (Some(newest), Some(oldest)) = (&seek.newest, &seek.oldest) else {
        let held = "of which there are none".to_owned();
        return RestoreError::Unknown { target: requested, held };
    };
    let (low, high) = seek.heights.map_or((None, None), |(low, high)| (Some(low), Some(high)));
    let latest = point(newest.index, high, newest.time);
    let earliest = point(oldest.index, low, oldest.time);
    match target {
        Target::Time(_) if seek.later => RestoreError::NotYet { target: requested, latest },
        Target::Time(_) => RestoreError::TooOld { target: requested, earliest },
        Target::Height(_) if seek.gone => RestoreError::NotYet {
            target: requested,
            latest: format!(
                "{latest}; the block of this height was rolled back, restore it by its hash"
            ),
        },
        // No block is held: it may be in what is missing.
        Target::Height(height) if high.map_or(oldest.index == 1, |high| *height > high) => {
            RestoreError::NotYet { target: requested, latest }
        }
        Target::Height(height) if low.is_some_and(|low| *height < low) => {
            RestoreError::TooOld { target: requested, earliest }
        }
        _ => {
            let held = format!("{} to {}", oldest.index, newest.index);
            RestoreError::Unknown { target: requested, held }
        }
    }
}

/// A point of the history, human-readable.
pub(super) fn point(index: u64, height: Option<u64>, time: Timestamp) -> String {
    let height = height.map(|height| format!(", height {height}")).unwrap_or_default();
    let time = time_text(time, TimeDigits::Micros);
    format!("index {index}{height}, {time}")
}
