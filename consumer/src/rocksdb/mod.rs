//! The store in a RocksDB directory: layout and promises are with [`RocksDbStore`].

mod families;
mod fault;
mod marker;
mod open;
mod read;
mod rows;
mod scratch;
mod shared;
mod view;
mod write;

pub use read::RocksDbReader;
pub use write::RocksDbStore;
