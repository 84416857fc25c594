//! Copies of what waits.
//!
//! A node may replace its newest block, prune, or lose a file before the log has what is in it. So a
//! row that refers to a file has a copy of it until the log has it. A hard link would be no copy: it
//! changes with a file that is written in its place.
//!
//! Copies have a limit in bytes. Within it the oldest rows have one, because a node prunes those
//! first, and beyond it the newest alone, because a node replaces that. The payloads of the others
//! are in the node's files only, until there is room again.

use rusqlite::{Transaction, params};

/// To find and count the copies without reading them.
pub(super) const SCHEMA: &str = "DROP INDEX IF EXISTS tipline_copy; \
    CREATE INDEX IF NOT EXISTS tipline_copies ON tipline_outbox (sequence, payload_length) \
    WHERE payload IS NOT NULL AND payload_ref IS NOT NULL;";

/// Most bytes of copies, that of the newest block apart: at a block every 3 s, 25 minutes of blocks
/// of 0.5 MB, and 22 hours of blocks of 10 kB.
pub(super) const MOST: i64 = 256 << 20;

/// Copies of rows that are logged go so many at a time.
const DROPPED: u32 = 256;

/// The rows of this reference that have a copy have nothing else from now on.
pub(super) fn keep(tx: &Transaction<'_>, reference: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE tipline_outbox SET payload_ref = NULL \
               WHERE payload IS NOT NULL AND payload_ref IS NOT NULL AND payload_ref = ?1";
    tx.execute(sql, [reference])?;
    Ok(())
}

/// Copies the payloads of these new rows, by their sequences, all of which refer to files, and drops
/// what is not needed any more.
pub(super) fn copy(tx: &Transaction<'_>, rows: &[(i64, &[u8])], most: i64) -> rusqlite::Result<()> {
    let Some((newest, _)) = rows.last() else { return Ok(()) };
    drop_logged(tx)?;
    let mut bytes = bytes(tx)?;
    if bytes > most {
        // It was the newest.
        drop_last(tx)?;
        bytes = self::bytes(tx)?;
    }
    let sql = "UPDATE tipline_outbox SET payload = ?2 \
               WHERE sequence = ?1 AND payload IS NULL AND payload_ref IS NOT NULL";
    let mut statement = tx.prepare_cached(sql)?;
    for (sequence, payload) in rows {
        let after = bytes.saturating_add(i64::try_from(payload.len()).unwrap_or(i64::MAX));
        if after <= most || sequence == newest {
            statement.execute(params![sequence, payload])?;
            bytes = after;
        }
    }
    Ok(())
}

/// The log has them, and the newest block is another one now.
fn drop_logged(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let sql = "UPDATE tipline_outbox SET payload = NULL WHERE sequence IN \
        (SELECT sequence FROM tipline_outbox INDEXED BY tipline_copies \
         WHERE payload IS NOT NULL AND payload_ref IS NOT NULL \
           AND sequence <= (SELECT sequence FROM tipline_outbox_released) \
         ORDER BY sequence LIMIT ?1)";
    tx.prepare_cached(sql)?.execute([DROPPED])?;
    Ok(())
}

fn drop_last(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let sql = "UPDATE tipline_outbox SET payload = NULL WHERE sequence = \
        (SELECT max(sequence) FROM tipline_outbox INDEXED BY tipline_copies \
         WHERE payload IS NOT NULL AND payload_ref IS NOT NULL)";
    tx.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn bytes(tx: &Transaction<'_>) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(sum(payload_length), 0) FROM tipline_outbox \
               INDEXED BY tipline_copies WHERE payload IS NOT NULL AND payload_ref IS NOT NULL";
    tx.prepare_cached(sql)?.query_row([], |row| row.get(0))
}
