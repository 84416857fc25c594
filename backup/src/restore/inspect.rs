//! Looking at a restored store before it is put in place.

use tipline_proto::{Cursor, Entry, Event};
use tipline_store::StoreReader;

use crate::error::RestoreError;

/// Whether the store stands there, and has a block at every height.
pub(super) fn normal(reader: &dyn StoreReader, expected: &Cursor) -> Result<(), RestoreError> {
    let found = reader.cursor()?;
    if found.as_ref() != Some(expected) {
        let at = found.map_or("nowhere".to_owned(), |cursor| cursor.position.to_string());
        return differs(format!("it is at {at}, not at {}", expected.position));
    }
    let Some((lowest, highest)) = reader.heights()? else { return Ok(()) };
    let tip = expected.block_tip.as_ref();
    if tip.is_none_or(|tip| tip.height != highest) {
        return differs(format!("its highest block is {highest}, not its block tip"));
    }
    for height in lowest..=highest {
        let hash = reader.block_hash(height)?;
        let is_tip = tip.filter(|tip| tip.height == height);
        match (hash, is_tip) {
            (None, _) => return differs(format!("block {height} is missing")),
            (Some(hash), Some(tip)) if hash != tip.hash => {
                return differs(format!("block {height} is {hash}, not its block tip"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether what the store has of an entry is what the entry says.
pub(crate) fn compare(reader: &dyn StoreReader, entry: &Entry) -> Result<(), RestoreError> {
    let (index, time) = (entry.index, entry.time);
    // What came later has taken its place where the index is another one.
    let same = match &entry.event {
        Event::BlockCommitted { height, hash, parent_hash, payload } => {
            reader.block(*height)?.filter(|found| found.index == index).is_none_or(|found| {
                found.hash == *hash
                    && found.parent_hash == *parent_hash
                    && found.payload == *payload
                    && (found.epoch, found.time) == (entry.epoch, time)
            })
        }
        Event::BlockProven { height, block_hash, payload } => {
            reader.proof(*height)?.filter(|found| found.index == index).is_none_or(|found| {
                found.block_hash == *block_hash && found.payload == *payload && found.time == time
            })
        }
        Event::TransactionValidated { id, payload } => reader
            .transaction(id)?
            .filter(|found| found.index == index)
            .is_none_or(|found| found.payload == *payload && found.time == time),
        Event::StateRecorded { key, value } => reader
            .record(key)?
            .filter(|found| found.index == index)
            .is_none_or(|found| Some(&found.value) == value.as_ref() && found.time == time),
        Event::Marked { name } => reader
            .mark(name)?
            .filter(|found| found.index == index)
            .is_none_or(|found| found.time == time),
        Event::RolledBack { .. } | Event::EpochStarted { .. } => true,
    };
    if same {
        Ok(())
    } else {
        differs(format!("entry {index}, {}, is not stored as it was", entry.event))
    }
}

fn differs(what: String) -> Result<(), RestoreError> {
    Err(RestoreError::Verification { what })
}
