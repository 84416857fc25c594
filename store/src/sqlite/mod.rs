//! The store in one SQLite file: schema and promises are with [`SqliteStore`].

mod error;
mod flusher;
mod journal;
mod lock;
mod open;
mod payloads;
mod presence;
mod read;
mod rows;
mod schema;
mod snapshot;
#[cfg(test)]
mod tests;
mod wal;
mod whole;
mod write;

pub use read::SqliteReader;
#[cfg(test)]
pub(crate) use schema::BLOCK_BY_HASH;
#[cfg(feature = "files")]
pub(crate) use schema::Role;
pub(crate) use snapshot::open_copy;
#[cfg(feature = "files")]
pub(crate) use snapshot::{PayloadOf, SqliteSnapshot};
pub use write::SqliteStore;
