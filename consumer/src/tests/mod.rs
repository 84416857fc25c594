#[cfg(target_os = "linux")]
mod broken;
mod changes;
#[cfg(target_os = "linux")]
mod plain;
#[cfg(feature = "sqlite")]
mod receipts;
#[cfg(feature = "sqlite")]
mod refuse;
#[cfg(feature = "sqlite")]
mod replicate;
#[cfg(feature = "sqlite")]
mod rigged;
#[cfg(feature = "sqlite")]
mod running;
#[cfg(feature = "sqlite")]
mod sqlite;
mod verify;
