//! The store of block files: directory and promises are with [`FileStore`].

mod flush;
mod install;
mod layout;
mod open;
mod read;
mod recover;
mod reference;
mod retained;
mod snapshot;
#[cfg(test)]
mod tests;
mod tree;
mod watch;
mod write;

#[cfg(test)]
pub(crate) use layout::{Key, Layout};
pub use read::FileReader;
pub use write::FileStore;
