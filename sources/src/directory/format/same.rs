//! An outbox reads its blocks in one format for ever.

use rusqlite::OptionalExtension;
use tipline_producer::OutboxError;

use super::{BlockFormat, ContentHash};
use crate::files::Index;

/// The format that the blocks were read with.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS tipline_format (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    name TEXT NOT NULL
);";

/// Writes the format into the index, durable on return. Blocks that were read with another one
/// have other hashes, and nothing would link to them truly.
///
/// # Errors
/// [`OutboxError::Unusable`] if blocks were enqueued with another format.
pub(in crate::directory) fn stays_the_same(
    index: &mut Index,
    place: &str,
    format: &dyn BlockFormat,
) -> Result<(), OutboxError> {
    let former: Option<String> = index.write(|tx| {
        tx.execute_batch(SCHEMA)?;
        tx.query_row("SELECT name FROM tipline_format", [], |row| row.get(0)).optional()
    })?;
    if former.as_deref() == Some(format.name()) {
        return Ok(());
    }
    if index.tip()?.is_some() {
        // Indexes that do not say are from before there was another one.
        let former = former.unwrap_or_else(|| ContentHash.name().to_owned());
        if former != format.name() {
            let why = format!(
                "its blocks were published with format={former}, and with format={} they have \
                 other hashes: use format={former}, or start a new log with an index of its own",
                format.name()
            );
            return Err(OutboxError::Unusable { place: place.to_owned(), why, source: None });
        }
    }
    index.write(|tx| {
        let sql = "INSERT OR REPLACE INTO tipline_format (one, name) VALUES (1, ?1)";
        tx.execute(sql, [format.name()]).map(drop)
    })
}
