//! How many rows fit a limit.

use std::ops::Range;

use rusqlite::Connection;

use super::row::{from_i64, to_i64};

/// The rows after a sequence that fit a limit.
pub(super) struct Extent {
    /// Sequence of the last of them; `None` if there are no rows.
    pub(super) end: Option<u64>,
    /// Their payload bytes.
    pub(super) bytes: u64,
}

/// The rows after `range.start`, up to `range.end` inclusive: at most `max_rows`, and at most
/// `max_bytes` of payload unless the first alone has more. Reads no payload.
pub(super) fn extent(
    conn: &Connection,
    range: Range<u64>,
    max_rows: usize,
    max_bytes: u64,
) -> rusqlite::Result<Extent> {
    let sql = "SELECT sequence, coalesce(payload_length, length(payload), 0) FROM tipline_outbox \
               WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence LIMIT ?3";
    let mut statement = conn.prepare_cached(sql)?;
    let limits = [to_i64(range.start), to_i64(range.end), to_i64(max_rows as u64)];
    let mut rows = statement.query(limits)?;
    let mut extent = Extent { end: None, bytes: 0 };
    while let Some(row) = rows.next()? {
        let bytes = extent.bytes.saturating_add(from_i64(row.get(1)?));
        if bytes > max_bytes && extent.end.is_some() {
            break;
        }
        extent = Extent { end: Some(from_i64(row.get(0)?)), bytes };
    }
    Ok(extent)
}
