//! The node's database as the outbox uses it, whichever its thread mode.

use std::ops::ControlFlow;

use rocksdb::{DBWithThreadMode, ReadOptions, WriteBatch, WriteOptions};

use super::keys::FAMILY;
use super::mode::OutboxThreadMode;

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum DbError {
    #[error("the database was opened without the column family {0}")]
    Family(String),
    #[error(transparent)]
    Rocks(#[from] rocksdb::Error),
}

/// What is done with an entry of a scan: continue, or not.
pub(super) type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// The node's database. Keys without a column family are those of the outbox.
pub(super) trait Database: Send + Sync {
    /// Its directory, as text.
    fn place(&self) -> String;

    /// Whether it was opened with this column family.
    fn has(&self, family: &str) -> bool;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        self.get_from(FAMILY, key)
    }

    fn get_from(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, DbError>;

    /// The entries from `from` up to but without `to`, in order.
    fn scan(&self, from: &[u8], to: &[u8], each: Each<'_>) -> Result<(), DbError>;

    fn put(&self, batch: &mut WriteBatch, key: &[u8], value: &[u8]) -> Result<(), DbError>;

    fn delete(&self, batch: &mut WriteBatch, key: &[u8]) -> Result<(), DbError>;

    /// All of the batch or nothing, as durable as `options` say.
    fn write(&self, batch: WriteBatch, options: &WriteOptions) -> Result<(), DbError>;

    /// What was written before is durable on return.
    fn make_durable(&self) -> Result<(), DbError>;
}

impl<T: OutboxThreadMode> Database for DBWithThreadMode<T> {
    fn place(&self) -> String {
        format!("rocksdb:{}", self.path().display())
    }

    fn has(&self, family: &str) -> bool {
        T::family(self, family).is_some()
    }

    fn get_from(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        Ok(self.get_cf(&found(self, family)?, key)?)
    }

    fn scan(&self, from: &[u8], to: &[u8], each: Each<'_>) -> Result<(), DbError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        // The column family may have been opened with options of the node's own.
        options.set_total_order_seek(true);
        let mut entries = self.raw_iterator_cf_opt(&found(self, FAMILY)?, options);
        entries.seek(from);
        while let Some((key, value)) = entries.item() {
            if each(key, value).is_break() {
                return Ok(());
            }
            entries.next();
        }
        Ok(entries.status()?)
    }

    fn put(&self, batch: &mut WriteBatch, key: &[u8], value: &[u8]) -> Result<(), DbError> {
        batch.put_cf(&found(self, FAMILY)?, key, value);
        Ok(())
    }

    fn delete(&self, batch: &mut WriteBatch, key: &[u8]) -> Result<(), DbError> {
        batch.delete_cf(&found(self, FAMILY)?, key);
        Ok(())
    }

    fn write(&self, batch: WriteBatch, options: &WriteOptions) -> Result<(), DbError> {
        Ok(self.write_opt(batch, options)?)
    }

    fn make_durable(&self) -> Result<(), DbError> {
        Ok(self.flush_wal(true)?)
    }
}

fn found<'a, T: OutboxThreadMode>(
    db: &'a DBWithThreadMode<T>,
    name: &str,
) -> Result<T::Family<'a>, DbError> {
    T::family(db, name).ok_or_else(|| DbError::Family(name.to_owned()))
}
