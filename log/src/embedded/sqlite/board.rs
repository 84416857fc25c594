//! Receipts, the announcement, and who subscribed.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use tipline_proto::{Announcement, ConsumerName, Receipt};

use super::Database;
use super::error::explain;
use crate::board::{read_announcement, read_receipt};
use crate::error::LogError;
use crate::spec::Board;

/// Milliseconds since 1970 by the clock of the machine, which every process here shares.
const NOW: &str = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
/// How many milliseconds ago a row was put.
const AGE: &str = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - put_ms";

impl Database {
    pub(in crate::embedded) fn board(&self) -> Result<Board, LogError> {
        let explain = |error| explain(&self.place, "the receipts", error);
        // One view of it all.
        let _view = self.connection.unchecked_transaction().map_err(explain)?;
        let mut board = Board::default();
        let age = if self.has_times().map_err(explain)? { AGE } else { "NULL" };
        let sql = format!("SELECT consumer, bytes, {age} FROM receipt ORDER BY consumer");
        let mut statement = self.connection.prepare_cached(&sql).map_err(explain)?;
        let mut rows = statement.query([]).map_err(explain)?;
        while let Some(row) = rows.next().map_err(explain)? {
            let name: String = row.get(0).map_err(explain)?;
            let bytes: Vec<u8> = row.get(1).map_err(explain)?;
            let age = row.get(2).map_err(explain)?;
            let place = format!("the receipt of {name}");
            match read_receipt(self.identity.lineage, &place, &name, bytes.into()) {
                Ok(receipt) => {
                    if let Some(age) = milliseconds(age) {
                        board.heard.insert(receipt.consumer.clone(), age);
                    }
                    board.receipts.push(receipt);
                }
                Err(unreadable) => board.unreadable.push(unreadable),
            }
        }
        self.read_announcement(&mut board, age)?;
        Ok(board)
    }

    /// Adds the columns that say when something was put, if the file was made without them.
    pub(in crate::embedded) fn add_times(&self) -> Result<(), LogError> {
        let add = || {
            if self.has_times()? {
                return Ok(());
            }
            let behavior = TransactionBehavior::Immediate;
            let transaction = Transaction::new_unchecked(&self.connection, behavior)?;
            // Another process may have done it meanwhile.
            if !self.has_times()? {
                transaction.execute_batch(
                    "ALTER TABLE receipt ADD COLUMN put_ms INTEGER;
                     ALTER TABLE announcement ADD COLUMN put_ms INTEGER;",
                )?;
            }
            transaction.commit()
        };
        add().map_err(|error| explain(&self.place, "adding the times of receipts", error))
    }

    fn has_times(&self) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM pragma_table_info('receipt') WHERE name = 'put_ms'";
        self.connection.prepare_cached(sql)?.exists([])
    }

    pub(in crate::embedded) fn put_receipt(&self, receipt: &Receipt) -> Result<(), LogError> {
        self.write(
            "putting a receipt",
            &format!(
                "INSERT INTO receipt (consumer, bytes, put_ms) VALUES (?1, ?2, {NOW})
                 ON CONFLICT (consumer) DO UPDATE SET bytes = ?2, put_ms = {NOW}"
            ),
            params![receipt.consumer.as_str(), &receipt.encode()[..]],
        )
    }

    /// Puts bytes in the place of a receipt.
    #[cfg(test)]
    pub(in crate::embedded) fn garble_receipt(&self, name: &str, bytes: &[u8]) {
        let sql = "INSERT OR REPLACE INTO receipt (consumer, bytes) VALUES (?, ?)";
        self.write("garbling a receipt", sql, params![name, bytes]).unwrap();
    }

    pub(in crate::embedded) fn announce(
        &self,
        announcement: &Announcement,
    ) -> Result<(), LogError> {
        self.write(
            "announcing",
            &format!(
                "INSERT INTO announcement (one, bytes, put_ms) VALUES (1, ?1, {NOW})
                 ON CONFLICT (one) DO UPDATE SET bytes = ?1, put_ms = {NOW}"
            ),
            params![&announcement.encode()[..]],
        )
    }

    pub(in crate::embedded) fn forget(&self, consumer: &ConsumerName) -> Result<(), LogError> {
        let sql = "DELETE FROM receipt WHERE consumer = ?";
        self.write("forgetting a consumer", sql, params![consumer.as_str()])
    }

    /// Makes a new subscription the only one of this consumer, and gives its number.
    pub(in crate::embedded) fn take_over(&self, consumer: &ConsumerName) -> Result<i64, LogError> {
        // Not RETURNING: its commit comes when the row is dropped, and nobody sees it fail.
        let take_over = || {
            let transaction = self.connection.unchecked_transaction()?;
            transaction.execute(
                "INSERT INTO subscriber (consumer, generation) VALUES (?, 1)
                 ON CONFLICT (consumer) DO UPDATE SET generation = generation + 1",
                [consumer.as_str()],
            )?;
            let generation = transaction.query_row(
                "SELECT generation FROM subscriber WHERE consumer = ?",
                [consumer.as_str()],
                |row| row.get(0),
            )?;
            transaction.commit()?;
            Ok(generation)
        };
        take_over().map_err(|error| explain(&self.place, "subscribing", error))
    }

    /// The number of the newest subscription of this consumer.
    pub(in crate::embedded) fn generation(
        &self,
        consumer: &ConsumerName,
    ) -> Result<Option<i64>, LogError> {
        let sql = "SELECT generation FROM subscriber WHERE consumer = ?";
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement.query_row([consumer.as_str()], |row| row.get(0)).optional()
            })
            .map_err(|error| explain(&self.place, "the subscribers", error))
    }

    fn read_announcement(&self, board: &mut Board, age: &str) -> Result<(), LogError> {
        let found: Option<(Vec<u8>, Option<i64>)> = self
            .connection
            .prepare_cached(&format!("SELECT bytes, {age} FROM announcement"))
            .and_then(|mut statement| {
                statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(|error| explain(&self.place, "the announcement", error))?;
        let Some((bytes, age)) = found else { return Ok(()) };
        match read_announcement(self.identity.lineage, "the announcement", bytes.into()) {
            Ok(said) => (board.primary, board.primary_heard) = (Some(said), milliseconds(age)),
            Err(unreadable) => board.unreadable.push(unreadable),
        }
        Ok(())
    }

    fn write(
        &self,
        what: &str,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<(), LogError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map_err(|error| explain(&self.place, what, error))?;
        Ok(())
    }
}

fn milliseconds(age: Option<i64>) -> Option<Duration> {
    // Negative if the clock of the machine was set back.
    age.map(|age| Duration::from_millis(u64::try_from(age).unwrap_or(0)))
}
