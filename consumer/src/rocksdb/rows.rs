//! The bytes of keys and values. [`super::RocksDbStore`] documents them. Keep stable.

use bytes::Bytes;
use tipline_proto::{Chain, Hash, Label, Lineage, Timestamp, Tip, TransactionId};

use crate::store::{
    StoreIdentity, StoredBlock, StoredMark, StoredProof, StoredRecord, StoredTransaction,
};

pub(super) const IDENTITY_KEY: &[u8] = b"identity";
pub(super) const CURSOR_KEY: &[u8] = b"cursor";
pub(super) const BASE_KEY: &[u8] = b"base";
/// A number as a key or in a value: big-endian, so that keys are in order.
pub(super) fn number(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// A number that may be missing: a byte 0, or a byte 1 and the number.
fn optional(value: Option<u64>) -> Vec<u8> {
    value.map_or(vec![0], |value| [&[1], &number(value)[..]].concat())
}

/// A value that is taken apart. Every step gives `None` when it is too short or wrong.
pub(super) struct Row(Bytes);

impl Row {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?[..].try_into().ok()?))
    }

    pub(super) fn optional(&mut self) -> Option<Option<u64>> {
        match self.byte()? {
            0 => Some(None),
            1 => self.number().map(Some),
            _ => None,
        }
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.number().map(Timestamp::from_micros)
    }

    pub(super) fn rest(self) -> Bytes {
        self.0
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

pub(super) fn put_identity(identity: &StoreIdentity) -> Vec<u8> {
    let genesis = identity.chain.genesis.as_ref();
    let length = [genesis.len() as u8];
    let name = identity.chain.name.as_str().as_bytes();
    [identity.lineage.as_bytes(), &length[..], genesis, name].concat()
}

pub(super) fn identity(mut row: Row) -> Option<StoreIdentity> {
    let lineage = Lineage::from_bytes(row.take(16)?[..].try_into().ok()?);
    let length = row.byte()?;
    let genesis = Hash::new(row.take(length.into())?).ok()?;
    let name = std::str::from_utf8(&row.rest()).ok()?.parse().ok()?;
    Some(StoreIdentity { lineage, chain: Chain { name, genesis } })
}

pub(super) fn put_tip(tip: &Tip) -> Vec<u8> {
    [&number(tip.height)[..], tip.hash.as_ref()].concat()
}

pub(super) fn tip(mut row: Row) -> Option<Tip> {
    Some(Tip { height: row.number()?, hash: Hash::new(row.rest()).ok()? })
}

pub(super) fn put_block(block: &StoredBlock) -> Vec<u8> {
    let numbers =
        [block.index, block.epoch, block.time.as_micros(), block.payload.len() as u64].map(number);
    let hash = block.hash.as_ref();
    [&numbers.concat()[..], &[hash.len() as u8], hash, block.parent_hash.as_ref()].concat()
}

/// A block without its payload, and the payload's length.
pub(super) fn block(height: u64, mut row: Row) -> Option<(StoredBlock, u64)> {
    let (index, epoch, time) = (row.number()?, row.number()?, row.time()?);
    let bytes = row.number()?;
    let length = row.byte()?;
    let hash = Hash::new(row.take(length.into())?).ok()?;
    let parent_hash = Hash::new(row.rest()).ok()?;
    let payload = Bytes::new();
    Some((StoredBlock { height, hash, parent_hash, index, epoch, time, payload }, bytes))
}

pub(super) fn put_proof(proof: &StoredProof) -> Vec<u8> {
    let numbers = [proof.index, proof.time.as_micros(), proof.payload.len() as u64].map(number);
    [&numbers.concat()[..], proof.block_hash.as_ref()].concat()
}

/// A proof without its payload, and the payload's length.
pub(super) fn proof(height: u64, mut row: Row) -> Option<(StoredProof, u64)> {
    let (index, time, bytes) = (row.number()?, row.time()?, row.number()?);
    let block_hash = Hash::new(row.rest()).ok()?;
    Some((StoredProof { height, block_hash, index, time, payload: Bytes::new() }, bytes))
}

pub(super) fn put_transaction(transaction: &StoredTransaction) -> Vec<u8> {
    let StoredTransaction { index, time, payload, block_tip, .. } = transaction;
    let numbers = [*index, time.as_micros(), payload.len() as u64].map(number);
    [&numbers.concat()[..], &optional(*block_tip)].concat()
}

/// A transaction without its payload, and the payload's length.
pub(super) fn transaction(id: &TransactionId, mut row: Row) -> Option<(StoredTransaction, u64)> {
    let (index, time, bytes) = (row.number()?, row.time()?, row.number()?);
    let block_tip = row.optional()?;
    row.end()?;
    let (id, payload) = (id.clone(), Bytes::new());
    Some((StoredTransaction { id, block_tip, index, time, payload }, bytes))
}

pub(super) fn put_by_index(transaction: &StoredTransaction) -> Vec<u8> {
    [&optional(transaction.block_tip)[..], transaction.id.as_ref()].concat()
}

/// The block tip and the id of the transaction with an index.
pub(super) fn by_index(mut row: Row) -> Option<(Option<u64>, TransactionId)> {
    Some((row.optional()?, TransactionId::new(row.rest()).ok()?))
}

pub(super) fn put_record(record: &StoredRecord) -> Vec<u8> {
    let numbers = [record.index, record.time.as_micros()].map(number);
    [&numbers.concat()[..], &record.value].concat()
}

pub(super) fn record(key: &tipline_proto::Key, mut row: Row) -> Option<StoredRecord> {
    let (index, time) = (row.number()?, row.time()?);
    Some(StoredRecord { key: key.clone(), index, time, value: row.rest() })
}

pub(super) fn put_mark(mark: &StoredMark) -> Vec<u8> {
    let numbers = [mark.index, mark.time.as_micros()].map(number);
    [&numbers.concat()[..], &optional(mark.block_tip)].concat()
}

pub(super) fn mark(name: &Label, mut row: Row) -> Option<StoredMark> {
    let (index, time, block_tip) = (row.number()?, row.time()?, row.optional()?);
    row.end()?;
    Some(StoredMark { name: name.clone(), index, block_tip, time })
}
