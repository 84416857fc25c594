//! Both thread modes of the RocksDB library.

use std::sync::Arc;

use rocksdb::{
    AsColumnFamilyRef, BoundColumnFamily, ColumnFamily, DBWithThreadMode, MultiThreaded,
    SingleThreaded, ThreadMode,
};

/// The thread mode of a node's database: [`SingleThreaded`], the library's default, or
/// [`MultiThreaded`]. They differ in how a column family is found. There are no others.
pub trait OutboxThreadMode: ThreadMode + Send + Sync + Sized + 'static {
    /// How a column family is held.
    type Family<'a>: AsColumnFamilyRef;

    /// The column family of this name, if the database was opened with it.
    fn family<'a>(db: &'a DBWithThreadMode<Self>, name: &str) -> Option<Self::Family<'a>>;
}

impl OutboxThreadMode for SingleThreaded {
    type Family<'a> = &'a ColumnFamily;

    fn family<'a>(db: &'a DBWithThreadMode<Self>, name: &str) -> Option<Self::Family<'a>> {
        db.cf_handle(name)
    }
}

impl OutboxThreadMode for MultiThreaded {
    type Family<'a> = Arc<BoundColumnFamily<'a>>;

    fn family<'a>(db: &'a DBWithThreadMode<Self>, name: &str) -> Option<Self::Family<'a>> {
        db.cf_handle(name)
    }
}
