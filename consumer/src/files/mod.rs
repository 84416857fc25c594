//! The store of block files: directory and promises are with [`FileStore`].

mod aside;
mod fault;
mod flush;
mod layout;
mod open;
mod pin;
mod placing;
mod read;
mod recover;
mod reference;
mod tree;
mod write;

#[cfg(test)]
pub(crate) use layout::{Key, Layout};
pub use read::FileReader;
pub use write::FileStore;
