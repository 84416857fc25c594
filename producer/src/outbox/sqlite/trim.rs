//! Releasing and removing rows that are logged, without making the node wait.

use std::thread;
use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior};

use super::error::failed;
use super::extent::extent;
use super::row::to_i64;
use super::state::State;
use crate::outbox::OutboxError;

/// Most rows and payload bytes that one transaction removes: a few milliseconds of the write lock.
const STEP_ROWS: usize = 200;
const STEP_BYTES: u64 = 4 << 20;
/// Most rows that one transaction counts.
const RELEASED_ROWS: usize = 1000;

/// Removes rows up to `sequence`, and stops where there are none.
///
/// Between two steps it leaves the write lock alone for as long as the step had it.
pub(super) fn trim(conn: &mut Connection, place: &str, sequence: u64) -> Result<(), OutboxError> {
    loop {
        let start = Instant::now();
        if !step(conn, place, sequence)? {
            return Ok(());
        }
        thread::sleep(start.elapsed());
    }
}

/// Rows up to `sequence` count no more, no further than there are rows.
pub(super) fn release(
    conn: &mut Connection,
    place: &str,
    sequence: u64,
) -> Result<(), OutboxError> {
    let what = "releasing rows that are logged";
    loop {
        let tx = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed(place, what))?;
        let state = State::read(&tx, place)?;
        let goal = sequence.min(state.last);
        if goal <= state.released {
            return Ok(());
        }
        let release = || {
            let extent = extent(&tx, state.released..goal, RELEASED_ROWS, u64::MAX)?;
            let end = extent.end.unwrap_or(goal);
            let bytes = state.released_bytes.saturating_add(extent.bytes);
            note(&tx, end, bytes)
        };
        release().map_err(failed(place, what))?;
        tx.commit().map_err(failed(place, what))?;
    }
}

fn note(conn: &Connection, released: u64, bytes: u64) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE tipline_outbox_released SET sequence = ?1, bytes = ?2")?
        .execute([to_i64(released), to_i64(bytes)])
        .map(drop)
}

/// One step; answers whether there is more to do.
fn step(conn: &mut Connection, place: &str, sequence: u64) -> Result<bool, OutboxError> {
    let what = "removing rows that are logged";
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed(place, what))?;
    let state = State::read(&tx, place)?;
    let goal = sequence.min(state.last);
    if goal <= state.trimmed {
        return Ok(false);
    }
    let remove = || {
        let extent = extent(&tx, state.trimmed..goal, STEP_ROWS, STEP_BYTES)?;
        // No rows where some must be: continue after the gap, which reading would have named.
        let (end, bytes) = (extent.end.unwrap_or(goal), extent.bytes);
        tx.prepare_cached("UPDATE tipline_outbox_state SET trimmed = ?1, bytes = bytes - ?2")?
            .execute([to_i64(end), to_i64(bytes)])?;
        tx.prepare_cached("DELETE FROM tipline_outbox WHERE sequence <= ?1")?
            .execute([to_i64(end)])?;
        // Of rows that were not released before, none is left to count.
        let left =
            if end < state.released { state.released_bytes.saturating_sub(bytes) } else { 0 };
        note(&tx, end.max(state.released), left)?;
        Ok(end)
    };
    let end = remove().map_err(failed(place, what))?;
    tx.commit().map_err(failed(place, what))?;
    Ok(end < goal)
}
