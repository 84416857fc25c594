//! The store in a RocksDB directory: families, rows and promises are with [`RocksDbStore`].

mod batch;
mod families;
mod fault;
mod lock;
mod look;
mod open;
mod outside;
mod pin;
mod reader;
mod rows;
mod share;
mod values;
mod view;
mod write;

pub use reader::RocksDbReader;
pub use write::RocksDbStore;

#[cfg(test)]
pub(crate) fn family_names() -> [&'static str; 12] {
    families::FAMILIES.map(families::Family::name)
}
