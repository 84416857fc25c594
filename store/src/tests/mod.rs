//! What concerns several kinds of stores.

#[cfg(all(feature = "sqlite", feature = "rocksdb", feature = "files"))]
mod agree;
#[cfg(target_os = "linux")]
mod broken;
mod changes;
#[cfg(feature = "sqlite")]
mod composite;
#[cfg(any(feature = "sqlite", feature = "rocksdb"))]
mod damaged;
#[cfg(target_os = "linux")]
mod pages;
mod plain;
#[cfg(any(feature = "sqlite", feature = "rocksdb"))]
mod present;
#[cfg(feature = "files")]
mod processes;
mod raced;
#[cfg(all(feature = "sqlite", feature = "rocksdb", feature = "files", target_os = "linux"))]
mod read_only;
