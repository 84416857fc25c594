//! Trimming: the oldest entries go, and what the entries after them still need is kept.

use rusqlite::{OptionalExtension, Row, Transaction, TransactionBehavior, params};
use tipline_proto::{Digest, OutboxId, Position};

use super::Database;
use super::entries::{key, number};
use super::error::explain;
use super::open::TRIMMED_VERSION;
use crate::error::LogError;
use crate::spec::Extent;

/// Most entries that one transaction removes, so that nobody waits long for its lock …
const STEP_ENTRIES: i64 = 1000;
/// … and about the most bytes: SQLite looks at every page of them.
const STEP_BYTES: i64 = 64 << 20;

/// The one row that says up to where the log was trimmed.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS trimmed (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL,
    digest BLOB NOT NULL,
    claim  INTEGER NOT NULL,
    outbox BLOB
) STRICT;
";

/// What is kept of the entries that were trimmed away.
pub(super) struct Trimmed {
    /// After the newest of them.
    pub(super) position: Position,
    /// Index of the newest claim among them; 0 if there was none.
    pub(super) claim: u64,
    /// The outbox that it names.
    pub(super) outbox: Option<OutboxId>,
}

/// What one step of trimming came to.
pub(in crate::embedded) struct Step {
    pub(in crate::embedded) extent: Extent,
    /// How many entries it removed; 0 if there was nothing left to do.
    pub(in crate::embedded) removed: u64,
}

impl Database {
    /// Removes some of the entries before `first`, the oldest, never the newest of the log,
    /// and fsyncs that.
    pub(in crate::embedded) fn trim_step(&self, first: u64) -> Result<Step, LogError> {
        let explain = |error| explain(&self.place, &format!("trimming up to {first}"), error);
        let transaction =
            Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)
                .map_err(explain)?;
        let extent = self.extent()?;
        let first = first.min(extent.last);
        if first <= extent.first {
            return Ok(Step { extent, removed: 0 });
        }
        let last = self.step_end(first).map_err(explain)?;
        let trimmed = self.after(last)?;
        transaction.execute_batch(TABLE).map_err(explain)?;
        // A program that does not know of trimming must not open it any more.
        transaction.pragma_update(None, "user_version", TRIMMED_VERSION).map_err(explain)?;
        let sql = "INSERT OR REPLACE INTO trimmed (one, number, digest, claim, outbox)
                   VALUES (1, ?, ?, ?, ?)";
        let Trimmed { position, claim, outbox } = trimmed;
        let outbox = outbox.as_ref().map(|outbox| &outbox.as_bytes()[..]);
        let row = params![key(last), &position.digest.as_bytes()[..], key(claim), outbox];
        transaction.execute(sql, row).map_err(explain)?;
        transaction.execute("DELETE FROM entry WHERE number <= ?", [key(last)]).map_err(explain)?;
        transaction.commit().map_err(explain)?;
        let removed = last + 1 - extent.first;
        Ok(Step { extent: Extent { first: last + 1, ..extent }, removed })
    }

    /// The last entry that the next step removes: at least one, all before `first`.
    fn step_end(&self, first: u64) -> rusqlite::Result<u64> {
        let sql = "SELECT number, length(bytes) FROM entry WHERE number < ?
                   ORDER BY number LIMIT ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![key(first), STEP_ENTRIES])?;
        let (mut last, mut bytes) = (first - 1, 0);
        while let Some(row) = rows.next()? {
            last = number(row.get(0)?);
            bytes += row.get::<_, i64>(1)?;
            if bytes >= STEP_BYTES {
                break;
            }
        }
        Ok(last)
    }

    /// What is to be kept when everything up to entry `index`, which is held, goes.
    fn after(&self, index: u64) -> Result<Trimmed, LogError> {
        let Some(position) = self.position(index)? else {
            return Err(self.damaged(index, "it is missing"));
        };
        let claim: i64 = self
            .connection
            .query_row("SELECT claim FROM entry WHERE number = ?", [key(index)], |row| row.get(0))
            .map_err(|error| explain(&self.place, &format!("entry {index}"), error))?;
        let claim = number(claim);
        Ok(Trimmed { position, claim, outbox: self.outbox(claim)? })
    }

    /// What is kept of the entries that were trimmed away; `None` if none ever was.
    pub(super) fn trimmed(&self) -> Result<Option<Trimmed>, LogError> {
        let explain = |error| explain(&self.place, "where it was trimmed", error);
        let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'trimmed'";
        let is_there = self.connection.prepare_cached(sql).and_then(|mut find| find.exists([]));
        if !is_there.map_err(explain)? {
            return Ok(None);
        }
        type Kept = (i64, Vec<u8>, i64, Option<Vec<u8>>);
        let kept = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let found: Option<Kept> = self
            .connection
            .prepare_cached("SELECT number, digest, claim, outbox FROM trimmed")
            .and_then(|mut statement| statement.query_row([], kept).optional())
            .map_err(explain)?;
        let Some((index, digest, claim, outbox)) = found else { return Ok(None) };
        let index = number(index);
        let outbox = outbox.map(<[u8; 16]>::try_from).transpose();
        let (Ok(digest), Ok(outbox)) = (<[u8; 32]>::try_from(digest), outbox) else {
            return Err(self.damaged(index, "what was kept of it when it was trimmed away"));
        };
        let position = Position { index, digest: Digest::from_bytes(digest) };
        let outbox = outbox.map(OutboxId::from_bytes);
        Ok(Some(Trimmed { position, claim: number(claim), outbox }))
    }
}
