//! The part of Tipline inside replicas and backups: replicate, verify, stores.

mod content;
mod refusal;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
#[cfg(test)]
mod tests;
mod verify;

pub use content::content_digest;
pub use refusal::{Refusal, VerifyError};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteReader, SqliteStore};
pub use store::{
    Batch, Store, StoreError, StoreIdentity, StoreReader, StoredBlock, StoredLinks, StoredMark,
    StoredProof, StoredRecord, StoredTransaction,
};
pub use verify::{LookUp, REMEMBERED_POSITIONS, Verdict, Verifier};
