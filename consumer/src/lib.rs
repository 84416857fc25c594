//! The part of Tipline inside replicas and backups: replicate, verify, stores.

mod store;

pub use store::{
    Batch, Store, StoreError, StoreIdentity, StoreReader, StoredBlock, StoredLinks, StoredMark,
    StoredProof, StoredRecord, StoredTransaction,
};
