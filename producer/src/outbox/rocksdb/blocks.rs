//! The blocks of the chain that events may refer to.

use std::collections::BTreeMap;

use rocksdb::WriteBatch;
use tipline_proto::{Event, Hash};

use super::db::{Database, DbError};
use super::keys;

/// Blocks more than this below the newest one are forgotten, as in the SQLite outbox: they cannot
/// be proven any more, nor rolled back to. 83 hours of a chain with one block every 3 s.
pub(super) const WINDOW: u64 = 100_000;

/// What a unit that is not written yet changes about the blocks in the database.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    added: BTreeMap<u64, Hash>,
    /// Blocks in the database below this height are forgotten.
    forgotten: u64,
}

impl Blocks {
    /// The hash of the block at a height, if the outbox still knows it. The height is not
    /// above the tip.
    pub(super) fn find(&self, db: &dyn Database, height: u64) -> Result<Option<Vec<u8>>, DbError> {
        // First: it may have been forgotten, rolled back and added again.
        if let Some(hash) = self.added.get(&height) {
            return Ok(Some(hash.as_ref().to_vec()));
        }
        if height < self.forgotten {
            return Ok(None);
        }
        // Not one that this unit has rolled back: up to the tip, it has added all that followed.
        db.get(&keys::block(height))
    }

    /// Takes an event in that links. `tip` is the newest height before it.
    pub(super) fn admit(
        &mut self,
        db: &dyn Database,
        batch: &mut WriteBatch,
        event: &Event,
        tip: Option<u64>,
        window: u64,
    ) -> Result<(), DbError> {
        match event {
            Event::BlockCommitted { height, hash, .. } => {
                db.put(batch, &keys::block(*height), hash.as_ref())?;
                let oldest = height.saturating_sub(window);
                // Heights follow one another, so there is only one to forget at a time.
                if let Some(forgotten) = oldest.checked_sub(1) {
                    db.delete(batch, &keys::block(forgotten))?;
                }
                self.forgotten = self.forgotten.max(oldest);
                self.added.insert(*height, hash.clone());
                self.added = self.added.split_off(&oldest);
            }
            Event::RolledBack { to_height, .. } => {
                // Not a range: a database with a row cache refuses batches with ranges.
                for height in to_height + 1..=tip.unwrap_or(*to_height) {
                    db.delete(batch, &keys::block(height))?;
                }
                self.added.split_off(&(to_height + 1));
            }
            _ => {}
        }
        Ok(())
    }
}
