//! RocksDB's errors as the outbox's.

use rocksdb::ErrorKind;

use super::bytes::InvalidValue;
use super::db::DbError;
use crate::outbox::OutboxError;

/// The error of a read or a write. A lock or a full disk may pass; a database that is not what
/// it should be does not.
pub(super) fn failed(place: &str, what: &str) -> impl FnOnce(DbError) -> OutboxError {
    move |error| {
        let (place, what) = (place.to_owned(), what.to_owned());
        match error {
            DbError::Family(name) => {
                OutboxError::Unusable { place, why: opens_with(&name), source: None }
            }
            DbError::Rocks(error) if error.kind() == ErrorKind::Corruption => {
                let (at, source) = (format!("its database ({what})"), Some(error.into()));
                OutboxError::Corrupt { place, at, source }
            }
            DbError::Rocks(error) => {
                OutboxError::Failed { place, what, source: Some(error.into()) }
            }
        }
    }
}

/// What a node has to do about a column family that is not there.
pub(super) fn opens_with(family: &str) -> String {
    format!(
        "the database was opened without the column family {family}: name it when the node opens \
         the database, with create_missing_column_families"
    )
}

/// The value under a key that cannot be.
pub(super) fn damaged(place: &str, at: &str) -> impl FnOnce(InvalidValue) -> OutboxError {
    move |error| OutboxError::Corrupt {
        place: place.to_owned(),
        at: at.to_owned(),
        source: Some(error.into()),
    }
}

/// Something that is wrong in words.
pub(super) fn wrong(place: &str, at: String, why: String) -> OutboxError {
    OutboxError::Corrupt { place: place.to_owned(), at, source: Some(why.into()) }
}
