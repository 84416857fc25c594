//! What all handles on one outbox share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rocksdb::{WriteBatch, WriteOptions};
use tipline_proto::{Hash, OutboxId};

use super::bytes::InvalidValue;
use super::db::Database;
use super::error::{damaged, failed, wrong};
use super::keys;
use super::state::{Identity, Newest, Trimmed, VERSION};
use crate::outbox::{Limits, OutboxError};

/// An outbox that is open. There is one of these per database, however often it was asked for.
pub(super) struct Shared {
    pub(super) db: Arc<dyn Database>,
    pub(super) place: String,
    pub(super) id: OutboxId,
    pub(super) genesis: Hash,
    /// Held by the unit whose turn it is.
    pub(super) turn: Mutex<()>,
    /// Held while rows are removed.
    pub(super) trimming: Mutex<()>,
    /// Rows up to here are known to be durable.
    durable: AtomicU64,
    /// Making rows durable failed: what the disk has is in doubt until the database is opened
    /// again. RocksDB refuses writes from then on, even if the disk was only full.
    doubtful: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("place", &self.place).field("id", &self.id).finish()
    }
}

/// The outboxes that are open in this process. Two on one database would give the same
/// sequence twice.
static OPEN: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

impl Shared {
    /// The outbox in this database: the one that is open, the one that is there, or a new one.
    pub(super) fn open(db: Arc<dyn Database>, genesis: &Hash) -> Result<Arc<Self>, OutboxError> {
        let place = db.place();
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|shared| shared.strong_count() > 0);
        let found = open.iter().filter_map(Weak::upgrade);
        let same =
            |shared: &Arc<Self>| std::ptr::addr_eq(Arc::as_ptr(&shared.db), Arc::as_ptr(&db));
        let shared = match found.into_iter().find(same) {
            Some(shared) => shared,
            None => {
                let Identity { id, genesis } = identity(&*db, &place, genesis)?;
                let shared = Arc::new(Self {
                    db,
                    place,
                    id,
                    genesis,
                    turn: Mutex::new(()),
                    trimming: Mutex::new(()),
                    durable: AtomicU64::new(0),
                    doubtful: AtomicBool::new(false),
                });
                open.push(Arc::downgrade(&shared));
                shared
            }
        };
        if shared.genesis != *genesis {
            let why = format!(
                "it belongs to the chain with genesis {}, not {genesis}: give the database of \
                 this chain, or start from scratch",
                shared.genesis
            );
            return Err(OutboxError::Unusable { place: shared.place.clone(), why, source: None });
        }
        Ok(shared)
    }

    pub(super) fn newest(&self) -> Result<Newest, OutboxError> {
        self.value(keys::NEWEST, "its newest row", Newest::decode)
    }

    pub(super) fn limits(&self) -> Result<Limits, OutboxError> {
        self.value(keys::LIMITS, "its limits", Limits::decode)
    }

    pub(super) fn trimmed(&self) -> Result<Trimmed, OutboxError> {
        self.value(keys::TRIMMED, "what was removed", Trimmed::decode)
    }

    /// The newest row that counts no more. Read `trimmed` before it: it never lies behind that.
    pub(super) fn released(&self, trimmed: Trimmed) -> Result<Trimmed, OutboxError> {
        let what = "what counts no more";
        let value = self.db.get(keys::RELEASED);
        // Outboxes of an earlier version have none.
        let released = match value.map_err(failed(&self.place, &format!("reading {what}")))? {
            Some(value) => Trimmed::decode(&value).map_err(damaged(&self.place, what))?,
            None => trimmed,
        };
        Ok(if released.sequence < trimmed.sequence { trimmed } else { released })
    }

    /// A value that is there as long as the outbox is.
    fn value<T>(
        &self,
        key: &[u8],
        what: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, InvalidValue>,
    ) -> Result<T, OutboxError> {
        let value = self.db.get(key).map_err(failed(&self.place, &format!("reading {what}")))?;
        let value = value.ok_or_else(|| {
            wrong(&self.place, what.to_owned(), "something else has removed it".to_owned())
        })?;
        decode(&value).map_err(damaged(&self.place, what))
    }

    /// Rows up to `sequence` are durable from now on.
    pub(super) fn is_durable(&self, sequence: u64) {
        self.durable.fetch_max(sequence, Ordering::AcqRel);
    }

    /// Makes sure that rows up to `sequence`, which are written, survive a crash of the machine.
    pub(super) fn make_durable(&self, sequence: u64) -> Result<(), OutboxError> {
        if self.doubtful.load(Ordering::Acquire) {
            let why = "syncing them has failed before: start the node again".to_owned();
            return Err(wrong(&self.place, self.undurable(sequence), why));
        }
        if self.durable.load(Ordering::Acquire) >= sequence {
            return Ok(());
        }
        self.db.make_durable().map_err(|error| {
            self.doubtful.store(true, Ordering::Release);
            OutboxError::Corrupt {
                place: self.place.clone(),
                at: self.undurable(sequence),
                source: Some(error.into()),
            }
        })?;
        self.is_durable(sequence);
        Ok(())
    }

    fn undurable(&self, sequence: u64) -> String {
        format!("the rows up to {sequence}, which could not be synced")
    }
}

/// What the outbox in this database is; a new one if there is none.
fn identity(db: &dyn Database, place: &str, genesis: &Hash) -> Result<Identity, OutboxError> {
    let unusable =
        |why: String| OutboxError::Unusable { place: place.to_owned(), why, source: None };
    let found = db.get(keys::IDENTITY).map_err(failed(place, "opening it"))?;
    let Some(value) = found else {
        return create(db, place, genesis);
    };
    let at = "its identity";
    let version = Identity::version(&value).map_err(damaged(place, at))?;
    if version != VERSION {
        let why = format!("it has version {version}, this program knows {VERSION}");
        return Err(unusable(why));
    }
    Identity::decode(&value).map_err(damaged(place, at))
}

/// An empty outbox, durable on return.
fn create(db: &dyn Database, place: &str, genesis: &Hash) -> Result<Identity, OutboxError> {
    let mut is_empty = true;
    let look = db.scan(&[], &[u8::MAX], &mut |_, _| {
        is_empty = false;
        std::ops::ControlFlow::Break(())
    });
    look.map_err(failed(place, "opening it"))?;
    if !is_empty {
        let why = "its column family holds something else: rename that".to_owned();
        return Err(OutboxError::Unusable { place: place.to_owned(), why, source: None });
    }
    let id = OutboxId::from_bytes(rand::random());
    let identity = Identity { id, genesis: genesis.clone() };
    let write = || {
        let mut batch = WriteBatch::default();
        db.put(&mut batch, keys::IDENTITY, &identity.encode())?;
        db.put(&mut batch, keys::LIMITS, &Limits::default().encode())?;
        db.put(&mut batch, keys::NEWEST, &Newest::default().encode())?;
        db.put(&mut batch, keys::TRIMMED, &Trimmed::default().encode())?;
        db.write(batch, &synced())
    };
    write().map_err(failed(place, "creating it"))?;
    Ok(identity)
}

/// The write is durable on return.
pub(super) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}
