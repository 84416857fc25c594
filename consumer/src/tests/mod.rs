mod changes;
#[cfg(feature = "sqlite")]
mod receipts;
#[cfg(feature = "sqlite")]
mod refuse;
#[cfg(feature = "sqlite")]
mod replicate;
#[cfg(feature = "sqlite")]
mod rigged;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sqlite")]
mod running;
#[cfg(feature = "sqlite")]
mod sqlite;
mod verify;
