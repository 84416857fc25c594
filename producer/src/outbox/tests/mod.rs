#[cfg(any(feature = "rocksdb", feature = "sqlite"))]
pub(super) mod histories;
pub(in crate::outbox) mod room;
