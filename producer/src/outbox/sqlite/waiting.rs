//! What waits.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension};
use tipline_proto::Timestamp;

use super::error::failed;
use super::extent::extent;
use super::row::{from_i64, to_i64};
use super::state::State;
use crate::outbox::{OutboxError, Waiting};

/// The rows after `after`, in one read transaction.
pub(super) fn waiting(
    conn: &mut Connection,
    place: &str,
    after: u64,
) -> Result<Waiting, OutboxError> {
    let what = "reading what waits";
    let tx = conn.transaction().map_err(failed(place, what))?;
    let state = State::read(&tx, place)?;
    let after = after.max(state.trimmed);
    if after >= state.last {
        return Ok(Waiting::default());
    }
    let count = || {
        let bytes = bytes_after(&tx, &state, after)?;
        let time = "SELECT time_us FROM tipline_outbox WHERE sequence = ?1";
        let oldest = tx
            .prepare_cached(time)?
            .query_row([to_i64(after + 1)], |row| row.get::<_, i64>(0))
            .optional()?;
        let oldest = oldest.map(|time| Timestamp::from_micros(from_i64(time)));
        Ok(Waiting { events: state.last - after, bytes, oldest })
    };
    count().map_err(failed(place, what))
}

/// Adds up as few rows as it can: those after `after`, or those between it and the rows that count.
fn bytes_after(conn: &Connection, state: &State, after: u64) -> rusqlite::Result<u64> {
    let sum = |range: Range<u64>| Ok(extent(conn, range, usize::MAX, u64::MAX)?.bytes);
    let counted = state.pending().counted_bytes;
    if state.last - after <= after.abs_diff(state.released) {
        return sum(after..state.last);
    }
    if after >= state.released {
        return Ok(counted.saturating_sub(sum(state.released..after)?));
    }
    Ok(counted.saturating_add(sum(after..state.released)?))
}
