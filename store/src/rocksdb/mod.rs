//! The store in a RocksDB directory: families, rows and promises are with [`RocksDbStore`].

mod backup_engine;
mod batch;
mod copy;
mod error;
mod families;
mod inspect;
mod list;
mod lock;
mod open;
mod presence;
mod read;
mod reopen;
mod row_files;
mod rows;
mod shared;
mod snapshot;
#[cfg(test)]
mod tests;
mod values;
mod view;
mod write;

pub use read::RocksDbReader;
pub use write::RocksDbStore;

#[cfg(test)]
pub(crate) fn family_names() -> [&'static str; 12] {
    families::FAMILIES.map(families::Family::name)
}
