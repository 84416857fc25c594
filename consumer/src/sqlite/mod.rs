//! The store in one SQLite file: schema and promises are with [`SqliteStore`].

mod fault;
mod lock;
mod open;
mod pin;
mod read;
mod schema;
mod write;

#[cfg(feature = "archive")]
pub(crate) use pin::look_at;
#[cfg(feature = "files")]
pub(crate) use pin::{PayloadOf, SqlitePin};
pub use read::SqliteReader;
#[cfg(test)]
pub(crate) use schema::BLOCK_BY_HASH;
#[cfg(feature = "files")]
pub(crate) use schema::Role;
pub use write::SqliteStore;
