//! A store that is held frozen beyond the connection that asked for it: frozen by one call, thawed
//! by another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tipline_consumer::Frozen;
use tipline_log::error_chain;
use tipline_proto::Cursor;

use super::error::LONGEST_FREEZE;
use crate::jobs::CheckpointMaker;

/// The freeze that is held, and what is known of those before it. It is gone with the process: of
/// what it does not know it says that it may not have held.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    held: Option<Held>,
    /// One before it ended without a thaw.
    missed: bool,
}

#[derive(Debug)]
struct Held {
    id: String,
    frozen: Frozen,
}

impl Holds {
    /// Freezes the store for at most `most`, until it is thawed by its id. The store's own thread
    /// counts. It is thawed when the program ends: what has arrived is to be applied.
    pub(super) async fn hold(
        self: &Arc<Self>,
        maker: &CheckpointMaker,
        most: Duration,
    ) -> Result<(String, Option<Cursor>), String> {
        check(most)?;
        if self.known().held.as_ref().is_some_and(|held| held.frozen.holds()) {
            return Err("the store is frozen already: it is in use by another snapshot".to_owned());
        }
        let frozen = maker.freeze(most).await.map_err(|error| error_chain(&error))?;
        let cursor = frozen.cursor.clone();
        let id = format!("{:016x}", rand::random::<u64>());
        let mut known = self.known();
        // Two may have asked at once.
        if known.held.as_ref().is_some_and(|held| held.frozen.holds()) {
            return Err("the store was frozen by another snapshot at the same time".to_owned());
        }
        known.missed |= known.held.replace(Held { id: id.clone(), frozen }).is_some();
        drop(known);
        let (holds, own, stop) = (Arc::downgrade(self), id.clone(), maker.stopping());
        tokio::spawn(async move {
            // It ends after that in any case.
            if tokio::time::timeout(most, stop.cancelled()).await.is_ok()
                && let Some(holds) = holds.upgrade()
            {
                holds.give_up(&own);
            }
        });
        Ok((id, cursor))
    }

    /// Thaws the one of this id; without one, whichever is held. Gives whether it was frozen until
    /// now, and without a break. Without an id it must be the only one since the last thaw: whose it is
    /// is not known otherwise.
    pub(super) fn thaw(&self, id: Option<&str>) -> Result<bool, String> {
        let mut known = self.known();
        let is_it = |held: &Held| id.is_none_or(|id| id == held.id);
        let Some(held) = known.held.take_if(|held| is_it(held)) else {
            return Err(match id {
                Some(id) => format!(
                    "no freeze {id} is known here: it was thawed, or this process was started after \
                     it; a snapshot of it must not be used"
                ),
                None => "no freeze is held here: it was thawed, or this process was started after \
                         it; a snapshot of it must not be used"
                    .to_owned(),
            });
        };
        let missed = std::mem::take(&mut known.missed);
        Ok(held.frozen.thaw() && (id.is_some() || !missed))
    }

    /// Thaws the one of this id, whose snapshot must not be used.
    pub(super) fn give_up(&self, id: &str) {
        let mut known = self.known();
        let Some(held) = known.held.take_if(|held| held.id == id) else { return };
        known.missed = true;
        // One that thawed by itself has said so.
        if held.frozen.thaw() {
            tracing::warn!(
                id,
                "the store was thawed before it was to be: a snapshot of it must not be used"
            );
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What is in it is whole at any instant.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a store may be frozen for that long.
pub(super) fn check(most: Duration) -> Result<(), String> {
    if most.is_zero() || most > LONGEST_FREEZE {
        let longest = LONGEST_FREEZE.as_secs() / 60;
        return Err(format!("a store is frozen for {longest} min at most, and not for nothing"));
    }
    Ok(())
}
