#[cfg(all(feature = "sqlite", feature = "rocksdb", feature = "files"))]
mod agree;
#[cfg(all(feature = "archive", feature = "sqlite", target_os = "linux"))]
mod archive;
#[cfg(target_os = "linux")]
mod broken;
mod changes;
#[cfg(all(feature = "archive", feature = "sqlite"))]
mod checkpoint;
#[cfg(feature = "sqlite")]
mod composite;
#[cfg(feature = "files")]
mod files;
#[cfg(target_os = "linux")]
mod plain;
#[cfg(feature = "sqlite")]
mod receipts;
#[cfg(feature = "sqlite")]
mod refuse;
#[cfg(feature = "sqlite")]
mod replicate;
#[cfg(feature = "sqlite")]
mod retention;
#[cfg(feature = "sqlite")]
mod rigged;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sqlite")]
mod running;
#[cfg(feature = "sqlite")]
mod sqlite;
mod verify;
