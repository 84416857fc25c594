//! Receipts, the announcement, and who subscribed.

use rusqlite::{OptionalExtension, params};
use tipline_proto::{Announcement, ConsumerName, Receipt};

use super::Database;
use super::error::explain;
use crate::error::LogError;
use crate::spec::Board;

impl Database {
    pub(in crate::embedded) fn board(&self) -> Result<Board, LogError> {
        let explain = |error| explain(&self.place, "the receipts", error);
        let mut statement = self
            .connection
            .prepare_cached("SELECT consumer, bytes FROM receipt ORDER BY consumer")
            .map_err(explain)?;
        let mut rows = statement.query([]).map_err(explain)?;
        let mut receipts = Vec::new();
        while let Some(row) = rows.next().map_err(explain)? {
            let (consumer, bytes): (String, Vec<u8>) =
                (row.get(0).map_err(explain)?, row.get(1).map_err(explain)?);
            let receipt = Receipt::decode(bytes.into()).map_err(|error| {
                LogError::damaged(&self.place, format!("the receipt of {consumer}"), error)
            })?;
            receipts.push(receipt);
        }
        Ok(Board { receipts, primary: self.announcement()?, ..Board::default() })
    }

    pub(in crate::embedded) fn put_receipt(&self, receipt: &Receipt) -> Result<(), LogError> {
        self.write(
            "putting a receipt",
            "INSERT INTO receipt (consumer, bytes) VALUES (?1, ?2)
             ON CONFLICT (consumer) DO UPDATE SET bytes = ?2",
            params![receipt.consumer.as_str(), &receipt.encode()[..]],
        )
    }

    pub(in crate::embedded) fn announce(
        &self,
        announcement: &Announcement,
    ) -> Result<(), LogError> {
        self.write(
            "announcing",
            "INSERT INTO announcement (one, bytes) VALUES (1, ?1)
             ON CONFLICT (one) DO UPDATE SET bytes = ?1",
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

    fn announcement(&self) -> Result<Option<Announcement>, LogError> {
        let bytes: Option<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT bytes FROM announcement")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
            .map_err(|error| explain(&self.place, "the announcement", error))?;
        let decode = |bytes: Vec<u8>| Announcement::decode(bytes.into());
        bytes
            .map(decode)
            .transpose()
            .map_err(|error| LogError::damaged(&self.place, "the announcement", error))
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
